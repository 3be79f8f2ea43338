//! Browsers that are signed in.
//!
//! Whoever serves them keeps all in memory, and stores them so that they are still there after a restart. Only a hash of
//! the cookie's value is kept.

use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

use downbeat_actors::port::StoreError;
use downbeat_core::id::TenantId;
use downbeat_core::time::Timestamp;
use uuid::Uuid;

use super::{ApiKeyId, KeyHash, Role, Store, on_backend};

/// A session's id: names it without being it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BrowserSessionId(Uuid);

impl BrowserSessionId {
    /// Wraps a UUID that is known to name a session.
    pub const fn from_uuid(uuid: Uuid) -> Self {
        Self(uuid)
    }

    /// The UUID itself.
    pub const fn as_uuid(self) -> Uuid {
        self.0
    }
}

impl fmt::Display for BrowserSessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl FromStr for BrowserSessionId {
    type Err = uuid::Error;

    fn from_str(text: &str) -> Result<Self, uuid::Error> {
        text.parse().map(Self)
    }
}

/// The key that a session was begun with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SessionKey {
    /// Its id.
    pub id: ApiKeyId,
    /// Its hash.
    pub hash: KeyHash,
    /// Its tenant; `None` is the platform.
    pub tenant_id: Option<TenantId>,
    /// What it may do.
    pub role: Role,
    /// For people.
    pub name: String,
}

/// A browser that is signed in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BrowserSession {
    /// Its id.
    pub id: BrowserSessionId,
    /// The key that it was begun with; `None`: a local ticket.
    pub key: Option<SessionKey>,
    /// When it was begun.
    pub began_at: Timestamp,
    /// When it was used last; as it is stored, to the minute or so.
    pub used_at: Timestamp,
    /// Where it was begun.
    pub address: Option<IpAddr>,
    /// What the browser calls itself.
    pub agent: Option<String>,
}

impl Store {
    /// Keeps a session under the hash of its secret. Its key must exist.
    pub async fn keep_browser_session(
        &self,
        session: &BrowserSession,
        hash: &[u8; 32],
    ) -> Result<(), StoreError> {
        on_backend!(self.keep_browser_session(session, hash))
    }

    /// All sessions with the hashes of their secrets, but those of keys that were taken back. It is not asked whether
    /// they still hold.
    pub async fn browser_sessions(&self) -> Result<Vec<([u8; 32], BrowserSession)>, StoreError> {
        on_backend!(self.browser_sessions())
    }

    /// Notes when sessions were used last, many at a time.
    pub async fn touch_browser_sessions(
        &self,
        used: &[(BrowserSessionId, Timestamp)],
    ) -> Result<(), StoreError> {
        on_backend!(self.touch_browser_sessions(used))
    }

    /// Forgets sessions that are over; one that is not there is none.
    pub async fn forget_browser_sessions(
        &self,
        ids: &[BrowserSessionId],
    ) -> Result<(), StoreError> {
        on_backend!(self.forget_browser_sessions(ids))
    }
}
