//! Why a database operation failed, and whether the same may succeed later. Reports nothing by itself.

use std::time::Duration;

use deadpool_postgres::{HookError, PoolError};

/// Why a database operation failed.
#[derive(Debug, thiserror::Error)]
pub enum DbError {
    #[error("no connection to the database: {0}")]
    Pool(#[from] PoolError),
    #[error("the database refused: {0}")]
    Postgres(#[from] tokio_postgres::Error),
    #[error("migrations: {0}")]
    Migration(#[from] refinery::Error),
    /// An unreleased version of the service applied other migrations than this version has.
    #[error(
        "this database was made by an earlier, unreleased version of the service (schema V{found}) and cannot be \
         upgraded. Nothing in it was changed. Export what you need with that version, then start on an empty \
         database (database.url) or in another data_dir"
    )]
    UnreleasedSchema { found: i32 },
    #[error(
        "this database was made by a newer version of the service (its schema is V{found}, this version knows \
         V{known}). Nothing in it was changed. Start that version of the service, or a newer one"
    )]
    NewerSchema { found: i32, known: i32 },
    #[error("the pool could not be built: {0}")]
    Build(#[from] deadpool_postgres::BuildError),
    /// The connection was lost at COMMIT: the transaction may be committed or not.
    #[error("the outcome of a transaction is unknown: {0}")]
    Unknown(tokio_postgres::Error),
    #[error("no answer within {0:?}")]
    Timeout(Duration),
    /// No answer to a write: it may be committed or not.
    #[error("no answer to a write within {0:?}")]
    WriteTimeout(Duration),
    /// A row that this version of the service did not write.
    #[error("the database contains invalid data: {0}")]
    Corrupt(&'static str),
}

impl DbError {
    /// Whether the same operation may succeed later.
    pub fn is_transient(&self) -> bool {
        match self {
            DbError::Pool(PoolError::Timeout(_) | PoolError::PostCreateHook(HookError::Message(_)))
            | DbError::Timeout(_) => true,
            DbError::Pool(PoolError::Backend(error) | PoolError::PostCreateHook(HookError::Backend(error)))
            | DbError::Postgres(error) => is_transient(error),
            _ => false,
        }
    }
}

/// An error with all its causes in one line, because the driver's own text names only the kind of error. A
/// cause whose text is already in the line is not added.
pub fn describe(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let cause_text = error.to_string();
        if !text.contains(&cause_text) {
            text = format!("{text}: {cause_text}");
        }
        cause = error.source();
    }
    text
}

/// Whether the connection or the server failed, so that the same statement may succeed later: no answer at
/// all, or one of the SQLSTATE classes 08 (connection), 40 (rollback), 53 (resources), 57 (intervention) and
/// 58 (system); see PostgreSQL, appendix A.
pub fn is_transient(error: &tokio_postgres::Error) -> bool {
    let unanswered = || {
        let source = std::error::Error::source(error);
        error.is_closed() || source.is_some_and(|source| source.is::<std::io::Error>())
    };
    match error.code() {
        None => unanswered(),
        Some(state) => ["08", "40", "53", "57", "58"].iter().any(|class| state.code().starts_with(class)),
    }
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("the driver's kind")]
    struct Kind(#[source] io::Error);

    #[derive(Debug, thiserror::Error)]
    #[error("the database refused: {0}")]
    struct Refused(#[from] Kind);

    #[test]
    fn each_cause_is_in_the_text_once() {
        let refused = Refused(Kind(io::Error::other("no such table")));
        assert_eq!(describe(&refused), "the database refused: the driver's kind: no such table");
    }
}
