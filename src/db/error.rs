//! Why a database operation failed, and whether the same may succeed later. Reports nothing by itself.

use std::time::Duration;

/// Why a database operation failed.
#[derive(Debug, thiserror::Error)]
pub enum DbError {
    #[error("no connection to the database: {0}")]
    NoConnection(#[source] Box<DbError>),
    /// The only host of the URL, and the reason.
    #[error("cannot reach the database at {host}: {cause}")]
    Unreachable { host: String, cause: String },
    /// Each host of the URL with the reason.
    #[error("no host of the database takes writes: {0}")]
    NoPrimary(String),
    #[error("another node has declared this one dead")]
    DeadNode,
    #[error("the database refused: {0}")]
    Postgres(#[source] tokio_postgres::Error),
    #[error(
        "no TLS connection to the database: {}. A server on another host is verified, unless its URL says otherwise: \
         set database.tls_ca to the certificate of its authority, or say ?sslmode=prefer (encrypted, not verified) \
         or ?sslmode=disable in the URL",
        describe(.0)
    )]
    Tls(#[source] tokio_postgres::Error),
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
        "this database was made by a newer version of the service (its schema is V{found} and needs a program that knows \
         V{oldest}, this version knows V{known}). Nothing in it was changed. Start that version of the service, or a \
         newer one"
    )]
    NewerSchema { found: i32, oldest: i32, known: i32 },
    #[error(
        "the schema of this database is V{found} and this version of the service needs V{known}, but the login \
         {role} may not change it: set database.owner_url, or run `lottery migrate` with it"
    )]
    MayNotMigrate { role: String, found: i32, known: i32 },
    #[error(
        "the schema of this database is V{found} and this version of the service needs V{known}: run `lottery migrate`"
    )]
    OldSchema { found: i32, known: i32 },
    #[error(
        "the service's login may not read the tables of this database: run `lottery migrate`, which grants it what the \
         service needs (on an external Postgres, with database.owner_url set)"
    )]
    NoPrivileges,
    #[error(
        "the login {role} does not own the table {table} and cannot grant privileges on it: database.owner_url must \
         be a login of the tables' owner"
    )]
    NotOwner { role: String, table: String },
    #[error(
        "a service of an earlier version works on this database and would not notice this one: stop it first, or give \
         this one a database of its own (database.url)"
    )]
    InUse,
    #[error("the pool could not be built: {0}")]
    Build(#[from] deadpool::managed::BuildError),
    /// The connection was lost at COMMIT: the transaction may be committed or not.
    #[error("the outcome of a transaction is unknown: {0}")]
    Unknown(tokio_postgres::Error),
    #[error("no answer within {0:?}")]
    Timeout(Duration),
    /// No answer to a write: it may be committed or not.
    #[error("no answer to a write within {0:?}")]
    WriteTimeout(Duration),
    #[error("what the database has of a draw is not published yet")]
    NotPublished,
    /// A row that this version of the service did not write.
    #[error("the database contains invalid data: {0}")]
    Corrupt(&'static str),
}

impl DbError {
    /// Names the host to which no connection was made, unless its Postgres answered with a refusal.
    pub fn at_host(self, host: String) -> DbError {
        let cause = match &self {
            DbError::Timeout(_) => self.to_string(),
            DbError::Postgres(error) if error.code().is_none() && is_transient(error) => describe(error),
            _ => return self,
        };
        DbError::Unreachable { host, cause }
    }

    /// Whether the same operation may succeed later.
    pub fn is_transient(&self) -> bool {
        match self {
            DbError::Unreachable { .. }
            | DbError::NoPrimary(_)
            | DbError::DeadNode
            | DbError::Timeout(_)
            | DbError::NotPublished => true,
            DbError::NoConnection(error) => error.is_transient(),
            DbError::Postgres(error) | DbError::Tls(error) => is_transient(error),
            _ => false,
        }
    }
}

/// What the driver's text begins with if the server has no TLS, or its certificate is not the right one. The driver
/// does not tell its kinds of errors apart in another way.
const TLS_FAILED: &str = "error performing TLS handshake";

impl From<tokio_postgres::Error> for DbError {
    fn from(error: tokio_postgres::Error) -> DbError {
        match error.to_string().starts_with(TLS_FAILED) {
            true => DbError::Tls(error),
            false => DbError::Postgres(error),
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
