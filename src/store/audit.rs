//! The audit log's queries.

use downbeat_core::time::Timestamp;

use super::ApiKeyId;

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
