//! API keys, found by their hash: nothing can be guessed from how long that takes.
//!
//! Those used lately are remembered for seconds, so that not every webhook asks the database; and for an hour while it
//! cannot be asked.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use downbeat_actors::port::StoreError;
use downbeat_core::id::TenantId;
use downbeat_core::time::Timestamp;

use crate::http::problem::ApiError;
use crate::store::{ApiKey, ApiKeyId, KeyHash, Store};

/// A key is asked of the database again after this, so that a revoked one stops working.
const FRESH: Duration = Duration::from_secs(5);

/// While the database cannot be asked, a key that worked goes on working for this long: webhooks are to be held, not
/// refused, and ChirpStack does not send them again.
const STALE: Duration = Duration::from_hours(1);

/// An answer of the database is not waited for any longer where the key is known to have worked: a webhook is to be held
/// long before ChirpStack gives up.
const PATIENCE: Duration = Duration::from_secs(1);

/// Keys that are remembered.
const REMEMBERED_MAX: usize = 10_000;

/// The keys that were used lately.
#[derive(Debug, Default)]
pub(in crate::http) struct Keys {
    memory: Mutex<Memory>,
}

#[derive(Debug, Default)]
struct Memory {
    remembered: HashMap<KeyHash, Remembered>,
    /// Grows when keys are taken back: what was read before that is not remembered any more.
    revocations: u64,
}

#[derive(Debug, Clone)]
struct Remembered {
    key: Arc<ApiKey>,
    asked_at: Timestamp,
    used_at: Option<Timestamp>,
}

impl Keys {
    /// The key with that hash, if it works now.
    pub(in crate::http) async fn find(
        &self,
        store: &Store,
        hash: KeyHash,
        now: Timestamp,
    ) -> Result<Option<Arc<ApiKey>>, ApiError> {
        let (known, revocations) = {
            let memory = self.memory();
            (memory.remembered.get(&hash).cloned(), memory.revocations)
        };
        if let Some(known) = &known
            && now.since(known.asked_at) < FRESH
        {
            return Ok(self.used(hash, Arc::clone(&known.key), now));
        }
        let known = known.filter(|known| now.since(known.asked_at) < STALE);
        let asked = store.api_key_by_hash(&hash);
        let answer = match &known {
            None => asked.await,
            Some(known) => match tokio::time::timeout(PATIENCE, asked).await {
                Ok(answer) => answer,
                Err(_) => return Ok(self.used(hash, Arc::clone(&known.key), now)),
            },
        };
        match answer {
            Ok(Some(key)) => {
                let key = Arc::new(key);
                self.remember(hash, Arc::clone(&key), now, revocations);
                Ok(self.used(hash, key, now))
            }
            Ok(None) => {
                self.memory().remembered.remove(&hash);
                Ok(None)
            }
            Err(StoreError::Unavailable(source)) => match known {
                Some(known) => Ok(self.used(hash, known.key, now)),
                None => Err(StoreError::Unavailable(source).into()),
            },
            Err(error) => Err(error.into()),
        }
    }

    /// The keys used since this was last asked, and when.
    pub(in crate::http) fn take_used(&self) -> Vec<(ApiKeyId, Timestamp)> {
        let mut memory = self.memory();
        let used = memory
            .remembered
            .values_mut()
            .filter_map(|it| Some((it.key.id, it.used_at.take()?)));
        used.collect()
    }

    /// A key was taken back: the database is asked before it is used again.
    pub(in crate::http) fn forget(&self, id: ApiKeyId) {
        self.forget_those(|key| key.id == id);
    }

    /// A tenant's keys are gone with it.
    pub(in crate::http) fn forget_tenant(&self, tenant_id: TenantId) {
        self.forget_those(|key| key.tenant_id == Some(tenant_id));
    }

    fn forget_those(&self, is_gone: impl Fn(&ApiKey) -> bool) {
        let mut memory = self.memory();
        memory.revocations += 1;
        memory.remembered.retain(|_, it| !is_gone(&it.key));
    }

    /// The key, if it works now.
    fn used(&self, hash: KeyHash, key: Arc<ApiKey>, now: Timestamp) -> Option<Arc<ApiKey>> {
        if !key.is_valid_at(now) {
            return None;
        }
        if let Some(remembered) = self.memory().remembered.get_mut(&hash) {
            remembered.used_at = Some(now);
        }
        Some(key)
    }

    fn remember(&self, hash: KeyHash, key: Arc<ApiKey>, now: Timestamp, revocations: u64) {
        let mut memory = self.memory();
        if memory.revocations != revocations {
            return;
        }
        let remembered = &mut memory.remembered;
        if remembered.len() >= REMEMBERED_MAX && !remembered.contains_key(&hash) {
            // Whoever was not asked of for longest goes; what is lost is one look-up.
            let oldest = remembered.iter().min_by_key(|(_, it)| it.asked_at);
            if let Some(oldest) = oldest.map(|(hash, _)| *hash) {
                remembered.remove(&oldest);
            }
        }
        let used_at = remembered.get(&hash).and_then(|it| it.used_at);
        let entry = Remembered {
            key,
            asked_at: now,
            used_at,
        };
        remembered.insert(hash, entry);
    }

    fn memory(&self) -> MutexGuard<'_, Memory> {
        self.memory.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
