//! What only PostgreSQL has: roles, row-level security, a server that comes and goes, and its error codes.

mod registry;
mod roles;
mod security;
mod server;
mod tables;

use downbeat_testdb::Database;
use sha2::{Digest as _, Sha256};
use sqlx::{Connection as _, PgConnection};

use super::{MIGRATIONS, Postgres};
use crate::seal::Sealer;
use crate::store::conformance::conformance;
use crate::store::{Backend, OpenStoreError, Store};

async fn open(url: &str) -> Result<Store, OpenStoreError> {
    Store::open(url, Sealer::for_tests()).await
}

/// A store on a database of its own, with the schema and the default tenant.
async fn fresh() -> (Store, Database) {
    let database = database().await;
    let store = open(&database.url()).await.unwrap();
    (store, database)
}

conformance!(fresh);

/// A database of its own, with the schema and the default tenant.
pub(crate) async fn database() -> Database {
    let digest = MIGRATIONS
        .iter()
        .fold(Sha256::new(), |digest, migration| {
            digest.chain_update(&migration.checksum)
        })
        .finalize();
    // Other migrations are another template.
    let template = format!("downbeat_template_{}", hex::encode(&digest[..8]));
    Database::copy_of(&template, async |url| {
        open(url).await.unwrap().close().await;
    })
    .await
}

fn postgres(store: &Store) -> &Postgres {
    match &store.backend {
        Backend::Postgres(postgres) => postgres,
        Backend::Sqlite(_) => panic!("these tests open databases of a server"),
    }
}

/// A connection beside the store's, of the server's superuser.
async fn superuser(database: &Database) -> PgConnection {
    PgConnection::connect(&database.url()).await.unwrap()
}
