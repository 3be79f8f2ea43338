//! `downbeat loadtest`: what a running Downbeat bears.

use anyhow::{Context as _, bail};
use clap::{Args, Subcommand};
use indicatif::{ProgressBar, ProgressStyle};
use reqwest::Url;
use secrecy::SecretString;
use uuid::Uuid;

use super::print;
use crate::load::RegistryLoad;

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
}

/// Options of the load on the registry.
#[derive(Debug, Args)]
pub struct RegistryArgs {
    /// Where Downbeat listens. The key, of the role admin, is read from `DOWNBEAT_KEY`.
    #[arg(long, default_value = "http://127.0.0.1:8000")]
    url: Url,
    /// The tenant whose devices they are, by id or name.
    #[arg(long, default_value = "default")]
    tenant: String,
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
    /// Print the result as JSON.
    #[arg(long)]
    json: bool,
}

/// Runs it.
pub(super) async fn run(command: LoadCommand) -> anyhow::Result<()> {
    let LoadCommand::Registry(arguments) = command;
    let key = std::env::var(KEY_VARIABLE)
        .with_context(|| format!("{KEY_VARIABLE} is to hold a key with the role admin"))?;
    let load = RegistryLoad {
        url: arguments.url,
        key: SecretString::from(key),
        tenant: arguments.tenant,
        connections: usize::from(arguments.connections),
        devices: arguments.devices,
        chirpstack: arguments.application.zip(arguments.profile),
    };
    let style =
        ProgressStyle::with_template("{bar:40} {pos}/{len} requests, {per_sec}, {eta} left")
            .context("the progress bar's template is wrong")?;
    let bar = ProgressBar::new(load.devices * 5).with_style(style);
    let shown = bar.clone();
    let report = load.run(move |done, _| shown.set_position(done)).await?;
    bar.finish_and_clear();
    if arguments.json {
        print(&serde_json::to_string_pretty(&report)?)?;
    } else {
        print(&report.to_string())?;
    }
    let errors: u64 = report.measurements.iter().map(|it| it.errors).sum();
    if errors > 0 || !report.discrepancies.is_empty() {
        bail!("not all went as it should");
    }
    Ok(())
}
