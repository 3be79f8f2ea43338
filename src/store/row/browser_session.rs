//! Browsers that are signed in.

use downbeat_actors::port::StoreError;
use downbeat_core::id::TenantId;
use sqlx::FromRow;
use uuid::Uuid;

use super::{corrupt, instant};
use crate::store::{ApiKeyId, BrowserSession, BrowserSessionId, Role, SessionKey};

const TABLE: &str = "browser_session";

/// A session with what is to be known of its key, as a text for both databases to select.
pub(crate) const SELECT_SESSIONS: &str = "SELECT s.id, s.tenant_id, s.hash, s.began_at, s.used_at, s.address, s.agent,
        k.id AS key_id, k.hash AS key_hash, k.role AS key_role, k.name AS key_name
     FROM browser_session AS s LEFT JOIN api_key AS k ON k.id = s.key_id WHERE k.revoked_at IS NULL";

#[derive(FromRow)]
pub(crate) struct BrowserSessionRow {
    id: Uuid,
    tenant_id: Option<Uuid>,
    hash: Vec<u8>,
    began_at: i64,
    used_at: i64,
    address: Option<String>,
    agent: Option<String>,
    key_id: Option<Uuid>,
    key_hash: Option<Vec<u8>>,
    key_role: Option<String>,
    key_name: Option<String>,
}

impl TryFrom<BrowserSessionRow> for ([u8; 32], BrowserSession) {
    type Error = StoreError;

    fn try_from(row: BrowserSessionRow) -> Result<Self, StoreError> {
        let hash = |bytes: Vec<u8>| {
            <[u8; 32]>::try_from(bytes)
                .map_err(|_| corrupt(TABLE, "hash", &row.id, "not of 32 bytes"))
        };
        let key = match (row.key_id, row.key_hash, row.key_role, row.key_name) {
            (Some(id), Some(key_hash), Some(role), Some(name)) => Some(SessionKey {
                id: ApiKeyId::from_uuid(id),
                hash: hash(key_hash)?,
                tenant_id: row.tenant_id.map(TenantId::from_uuid),
                role: Role::by_name(&role)
                    .ok_or_else(|| corrupt("api_key", "role", &id, "unknown role"))?,
                name,
            }),
            (_, _, _, _) => None,
        };
        let session = BrowserSession {
            id: BrowserSessionId::from_uuid(row.id),
            key,
            began_at: instant(row.began_at),
            used_at: instant(row.used_at),
            address: row.address.and_then(|text| text.parse().ok()),
            agent: row.agent,
        };
        Ok((hash(row.hash)?, session))
    }
}
