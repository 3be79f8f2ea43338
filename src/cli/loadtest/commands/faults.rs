//! What goes wrong meanwhile: losses and delay all the time, gateways that are dark for a while.

use std::str::FromStr;
use std::time::Duration;

use clap::Args;
use serde_json::{Value, json};
use tokio::task::JoinSet;
use tokio::time::Instant;

use super::simulator::Simulator;
use crate::cli::loadtest::target::LoadError;

/// Options for the simulated network.
#[derive(Debug, Clone, Args)]
pub(super) struct FaultArgs {
    /// Probability that a gateway misses an uplink.
    #[arg(long, value_name = "PROBABILITY", default_value_t = 0.0)]
    loss_up: f64,
    /// Probability that a light misses a downlink.
    #[arg(long, value_name = "PROBABILITY", default_value_t = 0.0)]
    loss_down: f64,
    /// One way between gateway and ChirpStack, in ms.
    #[arg(long, value_name = "MS")]
    latency_ms: Option<u64>,
    /// A gateway that is dark for a while: `WHICH@FROM..TO`, where WHICH is `all` or a number from 0, and FROM and TO are
    /// seconds after the first command; without TO it stays dark. May be repeated.
    #[arg(long, value_name = "WHICH@FROM..TO")]
    dark: Vec<Darkness>,
    /// Frames and ChirpStack take no time, and answers 150 ms: the rest is Downbeat's own. Let Downbeat reckon so, too:
    /// `DOWNBEAT_PACING_HALF_DUPLEX=false DOWNBEAT_PACING_DUTY_CYCLE=1`.
    #[arg(long)]
    no_airtime: bool,
}

/// A gateway, or all, and when it is dark.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Darkness {
    /// `None`: all.
    which: Option<usize>,
    from: Duration,
    to: Option<Duration>,
}

impl FromStr for Darkness {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("{text:?} is not like all@0..120, or 1@30..");
        let (which, when) = text.split_once('@').ok_or_else(wrong)?;
        let (from, to) = when.split_once("..").ok_or_else(wrong)?;
        let seconds = |text: &str| text.parse().map(Duration::from_secs).map_err(|_| wrong());
        Ok(Self {
            which: match which {
                "all" => None,
                number => Some(number.parse().map_err(|_| wrong())?),
            },
            from: seconds(from)?,
            to: match to {
                "" => None,
                to => Some(seconds(to)?),
            },
        })
    }
}

/// Faults that are in force; they end with [`Faults::end`].
pub(super) struct Faults {
    simulator: Simulator,
    /// The links as they were.
    before: Value,
    switches: JoinSet<Result<(), LoadError>>,
    touched: Vec<String>,
}

impl FaultArgs {
    /// Whether frames take time on air.
    pub(super) fn has_airtime(&self) -> bool {
        !self.no_airtime
    }

    /// When the last gateway that comes back is back, after the first command.
    pub(super) fn last_return(&self) -> Option<Duration> {
        self.dark.iter().filter_map(|it| it.to).max()
    }

    /// Switches airtime off, where that is asked for: before any light speaks.
    pub(super) async fn prepare(&self, simulator: &Simulator) -> Result<Value, LoadError> {
        let before = simulator.links().await?;
        simulator
            .set_links(json!({"airtime": self.has_airtime()}))
            .await?;
        Ok(before)
    }

    /// Puts them in force: what is to be dark at once is dark when this returns.
    pub(super) async fn begin(
        &self,
        simulator: &Simulator,
        before: Value,
    ) -> Result<Faults, LoadError> {
        let mut change = json!({"loss_up": self.loss_up, "loss_down": self.loss_down});
        if let Some(ms) = self.latency_ms {
            change["latency_ms"] = ms.into();
        }
        simulator.set_links(change).await?;
        let gateways = simulator.gateways().await?;
        let mut faults = Faults {
            simulator: simulator.clone(),
            before,
            switches: JoinSet::new(),
            touched: Vec::new(),
        };
        let began = Instant::now();
        for darkness in &self.dark {
            let chosen: Vec<String> = match darkness.which {
                None => gateways.clone(),
                Some(number) => gateways.iter().skip(number).take(1).cloned().collect(),
            };
            if chosen.is_empty() {
                let why = format!("there are {} gateways", gateways.len());
                return Err(LoadError::of("--dark")(why));
            }
            for gateway in chosen {
                faults.touched.push(gateway.clone());
                if darkness.from.is_zero() {
                    simulator.set_online(&gateway, false).await?;
                }
                let (simulator, darkness) = (simulator.clone(), *darkness);
                faults.switches.spawn(async move {
                    if !darkness.from.is_zero() {
                        tokio::time::sleep_until(began + darkness.from).await;
                        simulator.set_online(&gateway, false).await?;
                    }
                    if let Some(to) = darkness.to {
                        tokio::time::sleep_until(began + to).await;
                        simulator.set_online(&gateway, true).await?;
                    }
                    Ok(())
                });
            }
        }
        Ok(faults)
    }
}

impl Faults {
    /// Puts everything back as it was.
    pub(super) async fn end(mut self) -> Result<(), LoadError> {
        let mut failed = Ok(());
        while let Some(switched) = self.switches.try_join_next() {
            if let Ok(Err(error)) = switched {
                failed = Err(error);
            }
        }
        self.switches.abort_all();
        for gateway in &self.touched {
            self.simulator.set_online(gateway, true).await?;
        }
        let mut before = self.before;
        if before["airtime"] == true {
            // Else what was before goes on: latencies are what airtime makes of them.
            self.simulator.set_links(json!({"airtime": true})).await?;
        } else if let Some(fields) = before.as_object_mut() {
            fields.remove("latency_ms");
        }
        self.simulator.set_links(before).await?;
        failed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn darkness_is_told_in_a_few_signs() {
        let seconds = Duration::from_secs;
        let read = |text: &str| text.parse::<Darkness>();
        let expected = Darkness {
            which: None,
            from: seconds(0),
            to: Some(seconds(120)),
        };
        assert_eq!(read("all@0..120"), Ok(expected));
        let expected = Darkness {
            which: Some(2),
            from: seconds(30),
            to: None,
        };
        assert_eq!(read("2@30.."), Ok(expected));
        for wrong in ["", "all", "all@", "x@0..1", "1@a..2", "1@1..b", "1@5"] {
            assert!(read(wrong).is_err(), "{wrong}");
        }
    }
}
