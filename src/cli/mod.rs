//! The command line: one file per command.

mod connect;
mod demo;
mod doctor;
mod keys;
mod loadtest;

use std::path::PathBuf;
use std::time::Duration;

use anyhow::Context as _;
use clap::{Args, Parser, Subcommand};
use downbeat_sim::server::SimArgs;
use secrecy::ExposeSecret as _;

use crate::chirpstack::{ChirpStackClient, ChirpStackConfig};
use crate::config::{Config, Loaded};
use crate::http::RouterParts;
use crate::store::Store;

pub use connect::ConnectArgs;
pub use demo::DemoArgs;
pub use doctor::DoctorArgs;
pub use keys::KeyCommand;
pub use loadtest::LoadCommand;

/// Gets a command to a LoRaWAN device behind ChirpStack, and proves that it arrived.
#[derive(Debug, Parser)]
#[command(name = "downbeat", version, about, max_term_width = 100)]
pub struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the service.
    #[command(
        after_help = "Example:\n  DOWNBEAT_CHIRPSTACK_API_KEY_FILE=/run/secrets/chirpstack downbeat serve --chirpstack-url http://chirpstack:8080"
    )]
    Serve(ConfigArgs),
    /// Run the service with an embedded database, a simulated ChirpStack and lights. Nothing else is needed.
    #[command(after_help = "Example:\n  downbeat demo --lights 24 --gateways 4 --loss 0.1")]
    Demo(DemoArgs),
    /// Run a simulated ChirpStack with gateways and lights alone, to test against.
    #[command(
        after_help = "Example:\n  downbeat sim --grpc 127.0.0.1:8080 --control 127.0.0.1:8081 --lights 300 --gateways 4 --loss 0.2 \\\n    --webhook http://127.0.0.1:8000/api/v1/webhooks/chirpstack --webhook-header \"Authorization: Bearer KEY\""
    )]
    Sim(Box<SimArgs>),
    /// Put load on a running Downbeat and measure how it bears it.
    Loadtest {
        #[command(subcommand)]
        command: LoadCommand,
    },
    /// Bring the database's schema up to date. `serve` does so too, where its role may.
    #[command(
        after_help = "Examples:\n  downbeat migrate --data-dir /var/lib/downbeat\n  DOWNBEAT_DATABASE_URL=postgres://owner:PASSWORD@db/downbeat downbeat migrate"
    )]
    Migrate(ConfigArgs),
    /// Make, list and revoke API keys.
    #[command(after_help = "Example:\n  downbeat key create --role webhook --name chirpstack")]
    Key {
        #[command(subcommand)]
        command: KeyCommand,
    },
    /// Have ChirpStack post an application's events here, beside the URLs that it posts them to already.
    ///
    /// ChirpStack has one HTTP integration for each application: a list of URLs, and one set of headers that goes to all of
    /// them. What others have put there stays as it is. Where events come here alone, the key is put into an Authorization
    /// header. Where others get them, too, that header would hand the key to them; then it stands in our URL, as its
    /// password, which goes nowhere else (ChirpStack writes URLs into its own log; the key can deliver events and nothing
    /// else). An Authorization header of somebody else would take the place of ours: then nothing is changed, and you are
    /// told. Run it as often as you like: what is connected stays as it is.
    #[command(
        after_help = "Example:\n  downbeat connect --application lights --webhook-url http://downbeat:8000 --dry-run"
    )]
    Connect(Box<ConnectArgs>),
    /// Examine a configuration together with the ChirpStack that it names, and tell in words what is wrong and what to do.
    ///
    /// One line a check: ok, WARN (works, could be better), FAIL, or ? (cannot be found out). Exits with 1 if a check fails.
    /// Nothing is changed in ChirpStack; a database that is older than this version is brought up to date, as by
    /// `downbeat migrate`.
    #[command(
        after_help = "Example:\n  DOWNBEAT_CHIRPSTACK_API_KEY_FILE=/run/secrets/chirpstack downbeat doctor --chirpstack-url http://chirpstack:8080"
    )]
    Doctor(Box<DoctorArgs>),
    /// Print the OpenAPI document.
    #[command(after_help = "Example:\n  downbeat openapi > openapi.json")]
    Openapi,
    /// Print the configuration in force and where each value comes from; secrets are masked.
    #[command(after_help = "Example:\n  downbeat config --config /etc/downbeat.toml")]
    Config(ConfigArgs),
}

/// Options that set configuration keys; each beats the environment, which beats the file.
#[derive(Debug, Clone, Default, Args)]
pub struct ConfigArgs {
    /// The configuration file (TOML).
    #[arg(long, env = "DOWNBEAT_CONFIG")]
    config: Option<PathBuf>,
    /// Address of HTTP [default: 127.0.0.1:8000].
    #[arg(long)]
    listen: Option<String>,
    /// The database, `sqlite://FILE` or `postgres://USER@HOST/DATABASE` [default: a file in the data directory]. With a
    /// password it belongs in `DOWNBEAT_DATABASE_URL` or `…_FILE`.
    #[arg(long)]
    database_url: Option<String>,
    /// Where files are kept [default: the platform's data directory].
    #[arg(long)]
    data_dir: Option<String>,
    /// ChirpStack's gRPC address. Its key is not given here: set `DOWNBEAT_CHIRPSTACK_API_KEY` or `…_FILE`.
    #[arg(long)]
    chirpstack_url: Option<String>,
    /// What is logged: error, warn, info, debug, or a filter such as info,downbeat=debug.
    #[arg(long)]
    log: Option<String>,
}

impl ConfigArgs {
    /// Reads file, environment and these options.
    pub fn load(&self) -> anyhow::Result<Loaded> {
        let options = [
            ("listen", &self.listen),
            ("database_url", &self.database_url),
            ("data_dir", &self.data_dir),
            ("chirpstack.url", &self.chirpstack_url),
            ("log", &self.log),
        ];
        let options: Vec<(&'static str, String)> = options
            .into_iter()
            .filter_map(|(key, value)| Some((key, value.clone()?)))
            .collect();
        let variable = |name: &str| std::env::var(name).ok();
        Ok(Loaded::new(self.config.as_deref(), variable, &options)?)
    }
}

impl Cli {
    /// Does what was asked; returns when it is done, or after a signal.
    pub async fn run(self) -> anyhow::Result<()> {
        // Somebody may have installed it before; that one is as good.
        rustls::crypto::ring::default_provider()
            .install_default()
            .ok();
        match self.command {
            Command::Serve(arguments) => {
                let config = arguments.load()?.config;
                crate::telemetry::start_logging(&config.log, config.log_json)?;
                serve(config).await
            }
            Command::Demo(arguments) => demo::run(arguments).await,
            Command::Sim(arguments) => {
                crate::telemetry::start_logging("info", false)?;
                downbeat_sim::server::run(*arguments).await
            }
            Command::Migrate(arguments) => {
                let config = arguments.load()?.config;
                crate::telemetry::start_logging(&config.log, config.log_json)?;
                open_store(&config).await?.close().await;
                print("The database's schema is up to date.")
            }
            Command::Loadtest { command } => loadtest::run(command).await,
            Command::Key { command } => keys::run(command).await,
            Command::Connect(arguments) => connect::run(*arguments).await,
            Command::Doctor(arguments) => doctor::run(*arguments).await,
            Command::Openapi => print(&crate::http::openapi_json()),
            Command::Config(arguments) => print(&arguments.load()?.describe()),
        }
    }
}

/// Runs the service until a signal.
async fn serve(config: Config) -> anyhow::Result<()> {
    let server = crate::server::start(config, RouterParts::default()).await?;
    if let Some(key) = &server.new_admin_key {
        print(&format!(
            "The administrator's key, shown this once:\n\n    {}\n\nKeep it: only its hash is stored.",
            key.expose_secret()
        ))?;
    }
    print(&format!("Downbeat listens on http://{}", server.address))?;
    crate::server::stop_signal().await?;
    server.stop().await;
    Ok(())
}

/// Opens the database of a configuration, whose directory is made if need be.
async fn open_store(config: &Config) -> anyhow::Result<Store> {
    std::fs::create_dir_all(&config.data_dir).with_context(|| {
        format!(
            "the data directory {} cannot be made",
            config.data_dir.display()
        )
    })?;
    Ok(Store::open(&config.database_url, config.sealer()?).await?)
}

/// A client of the configured ChirpStack, if one is configured.
fn chirpstack(config: &Config) -> anyhow::Result<Option<ChirpStackClient>> {
    let section = &config.chirpstack;
    let (Some(url), Some(api_key)) = (&section.url, &section.api_key) else {
        return Ok(None);
    };
    let client = ChirpStackClient::connect_lazy(ChirpStackConfig {
        url: url.clone(),
        api_key: api_key.clone(),
        tenant_id: section.tenant_id,
        channels: section.channels,
        deadline: Duration::from_millis(section.deadline_ms),
    });
    Ok(Some(client.context(
        "chirpstack.url or chirpstack.api_key cannot be used",
    )?))
}

/// Prints to standard output; a closed pipe is no error.
fn print(text: &str) -> anyhow::Result<()> {
    use std::io::Write as _;
    match writeln!(std::io::stdout(), "{text}") {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => Err(error.into()),
        Ok(()) | Err(_) => Ok(()),
    }
}
