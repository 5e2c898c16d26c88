//! The writer's own connection with its prepared statements. It contains no SQL: the caller passes the settings
//! of the session and the statements.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use tokio_postgres::{Client, Error, Statement};

use crate::db::{self, DbError, Target};
use crate::domain::ticket_log::TicketLogs;

/// An open connection. Dropping it closes it.
pub struct WriterConnection {
    pub client: Client,
    /// The ticket logs that the writer appends to, and the keys of all logs.
    pub logs: TicketLogs,
    /// By the text of the statement.
    statements: Mutex<HashMap<&'static str, Statement>>,
}

impl WriterConnection {
    /// Connects, applies the settings of the session, and prepares the statements.
    pub async fn open(
        target: &Target,
        logs: TicketLogs,
        settings: &str,
        statements: impl Iterator<Item = &'static str>,
    ) -> Result<WriterConnection, DbError> {
        let client = db::connect(target).await?;
        client.batch_execute(db::WRITING_SESSION).await?;
        // Apply the settings before the first statement is prepared, because its plan depends on them.
        client.batch_execute(settings).await?;
        let connection = WriterConnection { client, logs, statements: Mutex::default() };
        for sql in statements {
            connection.prepare(sql).await?;
        }
        Ok(connection)
    }

    /// The prepared statement. One that was not prepared when the connection was opened costs a round trip the first
    /// time, so it must be asked for before statements are sent in a pipeline.
    pub async fn prepare(&self, sql: &'static str) -> Result<Statement, Error> {
        if let Some(statement) = self.cached(sql) {
            return Ok(statement);
        }
        let statement = self.client.prepare(sql).await?;
        self.statements.lock().unwrap_or_else(PoisonError::into_inner).insert(sql, statement.clone());
        Ok(statement)
    }

    fn cached(&self, sql: &str) -> Option<Statement> {
        self.statements.lock().unwrap_or_else(PoisonError::into_inner).get(sql).cloned()
    }
}
