//! What becomes of commands: heard on the live stream, asked for where that is not wanted or was cut off.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::{StreamExt as _, stream};
use reqwest::{Method, StatusCode};
use serde::Deserialize;
use tokio::sync::oneshot;
use tokio::time::Instant;

use crate::cli::loadtest::sse::LiveStream;
use crate::cli::loadtest::target::{Target, answered};

/// Pause between two rounds of questions.
const ROUND: Duration = Duration::from_millis(500);

/// Questions at once.
const QUESTIONS: usize = 16;

/// The ends of commands, shared by who follows and who waits.
#[derive(Debug, Clone, Default)]
pub(super) struct Outcomes {
    slots: Arc<Mutex<HashMap<String, Slot>>>,
}

#[derive(Debug)]
enum Slot {
    /// It came to its end then; perhaps before its caller knew its id.
    Ended(Instant),
    Awaited(oneshot::Sender<Instant>),
}

/// The parts of a `downlink` event that matter here.
#[derive(Deserialize)]
struct Told<'a> {
    id: &'a str,
    dev_eui: &'a str,
    finished_at: Option<&'a str>,
}

impl Outcomes {
    /// Waits for a command's end, and gives when word of it came.
    pub(super) async fn end_of(&self, id: &str) -> Option<Instant> {
        let (sender, receiver) = oneshot::channel();
        {
            let mut slots = self.slots();
            if let Some(Slot::Ended(at)) = slots.get(id) {
                return Some(*at);
            }
            slots.insert(id.to_owned(), Slot::Awaited(sender));
        }
        receiver.await.ok()
    }

    fn ended(&self, id: &str, at: Instant) {
        let mut slots = self.slots();
        if let Some(Slot::Ended(_)) = slots.get(id) {
            return;
        }
        if let Some(Slot::Awaited(sender)) = slots.insert(id.to_owned(), Slot::Ended(at)) {
            // Nobody waits when the run's patience is over.
            let _ = sender.send(at);
        }
    }

    fn awaited(&self) -> Vec<String> {
        let slots = self.slots();
        let awaited = slots
            .iter()
            .filter(|(_, slot)| matches!(slot, Slot::Awaited(_)));
        awaited.map(|(id, _)| id.clone()).collect()
    }

    fn slots(&self) -> MutexGuard<'_, HashMap<String, Slot>> {
        self.slots.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Follows the live stream until it is dropped. Events that are missing are asked for.
    pub(super) async fn follow(self, mut live: LiveStream, target: Target, prefix: String) {
        loop {
            let event = live.next().await;
            match event.name.as_str() {
                "downlink" => {
                    if let Ok(told) = serde_json::from_str::<Told<'_>>(&event.data)
                        && told.dev_eui.starts_with(&prefix)
                        && told.finished_at.is_some()
                    {
                        self.ended(told.id, Instant::now());
                    }
                }
                "reset" => self.ask(&target).await,
                _ => {}
            }
        }
    }

    /// Asks for all that are awaited, again and again, until it is dropped.
    pub(super) async fn poll(self, target: Target) {
        loop {
            tokio::time::sleep(ROUND).await;
            self.ask(&target).await;
        }
    }

    async fn ask(&self, target: &Target) {
        let ask = async |id: String| {
            let path = format!("/api/v1/downlinks/{id}");
            let answer = answered(target.call(Method::GET, &path), StatusCode::OK).await;
            // One that is not answered is asked for in the next round.
            if answer.is_ok_and(|it| it["finished_at"].is_string()) {
                self.ended(&id, Instant::now());
            }
        };
        stream::iter(self.awaited())
            .for_each_concurrent(QUESTIONS, ask)
            .await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn an_end_is_heard_whoever_comes_first() {
        let outcomes = Outcomes::default();
        let at = Instant::now();
        outcomes.ended("a", at);
        assert_eq!(outcomes.end_of("a").await, Some(at));
        let waiting = tokio::spawn({
            let outcomes = outcomes.clone();
            async move { outcomes.end_of("b").await }
        });
        while outcomes.awaited().is_empty() {
            tokio::task::yield_now().await;
        }
        assert_eq!(outcomes.awaited(), ["b"]);
        outcomes.ended("b", at);
        assert_eq!(waiting.await.unwrap(), Some(at));
        assert!(outcomes.awaited().is_empty());
    }
}
