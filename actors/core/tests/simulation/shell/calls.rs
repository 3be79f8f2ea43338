//! Calls of ChirpStack's API: slow, refused, lost on the way there or back.

use std::time::Duration;

use downbeat_core::device::{Enqueue, Event};
use downbeat_core::network::{EnqueueFailure, QueueItem};
use downbeat_core::time::Timestamp;
use downbeat_sim::model::{NewQueueItem, QueuedItem};

use super::{Call, DEADLINE, Planned, SLOWEST_CALL, Shell};

impl Shell {
    pub(super) fn latency(&mut self) -> Duration {
        Duration::from_millis(if self.random.chance(self.calls.slow) {
            self.random.below(SLOWEST_CALL)
        } else {
            2 + self.random.below(40)
        })
    }

    pub(super) fn tell(&mut self, at: Timestamp, lamp: usize, event: Event) {
        let pool = self.pool;
        self.plan(at, Planned::Tell { pool, lamp, event });
    }

    pub(super) fn call_enqueue(&mut self, lamp: usize, enqueue: Enqueue) {
        self.promises.note_attempt(self.now, enqueue.downlink_id);
        let attempt = enqueue.attempt;
        let fail = |failure| Event::EnqueueFailed { attempt, failure };
        let at = self.now + self.latency();
        if self.random.chance(self.calls.unavailable) {
            self.tell(at, lamp, fail(EnqueueFailure::Unavailable));
        } else if self.random.chance(self.calls.key_refused) {
            self.tell(at, lamp, fail(EnqueueFailure::KeyRefused));
            let taken_at = at + Duration::from_millis(self.random.below(5_000));
            self.tell(taken_at, lamp, Event::KeyTold(true));
        } else if self.random.chance(self.calls.refused) {
            self.tell(
                at,
                lamp,
                fail(EnqueueFailure::Refused("INTERNAL".to_owned())),
            );
        } else {
            let deadline = self.now + DEADLINE;
            let answer_at = at + self.latency();
            let lost = self.random.chance(self.calls.answer_lost) || answer_at >= deadline;
            if lost {
                let given_up_at = if self.random.chance(0.5) {
                    deadline
                } else {
                    deadline.min(at)
                };
                self.tell(given_up_at, lamp, fail(EnqueueFailure::Unknown));
            }
            let call = Call {
                pool: self.pool,
                lamp,
                enqueue,
                answer_at: (!lost).then_some(answer_at),
            };
            self.plan(at, Planned::EnqueueArrives(call));
        }
    }

    pub(super) fn on_enqueue_arrives(&mut self, call: Call) {
        let Call {
            pool,
            lamp,
            enqueue,
            answer_at,
        } = call;
        let Enqueue {
            attempt,
            frame,
            confirmed,
            expires_at,
            ..
        } = enqueue;
        let item = NewQueueItem {
            f_port: frame.f_port.get(),
            payload: frame.payload.clone(),
            confirmed,
            expires_at_us: Some(expires_at.as_millis() * 1000),
            flush_queue: false,
        };
        let answer = match self
            .network
            .enqueue(self.now, self.lamps[lamp].dev_eui, item)
        {
            Ok(queue_item_id) => {
                self.trace
                    .line(self.now, "server", || format!("{lamp} has {queue_item_id}"));
                self.promises.note_item(queue_item_id, frame.payload);
                Event::Enqueued {
                    attempt,
                    queue_item_id,
                }
            }
            Err(_) => Event::EnqueueFailed {
                attempt,
                failure: EnqueueFailure::Unavailable,
            },
        };
        if let Some(at) = answer_at {
            self.plan(
                at,
                Planned::Tell {
                    pool,
                    lamp,
                    event: answer,
                },
            );
        }
    }

    pub(super) fn on_queue_read_arrives(&mut self, pool: u32, lamp: usize) {
        let failed = self.random.chance(self.calls.unavailable);
        let event = match self.network.queue(self.lamps[lamp].dev_eui) {
            Ok(items) if !failed => Event::QueueRead(items.iter().map(as_read).collect()),
            Ok(_) | Err(_) => Event::QueueReadFailed,
        };
        let at = self.now + self.latency();
        self.plan(at, Planned::Tell { pool, lamp, event });
    }
}

/// As GetQueue shows it.
fn as_read(item: &QueuedItem) -> QueueItem {
    QueueItem {
        id: item.id,
        f_port: item.f_port,
        payload: item.payload.clone(),
        confirmed: item.confirmed,
        is_pending: item.is_pending,
        expires_at: item
            .expires_at_us
            .map(|us| Timestamp::from_millis(us / 1000)),
    }
}
