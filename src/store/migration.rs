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
    if let MigrateError::VersionMissing(found) = error
        && found > known
    {
        return OpenStoreError::SchemaNewer { found, known };
    }
    if let MigrateError::Execute(error) = error {
        return OpenStoreError::Store(store_error(error));
    }
    OpenStoreError::Migrate(Box::new(error))
}
