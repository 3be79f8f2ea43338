//! Whether the database's secrets open with the configured key.

use sqlx::sqlite::SqlitePool;

use super::store_error;
use crate::seal::Sealer;
use crate::store::OpenStoreError;
use crate::store::row::{SEAL_CHECK, opens_seal_check};

/// Seals a constant the first time, and opens it ever after.
pub(super) async fn check(writer: &SqlitePool, sealer: &Sealer) -> Result<(), OpenStoreError> {
    sqlx::query("INSERT INTO seal_check (id, sealed) VALUES (1, ?1) ON CONFLICT (id) DO NOTHING")
        .bind(sealer.seal(SEAL_CHECK, SEAL_CHECK.as_bytes()))
        .execute(writer)
        .await
        .map_err(store_error)?;
    let bytes: Vec<u8> = sqlx::query_scalar("SELECT sealed FROM seal_check")
        .fetch_one(writer)
        .await
        .map_err(store_error)?;
    if opens_seal_check(sealer, &bytes) {
        Ok(())
    } else {
        Err(OpenStoreError::EncryptionKey)
    }
}
