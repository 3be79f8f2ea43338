//! The audit log's queries.

use downbeat_actors::port::StoreError;
use downbeat_core::time::Timestamp;

use super::{ApiKeyId, Page, PageRequest, Scope, Store, on_backend};

pub use downbeat_actors::port::{AuditEntry, By};

/// Which entries of the audit log.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AuditFilter {
    /// Those of that action, `device.create`, or of all actions of an object's kind, `device`.
    pub action: Option<String>,
    /// Those about that object.
    pub object_id: Option<String>,
    /// What was done with that key.
    pub key_id: Option<ApiKeyId>,
    /// From this moment on.
    pub from: Option<Timestamp>,
    /// Before this moment.
    pub to: Option<Timestamp>,
}

impl Store {
    /// Adds entries of what is no change of the registry; those the store makes itself. An entry that is there already
    /// stays as it is.
    pub async fn append_audit(&self, entries: &[AuditEntry]) -> Result<(), StoreError> {
        on_backend!(self.append_audit(entries))
    }

    /// Entries, newest first.
    pub async fn list_audit(
        &self,
        scope: Scope,
        filter: &AuditFilter,
        page: PageRequest,
    ) -> Result<Page<AuditEntry>, StoreError> {
        on_backend!(self.list_audit(scope, filter, page))
    }
}
