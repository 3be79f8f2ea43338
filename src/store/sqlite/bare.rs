//! The least of a store, which the real one is measured against: each body in a table without an index, all that wait with
//! one statement, and nobody is answered before the disk has it.

use std::path::Path;

use sqlx::{ConnectOptions as _, QueryBuilder, SqliteConnection};
use tokio::sync::{mpsc, oneshot};

use super::options;
use super::rows::push_rows;

/// Bodies that wait at the most; whoever comes then waits for a place.
const WAITING_MAX: usize = 4_096;

/// Bodies of one statement at the most.
const BATCH_MAX: usize = 256;

/// A file with bodies in it. Clones are the same.
#[derive(Debug, Clone)]
pub struct BareStore {
    sender: mpsc::Sender<Waiting>,
}

#[derive(Debug)]
struct Waiting {
    body: Vec<u8>,
    kept: oneshot::Sender<()>,
}

impl BareStore {
    /// Opens or makes the file, with all that makes Downbeat's own commits durable.
    ///
    /// # Errors
    /// If it cannot be opened, or the table cannot be made.
    pub async fn open(path: &Path) -> Result<Self, sqlx::Error> {
        let connecting = options(path).create_if_missing(true);
        let mut connection = connecting.connect().await?;
        let table =
            "CREATE TABLE IF NOT EXISTS body (id INTEGER PRIMARY KEY, body BLOB NOT NULL) STRICT";
        sqlx::query(table).execute(&mut connection).await?;
        let (sender, waiting) = mpsc::channel(WAITING_MAX);
        tokio::spawn(run(connection, waiting));
        Ok(Self { sender })
    }

    /// Whether the body is committed now.
    pub async fn keep(&self, body: Vec<u8>) -> bool {
        let (kept, answer) = oneshot::channel();
        self.sender.send(Waiting { body, kept }).await.is_ok() && answer.await.is_ok()
    }
}

async fn run(mut connection: SqliteConnection, mut waiting: mpsc::Receiver<Waiting>) {
    let mut gathered = Vec::new();
    while waiting.recv_many(&mut gathered, BATCH_MAX).await > 0 {
        // As Downbeat does: who was just answered may have the next one ready.
        tokio::task::yield_now().await;
        while gathered.len() < BATCH_MAX
            && let Ok(one) = waiting.try_recv()
        {
            gathered.push(one);
        }
        match insert(&mut connection, &gathered).await {
            Ok(()) => {
                for one in gathered.drain(..) {
                    // The caller may have gone away.
                    let _ = one.kept.send(());
                }
            }
            Err(error) => {
                tracing::error!(%error, "bodies could not be kept");
                gathered.clear();
            }
        }
    }
}

/// A transaction by itself.
async fn insert(connection: &mut SqliteConnection, bodies: &[Waiting]) -> Result<(), sqlx::Error> {
    let mut insert = QueryBuilder::new("INSERT INTO body (body) SELECT v.column1 FROM (");
    push_rows(&mut insert, 1, bodies, |values, one| {
        values.push_bind(&one.body[..]);
    });
    insert.push(") AS v WHERE v.column1 IS NOT NULL");
    insert.build().execute(connection).await.map(drop)
}

#[cfg(test)]
mod tests {
    use futures_util::future::join_all;
    use sqlx::Connection as _;

    use super::*;

    #[tokio::test]
    async fn what_is_kept_is_in_the_file() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("bare.db");
        let store = BareStore::open(&path).await.unwrap();
        let kept =
            join_all((0..300).map(|number| store.keep(number.to_string().into_bytes()))).await;
        assert!(kept.into_iter().all(|is_kept| is_kept));
        let mut reader = options(&path).connect().await.unwrap();
        let sum = sqlx::query_scalar("SELECT sum(CAST(CAST(body AS TEXT) AS INTEGER)) FROM body");
        let sum: i64 = sum.fetch_one(&mut reader).await.unwrap();
        assert_eq!(sum, 299 * 300 / 2);
        reader.close().await.unwrap();
    }
}
