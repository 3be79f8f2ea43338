//! `downbeat doctor`: whether a configuration works with the ChirpStack that it names, and if not, what to do.
//!
//! It looks and changes nothing in ChirpStack. What cannot be found out is said to be unknown.

mod chirpstack;
mod device;
mod gateway;
mod integration;
mod report;
mod service;
#[cfg(test)]
mod tests;

use anyhow::bail;
use clap::Args;

use self::report::Report;
use super::connect::WebhookUrl;
use super::{ConfigArgs, print};
use crate::config::Config;
use crate::store::Store;

/// What to examine.
#[derive(Debug, Args)]
pub struct DoctorArgs {
    /// Look at this application only, by its id or its name; at all that the key sees without.
    #[arg(long)]
    application: Option<String>,
    /// Where ChirpStack reaches this service; without, any URL with this service's paths counts.
    #[arg(long)]
    webhook_url: Option<WebhookUrl>,
    /// How many devices of an application are looked at, those that spoke last first.
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=500))]
    devices: u32,
    /// Print JSON.
    #[arg(long)]
    json: bool,
    /// The configuration to examine.
    #[command(flatten)]
    config: ConfigArgs,
}

/// Does it.
pub(super) async fn run(arguments: DoctorArgs) -> anyhow::Result<()> {
    let config = arguments.config.load()?.config;
    let report = examine(&arguments, &config).await;
    if arguments.json {
        print(&serde_json::to_string_pretty(&report.json())?)?;
    } else {
        print(&report.lines())?;
    }
    match report.failed() {
        0 => Ok(()),
        1 => bail!("a check failed"),
        failed => bail!("{failed} checks failed"),
    }
}

async fn examine(arguments: &DoctorArgs, config: &Config) -> Report {
    let mut report = Report::default();
    let store: Option<Store> = service::examine(config, &mut report).await;
    chirpstack::examine(arguments, config, store.as_ref(), &mut report).await;
    if let Some(store) = store {
        store.close().await;
    }
    report
}

/// An error and its causes.
fn chain(error: &dyn std::error::Error) -> String {
    let mut words = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let word = error.to_string();
        // Some layers repeat the words below them.
        if !words.ends_with(&word) {
            words = format!("{words}: {word}");
        }
        cause = error.source();
    }
    words
}

/// Some names of many.
fn some(names: &[String]) -> String {
    const SHOWN: usize = 5;
    let shown = names.iter().take(SHOWN).cloned().collect::<Vec<_>>();
    match names.len().saturating_sub(SHOWN) {
        0 => shown.join(", "),
        rest => format!("{} and {rest} more", shown.join(", ")),
    }
}
