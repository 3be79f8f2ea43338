//! Gateways: whether ChirpStack can tell that one is dark.

use downbeat_actors::port::{NetworkServer as _, NetworkServerError};
use downbeat_core::gateway::ListedState;

use super::report::Report;
use super::{chain, some};
use crate::chirpstack::ChirpStackClient;

const CHECK: &str = "gateways";

/// Gateways whose records are read.
const LOOKED_MAX: usize = 200;

pub(super) async fn examine(client: &ChirpStackClient, report: &mut Report) {
    let listed = match client.gateways().await {
        Ok(listed) => listed,
        Err(NetworkServerError::Unauthenticated) => {
            report.unknown(
                CHECK,
                "they are not listed for a tenant's key without the tenant's id",
                "set chirpstack.tenant_id",
            );
            return;
        }
        Err(error) => {
            report.unknown(CHECK, chain(&error), "run this again");
            return;
        }
    };
    if listed.is_empty() {
        report.fail(
            CHECK,
            "there are none that this key sees: nothing is heard, and nothing goes out",
            "register a gateway in ChirpStack, in the same tenant",
        );
        return;
    }
    let mut looked = Vec::new();
    for gateway in listed.iter().take(LOOKED_MAX) {
        match client.stats_interval_s(gateway.gateway_id).await {
            Ok(Some(stats_interval_s)) => looked.push(Looked {
                name: format!("{} {}", gateway.gateway_id, gateway.name),
                state: gateway.state,
                stats_interval_s,
            }),
            // One that was deleted since it was listed is nobody's concern.
            Ok(None) => {}
            Err(error) => {
                report.unknown(CHECK, chain(&error), "run this again");
                return;
            }
        }
    }
    judge(&looked, report);
}

/// A gateway that was looked at.
struct Looked {
    name: String,
    state: ListedState,
    stats_interval_s: u32,
}

fn judge(gateways: &[Looked], report: &mut Report) {
    let names = |is: &dyn Fn(&Looked) -> bool| -> Vec<String> {
        let found = gateways.iter().filter(|gateway| is(gateway));
        found.map(|gateway| gateway.name.clone()).collect()
    };
    let without = names(&|it| it.stats_interval_s == 0);
    let offline = names(&|it| it.stats_interval_s > 0 && it.state == ListedState::Offline);
    let never = names(&|it| it.stats_interval_s > 0 && it.state == ListedState::NeverSeen);
    let online = names(&|it| it.state == ListedState::Online).len();
    if !without.is_empty() {
        report.fail(
            "stats interval",
            format!(
                "{} gateways have none, so that ChirpStack always calls them offline ({})",
                without.len(),
                some(&without)
            ),
            "set their stats interval to 30 s in ChirpStack, as the gateways themselves have it",
        );
    }
    if !offline.is_empty() {
        report.warn(
            CHECK,
            format!("{} are offline ({})", offline.len(), some(&offline)),
            "see to their power and network; ChirpStack goes on sending through a gateway that is dark",
        );
    }
    if !never.is_empty() {
        report.warn(
            CHECK,
            format!("{} were never seen ({})", never.len(), some(&never)),
            "see that they send to this ChirpStack's broker, with the id that is registered",
        );
    }
    if online > 0 {
        report.ok(CHECK, format!("{online} of {} are online", gateways.len()));
    } else if without.is_empty() {
        report.fail(
            CHECK,
            "not one is online: nothing is heard, and nothing goes out",
            "see to a gateway, and to the MQTT broker between it and ChirpStack",
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gateway_without_an_interval_is_told_from_a_dark_one() {
        let gateway = |state, stats_interval_s| Looked {
            name: "roof".to_owned(),
            state,
            stats_interval_s,
        };
        for (gateways, lines) in [
            (
                vec![gateway(ListedState::Online, 30)],
                "ok    gateways       1 of 1 are online",
            ),
            (
                vec![gateway(ListedState::Offline, 0)],
                "FAIL  stats interval 1 gateways have none",
            ),
            (
                vec![
                    gateway(ListedState::Offline, 30),
                    gateway(ListedState::Online, 30),
                ],
                "WARN  gateways       1 are offline (roof)",
            ),
            (
                vec![gateway(ListedState::NeverSeen, 30)],
                "FAIL  gateways       not one is online",
            ),
        ] {
            let mut report = Report::default();
            judge(&gateways, &mut report);
            assert!(report.lines().contains(lines), "{}", report.lines());
        }
    }
}
