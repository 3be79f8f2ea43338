//! Whether the database's secrets open with the configured key.

use super::Postgres;
use super::error::store_error;
use super::session::Access;
use crate::store::OpenStoreError;
use crate::store::row::{SEAL_CHECK, opens_seal_check};

impl Postgres {
    /// Seals a constant the first time, and opens it ever after.
    pub(super) async fn check_seal(&self) -> Result<(), OpenStoreError> {
        let mut transaction = self.sessions.begin(Access::Platform).await?;
        sqlx::query(
            "INSERT INTO seal_check (id, sealed) VALUES (1, $1) ON CONFLICT (id) DO NOTHING",
        )
        .bind(self.sealer.seal(SEAL_CHECK, SEAL_CHECK.as_bytes()))
        .execute(&mut *transaction)
        .await
        .map_err(store_error)?;
        let sealed: Vec<u8> = sqlx::query_scalar("SELECT sealed FROM seal_check")
            .fetch_one(&mut *transaction)
            .await
            .map_err(store_error)?;
        if !opens_seal_check(&self.sealer, &sealed) {
            return Err(OpenStoreError::EncryptionKey);
        }
        Ok(transaction.commit().await.map_err(store_error)?)
    }
}
