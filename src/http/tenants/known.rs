//! Which tenant a path means, remembered for seconds: nearly every request names one.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use downbeat_core::id::TenantId;
use downbeat_core::time::Timestamp;

/// A tenant is asked of the database again after this: another process may have renamed or deleted it.
const FRESH: Duration = Duration::from_secs(5);

/// Tenants that are remembered; beyond that, all are asked of the database anew.
const REMEMBERED_MAX: usize = 10_000;

/// The tenants that paths named lately, each under the id or the name that it was named by.
#[derive(Debug, Default)]
pub(in crate::http) struct KnownTenants {
    memory: Mutex<Memory>,
}

#[derive(Debug, Default)]
struct Memory {
    remembered: HashMap<String, (TenantId, Timestamp)>,
    /// Grows when tenants are renamed or deleted: what was read before that is not remembered any more.
    changes: u64,
}

/// When the database was asked, so to speak.
#[derive(Debug, Clone, Copy)]
pub(super) struct Asked {
    at: Timestamp,
    changes: u64,
}

impl KnownTenants {
    /// The tenant that a path's text means, or what to say with the answer of the database.
    pub(super) fn find(&self, text: &str, now: Timestamp) -> Result<TenantId, Asked> {
        let memory = self.memory();
        match memory.remembered.get(text) {
            Some((id, asked_at)) if now.since(*asked_at) < FRESH => Ok(*id),
            _ => Err(Asked {
                at: now,
                changes: memory.changes,
            }),
        }
    }

    /// What the database answered.
    pub(super) fn remember(&self, text: &str, id: TenantId, asked: Asked) {
        let mut memory = self.memory();
        if memory.changes != asked.changes {
            return;
        }
        if memory.remembered.len() >= REMEMBERED_MAX {
            memory.remembered.clear();
        }
        memory.remembered.insert(text.to_owned(), (id, asked.at));
    }

    /// A tenant was renamed or deleted.
    pub(in crate::http) fn forget_all(&self) {
        let mut memory = self.memory();
        memory.changes += 1;
        memory.remembered.clear();
    }

    fn memory(&self) -> MutexGuard<'_, Memory> {
        self.memory.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use uuid::Uuid;

    const NOW: Timestamp = Timestamp::from_millis(1_795_000_000_000);

    fn asked(known: &KnownTenants) -> Asked {
        known.find("acme", NOW).expect_err("nobody said it")
    }

    #[test]
    fn a_tenant_is_known_for_seconds() {
        let (known, id) = (KnownTenants::default(), TenantId::from_uuid(Uuid::now_v7()));
        known.remember("acme", id, asked(&known));
        assert_eq!(known.find("acme", NOW).ok(), Some(id));
        assert!(known.find("other", NOW).is_err());
        assert!(known.find("acme", NOW + FRESH).is_err());
    }

    #[test]
    fn a_change_is_seen_at_once_also_by_who_asked_before_it() {
        let (known, id) = (KnownTenants::default(), TenantId::from_uuid(Uuid::now_v7()));
        known.remember("acme", id, asked(&known));
        known.forget_all();
        let before = asked(&known);
        known.forget_all();
        known.remember("acme", id, before);
        assert!(known.find("acme", NOW).is_err());
    }
}
