//! `downbeat loadtest`: what a running Downbeat bears. One file for each kind of load.
//!
//! - `registry`, `webhook`, `commands`, `live`: the loads. `target`: who bears them; `uplink`, `wire`, `sse`: how it is
//!   spoken to. `bare`: what the machine itself allows.
//! - `pace`: when requests are made. `measure`: their times. `server`: what the server says of itself. `report`: the result.

mod bare;
mod commands;
mod live;
mod measure;
mod pace;
mod registry;
mod report;
mod server;
mod sse;
mod target;
mod uplink;
mod webhook;
mod wire;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context as _, bail};
use clap::{Args, Subcommand};
use indicatif::{ProgressBar, ProgressStyle};
use reqwest::Url;
use secrecy::SecretString;
use uuid::Uuid;

use self::commands::CommandArgs;
use self::live::LiveLoad;
use self::registry::RegistryLoad;
use self::report::Report;
use self::target::Target;
use self::uplink::Encoding;
use self::webhook::WebhookLoad;
use super::print;

/// Where the key comes from: not from the command line, which others on the machine can read.
const KEY_VARIABLE: &str = "DOWNBEAT_KEY";

/// What to load.
#[derive(Debug, Subcommand)]
pub enum LoadCommand {
    /// Make, read, list, change and delete devices, and check the counts.
    #[command(
        after_help = "Example:\n  DOWNBEAT_KEY=db_… downbeat loadtest registry --url http://127.0.0.1:8000 --connections 50 --devices 5000"
    )]
    Registry(RegistryArgs),
    /// Post ChirpStack's uplinks, and check that each is kept once.
    #[command(
        after_help = "Examples:\n  DOWNBEAT_KEY=db_… downbeat loadtest webhook --connections 50 --seconds 30\n  DOWNBEAT_KEY=db_… downbeat loadtest webhook --rate 2000 --encoding protobuf --json > before.json"
    )]
    Webhook(WebhookArgs),
    /// Answer webhooks without doing anything with them: what the machine allows, for `webhook --beside`.
    #[command(
        after_help = "Examples:\n  taskset -c 0 downbeat loadtest bare & taskset -c 1 downbeat loadtest webhook --beside http://127.0.0.1:8009\n  downbeat loadtest bare --keep /tmp/bare.db"
    )]
    Bare(BareArgs),
    /// Send colours to simulated lights, and hold what is said of them against what they really showed.
    #[command(
        after_help = "Examples:\n  DOWNBEAT_KEY=db_… downbeat loadtest commands --lights 300 --at-once\n  DOWNBEAT_KEY=db_… downbeat loadtest commands --rate 5 --seconds 120 --loss-up 0.1 --loss-down 0.1 --dark 1@30.."
    )]
    Commands(Box<CommandsArgs>),
    /// Listen with many subscribers to the live stream, and count what each of them got when.
    #[command(
        after_help = "Example:\n  DOWNBEAT_KEY=db_… downbeat loadtest live --subscribers 1000 --rate 100"
    )]
    Live(LiveArgs),
}

/// Whom to load, and how to tell of it.
#[derive(Debug, Args)]
struct CommonArgs {
    /// Where Downbeat listens. The key, of the role admin, is read from `DOWNBEAT_KEY`; one of the platform also sees the
    /// server's own figures.
    #[arg(long, default_value = "http://127.0.0.1:8000")]
    url: Url,
    /// The tenant whose devices they are, by id or name.
    #[arg(long, default_value = "default")]
    tenant: String,
    /// Print the result as JSON.
    #[arg(long)]
    json: bool,
    /// An earlier result (of `--json`) to compare with.
    #[arg(long, value_name = "FILE")]
    compare: Option<PathBuf>,
}

/// Options of the load on the registry.
#[derive(Debug, Args)]
pub struct RegistryArgs {
    #[command(flatten)]
    common: CommonArgs,
    /// Callers at once.
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u16).range(1..=1_000))]
    connections: u16,
    /// Devices to make.
    #[arg(long, default_value_t = 5_000, value_parser = clap::value_parser!(u64).range(1..=1_000_000))]
    devices: u64,
    /// `ChirpStack`'s application, for devices that are to be kept in step with it.
    #[arg(long, requires = "profile")]
    application: Option<Uuid>,
    /// `ChirpStack`'s device profile of those devices.
    #[arg(long, requires = "application")]
    profile: Option<Uuid>,
}

/// Options of the load by webhooks.
#[derive(Debug, Args)]
pub struct WebhookArgs {
    #[command(flatten)]
    common: CommonArgs,
    /// Posts under way at once at the most.
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u16).range(1..=20_000))]
    connections: u16,
    /// Devices that speak in turn.
    #[arg(long, default_value_t = 1_000, value_parser = clap::value_parser!(u64).range(1..=100_000))]
    devices: u64,
    /// Format of the posts.
    #[arg(long, value_enum, default_value = "json")]
    encoding: Encoding,
    /// Posts a second, whatever becomes of the last ones; without it each caller posts when it was answered.
    #[arg(long)]
    rate: Option<f64>,
    /// For so long.
    #[arg(long, default_value_t = 30, value_parser = clap::value_parser!(u64).range(1..=86_400))]
    seconds: u64,
    /// Before that, post for so many seconds whose times are left out: callers connect, and devices are met for the first
    /// time. What is stored is checked all the same.
    #[arg(long, value_name = "SECONDS", default_value_t = 0, value_parser = clap::value_parser!(u64).range(0..=3_600))]
    warm_up: u64,
    /// Post the same to a bare server first, as fast as it is answered, and tell the ratio; see `bare`.
    #[arg(long, value_name = "URL")]
    beside: Option<Url>,
    /// More is posted than can be borne: refusals (503 with Retry-After) are counted apart, and are no errors.
    #[arg(long)]
    overload: bool,
    /// The devices are left registered.
    #[arg(long)]
    keep: bool,
}

/// Options of the server that does nothing.
#[derive(Debug, Args)]
pub struct BareArgs {
    /// Where it listens.
    #[arg(long, default_value = "127.0.0.1:8009")]
    listen: SocketAddr,
    /// Keep each body in this `SQLite` file, and answer when it is committed: what the machine allows to whoever answers
    /// no sooner.
    #[arg(long, value_name = "FILE")]
    keep: Option<PathBuf>,
}

/// Options of the load by commands.
#[derive(Debug, Args)]
pub struct CommandsArgs {
    #[command(flatten)]
    common: CommonArgs,
    #[command(flatten)]
    commands: CommandArgs,
}

/// Options of the load on the live stream.
#[derive(Debug, Args)]
pub struct LiveArgs {
    #[command(flatten)]
    common: CommonArgs,
    /// Subscribers at once; the server's `limits.streams` and the key's rate must allow them.
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u16).range(1..=20_000))]
    subscribers: u16,
    /// Events a second.
    #[arg(long, default_value_t = 100.0)]
    rate: f64,
    /// For so long.
    #[arg(long, default_value_t = 30, value_parser = clap::value_parser!(u64).range(1..=86_400))]
    seconds: u64,
    /// Devices that speak in turn.
    #[arg(long, default_value_t = 500, value_parser = clap::value_parser!(u64).range(1..=100_000))]
    devices: u64,
    /// The devices are left registered.
    #[arg(long)]
    keep: bool,
}

impl CommonArgs {
    fn target(&self, connections: usize) -> anyhow::Result<Target> {
        let key = std::env::var(KEY_VARIABLE)
            .with_context(|| format!("{KEY_VARIABLE} is to hold a key with the role admin"))?;
        let (url, tenant) = (self.url.clone(), self.tenant.clone());
        Ok(Target::new(
            url,
            SecretString::from(key),
            tenant,
            connections,
        )?)
    }

    /// The earlier result, read before anything is done.
    fn earlier(&self) -> anyhow::Result<Option<Report>> {
        let Some(file) = &self.compare else {
            return Ok(None);
        };
        let text = std::fs::read_to_string(file)
            .with_context(|| format!("{} cannot be read", file.display()))?;
        let report = serde_json::from_str(&text)
            .with_context(|| format!("{} is no result of a load test", file.display()))?;
        Ok(Some(report))
    }

    fn tell(&self, report: &Report, earlier: Option<&Report>) -> anyhow::Result<()> {
        if self.json {
            print(&serde_json::to_string_pretty(report)?)?;
        } else {
            print(&report.to_string())?;
            if let Some(earlier) = earlier {
                print(&report.compared_with(earlier))?;
            }
        }
        if !report.is_clean() {
            bail!("not all went as it should");
        }
        Ok(())
    }
}

/// Runs it.
pub(super) async fn run(command: LoadCommand) -> anyhow::Result<()> {
    match command {
        LoadCommand::Registry(arguments) => registry(arguments).await,
        LoadCommand::Webhook(arguments) => webhook(arguments).await,
        LoadCommand::Bare(arguments) => {
            bare::run(arguments.listen, arguments.keep.as_deref()).await
        }
        LoadCommand::Commands(arguments) => commands(*arguments).await,
        LoadCommand::Live(arguments) => live(arguments).await,
    }
}

async fn registry(arguments: RegistryArgs) -> anyhow::Result<()> {
    let common = &arguments.common;
    let earlier = common.earlier()?;
    let load = RegistryLoad {
        target: common.target(usize::from(arguments.connections))?,
        connections: usize::from(arguments.connections),
        devices: arguments.devices,
        chirpstack: arguments.application.zip(arguments.profile),
    };
    let bar = bar(Some(load.devices * 5))?;
    let report = load.run(ticks(&bar)).await?;
    bar.finish_and_clear();
    common.tell(&report, earlier.as_ref())
}

async fn webhook(arguments: WebhookArgs) -> anyhow::Result<()> {
    let common = &arguments.common;
    let earlier = common.earlier()?;
    let load = WebhookLoad {
        target: common.target(usize::from(arguments.connections))?,
        connections: usize::from(arguments.connections),
        devices: arguments.devices,
        encoding: arguments.encoding,
        rate: arguments.rate,
        duration: Duration::from_secs(arguments.seconds),
        warm_up: Duration::from_secs(arguments.warm_up),
        beside: arguments.beside,
        overload: arguments.overload,
        keep: arguments.keep,
    };
    let bar = bar(load.count())?;
    let report = load.run(ticks(&bar)).await?;
    bar.finish_and_clear();
    common.tell(&report, earlier.as_ref())
}

async fn commands(arguments: CommandsArgs) -> anyhow::Result<()> {
    let common = &arguments.common;
    let earlier = common.earlier()?;
    let bar = bar(arguments.commands.count())?;
    let target = common.target(64)?;
    let report = commands::run(arguments.commands, target, ticks(&bar)).await?;
    bar.finish_and_clear();
    common.tell(&report, earlier.as_ref())
}

async fn live(arguments: LiveArgs) -> anyhow::Result<()> {
    let common = &arguments.common;
    let earlier = common.earlier()?;
    let load = LiveLoad {
        target: common.target(64)?,
        subscribers: usize::from(arguments.subscribers),
        rate: arguments.rate,
        duration: Duration::from_secs(arguments.seconds),
        devices: arguments.devices,
        keep: arguments.keep,
    };
    let bar = bar(pace::Pace::open(load.rate, load.duration).count())?;
    let report = load.run(ticks(&bar)).await?;
    bar.finish_and_clear();
    common.tell(&report, earlier.as_ref())
}

/// A bar for so many requests, or a spinner where nobody knows how many there will be.
fn bar(count: Option<u64>) -> anyhow::Result<ProgressBar> {
    let (bar, template) = match count {
        Some(count) => (
            ProgressBar::new(count),
            "{bar:40} {pos}/{len} done, {per_sec}, {eta} left",
        ),
        None => (
            ProgressBar::new_spinner(),
            "{spinner} {pos} done, {per_sec}",
        ),
    };
    let style = ProgressStyle::with_template(template);
    Ok(bar.with_style(style.context("the progress bar's template is wrong")?))
}

fn ticks(bar: &ProgressBar) -> impl Fn() + Send + Clone + 'static {
    let bar = bar.clone();
    move || bar.inc(1)
}
