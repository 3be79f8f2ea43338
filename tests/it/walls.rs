//! What may depend on what, and documents that repeat what the code says. Cheap, so that everyone runs it; `deny.toml`
//! says more, to those who have cargo-deny.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

use downbeat::config::{Config, Loaded};

/// What brings a socket, a database or a runtime.
const OUTSIDE: [&str; 5] = ["axum", "chirpstack_api", "reqwest", "sqlx", "tonic"];

#[test]
fn the_core_decides_and_can_do_nothing_else() {
    let needs = dependencies("downbeat-core");
    assert!(needs.contains("serde"));
    for package in OUTSIDE.into_iter().chain([
        "downbeat",
        "downbeat-actors",
        "downbeat-sim",
        "getrandom",
        "rand",
        "ractor",
        "tokio",
    ]) {
        assert!(!needs.contains(package), "downbeat-core needs {package}");
    }
}

#[test]
fn the_actors_reach_the_outside_through_their_ports_alone() {
    let needs = dependencies("downbeat-actors");
    assert!(needs.contains("downbeat-core") && needs.contains("ractor"));
    for package in OUTSIDE.into_iter().chain(["downbeat", "downbeat-sim"]) {
        assert!(!needs.contains(package), "downbeat-actors needs {package}");
    }
}

#[test]
fn the_simulation_shares_no_behaviour_with_what_it_tests() {
    let needs = dependencies("downbeat-sim");
    assert!(needs.contains("downbeat-core"));
    for package in ["downbeat", "downbeat-actors", "ractor", "sqlx"] {
        assert!(!needs.contains(package), "downbeat-sim needs {package}");
    }
}

#[test]
fn what_tests_need_is_in_no_binary() {
    let needs = dependencies("downbeat");
    assert!(needs.contains("sqlx"));
    assert!(!needs.contains("downbeat-testdb"));
}

#[test]
fn there_is_one_tls_and_it_needs_no_system_library() {
    let lock = read("Cargo.lock");
    for package in ["aws-lc-sys", "native-tls", "openssl-sys"] {
        let line = format!("name = \"{package}\"");
        assert!(
            !lock.lines().any(|known| known == line),
            "{package} is in Cargo.lock"
        );
    }
}

#[test]
fn the_example_of_a_configuration_holds_the_defaults() {
    let example = load(&root().join("config.example.toml"));
    assert_eq!(values(&example.config), values(&defaults().config));
}

#[test]
fn the_example_of_a_configuration_holds_every_key() {
    let whole: Vec<String> = read("config.example.toml")
        .lines()
        .map(uncommented)
        .collect();
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), whole.join("\n")).unwrap();
    let described = load(file.path()).describe();
    let unset: Vec<&str> = described
        .lines()
        .filter(|line| line.contains("# default"))
        .collect();
    assert!(unset.is_empty(), "config.example.toml lacks {unset:?}");
}

#[test]
fn the_readme_tells_every_key_with_its_variable() {
    let readme = read("README.md");
    let mut section = String::new();
    for line in defaults().describe().lines() {
        if let Some(name) = line.strip_prefix('[') {
            section = format!("{}.", name.trim_end_matches(']'));
        }
        let (Some((key, _)), Some((_, variable))) =
            (line.split_once(" = "), line.rsplit_once("; "))
        else {
            continue;
        };
        let row = format!("| `{section}{key}` | `{variable}` |");
        assert!(readme.contains(&row), "README.md lacks {row}");
    }
}

/// The names of all packages that a package is built with, itself left out; not those of its own tests.
fn dependencies(package: &str) -> BTreeSet<String> {
    let arguments = [
        "tree",
        "--offline",
        "--edges",
        "normal",
        "--prefix",
        "none",
        "--format",
        "{p}",
        "--package",
    ];
    let output = Command::new(env!("CARGO"))
        .args(arguments)
        .arg(package)
        .current_dir(root())
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let text = String::from_utf8(output.stdout).unwrap();
    let names = text.lines().filter_map(|line| line.split(' ').next());
    names.skip(1).map(str::to_owned).collect()
}

/// A key that is commented out, without the mark; any other line as it is.
fn uncommented(line: &str) -> String {
    let is_key = |text: &str| text.starts_with(|first: char| first.is_ascii_lowercase());
    match line.strip_prefix('#') {
        Some(rest) if is_key(rest) => rest.to_owned(),
        Some(_) | None => line.to_owned(),
    }
}

fn defaults() -> Loaded {
    Loaded::new(None, |_| None, &[]).unwrap()
}

fn load(file: &Path) -> Loaded {
    Loaded::new(Some(file), |_| None, &[]).unwrap()
}

fn values(config: &Config) -> serde_json::Value {
    serde_json::to_value(config).unwrap()
}

fn read(name: &str) -> String {
    std::fs::read_to_string(root().join(name)).unwrap()
}

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}
