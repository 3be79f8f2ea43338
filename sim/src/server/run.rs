//! `downbeat sim`: its arguments, and the life of the process.

use std::net::SocketAddr;

use anyhow::Context;

use super::config::{DEFAULT_API_KEY, KeyKind, SimConfig};
use super::start;
use super::world::{Encoding, HttpIntegration};

/// A simulated ChirpStack with gateways and lamps.
#[derive(Debug, Clone, PartialEq, clap::Args)]
#[command(
    after_help = "Example: downbeat sim --lights 20 --gateways 3 --loss 0.05 \
    --webhook http://127.0.0.1:8000/api/v1/webhooks/chirpstack --webhook-header 'Authorization: Bearer KEY'"
)]
pub struct SimArgs {
    /// Where ChirpStack's gRPC API listens
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:8080")]
    pub grpc: SocketAddr,
    /// Where faults are caused and the truth is told, over HTTP
    #[arg(long, value_name = "ADDRESS", default_value = "127.0.0.1:8081")]
    pub control: SocketAddr,
    /// Where events are posted to (several, separated by commas)
    #[arg(long, value_name = "URL")]
    pub webhook: Option<String>,
    /// A header of each post, as NAME:VALUE; may be repeated
    #[arg(long, value_name = "NAME:VALUE", value_parser = parse_header)]
    pub webhook_header: Vec<(String, String)>,
    /// Format of the posts
    #[arg(long, value_enum, default_value = "json")]
    pub encoding: Encoding,
    /// API key of the simulated ChirpStack's tenant
    #[arg(long, value_name = "KEY", default_value = DEFAULT_API_KEY)]
    pub api_key: String,
    /// Number of lamps
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(0..=100_000))]
    pub lights: u32,
    /// Number of gateways, each of which hears every lamp
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(0..=256))]
    pub gateways: u32,
    /// Probability that a frame is lost on air, either way
    #[arg(long, value_name = "PROBABILITY", default_value_t = 0.0, value_parser = parse_probability)]
    pub loss: f64,
    /// What chance does
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    /// How much faster than real time lamps, air and ChirpStack live
    #[arg(long, default_value_t = 1.0)]
    pub speed: f64,
    /// Spreading factor of RX2, which carries Class C downlinks (ChirpStack's own default is 12)
    #[arg(long, value_name = "SF", default_value_t = 9, value_parser = clap::value_parser!(u8).range(7..=12))]
    pub rx2: u8,
}

impl SimArgs {
    /// What these arguments mean.
    pub fn config(&self) -> SimConfig {
        let mut config = SimConfig::fleet(self.lights, self.gateways);
        config.network.links.loss_up = self.loss;
        config.network.links.loss_down = self.loss;
        config.network.server.rx2_spreading_factor = self.rx2;
        config.seed = self.seed;
        config.speed = self.speed;
        config.grpc = self.grpc;
        config.control = self.control;
        config.keys = vec![(self.api_key.clone(), KeyKind::Tenant)];
        config.integration = self.webhook.as_ref().map(|url| HttpIntegration {
            url: url.clone(),
            headers: self.webhook_header.iter().cloned().collect(),
            encoding: self.encoding,
        });
        config
    }
}

/// Runs the simulation until the process is told to end.
pub async fn run(args: SimArgs) -> anyhow::Result<()> {
    let config = args.config();
    let identity = config.identity.clone();
    let first = config.network.lamps.first().map(|lamp| lamp.dev_eui);
    let sim = start(config).await.context("starting the simulation")?;
    let mut lines = vec![
        format!("ChirpStack (gRPC)   http://{}", sim.grpc_addr()),
        format!("API key             {}", args.api_key),
        format!("Control and truth   http://{}/lights", sim.control_addr()),
        format!("Tenant              {}", identity.tenant_id),
        format!("Application         {}", identity.application_id),
        format!("Device profile      {}", identity.device_profile_id),
        format!(
            "Webhooks to         {}",
            args.webhook.as_deref().unwrap_or("nobody (--webhook URL)")
        ),
    ];
    if let Some(first) = first {
        lines.push(format!(
            "Lamps               {} from {first} on",
            args.lights
        ));
    }
    print(&lines);
    wait_for_end().await.context("waiting for a signal")?;
    sim.shutdown().await;
    Ok(())
}

#[expect(
    clippy::print_stdout,
    reason = "the command's answer to whoever typed it"
)]
fn print(lines: &[String]) {
    println!("{}", lines.join("\n"));
}

#[cfg(unix)]
async fn wait_for_end() -> std::io::Result<()> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut terminate = signal(SignalKind::terminate())?;
    tokio::select! {
        interrupted = tokio::signal::ctrl_c() => interrupted,
        _ = terminate.recv() => Ok(()),
    }
}

#[cfg(not(unix))]
async fn wait_for_end() -> std::io::Result<()> {
    tokio::signal::ctrl_c().await
}

fn parse_header(text: &str) -> Result<(String, String), String> {
    let (name, value) = text.split_once(':').ok_or("must be NAME:VALUE")?;
    let is_token = |c: char| c.is_ascii_alphanumeric() || "!#$%&'*+-.^_`|~".contains(c);
    if name.is_empty() || !name.chars().all(is_token) {
        return Err("must begin with a header's name".to_owned());
    }
    let value = value.trim();
    if value.chars().any(char::is_control) {
        return Err("must not hold control characters".to_owned());
    }
    Ok((name.to_owned(), value.to_owned()))
}

fn parse_probability(text: &str) -> Result<f64, String> {
    let value: f64 = text.parse().map_err(|_| "must be a number")?;
    if (0.0..=1.0).contains(&value) {
        Ok(value)
    } else {
        Err("must be from 0 to 1".to_owned())
    }
}

#[cfg(test)]
mod tests {
    use clap::{Args, Command, FromArgMatches};

    use super::*;

    fn parse(arguments: &[&str]) -> Result<SimArgs, clap::Error> {
        let command = SimArgs::augment_args(Command::new("sim"));
        let matches = command.try_get_matches_from(std::iter::once(&"sim").chain(arguments))?;
        SimArgs::from_arg_matches(&matches)
    }

    #[test]
    fn arguments_become_a_configuration() {
        SimArgs::augment_args(Command::new("sim")).debug_assert();
        let header = "Authorization: Bearer a:b";
        let url = "http://127.0.0.1:1/hook";
        let args = [
            "--lights",
            "7",
            "--loss",
            "0.1",
            "--rx2",
            "12",
            "--webhook",
            url,
            "--webhook-header",
            header,
        ];
        let config = parse(&args).unwrap().config();
        assert_eq!(
            (
                config.network.lamps.len(),
                config.network.server.rx2_spreading_factor
            ),
            (7, 12)
        );
        let integration = config.integration.unwrap();
        assert_eq!(
            (
                integration.url.as_str(),
                integration.headers["Authorization"].as_str()
            ),
            (url, "Bearer a:b")
        );
    }

    #[test]
    fn senseless_arguments_are_refused() {
        for arguments in [
            ["--loss", "1.1"],
            ["--loss", "NaN"],
            ["--rx2", "6"],
            ["--webhook-header", "a b:c"],
            ["--webhook-header", "a"],
        ] {
            assert!(parse(&arguments).is_err(), "{arguments:?}");
        }
    }
}
