//! One queue of all devices' timers.
//!
//! A device has one timer: the instant at which its machine wants to look again. Setting it anew replaces it; a wake
//! that is already in the mailbox then carries an old generation and is dropped there.

use std::collections::HashMap;
use std::sync::Weak;

use downbeat_core::id::DeviceKey;
use futures_util::StreamExt as _;
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_util::time::{DelayQueue, delay_queue};

use crate::device::DeviceMessage;
use crate::system::Shared;

/// Sets devices' timers.
#[derive(Debug, Clone)]
pub(crate) struct Timers {
    sender: mpsc::UnboundedSender<Setting>,
}

#[derive(Debug)]
struct Setting {
    key: DeviceKey,
    generation: u64,
    at: Option<Instant>,
}

impl Timers {
    /// Starts the queue; it ends when the last handle is gone.
    pub(crate) fn start(shared: Weak<Shared>) -> Self {
        let (sender, receiver) = mpsc::unbounded_channel();
        tokio::spawn(run(receiver, shared));
        Self { sender }
    }

    /// Sets, replaces or clears a device's timer. At most one setting a step is sent, so the queue is bounded by the
    /// steps under way.
    pub(crate) fn set(&self, key: DeviceKey, generation: u64, at: Option<Instant>) {
        // Fails only when the service is going down.
        let _ = self.sender.send(Setting {
            key,
            generation,
            at,
        });
    }
}

async fn run(mut settings: mpsc::UnboundedReceiver<Setting>, shared: Weak<Shared>) {
    let mut queue: DelayQueue<(DeviceKey, u64)> = DelayQueue::new();
    let mut places: HashMap<DeviceKey, delay_queue::Key> = HashMap::new();
    loop {
        tokio::select! {
            setting = settings.recv() => {
                let Some(Setting { key, generation, at }) = setting else { return };
                if let Some(place) = places.remove(&key) {
                    queue.remove(&place);
                }
                if let Some(at) = at {
                    places.insert(key, queue.insert_at((key, generation), at));
                }
            }
            Some(expired) = queue.next(), if !queue.is_empty() => {
                let (key, generation) = expired.into_inner();
                places.remove(&key);
                let Some(shared) = shared.upgrade() else { return };
                shared.deliver(key, DeviceMessage::Wake { generation });
            }
        }
    }
}
