//! Classifies an error of Postgres: what it says about the transaction in which it occurred. It knows no table,
//! except the name of one constraint.

use tokio_postgres::Error;
use tokio_postgres::error::{Severity, SqlState};

use super::write::sales;
use crate::db;
use crate::domain::writer::{PrefetchFailure, TransactionEnd};

/// The primary key of the idempotency keys. It is the only constraint that a batch can violate without a bug.
const KEYS: &str = "idempotency_keys_pkey";

/// How a transaction failed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum TransactionFailure {
    /// The database refused a statement: nothing was written.
    Refused,
    /// The connection or the server was lost: nothing was written, and a retry may succeed.
    Lost,
    /// The connection was lost after COMMIT was sent: only the database knows whether the transaction was
    /// committed.
    Unknown,
}

impl TransactionFailure {
    /// The failure of a statement before COMMIT was sent.
    pub fn before_commit(error: &Error) -> TransactionFailure {
        if db::is_transient(error) { TransactionFailure::Lost } else { TransactionFailure::Refused }
    }

    /// The failure of COMMIT, or of a statement that was sent together with it.
    pub fn at_commit(error: &Error) -> TransactionFailure {
        let died = match error.as_db_error() {
            None => db::is_transient(error),
            Some(_) => ends_session(error),
        };
        if died { TransactionFailure::Unknown } else { TransactionFailure::before_commit(error) }
    }
}

/// The failure of a batch's prefetch.
pub fn of_prefetch(error: &Error) -> PrefetchFailure {
    if db::is_transient(error) { PrefetchFailure::Lost } else { PrefetchFailure::Refused }
}

/// The failure of a batch's write.
pub fn of_batch(error: &Error) -> TransactionEnd {
    let constraint = error.as_db_error().and_then(|error| error.constraint());
    match error.code() {
        Some(state) if state.code() == sales::CACHE_OUTDATED => TransactionEnd::Outdated,
        Some(state) if *state == SqlState::UNIQUE_VIOLATION && constraint == Some(KEYS) => {
            TransactionEnd::KeyExists
        }
        _ => match TransactionFailure::at_commit(error) {
            TransactionFailure::Refused => TransactionEnd::Refused,
            TransactionFailure::Lost => TransactionEnd::Lost,
            TransactionFailure::Unknown => TransactionEnd::Unknown,
        },
    }
}

/// Whether the server ended the session with this error, and did not only refuse a statement.
fn ends_session(error: &Error) -> bool {
    let ends = [SqlState::ADMIN_SHUTDOWN, SqlState::CRASH_SHUTDOWN, SqlState::CANNOT_CONNECT_NOW];
    let severity = error.as_db_error().and_then(|error| error.parsed_severity());
    let fatal = matches!(severity, Some(Severity::Fatal | Severity::Panic));
    fatal || error.code().is_some_and(|state| ends.contains(state))
}
