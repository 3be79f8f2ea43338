//! Holds webhooks until they are committed.
//!
//! Each event has a place, by number and by bytes; when all are taken the next one is refused at once, before memory
//! grows. Its first try runs in a task of its own, so that it goes on when the caller gave up. Those that fail because
//! the database is away, or because their device's mailbox is full, are tried again by one task, oldest first, with a
//! pause that grows while nothing succeeds. Telling a device something twice does no harm, so a try that was cut off is
//! simply made again.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use downbeat_actors::port::StoreError;
use downbeat_actors::{AskError, Report, System};
use downbeat_core::id::{DeviceKey, Scope, TenantId};
use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore, oneshot};
use tokio::time::Instant;

use crate::http::refusals::Refusals;
use crate::store::Store;
use crate::webhook::Incoming;

use super::address::{Address, Addresses, Stranger};
use super::sightings::{NOTED_EVERY, Sightings};

/// Tries that run at once when held events are told again: enough to fill a commit.
const AT_ONCE: usize = 64;

/// A try that takes longer is made anew.
const TRY_MAX: Duration = Duration::from_secs(30);

/// Pause after a round in which nothing was stored, doubled for each further one.
const PAUSE_MIN: Duration = Duration::from_millis(100);

/// The greatest pause: the database's return is noticed within it.
const PAUSE_MAX: Duration = Duration::from_secs(2);

/// At the end, noting devices that nobody has registered is given up after this.
const NOTE_MAX: Duration = Duration::from_secs(1);

/// What the events of one webhook cost in memory beside their bodies.
const OVERHEAD: usize = 512;

/// An event to be told.
#[derive(Debug, Clone)]
pub(in crate::http) struct Telling {
    /// Whose key delivers it.
    pub(in crate::http) scope: Scope,
    pub(in crate::http) incoming: Incoming,
    /// When it came in.
    pub(in crate::http) came_at: Instant,
}

/// How it ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::http) enum Told {
    /// It is committed.
    Committed,
    /// Nobody has registered the device.
    UnknownDevice,
    /// Several tenants have a device of that `DevEUI`, and nothing tells whose it is.
    AmbiguousDevice,
    /// It speaks of another tenant, or of another tenant's device.
    TenantMismatch,
    /// The service went down first.
    Stopping,
}

/// All places are taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::http) struct Full;

/// The events that are not committed yet.
#[derive(Clone)]
pub(in crate::http) struct Holding {
    shared: Arc<Shared>,
}

struct Shared {
    system: System,
    store: Store,
    addresses: Addresses,
    sightings: Sightings,
    places: Arc<Semaphore>,
    places_max: u32,
    refusals: Refusals,
    bytes: Arc<Semaphore>,
    waiting: Mutex<VecDeque<Held>>,
    /// Somebody waits in `waiting`.
    came: Notify,
    /// A place was given back.
    left: Notify,
}

struct Held {
    telling: Telling,
    done: oneshot::Sender<Told>,
    place: Place,
}

/// Given back when the event is over.
struct Place {
    _number: OwnedSemaphorePermit,
    _bytes: OwnedSemaphorePermit,
    shared: Arc<Shared>,
}

impl Drop for Place {
    fn drop(&mut self) {
        self.shared.left.notify_waiters();
    }
}

impl Holding {
    /// Holds at most so many events, of so many bytes in all. The tasks that try again and note devices that nobody has
    /// registered live as long as the runtime.
    pub(in crate::http) fn new(
        system: System,
        store: Store,
        held_max: usize,
        bytes_max: usize,
    ) -> Self {
        let places_max = u32::try_from(held_max).unwrap_or(u32::MAX);
        let shared = Arc::new(Shared {
            system,
            addresses: Addresses::new(store.clone()),
            store,
            sightings: Sightings::default(),
            places: Arc::new(Semaphore::new(places_max as usize)),
            places_max,
            refusals: Refusals::default(),
            bytes: Arc::new(Semaphore::new(bytes_max.min(Semaphore::MAX_PERMITS))),
            waiting: Mutex::default(),
            came: Notify::new(),
            left: Notify::new(),
        });
        tokio::spawn(Arc::clone(&shared).try_again());
        tokio::spawn(Arc::clone(&shared).note_sightings());
        Self { shared }
    }

    /// Events that could not be told at the first try.
    pub(in crate::http) fn waiting(&self) -> usize {
        let waiting = self.shared.waiting.lock();
        waiting.unwrap_or_else(PoisonError::into_inner).len()
    }

    /// Events that were refused of late because all places were taken.
    pub(in crate::http) fn refused_lately(&self) -> u64 {
        self.shared.refusals.lately()
    }

    /// The tenant that a path names by its id or its name, if a caller may see it.
    pub(in crate::http) async fn tenant_of_path(
        &self,
        scope: Scope,
        text: &str,
    ) -> Result<Option<TenantId>, StoreError> {
        let now = self.shared.system.clock().now();
        let addresses = &self.shared.addresses;
        addresses.tenant_of_path(scope, text, now).await
    }

    /// Whether one more event may be held. Who asks turns it away if not, and it counts as refused.
    pub(in crate::http) fn has_room(&self) -> Result<(), Full> {
        if self.shared.places.available_permits() > 0 && self.shared.bytes.available_permits() > 0 {
            return Ok(());
        }
        self.shared.refusals.count();
        Err(Full)
    }

    /// Tells an event; the receiver hears when it is over. `size` is that of its body in bytes.
    pub(in crate::http) fn tell(
        &self,
        telling: Telling,
        size: usize,
    ) -> Result<oneshot::Receiver<Told>, Full> {
        let Some(place) = Shared::place(&self.shared, size) else {
            self.shared.refusals.count();
            return Err(Full);
        };
        let (done, over) = oneshot::channel();
        let held = Held {
            telling,
            done,
            place,
        };
        let shared = Arc::clone(&self.shared);
        tokio::spawn(async move {
            if let Err(held) = shared.tell(held).await {
                shared.hold(held);
            }
        });
        Ok(over)
    }

    /// Waits until none is held, `patience` at the most, and tells how many are. What was seen of devices that nobody
    /// has registered is noted then.
    pub(in crate::http) async fn drain(&self, patience: Duration) -> usize {
        let drained = async {
            loop {
                let left = self.shared.left.notified();
                tokio::pin!(left);
                left.as_mut().enable();
                if self.shared.held() == 0 {
                    break;
                }
                left.await;
            }
        };
        // Those that are left over are counted, whether or not time ran out.
        let _ = tokio::time::timeout(patience, drained).await;
        let noted = self.shared.sightings.note(&self.shared.store);
        // They are news of strangers, and not worth a longer wait.
        let _ = tokio::time::timeout(NOTE_MAX, noted).await;
        self.shared.held()
    }
}

impl Shared {
    fn place(shared: &Arc<Self>, size: usize) -> Option<Place> {
        let size = u32::try_from(size.saturating_add(OVERHEAD)).ok()?;
        let number = Arc::clone(&shared.places).try_acquire_owned().ok()?;
        let bytes = Arc::clone(&shared.bytes)
            .try_acquire_many_owned(size)
            .ok()?;
        Some(Place {
            _number: number,
            _bytes: bytes,
            shared: Arc::clone(shared),
        })
    }

    /// How many have a place.
    fn held(&self) -> usize {
        (self.places_max as usize).saturating_sub(self.places.available_permits())
    }

    /// One try. Gives the event back if it is to be tried again.
    async fn tell(&self, held: Held) -> Result<(), Held> {
        let told = match tokio::time::timeout(TRY_MAX, self.address(&held.telling)).await {
            Ok(Ok(told)) => told,
            Ok(Err(
                AskError::StoreUnavailable
                | AskError::Overloaded
                | AskError::DeviceBusy
                | AskError::NotUnderstood(_)
                | AskError::Newer,
            ))
            | Err(_) => return Err(held),
            Ok(Err(AskError::UnknownDevice)) => Told::UnknownDevice,
            Ok(Err(AskError::Stopping)) => Told::Stopping,
        };
        let Held { done, place, .. } = held;
        drop(place);
        // The caller may have gone away; the event is told all the same.
        let _ = done.send(told);
        Ok(())
    }

    /// Finds out whose the event is, and tells it.
    async fn address(&self, telling: &Telling) -> Result<Told, AskError> {
        let Telling {
            scope, incoming, ..
        } = telling;
        let scope = *scope;
        let now = self.system.clock().now();
        let (tenant, dev_eui) = (incoming.chirpstack_tenant_id, incoming.dev_eui);
        let address = self.addresses.find(scope, tenant, dev_eui, now).await;
        let (scope, key) = match address.map_err(|error| unreadable(&error))? {
            Address::Device(scope, key) => (scope, key),
            Address::TenantMismatch => return Ok(Told::TenantMismatch),
        };
        match self.report(scope, key, telling).await {
            Err(AskError::UnknownDevice) => {}
            told => return told.map(|()| Told::Committed),
        }
        let stranger = self.addresses.stranger(scope, tenant, key, now).await;
        match stranger.map_err(|error| unreadable(&error))? {
            Stranger::Unclaimed(key, tenant_id) => {
                self.sightings.add(key, tenant_id, incoming, now);
                Ok(Told::UnknownDevice)
            }
            Stranger::TenantMismatch => Ok(Told::TenantMismatch),
            Stranger::Elsewhere(key) => {
                let told = self.report(scope, key, telling).await;
                told.map(|()| Told::Committed)
            }
            Stranger::Ambiguous => Ok(Told::AmbiguousDevice),
        }
    }

    async fn report(
        &self,
        scope: Scope,
        key: DeviceKey,
        Telling {
            incoming, came_at, ..
        }: &Telling,
    ) -> Result<(), AskError> {
        let report = || Report {
            event: incoming.event.clone(),
            history: vec![incoming.history.clone()],
            telemetry: incoming.telemetry.clone(),
            told_at: *came_at,
        };
        self.system.report(scope, key, report).await
    }

    async fn note_sightings(self: Arc<Self>) {
        loop {
            tokio::time::sleep(NOTED_EVERY).await;
            self.sightings.note(&self.store).await;
        }
    }

    fn hold(&self, held: Held) {
        let mut waiting = self.waiting();
        waiting.push_back(held);
        gauge(waiting.len());
        drop(waiting);
        self.came.notify_one();
    }

    async fn try_again(self: Arc<Self>) {
        let mut pause = PAUSE_MIN;
        loop {
            while self.waiting().is_empty() {
                self.came.notified().await;
            }
            tokio::time::sleep(pause).await;
            let stored = self.round().await;
            pause = if stored {
                PAUSE_MIN
            } else {
                (pause * 2).min(PAUSE_MAX)
            };
        }
    }

    /// Tries all that wait now, and tells whether any is over. While nothing succeeds, a handful of tries is enough.
    async fn round(&self) -> bool {
        let mut left = self.waiting().len();
        let (mut any_over, mut any_failed) = (false, false);
        let mut tries = FuturesUnordered::new();
        loop {
            while left > 0 && tries.len() < AT_ONCE && (any_over || !any_failed) {
                let Some(held) = self.waiting().pop_front() else {
                    break;
                };
                left -= 1;
                tries.push(self.tell(held));
            }
            match tries.next().await {
                Some(Ok(())) => any_over = true,
                Some(Err(held)) => {
                    any_failed = true;
                    self.waiting().push_back(held);
                }
                None => break,
            }
        }
        gauge(self.waiting().len());
        any_over
    }

    fn waiting(&self) -> std::sync::MutexGuard<'_, VecDeque<Held>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Whatever the database has against it, the event is tried again.
fn unreadable(error: &StoreError) -> AskError {
    tracing::debug!(%error, "whose an event is could not be read");
    AskError::StoreUnavailable
}

#[expect(clippy::cast_precision_loss, reason = "a gauge of some thousands")]
fn gauge(waiting: usize) {
    metrics::gauge!("downbeat_webhooks_held").set(waiting as f64);
}
