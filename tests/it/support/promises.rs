//! What must hold of commands that were accepted, whatever happened since; the truth is read from the simulated lights.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use downbeat_core::id::DevEui;
use downbeat_core::light::{Color, LightState};
use downbeat_sim::model::truth::Cause;
use serde_json::Value;

use super::load::Accepted;
use super::{World, until};

/// With nothing in the way any more, anything has happened by then.
const PATIENCE: Duration = Duration::from_mins(2);

impl World {
    /// Waits until all has come to rest, then checks every promise: each accepted command is there once and has one
    /// end, what is called verified was really shown, and each light shows what was wanted last.
    ///
    /// Gives how many ended in which state.
    pub(crate) async fn keeps_its_promises(
        &self,
        accepted: &[Accepted],
    ) -> BTreeMap<String, usize> {
        assert!(!accepted.is_empty());
        let mut wanted = BTreeMap::new();
        for command in accepted {
            wanted.insert(command.light, LightState::steady(command.color));
        }
        for (light, state) in wanted {
            self.until_shown(light, state).await;
        }
        let all = self.until_ended().await;
        let text = |value: &Value| value.as_str().expect("a text").to_owned();
        let asked: Vec<&Value> = all.iter().filter(|one| one["origin"] == "api").collect();
        let kept: BTreeSet<String> = asked.iter().map(|one| text(&one["id"])).collect();
        let promised: BTreeSet<String> = accepted.iter().map(|one| one.id.clone()).collect();
        assert_eq!(kept.len(), asked.len(), "listed twice: {asked:#?}");
        let lost: Vec<_> = accepted
            .iter()
            .filter(|one| !kept.contains(&one.id))
            .collect();
        // A command stored twice has an id that nobody was told.
        let untold: Vec<_> = asked
            .iter()
            .filter(|one| !promised.contains(&text(&one["id"])))
            .collect();
        assert!(
            lost.is_empty() && untold.is_empty(),
            "lost: {lost:?}; never told of: {untold:#?}"
        );
        let mut states = BTreeMap::new();
        for downlink in &all {
            let whole = self.client.downlink(&text(&downlink["id"])).await;
            check_one_end(&whole);
            self.check_claim(&whole);
            *states.entry(text(&whole["state"])).or_default() += 1;
        }
        states
    }

    pub(crate) async fn until_shown(&self, light: DevEui, state: LightState) {
        let shown = || {
            self.sim
                .network(|network, _| network.light(light).unwrap().shown)
        };
        let what = format!("{light} shows {state:?}");
        until(&what, PATIENCE, async || (shown() == state).then_some(())).await;
    }

    /// Waits until nothing is under way, and gives all commands there are.
    async fn until_ended(&self) -> Vec<Value> {
        let deadline = tokio::time::Instant::now() + PATIENCE;
        loop {
            let all = self.downlinks().await;
            let open = all.iter().find(|one| one["finished_at"].is_null());
            let Some(open) = open else {
                return all;
            };
            if tokio::time::Instant::now() > deadline {
                let id = open["id"].as_str().expect("a text");
                panic!("it never ends: {:#}", self.client.downlink(id).await);
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// All commands there are.
    pub(crate) async fn downlinks(&self) -> Vec<Value> {
        let mut all = Vec::new();
        let mut after = String::new();
        loop {
            let path = format!("/api/v1/downlinks?limit=1000{after}");
            let page = self.client.get(&path).await.expect(200);
            all.extend_from_slice(page["downlinks"].as_array().expect("a list"));
            match page["next_cursor"].as_str() {
                Some(cursor) => after = format!("&cursor={cursor}"),
                None => return all,
            }
        }
    }

    /// Verified is said only of what the light really did after it was asked to, because of a downlink of ours.
    fn check_claim(&self, downlink: &Value) {
        if downlink["state"] != "verified" || downlink["color"].is_null() {
            return;
        }
        let light: DevEui = downlink["dev_eui"].as_str().unwrap().parse().unwrap();
        let part = |name: &str| u8::try_from(downlink["color"][name].as_u64().unwrap()).unwrap();
        let claimed = LightState::steady(Color::rgb(part("red"), part("green"), part("blue")));
        let asked = downlink["created_at"].as_str().unwrap();
        let changes = self
            .sim
            .network(|network, _| network.light(light).unwrap().changes.clone());
        let really = changes.iter().any(|change| {
            change.state == claimed
                && matches!(change.cause, Cause::Downlink { .. })
                && self.sim.to_real_time(change.at).to_string().as_str() >= asked
        });
        assert!(really, "verified, but never shown: {downlink:#}");
    }
}

/// Exactly one terminal state; after it, only word of what became of its queue item, or a late proof.
fn check_one_end(downlink: &Value) {
    let timeline = downlink["timeline"].as_array().expect("a timeline");
    let ends = timeline.iter().filter(|entry| {
        matches!(
            entry["step"].as_str(),
            Some("verified" | "ended" | "superseded" | "unverified" | "failed" | "expired")
        )
    });
    let (ends, late) = (ends.count(), downlink["late"] == true);
    assert!(ends == 1 || (late && ends == 2), "{downlink:#}");
}
