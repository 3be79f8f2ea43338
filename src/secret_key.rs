//! API keys: 256 random bits, shown once, known afterwards by their hash.
//!
//! A plain SHA-256 is enough for a key of full entropy, and makes looking one up a single indexed read.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use downbeat_core::id::TenantId;
use downbeat_core::time::Timestamp;
use secrecy::{ExposeSecret as _, SecretString};
use sha2::{Digest as _, Sha256};

use crate::store::{ApiKey, ApiKeyId, By, KeyHash, Role, Store};
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

/// Stores a key's hash with what it may do.
#[expect(clippy::too_many_arguments, reason = "who, what and when of a change")]
pub async fn store(
    store: &Store,
    key: &SecretString,
    name: &str,
    role: Role,
    tenant_id: Option<TenantId>,
    now: Timestamp,
    by: &By,
) -> Result<ApiKey, StoreError> {
    let secret = key.expose_secret();
    let record = ApiKey {
        id: ApiKeyId::from_uuid(uuid::Uuid::now_v7()),
        tenant_id,
        role,
        name: name.to_owned(),
        prefix: secret.chars().take(PREFIX_LEN).collect(),
        created_at: now,
        expires_at: None,
        revoked_at: None,
        requests_per_minute: None,
        last_used_at: None,
    };
    store.create_api_key(&record, &hash(secret), by).await?;
    Ok(record)
}
