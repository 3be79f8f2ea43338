//! `downbeat demo`: the whole thing on one machine, with nothing but the binary.
//!
//! Everything is real but the radio: the simulated ChirpStack is called over gRPC and posts its webhooks over HTTP.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context as _;
use clap::Args;
use downbeat_core::codec::CodecKind;
use downbeat_core::id::{DevEui, DeviceId};
use downbeat_sim::server::{DEFAULT_API_KEY, RunningSim, SimConfig};
use indicatif::{ProgressBar, ProgressStyle};
use secrecy::{ExposeSecret as _, SecretString};

use super::print;
use crate::config::Config;
use crate::http::RouterParts;
use crate::secret_key::{self, NewKey};
use crate::server::{self, Server};
use crate::store::{By, DEFAULT_TENANT, DeviceFields, NewDevice, Role, Scope};

/// Options of the demonstration.
#[derive(Debug, Args)]
pub struct DemoArgs {
    /// Address of the page and the API.
    #[arg(long, default_value = "127.0.0.1:8000")]
    listen: SocketAddr,
    /// Keep the database here; without, it is made anew and removed at the end.
    #[arg(long)]
    data_dir: Option<PathBuf>,
    /// Simulated lights.
    #[arg(long, default_value_t = 12, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    lights: u32,
    /// Simulated gateways.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=100))]
    gateways: u32,
    /// Share of frames lost on the air, each way, 0 to 1.
    #[arg(long, default_value_t = 0.0, value_parser = parse_share)]
    loss: f64,
    /// What chance does.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// How much faster than real time the simulation lives.
    #[arg(long, default_value_t = 1.0)]
    speed: f64,
    /// Do not open the page in a browser.
    #[arg(long)]
    no_open: bool,
    /// What is logged.
    #[arg(long, default_value = "warn")]
    log: String,
}

fn parse_share(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(share) if (0.0..=1.0).contains(&share) => Ok(share),
        Ok(_) | Err(_) => Err("must be a number from 0 to 1".to_owned()),
    }
}

/// Runs the demonstration until a signal.
pub(super) async fn run(arguments: DemoArgs) -> anyhow::Result<()> {
    crate::telemetry::start_logging(&arguments.log, false)?;
    let temporary = match &arguments.data_dir {
        Some(_) => None,
        None => Some(tempfile::tempdir().context("no temporary directory can be made")?),
    };
    let data_dir = match (&arguments.data_dir, &temporary) {
        (Some(data_dir), _) => data_dir.clone(),
        (None, Some(temporary)) => temporary.path().to_owned(),
        (None, None) => PathBuf::from("."),
    };
    let sim = start_simulation(&arguments).await?;
    let admin_key = secret_key::generate();
    let config = Config {
        listen: arguments.listen,
        database_url: format!("sqlite://{}", data_dir.join("demo.db").display()),
        data_dir,
        admin_key: Some(admin_key.clone()),
        chirpstack: crate::config::ChirpstackSection {
            url: Some(format!("http://{}", sim.grpc_addr())),
            api_key: Some(SecretString::from(DEFAULT_API_KEY)),
            tenant_id: Some(sim.identity().tenant_id),
            ..Default::default()
        },
        ..Config::default()
    };
    let parts = RouterParts {
        simulator: Some(sim.control_router()),
    };
    let server = server::start(config, parts).await?;
    register_lights(&server, &sim).await?;
    connect_webhooks(&server, &sim).await?;
    welcome(&server, &sim, &admin_key, arguments.no_open)?;
    server::stop_signal().await?;
    server.stop().await;
    sim.shutdown().await;
    Ok(())
}

async fn start_simulation(arguments: &DemoArgs) -> anyhow::Result<RunningSim> {
    let mut config = SimConfig::fleet(arguments.lights, arguments.gateways);
    config.network.links.loss_up = arguments.loss;
    config.network.links.loss_down = arguments.loss;
    // The lights are registered before they speak, so that no first report goes astray.
    config.network.quiet = Duration::from_secs(1) + Duration::from_millis(10) * arguments.lights;
    config.seed = arguments.seed;
    config.speed = arguments.speed;
    Ok(downbeat_sim::server::start(config).await?)
}

/// Registers the simulated lights that are not registered yet.
async fn register_lights(server: &Server, sim: &RunningSim) -> anyhow::Result<()> {
    let tenant = server
        .store
        .tenant_by_name(Scope::Platform, DEFAULT_TENANT)
        .await?
        .context("there is no default tenant")?;
    let identity = sim.identity();
    let lights: Vec<DevEui> =
        sim.network(|network, _| network.lights().map(|light| light.dev_eui).collect());
    let bar = ProgressBar::new(u64::try_from(lights.len()).unwrap_or(0)).with_style(
        ProgressStyle::with_template("Registering lights {bar:32} {pos}/{len}")
            .unwrap_or_else(|_| ProgressStyle::default_bar()),
    );
    for (number, dev_eui) in lights.into_iter().enumerate() {
        bar.inc(1);
        if server
            .store
            .device_by_dev_eui(Scope::Platform, dev_eui)
            .await?
            .is_some()
        {
            continue;
        }
        let fields = DeviceFields {
            name: format!("Desk {:02}", number + 1),
            description: "A simulated kuando Busylight IoT Omega".to_owned(),
            device_type: "status_light".to_owned(),
            tags: BTreeMap::from([("demo".to_owned(), "true".to_owned())]),
            codec: CodecKind::KuandoBusylight,
            dev_eui: Some(dev_eui),
            chirpstack_app_id: Some(identity.application_id),
            device_profile_id: Some(identity.device_profile_id),
            join_eui: None,
            uplink_interval: None,
            policy: downbeat_core::device::PolicySettings::default(),
        };
        let device = NewDevice {
            id: DeviceId::from_uuid(uuid::Uuid::now_v7()),
            tenant_id: tenant.id,
            created_at: server.state.now(),
            fields,
            app_key: None,
        };
        server
            .store
            .create_device(Scope::Platform, &device, &By::downbeat())
            .await?;
    }
    bar.finish_and_clear();
    Ok(())
}

/// Has the simulated ChirpStack post its events here, with a key that may do nothing else.
async fn connect_webhooks(server: &Server, sim: &RunningSim) -> anyhow::Result<()> {
    let key = secret_key::generate();
    let new = NewKey::new("simulated ChirpStack", Role::Webhook, None);
    let now = server.state.now();
    secret_key::keep(&server.store, &key, new, now, &By::downbeat()).await?;
    let url = format!("http://{}/api/v1/webhooks/chirpstack", server.address);
    let headers = BTreeMap::from([(
        "Authorization".to_owned(),
        format!("Bearer {}", key.expose_secret()),
    )]);
    sim.set_webhook(&url, headers);
    Ok(())
}

fn welcome(
    server: &Server,
    sim: &RunningSim,
    admin_key: &SecretString,
    no_open: bool,
) -> anyhow::Result<()> {
    let page = format!("http://{}/", server.address);
    let signed_in = format!("{page}#ticket={}", server.state.mint_ticket());
    print(&format!(
        "Downbeat is running, with simulated lights.\n\n  \
         Page            {signed_in}\n  \
         API             {page}api/docs\n  \
         Admin key       {}\n  \
         ChirpStack      http://{} (simulated, gRPC)\n  \
         Simulation      http://{}/lights (what each light really shows)\n\n\
         Ctrl-C ends it.",
        admin_key.expose_secret(),
        sim.grpc_addr(),
        sim.control_addr(),
    ))?;
    if !no_open && let Err(error) = open::that_detached(&signed_in) {
        tracing::info!(%error, "no browser could be opened");
    }
    Ok(())
}
