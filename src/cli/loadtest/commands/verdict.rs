//! What the server says of the commands, held against what the lights really did.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use downbeat_core::time::Timestamp;
use serde_json::Value;

use super::simulator::{Color, Light};
use crate::cli::loadtest::measure::Measuring;

/// So far two processes' clocks on one machine, and their rounding, may be apart.
const CLOCKS: Duration = Duration::from_millis(250);

/// A command that was accepted.
#[derive(Debug, Clone)]
pub(super) struct Accepted {
    pub(super) id: String,
    pub(super) dev_eui: String,
    pub(super) color: Color,
}

/// What came of it all.
#[derive(Debug, Default)]
pub(super) struct Verdict {
    /// How many ended in which state.
    pub(super) states: BTreeMap<String, u64>,
    /// Of those that were tried at all.
    pub(super) attempts: u64,
    pub(super) tried: u64,
    /// Verified, and tried once.
    pub(super) at_first: u64,
    /// Verified no later than their deadline.
    pub(super) in_time: u64,
    /// From the acceptance until the light really showed it.
    pub(super) shown: Measuring,
    /// From the acceptance to the committed proof.
    pub(super) verified: Measuring,
    /// The last of each, since the first acceptance.
    pub(super) last_shown: Option<Timestamp>,
    pub(super) last_verified: Option<Timestamp>,
    pub(super) first_accepted: Option<Timestamp>,
    /// Promises that were not kept.
    pub(super) broken: Vec<String>,
}

/// Compares. `downlinks` is all that the server lists, with the timelines of those that were looked at closely.
pub(super) fn judge(accepted: &[Accepted], downlinks: &[Value], lights: &[Light]) -> Verdict {
    let mut verdict = Verdict::default();
    let mut listed: HashMap<&str, Vec<&Value>> = HashMap::new();
    for downlink in downlinks {
        listed
            .entry(text(downlink, "id"))
            .or_default()
            .push(downlink);
    }
    let lights: HashMap<&str, &Light> = lights
        .iter()
        .map(|light| (light.dev_eui.as_str(), light))
        .collect();
    let mut last_wish: HashMap<&str, (Timestamp, Color)> = HashMap::new();
    for command in accepted {
        let id = &command.id;
        let downlink = match listed.get(id.as_str()).map(Vec::as_slice) {
            Some([downlink]) => *downlink,
            Some(several) => {
                verdict.breaks(format!("{id} is there {} times", several.len()));
                continue;
            }
            None => {
                verdict.breaks(format!("{id} is lost"));
                continue;
            }
        };
        let Some(asked_at) = time(downlink, "created_at") else {
            verdict.breaks(format!("{id} has no time of acceptance"));
            continue;
        };
        let Some(light) = lights.get(command.dev_eui.as_str()) else {
            verdict.breaks(format!("there is no light {}", command.dev_eui));
            continue;
        };
        let wish = last_wish
            .entry(&command.dev_eui)
            .or_insert((asked_at, command.color));
        if asked_at >= wish.0 {
            *wish = (asked_at, command.color);
        }
        verdict.take(command, downlink, asked_at, light);
    }
    for (dev_eui, (_, wanted)) in last_wish {
        if let Some(light) = lights.get(dev_eui)
            && light.shown.color != wanted
        {
            let shown = light.shown.color;
            verdict.breaks(format!("{dev_eui} shows {shown:?}, not {wanted:?}"));
        }
    }
    verdict
}

impl Verdict {
    fn breaks(&mut self, words: String) {
        self.broken.push(words);
    }

    fn take(&mut self, command: &Accepted, downlink: &Value, asked_at: Timestamp, light: &Light) {
        let (id, state) = (&command.id, text(downlink, "state"));
        *self.states.entry(state.to_owned()).or_default() += 1;
        self.first_accepted = Some(self.first_accepted.map_or(asked_at, |it| it.min(asked_at)));
        let finished_at = time(downlink, "finished_at");
        if finished_at.is_none() {
            self.breaks(format!("{id} has no end: {state}"));
        }
        if let Some(timeline) = downlink["timeline"].as_array() {
            let ends = timeline
                .iter()
                .filter(|it| is_end(text(it, "step")))
                .count();
            // A late proof is a second word on what had ended unproven.
            let expected = if downlink["late"] == true && ends == 2 {
                2
            } else {
                1
            };
            if finished_at.is_some() && ends != expected {
                self.breaks(format!("{id} has {ends} ends"));
            }
        }
        let attempts = downlink["attempts"].as_u64().unwrap_or(0);
        self.attempts += attempts;
        self.tried += u64::from(attempts > 0);
        let mut shown_at = light
            .changes
            .iter()
            .filter(|it| it.cause.r#type == "downlink" && it.state.color == command.color)
            .filter_map(|it| instant(&it.at))
            .filter(|at| *at + CLOCKS >= asked_at);
        let first_shown = shown_at.next();
        if let Some(at) = first_shown {
            self.shown.note(at.since(asked_at));
            self.last_shown = Some(self.last_shown.map_or(at, |it| it.max(at)));
        }
        if state != "verified" {
            return;
        }
        let Some(finished_at) = finished_at else {
            return;
        };
        if first_shown.is_none_or(|at| at > finished_at + CLOCKS) {
            self.breaks(format!(
                "{id} is called verified, and was not shown by then"
            ));
        }
        self.verified.note(finished_at.since(asked_at));
        self.last_verified = Some(
            self.last_verified
                .map_or(finished_at, |it| it.max(finished_at)),
        );
        self.at_first += u64::from(attempts == 1);
        let deadline = time(downlink, "expires_at");
        self.in_time += u64::from(deadline.is_some_and(|deadline| finished_at <= deadline));
    }
}

fn is_end(step: &str) -> bool {
    matches!(
        step,
        "verified" | "sent" | "unverified" | "failed" | "superseded" | "cancelled" | "expired"
    )
}

fn text<'a>(value: &'a Value, field: &str) -> &'a str {
    value[field].as_str().unwrap_or_default()
}

fn time(value: &Value, field: &str) -> Option<Timestamp> {
    instant(value[field].as_str()?)
}

fn instant(rfc_3339: &str) -> Option<Timestamp> {
    let at = chrono::DateTime::parse_from_rfc3339(rfc_3339).ok()?;
    Some(Timestamp::from_millis(at.timestamp_millis()))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const AT: [&str; 4] = [
        "2026-11-18T11:06:40.000Z",
        "2026-11-18T11:06:41.000Z",
        "2026-11-18T11:06:42.000Z",
        "2026-11-18T11:06:43.000Z",
    ];

    fn command(id: &str, number: u64) -> Accepted {
        Accepted {
            id: id.to_owned(),
            dev_eui: "1".to_owned(),
            color: Color::of(number),
        }
    }

    fn downlink(id: &str, state: &str, steps: &[&str]) -> Value {
        let timeline: Vec<Value> = steps.iter().map(|step| json!({"step": step})).collect();
        json!({
            "id": id, "state": state, "attempts": 1, "late": false, "timeline": timeline,
            "created_at": AT[0], "finished_at": AT[2], "expires_at": AT[3],
        })
    }

    fn light(shows: &[(u64, &str)]) -> Light {
        let changes: Vec<Value> = shows
            .iter()
            .map(|(number, at)| {
                let Color { red, green, blue } = Color::of(*number);
                json!({
                    "at": at, "cause": {"type": "downlink"},
                    "state": {"color": {"red": red, "green": green, "blue": blue}},
                })
            })
            .collect();
        let last = changes.last().expect("it shows something")["state"].clone();
        let light = json!({"dev_eui": "1", "shown": last, "changes": changes});
        serde_json::from_value(light).expect("it is a light")
    }

    #[test]
    fn what_is_true_is_counted() {
        let one = [downlink("a", "verified", &["accepted", "verified"])];
        let verdict = judge(&[command("a", 7)], &one, &[light(&[(7, AT[1])])]);
        assert_eq!(verdict.broken, [""; 0]);
        assert_eq!(verdict.states, BTreeMap::from([("verified".to_owned(), 1)]));
        assert_eq!(
            (
                verdict.tried,
                verdict.attempts,
                verdict.at_first,
                verdict.in_time
            ),
            (1, 1, 1, 1)
        );
        let shown = verdict.shown.finish("shown", CLOCKS);
        assert!((shown.max_ms - 1000.0).abs() < 1.0, "{}", shown.max_ms);
    }

    #[test]
    fn each_broken_promise_is_named() {
        let verified = |steps: &[&str]| downlink("a", "verified", steps);
        let mut endless = downlink("a", "enqueued", &["accepted"]);
        endless["finished_at"] = Value::Null;
        let ended = ["verified"];
        for (downlinks, shows, expected) in [
            (vec![], (7, AT[1]), "is lost"),
            (vec![verified(&ended); 2], (7, AT[1]), "is there 2 times"),
            (vec![endless], (7, AT[1]), "has no end"),
            (
                vec![verified(&["failed", "verified"])],
                (7, AT[1]),
                "has 2 ends",
            ),
            (vec![verified(&ended)], (7, AT[3]), "was not shown by then"),
            (vec![verified(&ended)], (8, AT[1]), "was not shown by then"),
            (
                vec![downlink("a", "failed", &["failed"])],
                (8, AT[1]),
                "shows",
            ),
        ] {
            let verdict = judge(&[command("a", 7)], &downlinks, &[light(&[shows])]);
            let is_named = verdict.broken.iter().any(|it| it.contains(expected));
            assert!(is_named, "{expected}: {:?}", verdict.broken);
        }
    }

    #[test]
    fn a_late_proof_is_no_second_end() {
        let mut late = downlink("a", "verified", &["unverified", "verified"]);
        late["late"] = true.into();
        let verdict = judge(&[command("a", 7)], &[late], &[light(&[(7, AT[1])])]);
        assert_eq!(verdict.broken, [""; 0]);
    }
}
