//! Who did what. Entries are only ever added.

use std::net::IpAddr;

use downbeat_core::id::TenantId;
use downbeat_core::time::Timestamp;
use serde_json::Value;
use uuid::Uuid;

/// Who makes a change, and from where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct By {
    /// The API key; `None` for what is done on the command line, or by Downbeat itself.
    pub key_id: Option<Uuid>,
    /// The key's name, or `command line`, or `downbeat`.
    pub name: String,
    /// Where the request came from.
    pub address: Option<IpAddr>,
    /// The request's id, as in the log.
    pub request_id: Option<String>,
}

impl By {
    /// Downbeat itself.
    pub fn downbeat() -> Self {
        Self::without_key("downbeat")
    }

    /// Whoever runs a command on the machine.
    pub fn command_line() -> Self {
        Self::without_key("command line")
    }

    fn without_key(name: &str) -> Self {
        Self {
            key_id: None,
            name: name.to_owned(),
            address: None,
            request_id: None,
        }
    }
}

/// One entry of the audit log.
#[derive(Debug, Clone, PartialEq)]
pub struct AuditEntry {
    /// UUID v7 of the moment.
    pub id: Uuid,
    /// When.
    pub at: Timestamp,
    /// Whose data; `None`: the platform's.
    pub tenant_id: Option<TenantId>,
    /// Who.
    pub by: By,
    /// What was done, as `object.verb`: `device.create`, `downlink.send`.
    pub action: String,
    /// The object's id, or its `DevEUI`.
    pub object_id: String,
    /// The object before, without secrets; `None` if there was none.
    pub before: Option<Value>,
    /// The object after, without secrets; `None` if there is none any more.
    pub after: Option<Value>,
}
