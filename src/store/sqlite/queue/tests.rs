//! What becomes of writes that share a transaction.

use std::future::Future as _;
use std::sync::Mutex;
use std::task::{Context, Poll, Waker};

use futures_util::future::join_all;
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions};
use tempfile::TempDir;

use super::super::store_error;
use super::*;

#[tokio::test]
async fn writes_that_come_while_one_commits_share_a_transaction() {
    let file = File::new().await;
    let gate = file.occupy().await;
    let waiting: Vec<_> = (2..=5).map(|number| file.insert(number)).collect();
    let reader = file.reader.clone();
    // From outside: the first one is committed, and those before this one are not.
    let looking = file.write(move |_| Box::pin(async move { Ok(numbers(&reader).await) }));
    gate.open();
    for inserted in join_all(waiting).await {
        inserted.unwrap();
    }
    assert_eq!(looking.await.unwrap(), [1]);
    assert_eq!(file.numbers().await, [1, 2, 3, 4, 5]);
}

#[tokio::test]
async fn writes_are_carried_out_in_the_order_in_which_they_come() {
    let file = File::new().await;
    let gate = file.occupy().await;
    let seen = Arc::new(Mutex::new(Vec::new()));
    let mut waiting = Vec::new();
    for number in 0..i64::try_from(TRANSACTION_MAX).unwrap() * 2 {
        let seen = Arc::clone(&seen);
        waiting.push(file.write(move |_| {
            Box::pin(async move {
                seen.lock().unwrap().push(number);
                Ok(())
            })
        }));
    }
    gate.open();
    join_all(waiting).await;
    let seen = seen.lock().unwrap();
    assert!(seen.is_sorted() && seen.len() == TRANSACTION_MAX * 2);
}

#[tokio::test]
async fn one_that_fails_is_undone_alone() {
    let file = File::new().await;
    let gate = file.occupy().await;
    let before = file.insert(2);
    let failing = file.write(|connection| {
        Box::pin(async move {
            insert(connection, 3).await?;
            // Taken: the statement fails, and so does the write.
            insert(connection, 1).await
        })
    });
    let refusing = file.write(|connection| {
        Box::pin(async move {
            insert(connection, 4).await?;
            Err::<(), _>(StoreError::Unavailable("not now".into()))
        })
    });
    let after = file.insert(5);
    gate.open();
    before.await.unwrap();
    let failed = failing.await;
    assert!(matches!(failed, Err(StoreError::Rejected(_))), "{failed:?}");
    let refused = refusing.await;
    assert!(
        matches!(refused, Err(StoreError::Unavailable(_))),
        "{refused:?}"
    );
    after.await.unwrap();
    assert_eq!(file.numbers().await, [1, 2, 5]);
}

#[tokio::test]
async fn one_that_panics_is_undone_alone() {
    let file = File::new().await;
    let gate = file.occupy().await;
    let at_once = file.write::<(), _>(|_| panic!("at once"));
    let later = file.write::<(), _>(|connection| {
        Box::pin(async move {
            insert(connection, 2).await?;
            panic!("later")
        })
    });
    let after = file.insert(3);
    gate.open();
    for panicked in [at_once.await, later.await] {
        assert!(
            matches!(panicked, Err(StoreError::Rejected(_))),
            "{panicked:?}"
        );
    }
    after.await.unwrap();
    file.insert(4).await.unwrap();
    assert_eq!(file.numbers().await, [1, 3, 4]);
}

#[tokio::test]
async fn a_caller_that_goes_away_takes_nobody_along() {
    let file = File::new().await;
    let gate = file.occupy().await;
    let before = file.insert(2);
    // Gone before its turn.
    drop(file.insert(3));
    // Gone in the middle of it: what was begun is done.
    let (begun, beginning) = oneshot::channel();
    let (go_on, going_on) = oneshot::channel::<()>();
    let leaving = file.write(move |connection| {
        Box::pin(async move {
            begun.send(()).unwrap();
            let _ = going_on.await;
            insert(connection, 4).await
        })
    });
    let after = file.insert(5);
    gate.open();
    beginning.await.unwrap();
    drop(leaving);
    drop(go_on);
    before.await.unwrap();
    after.await.unwrap();
    assert_eq!(file.numbers().await, [1, 2, 4, 5]);
}

#[tokio::test]
async fn what_waits_when_it_closes_is_carried_out() {
    let file = File::new().await;
    let gate = file.occupy().await;
    let waiting = [file.insert(2), file.insert(3)];
    gate.open();
    file.queue.close().await;
    for inserted in join_all(waiting).await {
        inserted.unwrap();
    }
    let refused = file.insert(4).await;
    assert!(
        matches!(refused, Err(StoreError::Unavailable(_))),
        "{refused:?}"
    );
    assert_eq!(file.numbers().await, [1, 2, 3]);
    // Closing what is closed waits for nothing.
    file.queue.close().await;
}

#[tokio::test]
async fn when_the_database_undoes_the_whole_everybody_is_told() {
    let file = File::new().await;
    let gate = file.occupy().await;
    let before = file.insert(2);
    // As SQLite does by itself when the disk is full.
    let undone = file.write(|connection| {
        Box::pin(async move {
            let undone = sqlx::query("ROLLBACK").execute(connection).await;
            undone.map(drop).map_err(store_error)
        })
    });
    let after = file.insert(3);
    gate.open();
    for told in [before.await, undone.await, after.await] {
        assert!(matches!(told, Err(StoreError::Unavailable(_))), "{told:?}");
    }
    file.insert(4).await.unwrap();
    assert_eq!(file.numbers().await, [1, 4]);
}

/// A queue before a table of numbers, each there once.
struct File {
    queue: WriteQueue,
    reader: SqlitePool,
    _folder: TempDir,
}

/// Keeps the queue busy until it is opened.
struct Gate(oneshot::Sender<()>);

impl Gate {
    fn open(self) {
        self.0.send(()).unwrap();
    }
}

impl File {
    async fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let options = SqliteConnectOptions::new()
            .filename(folder.path().join("test.db"))
            .journal_mode(SqliteJournalMode::Wal)
            .create_if_missing(true);
        let pool = async || {
            let pool = SqlitePoolOptions::new().max_connections(1);
            pool.connect_with(options.clone()).await.unwrap()
        };
        let (writer, reader) = (pool().await, pool().await);
        sqlx::query("CREATE TABLE entry (number INTEGER PRIMARY KEY)")
            .execute(&writer)
            .await
            .unwrap();
        Self {
            queue: WriteQueue::start(writer),
            reader,
            _folder: folder,
        }
    }

    /// Inserts 1 in a transaction of its own, which lasts until the gate opens.
    async fn occupy(&self) -> Gate {
        let (gate, opened) = oneshot::channel();
        let (begun, beginning) = oneshot::channel();
        let first = self.write(move |connection| {
            Box::pin(async move {
                begun.send(()).unwrap();
                insert(connection, 1).await?;
                let _ = opened.await;
                Ok(())
            })
        });
        beginning.await.unwrap();
        drop(first);
        Gate(gate)
    }

    fn insert(&self, number: i64) -> BoxFuture<'static, Result<(), StoreError>> {
        self.write(move |connection| Box::pin(async move { insert(connection, number).await }))
    }

    /// Queues a write, and gives what its caller waits for.
    fn write<T, W>(&self, work: W) -> BoxFuture<'static, Result<T, StoreError>>
    where
        W: for<'c> FnOnce(&'c mut SqliteConnection) -> BoxFuture<'c, Result<T, StoreError>>
            + Send
            + 'static,
        T: Send + 'static,
    {
        let queue = self.queue.clone();
        // Not held back for having done much within one turn of the test.
        let waiting = tokio::task::unconstrained(async move { queue.write(work).await });
        let mut waiting = Box::pin(waiting);
        // Whoever is asked once stands in the queue.
        match waiting
            .as_mut()
            .poll(&mut Context::from_waker(Waker::noop()))
        {
            Poll::Ready(outcome) => Box::pin(std::future::ready(outcome)),
            Poll::Pending => waiting,
        }
    }

    /// What is committed.
    async fn numbers(&self) -> Vec<i64> {
        numbers(&self.reader).await
    }
}

async fn insert(connection: &mut SqliteConnection, number: i64) -> Result<(), StoreError> {
    let inserted = sqlx::query("INSERT INTO entry (number) VALUES (?1)")
        .bind(number)
        .execute(connection)
        .await;
    inserted.map(drop).map_err(store_error)
}

async fn numbers(reader: &SqlitePool) -> Vec<i64> {
    sqlx::query_scalar("SELECT number FROM entry ORDER BY number")
        .fetch_all(reader)
        .await
        .unwrap()
}
