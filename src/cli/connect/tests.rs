//! Against the simulated ChirpStack, with a database of its own.

use std::collections::BTreeMap;

use downbeat_sim::server::{
    ChirpstackFaults, DEFAULT_API_KEY, Encoding as Encoded, HttpIntegration as Integration,
    Identity, RunningSim, SimConfig,
};
use tempfile::TempDir;

use super::*;
use crate::store::PageRequest;

const OTHERS: &str = "https://others.example/hook";

#[derive(Debug, clap::Parser)]
struct Line {
    #[command(flatten)]
    arguments: ConnectArgs,
}

struct World {
    sim: RunningSim,
    data: TempDir,
    config: Config,
}

impl World {
    async fn start() -> Self {
        let sim = downbeat_sim::server::start(SimConfig::fleet(1, 1))
            .await
            .unwrap();
        let data = tempfile::tempdir().unwrap();
        let mut config = Config {
            data_dir: data.path().to_owned(),
            database_url: format!("sqlite://{}/downbeat.db", data.path().display()),
            ..Config::default()
        };
        config.chirpstack.url = Some(format!("http://{}", sim.grpc_addr()));
        config.chirpstack.api_key = Some(DEFAULT_API_KEY.into());
        config.chirpstack.tenant_id = Some(Identity::default().tenant_id);
        Self { sim, data, config }
    }

    fn others(&self, headers: &[(&str, &str)]) {
        let headers = headers.iter();
        self.sim.set_integration(Some(Integration {
            url: OTHERS.to_owned(),
            headers: headers
                .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
                .collect(),
            encoding: Encoded::Protobuf,
        }));
    }

    async fn connect(&self, arguments: &[&str]) -> anyhow::Result<String> {
        let arguments = [
            &[
                "downbeat",
                "--application",
                "lights",
                "--webhook-url",
                "http://lights:8000",
            ],
            arguments,
        ]
        .concat();
        let line = <Line as clap::Parser>::try_parse_from(arguments)?;
        let variable = |name: &str| (name == "KEY").then(|| "given,key".to_owned());
        connect(&line.arguments, &self.config, variable).await
    }

    /// Valid keys there are.
    async fn keys(&self) -> Vec<ApiKey> {
        let store = open_store(&self.config).await.unwrap();
        let page = PageRequest::first(10);
        let keys = store.list_api_keys(Scope::Platform, page).await.unwrap();
        store.close().await;
        let now = Clock::system().now();
        keys.items
            .into_iter()
            .filter(|key| key.is_valid_at(now))
            .collect()
    }
}

#[tokio::test]
async fn a_first_connection_is_made_once_and_its_key_delivers() {
    let world = World::start().await;
    let told = world.connect(&[]).await.unwrap();
    assert!(
        told.contains("http://lights:8000/api/v1/webhooks/chirpstack  (new)"),
        "{told}"
    );
    let made = world.sim.integration().unwrap();
    assert_eq!(made.url, "http://lights:8000/api/v1/webhooks/chirpstack");
    let key = made.headers["Authorization"]
        .strip_prefix("Bearer ")
        .unwrap()
        .to_owned();
    assert!(!told.contains(&key));
    let keys = world.keys().await;
    assert_eq!(keys.len(), 1);
    assert_eq!((keys[0].role, keys[0].tenant_id), (Role::Webhook, None));
    assert!(key.starts_with(&keys[0].prefix));

    let told = world.connect(&[]).await.unwrap();
    assert!(told.contains("Nothing changed"), "{told}");
    assert_eq!(world.sim.integration().unwrap(), made);
    assert_eq!(world.keys().await.len(), 1);

    // A key that was taken back is replaced.
    let store = open_store(&world.config).await.unwrap();
    let now = Clock::system().now();
    store
        .revoke_api_key(
            Scope::Platform,
            keys[0].id,
            now,
            &crate::store::By::command_line(),
        )
        .await
        .unwrap();
    store.close().await;
    world.connect(&[]).await.unwrap();
    assert_ne!(world.sim.integration().unwrap(), made);
    assert_eq!(world.keys().await.len(), 1);
    world.sim.shutdown().await;
}

#[tokio::test]
async fn others_keep_what_is_theirs() {
    let world = World::start().await;
    world.others(&[("X-Site", "north")]);
    let told = world.connect(&["--dry-run"]).await.unwrap();
    assert!(told.contains("would"), "{told}");
    assert_eq!(world.sim.integration().unwrap().url, OTHERS);
    assert_eq!(world.keys().await.len(), 0);

    let told = world.connect(&["--tenant", "default"]).await.unwrap();
    assert!(told.contains(&format!("{OTHERS}  (as before)")), "{told}");
    assert!(told.contains("http://***@lights:8000/"), "{told}");
    let made = world.sim.integration().unwrap();
    assert!(
        made.url
            .starts_with(&format!("{OTHERS},http://downbeat:db_")),
        "{}",
        made.url
    );
    assert_eq!(
        made.headers,
        BTreeMap::from([("X-Site".to_owned(), "north".to_owned())])
    );
    assert_eq!(made.encoding, Encoded::Protobuf);
    assert!(world.keys().await[0].tenant_id.is_some());
    for again in [&["--tenant", "default"][..], &[]] {
        world.connect(again).await.unwrap();
        assert_eq!(world.sim.integration().unwrap(), made);
    }
    world.sim.shutdown().await;
}

#[tokio::test]
async fn a_header_in_the_way_changes_nothing() {
    let world = World::start().await;
    world.others(&[("authorization", "Bearer theirs")]);
    let before = world.sim.integration();
    let refused = world.connect(&[]).await.unwrap_err().to_string();
    assert!(
        refused.contains("Authorization header that is not ours"),
        "{refused}"
    );
    assert!(!refused.contains("theirs"));
    assert_eq!(world.sim.integration(), before);
    assert_eq!(world.keys().await.len(), 0);
    world.sim.shutdown().await;
}

#[tokio::test]
async fn a_given_key_needs_no_database() {
    let world = World::start().await;
    world.others(&[]);
    for changed in [true, false] {
        let told = world.connect(&["--key-env", "KEY"]).await.unwrap();
        assert_eq!(told.contains("Nothing changed"), !changed, "{told}");
        let url = world.sim.integration().unwrap().url;
        assert_eq!(
            url,
            format!("{OTHERS},http://downbeat:given%2Ckey@lights:8000/api/v1/webhooks/chirpstack")
        );
    }
    assert!(world.connect(&["--key-env", "NONE"]).await.is_err());
    assert!(!world.data.path().join("downbeat.db").exists());
    world.sim.shutdown().await;
}

#[tokio::test]
async fn an_application_is_found_by_id_or_name_or_the_names_are_told() {
    let mut world = World::start().await;
    let id = Identity::default().application_id.to_string();
    for (asked, words) in [
        (id.as_str(), "lights"),
        ("lights", id.as_str()),
        ("heaters", "there are: lights"),
        ("01a2b7fa-7f26-7109-8c88-d0b5abe764e0", "no application"),
    ] {
        let client = chirpstack(&world.config).unwrap().unwrap();
        let found = match find_application(&client, asked).await {
            Ok((id, name)) => format!("{name} {id}"),
            Err(error) => format!("{error:#}"),
        };
        assert!(found.contains(words), "{asked}: {found}");
    }
    world.config.chirpstack.tenant_id = None;
    let client = chirpstack(&world.config).unwrap().unwrap();
    let error = find_application(&client, "lights").await.unwrap_err();
    assert!(format!("{error:#}").contains("chirpstack.tenant_id"));
    find_application(&client, &id).await.unwrap();
    world.sim.shutdown().await;
}

#[tokio::test]
async fn a_refused_change_leaves_no_key_behind() {
    let world = World::start().await;
    let client = chirpstack(&world.config).unwrap().unwrap();
    let keys = Keys::open(&world.config, None).await.unwrap();
    let key = keys.fresh();
    let ours = "http://lights:8000".parse().unwrap();
    let then = plan::connected(None, &ours, &key, KeyPlace::Auto, false).unwrap();
    let nobodys = Application {
        id: Uuid::from_u128(7),
        name: "nobody's".to_owned(),
        is_new: true,
    };
    let refused = establish(&client, &keys, &nobodys, &then, &key).await;
    assert!(refused.is_err());
    assert!(keys.is_known(&key).await.unwrap());
    keys.close().await;
    world.sim.set_faults(ChirpstackFaults {
        failing: true,
        ..ChirpstackFaults::default()
    });
    let error = world.connect(&[]).await.unwrap_err();
    assert!(
        format!("{error:#}").contains("connection pool timed out"),
        "{error:#}"
    );
    assert_eq!(world.keys().await.len(), 0);
    world.sim.shutdown().await;
}
