//! API keys. The key itself is never here, only its SHA-256: keys are 256 random bits, so a plain hash is enough, and
//! looking one up is a single indexed read.

use std::fmt;
use std::str::FromStr;

use downbeat_actors::port::StoreError;
use downbeat_core::id::TenantId;
use downbeat_core::time::Timestamp;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::{By, Page, PageRequest, Scope, Store, on_backend};

/// An API key's id: names it without being it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ApiKeyId(Uuid);

impl ApiKeyId {
    /// Wraps a UUID that is known to name a key.
    pub const fn from_uuid(uuid: Uuid) -> Self {
        Self(uuid)
    }

    /// The UUID itself.
    pub const fn as_uuid(self) -> Uuid {
        self.0
    }
}

impl fmt::Display for ApiKeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl FromStr for ApiKeyId {
    type Err = uuid::Error;

    fn from_str(text: &str) -> Result<Self, uuid::Error> {
        text.parse().map(Self)
    }
}

/// SHA-256 of an API key.
pub type KeyHash = [u8; 32];

/// What a key may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Everything in its scope.
    Admin,
    /// Read, and send commands.
    Operator,
    /// Read.
    Viewer,
    /// Deliver webhooks, nothing else.
    Webhook,
}

impl Role {
    /// Every role.
    pub const ALL: [Self; 4] = [Self::Admin, Self::Operator, Self::Viewer, Self::Webhook];

    /// The word in the API and in the store.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Admin => "admin",
            Self::Operator => "operator",
            Self::Viewer => "viewer",
            Self::Webhook => "webhook",
        }
    }

    /// The role of that name.
    pub fn by_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|role| role.name() == name)
    }
}

/// An API key as it is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ApiKey {
    /// Its id.
    pub id: ApiKeyId,
    /// Its tenant; `None` is the platform.
    pub tenant_id: Option<TenantId>,
    /// What it may do.
    pub role: Role,
    /// For people.
    pub name: String,
    /// The key's first characters, to recognise it by.
    pub prefix: String,
    /// When it was made.
    pub created_at: Timestamp,
    /// When it ceases to work by itself.
    pub expires_at: Option<Timestamp>,
    /// When it was taken back.
    pub revoked_at: Option<Timestamp>,
    /// How many requests it may make within a minute; the configuration's number when absent.
    pub requests_per_minute: Option<u32>,
    /// When it was used last, to the minute or so.
    pub last_used_at: Option<Timestamp>,
}

impl ApiKey {
    /// Whether it works at a time.
    pub fn is_valid_at(&self, now: Timestamp) -> bool {
        self.revoked_at.is_none() && self.expires_at.is_none_or(|expiry| now < expiry)
    }
}

impl Store {
    /// Keeps a new key. Its tenant must exist.
    pub async fn create_api_key(
        &self,
        key: &ApiKey,
        hash: &KeyHash,
        by: &By,
    ) -> Result<(), StoreError> {
        on_backend!(self.create_api_key(key, hash, by))
    }

    /// The key with that hash, also when it has expired or is revoked. It is the key that tells the scope.
    pub async fn api_key_by_hash(&self, hash: &KeyHash) -> Result<Option<ApiKey>, StoreError> {
        on_backend!(self.api_key_by_hash(hash))
    }

    /// A key.
    pub async fn api_key(&self, scope: Scope, id: ApiKeyId) -> Result<Option<ApiKey>, StoreError> {
        on_backend!(self.api_key(scope, id))
    }

    /// Keys, oldest first. A tenant sees its own; the platform sees all.
    pub async fn list_api_keys(
        &self,
        scope: Scope,
        page: PageRequest,
    ) -> Result<Page<ApiKey>, StoreError> {
        on_backend!(self.list_api_keys(scope, page))
    }

    /// Takes a key back. False when there is no such key; a key that was taken back before stays as it was.
    pub async fn revoke_api_key(
        &self,
        scope: Scope,
        id: ApiKeyId,
        at: Timestamp,
        by: &By,
    ) -> Result<bool, StoreError> {
        on_backend!(self.revoke_api_key(scope, id, at, by))
    }

    /// Notes when keys were used last, many at a time: call it every minute or so, not by request.
    pub async fn touch_api_keys(&self, used: &[(ApiKeyId, Timestamp)]) -> Result<(), StoreError> {
        on_backend!(self.touch_api_keys(used))
    }
}
