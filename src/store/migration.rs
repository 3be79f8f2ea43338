//! What a schema that is not ours means.

use downbeat_actors::port::StoreError;
use sqlx::migrate::{MigrateError, Migrator};

use super::OpenStoreError;

/// The version of the newest migration that this binary has.
pub(super) fn newest(migrations: &Migrator) -> i64 {
    let versions = migrations.iter().map(|migration| migration.version);
    versions.max().unwrap_or(0)
}

/// Why a database's schema was not brought up to date.
pub(super) fn migrate_error(
    error: MigrateError,
    migrations: &Migrator,
    store_error: impl Fn(sqlx::Error) -> StoreError,
) -> OpenStoreError {
    let known = newest(migrations);
    match error {
        MigrateError::VersionMissing(found) if found > known => {
            OpenStoreError::SchemaNewer { found, known }
        }
        MigrateError::Execute(error) => OpenStoreError::Store(store_error(error)),
        error => OpenStoreError::Migrate(Box::new(error)),
    }
}
