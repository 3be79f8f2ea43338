//! What PostgreSQL says, as what a caller does about it.

use downbeat_actors::port::StoreError;
use sqlx::postgres::PgDatabaseError;

/// Classes of SQLSTATE (its first two characters) of what passes by itself or by the operator's hand, with the same
/// request (PostgreSQL, appendix A).
const PASSING_CLASSES: [&str; 6] = [
    "08", // connection
    "28", // a password that was changed
    "40", // serialization, deadlock
    "53", // disk full, out of memory, too many connections
    "57", // shutdown, starting up, a statement that took too long
    "58", // the operating system's errors
];

/// Likewise, of classes that hold other things too.
const PASSING: [&str; 3] = [
    "25006", // read-only: a standby, or a server whose disk is nearly full
    "3D000", // the database is being restored
    "55P03", // a lock was not had in time
];

/// Tells what may succeed later from what never will.
pub(super) fn store_error(error: sqlx::Error) -> StoreError {
    let passes = if let Some(refusal) = error.as_database_error() {
        let code = refusal.code().unwrap_or_default();
        PASSING.contains(&&*code) || PASSING_CLASSES.iter().any(|class| code.starts_with(class))
    } else {
        is_lost_connection(&error)
            || matches!(
                error,
                sqlx::Error::Tls(_)
                    | sqlx::Error::PoolTimedOut
                    | sqlx::Error::PoolClosed
                    | sqlx::Error::WorkerCrashed
                    | sqlx::Error::BeginFailed
            )
    };
    if passes {
        StoreError::Unavailable(Box::new(error))
    } else {
        StoreError::Rejected(Box::new(error))
    }
}

/// Whether the connection is gone: a shutdown is told on it before it closes.
pub(super) fn is_lost_connection(error: &sqlx::Error) -> bool {
    match error.as_database_error() {
        Some(refusal) => {
            let code = refusal.code().unwrap_or_default();
            code.starts_with("08") || code.starts_with("57P0") || code == "25P03"
        }
        None => matches!(error, sqlx::Error::Io(_) | sqlx::Error::Protocol(_)),
    }
}

/// Whether the same transaction may succeed at once: it met another one.
pub(super) fn is_collision(error: &sqlx::Error) -> bool {
    let code = error
        .as_database_error()
        .and_then(sqlx::error::DatabaseError::code);
    code.is_some_and(|code| code == "40001" || code == "40P01")
}

/// Whether a lock was not had in time.
pub(super) fn is_late_lock(error: &sqlx::Error) -> bool {
    let refusal = error.as_database_error();
    refusal.is_some_and(|refusal| refusal.code().as_deref() == Some("55P03"))
}

/// Whether a statement broke that constraint.
pub(super) fn breaks(error: &sqlx::Error, constraint: &str) -> bool {
    let refusal = error
        .as_database_error()
        .and_then(|refusal| refusal.try_downcast_ref::<PgDatabaseError>());
    refusal.is_some_and(|refusal| refusal.constraint() == Some(constraint))
}
