//! Commands without pause, from a client that takes no silence for an answer.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use downbeat_core::id::DevEui;
use downbeat_core::light::Color;
use downbeat_core::random::Random;
use reqwest::Method;
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::task::JoinSet;

use super::{Client, World, until};

/// Longer than any command takes to be answered by a service that works.
const ANSWER: Duration = Duration::from_secs(10);

/// A command that the service promised to see through.
#[derive(Debug, Clone)]
pub(crate) struct Accepted {
    pub(crate) id: String,
    pub(crate) light: DevEui,
    /// Given to this light once, and to no other.
    pub(crate) color: Color,
}

/// Commands to every light, one after another, until it is told to stop.
///
/// What gets no answer, or is told to come again, is repeated with its idempotency key, as a good client does: each
/// command is accepted once in the end, whatever happens to the service meanwhile.
pub(crate) struct Load {
    progress: Arc<Mutex<Progress>>,
    stop: watch::Sender<bool>,
    clients: JoinSet<()>,
}

/// How it went so far.
#[derive(Default)]
struct Progress {
    accepted: Vec<Accepted>,
    /// Requests that were told to come again, because nothing can be stored.
    refused: usize,
}

impl Load {
    pub(crate) fn start(world: &World, seed: u64) -> Self {
        let progress: Arc<Mutex<Progress>> = Arc::default();
        let stop = watch::Sender::new(false);
        let mut clients = JoinSet::new();
        for (number, light) in world.lights.iter().enumerate() {
            let caller = Caller {
                client: world.client.clone(),
                light: *light,
                blue: u8::try_from(number).unwrap(),
                random: Random::from_seed(seed.wrapping_mul(1_000) + number as u64),
                stopping: stop.subscribe(),
                progress: Arc::clone(&progress),
            };
            clients.spawn(caller.run());
        }
        Self {
            progress,
            stop,
            clients,
        }
    }

    /// Waits until so many more commands are accepted.
    pub(crate) async fn flows(&self, more: usize) {
        let accepted = || self.progress.lock().unwrap().accepted.len();
        Self::grows("commands are accepted", accepted, more).await;
    }

    /// Waits until so many more are refused because nothing can be stored.
    pub(crate) async fn is_refused(&self, more: usize) {
        let refused = || self.progress.lock().unwrap().refused;
        Self::grows("commands are refused", refused, more).await;
    }

    async fn grows(what: &str, count: impl Fn() -> usize, more: usize) {
        let (goal, patience) = (count() + more, Duration::from_secs(30));
        until(what, patience, async || (count() >= goal).then_some(())).await;
    }

    /// Gives no new commands, and waits until those under way are accepted. Gives all, each light's in their order.
    pub(crate) async fn stop(mut self) -> Vec<Accepted> {
        self.stop.send_replace(true);
        while let Some(ended) = self.clients.join_next().await {
            ended.expect("no client panics");
        }
        std::mem::take(&mut self.progress.lock().unwrap().accepted)
    }
}

/// Who commands one light.
struct Caller {
    client: Client,
    light: DevEui,
    blue: u8,
    random: Random,
    stopping: watch::Receiver<bool>,
    progress: Arc<Mutex<Progress>>,
}

impl Caller {
    async fn run(mut self) {
        for number in 1_u16.. {
            let [red, green] = number.to_be_bytes();
            let color = Color::rgb(red, green, self.blue);
            let id = self.accepted(color).await;
            self.progress.lock().unwrap().accepted.push(Accepted {
                id: id.clone(),
                light: self.light,
                color,
            });
            // Most are let come to their end; the others are overtaken somewhere on their way.
            let pause = if self.random.chance(0.7) {
                self.ended(&id, Duration::from_millis(400)).await
            } else {
                Duration::from_millis(self.random.below(150))
            };
            let stopped = self.stopping.wait_for(|stopping| *stopping);
            if tokio::time::timeout(pause, stopped).await.is_ok() {
                return;
            }
        }
    }

    /// Asks until the service takes it.
    async fn accepted(&mut self, color: Color) -> String {
        let path = format!("/api/v1/downlink/{}?wait=0", self.light);
        let body = json!({"red": color.red, "green": color.green, "blue": color.blue});
        let key = format!("{}-{color:?}", self.light);
        loop {
            let request = self
                .client
                .request(Method::POST, &path)
                .header("Idempotency-Key", &key)
                .timeout(ANSWER)
                .json(&body);
            if let Some((status, answer)) = answer(request).await {
                match status {
                    200 | 202 => return answer["id"].as_str().expect("an id").to_owned(),
                    // Under way from an earlier request, or too many wait; or another service listens where this one
                    // did before it was killed.
                    409 | 429 | 401 => {}
                    503 => self.progress.lock().unwrap().refused += 1,
                    _ => panic!("{status}: {answer:#}"),
                }
            }
            tokio::time::sleep(Duration::from_millis(5 + self.random.below(20))).await;
        }
    }

    /// Waits for its end for a while, and gives the pause until the next: none.
    async fn ended(&mut self, id: &str, patience: Duration) -> Duration {
        let path = format!("/api/v1/downlinks/{id}");
        let deadline = tokio::time::Instant::now() + patience;
        while tokio::time::Instant::now() < deadline && !*self.stopping.borrow() {
            let request = self.client.request(Method::GET, &path).timeout(ANSWER);
            if let Some((200, downlink)) = answer(request).await
                && downlink["finished_at"].is_string()
            {
                break;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        Duration::ZERO
    }
}

/// Status and body; nothing when the service is not there, or goes away in the middle.
async fn answer(request: reqwest::RequestBuilder) -> Option<(u16, Value)> {
    let response = request.send().await.ok()?;
    let status = response.status().as_u16();
    Some((status, response.json().await.ok()?))
}
