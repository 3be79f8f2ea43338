//! API keys: 256 random bits, shown once, known afterwards by their hash.
//!
//! A plain SHA-256 is enough for a key of full entropy, and makes looking one up a single indexed read.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use downbeat_core::id::TenantId;
use downbeat_core::time::Timestamp;
use secrecy::{ExposeSecret as _, SecretString};
use sha2::{Digest as _, Sha256};

use crate::store::{ApiKey, ApiKeyId, By, KeyHash, PAGE_MAX, PageRequest, Role, Scope, Store};
use downbeat_actors::port::StoreError;

/// What every key begins with, so that one that leaked is recognised for what it is.
const MARK: &str = "db_";

/// Characters of a key that are kept to recognise it by.
const PREFIX_LEN: usize = 8;

/// A key of fresh random bits.
///
/// # Panics
/// If the operating system has no randomness to give: nothing can be secret then.
pub fn generate() -> SecretString {
    let mut bytes = [0; 32];
    getrandom::fill(&mut bytes).expect("the operating system gives random bits");
    SecretString::from(format!("{MARK}{}", URL_SAFE_NO_PAD.encode(bytes)))
}

/// What is kept of a key.
pub fn hash(key: &str) -> KeyHash {
    Sha256::digest(key.as_bytes()).into()
}

/// A key to be kept.
#[derive(Debug, Clone)]
pub struct NewKey {
    /// Its id.
    pub id: ApiKeyId,
    /// Its tenant; `None` is the platform.
    pub tenant_id: Option<TenantId>,
    /// What it may do.
    pub role: Role,
    /// For people.
    pub name: String,
    /// When it ceases to work by itself.
    pub expires_at: Option<Timestamp>,
    /// How many requests it may make within a minute; the configuration's number when absent.
    pub requests_per_minute: Option<u32>,
}

impl NewKey {
    /// One that works for ever, as often as the configuration allows.
    pub fn new(name: &str, role: Role, tenant_id: Option<TenantId>) -> Self {
        Self {
            id: ApiKeyId::from_uuid(uuid::Uuid::now_v7()),
            tenant_id,
            role,
            name: name.to_owned(),
            expires_at: None,
            requests_per_minute: None,
        }
    }
}

/// Keeps a key's hash with what it may do. Its tenant must exist.
pub async fn keep(
    store: &Store,
    key: &SecretString,
    new: NewKey,
    now: Timestamp,
    by: &By,
) -> Result<ApiKey, StoreError> {
    let secret = key.expose_secret();
    let record = ApiKey {
        id: new.id,
        tenant_id: new.tenant_id,
        role: new.role,
        name: new.name,
        prefix: secret.chars().take(PREFIX_LEN).collect(),
        created_at: now,
        expires_at: new.expires_at,
        revoked_at: None,
        requests_per_minute: new.requests_per_minute,
        last_used_at: None,
    };
    store.create_api_key(&record, &hash(secret), by).await?;
    Ok(record)
}

/// Whether nobody could administer the platform any more without this key.
pub async fn is_last_admin(
    store: &Store,
    key: &ApiKey,
    now: Timestamp,
) -> Result<bool, StoreError> {
    let administers =
        |it: &ApiKey| it.tenant_id.is_none() && it.role == Role::Admin && it.is_valid_at(now);
    if !administers(key) {
        return Ok(false);
    }
    let mut page = PageRequest::first(PAGE_MAX);
    loop {
        let keys = store.list_api_keys(Scope::Platform, page).await?;
        let mut others = keys.items.iter().filter(|it| it.id != key.id);
        if others.any(administers) {
            return Ok(false);
        }
        if keys.next.is_none() {
            return Ok(true);
        }
        page.after = keys.next;
    }
}
