//! Bundles the dashboard in `web/` into `$OUT_DIR/web`, from where `src/dashboard.rs` embeds it.
//!
//! `cargo build` must work on a machine without Node, so by default a missing or failing Node leaves a stub page and
//! one warning. `DOWNBEAT_WEB` decides: `auto` (the default), `require` (CI and releases: fail instead), `skip` (always
//! the stub). Everything happens in a copy under `OUT_DIR`: a build leaves the source tree as it was.

use std::error::Error;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs, io};

/// What the bundle is made of; the mock server beside it is not.
const SOURCES: [&str; 7] = [
    "index.html",
    "package.json",
    "package-lock.json",
    "svelte.config.js",
    "tsconfig.json",
    "vite.config.ts",
    "src",
];

const NPM: &str = if cfg!(windows) { "npm.cmd" } else { "npm" };

type Outcome = Result<(), Box<dyn Error>>;

fn main() -> Outcome {
    println!("cargo::rerun-if-env-changed=DOWNBEAT_WEB");
    println!("cargo::rerun-if-changed=build.rs");
    for source in SOURCES {
        println!("cargo::rerun-if-changed=web/{source}");
    }
    let out = PathBuf::from(env::var_os("OUT_DIR").ok_or("cargo sets OUT_DIR")?);
    let bundle = out.join("web");
    match env::var("DOWNBEAT_WEB").as_deref() {
        Ok("require") => build(&out, &bundle),
        Ok("skip") => stub(&bundle, "It was left out on purpose (DOWNBEAT_WEB=skip)."),
        Ok("auto" | "") | Err(env::VarError::NotPresent) => build(&out, &bundle).or_else(|error| {
            println!(
                "cargo::warning=the dashboard was not built and a stub page takes its place: {error} \
                 (DOWNBEAT_WEB=skip says so on purpose, DOWNBEAT_WEB=require makes it an error)"
            );
            stub(&bundle, &error.to_string())
        }),
        Ok(_) | Err(_) => Err("DOWNBEAT_WEB must be auto, require or skip".into()),
    }
}

/// Copies the sources, installs what they need if that changed, and bundles them.
fn build(out: &Path, bundle: &Path) -> Outcome {
    for program in ["node", NPM] {
        run(Command::new(program).arg("--version")).map_err(|_| {
            format!("{program} does not run; Node 20.19 or later with npm is needed")
        })?;
    }
    let work = out.join("web-build");
    remove(&work.join("src"))?;
    for source in SOURCES {
        copy(&Path::new("web").join(source), &work.join(source))?;
    }
    install(&work)?;
    run(Command::new(NPM)
        .args(["run", "build", "--", "--emptyOutDir", "--outDir"])
        .arg(bundle)
        .current_dir(&work))
}

/// Runs `npm ci` unless it last ran for the same lock file.
fn install(work: &Path) -> Outcome {
    let lock = fs::read(work.join("package-lock.json"))?;
    let stamp = work.join("installed.json");
    if fs::read(&stamp).is_ok_and(|installed| installed == lock) {
        return Ok(());
    }
    run(Command::new(NPM)
        .args([
            "ci",
            "--ignore-scripts",
            "--include=dev",
            "--no-audit",
            "--no-fund",
        ])
        .current_dir(work))?;
    Ok(fs::write(stamp, lock)?)
}

/// The page that stands in for the dashboard and says how to get it.
fn stub(bundle: &Path, reason: &str) -> Outcome {
    remove(bundle)?;
    fs::create_dir_all(bundle)?;
    let reason = reason.replace('&', "&amp;").replace('<', "&lt;");
    let page = format!(
        "<!doctype html>\n<html lang=\"en\">\n<meta charset=\"utf-8\">\n\
         <meta name=\"viewport\" content=\"width=device-width\">\n\
         <meta name=\"color-scheme\" content=\"light dark\">\n<title>Downbeat</title>\n\
         <h1>Downbeat runs, without its dashboard</h1>\n\
         <p>This binary was built without the dashboard. {reason}</p>\n\
         <p>To have it: install Node 20.19 or later with npm, then build again with \
         <code>DOWNBEAT_WEB=require cargo build</code>.</p>\n\
         <p>The API works all the same: <a href=\"/api/docs\">its description</a>.</p>\n</html>\n"
    );
    Ok(fs::write(bundle.join("index.html"), page)?)
}

/// Runs to the end; the error tells what failed, with the last line it wrote.
fn run(command: &mut Command) -> Outcome {
    let output = command.output()?;
    if output.status.success() {
        return Ok(());
    }
    let stderr = String::from_utf8_lossy(&output.stderr);
    let last = stderr
        .lines()
        .rfind(|line| !line.trim().is_empty())
        .unwrap_or_default();
    let program = command.get_program().to_string_lossy().into_owned();
    let arguments: Vec<_> = command
        .get_args()
        .map(|argument| argument.to_string_lossy())
        .collect();
    Err(format!("`{program} {}` failed: {last}", arguments.join(" ")).into())
}

fn copy(from: &Path, to: &Path) -> io::Result<()> {
    if !from.is_dir() {
        if let Some(parent) = to.parent() {
            fs::create_dir_all(parent)?;
        }
        return fs::copy(from, to).map(drop);
    }
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        copy(&entry.path(), &to.join(entry.file_name()))?;
    }
    Ok(())
}

fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_dir_all(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        Ok(()) | Err(_) => Ok(()),
    }
}
