//! What the writer keeps between transactions: its connection, the number of its last transaction on it, and the
//! cache of what it has read. This file opens no connection.

use crate::domain::ticket_log::TicketLogs;
use crate::domain::writer_cache::WriterCache;

/// The mark that a transaction sets in the row of its connection. It shows later whether the transaction was
/// committed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Mark {
    /// The row in `writers`; each connection has its own.
    pub writer: i64,
    /// Incremented by each transaction of the connection.
    pub number: i64,
}

impl Mark {
    /// The last mark in a row that no transaction has marked, and in a row that is missing: the database was restored
    /// or failed over to a state before the row, so no transaction of its connection is in it. The first transaction
    /// of a connection has the number 1.
    pub const NONE: i64 = 0;

    /// Whether the transaction was committed. `last` is the mark in the row when the row was closed. After that
    /// no transaction of that connection can be committed.
    pub(super) fn is_committed(self, last: i64) -> bool {
        self.number == last
    }
}

/// What must be done before a transaction can begin.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ConnectionAction {
    /// Wait a short time, then call [`ConnectionState::rested`].
    Rest,
    /// Try once to connect, then call [`ConnectionState::connected`] or [`ConnectionState::connect_failed`].
    Connect,
}

#[derive(Debug)]
struct Connection<C> {
    inner: C,
    row: i64,
    marks: i64,
}

/// The state that outlives a transaction. `C` is the connection itself; this file knows nothing about it. A
/// connection that is given up is dropped, and dropping must close it.
#[derive(Debug)]
pub struct ConnectionState<C> {
    pub(super) cache: WriterCache,
    connection: Option<Connection<C>>,
    must_rest: bool,
}

impl<C> ConnectionState<C> {
    /// No connection, and an empty cache of draws with these ticket logs.
    pub fn new(logs: TicketLogs) -> ConnectionState<C> {
        ConnectionState { cache: WriterCache::new(logs), connection: None, must_rest: false }
    }

    pub fn connection(&self) -> Option<&C> {
        self.connection.as_ref().map(|connection| &connection.inner)
    }

    /// Whether the next transaction must read everything that it depends on.
    pub fn is_cache_empty(&self) -> bool {
        self.cache.is_empty()
    }

    /// A new connection is open, with this row in `writers`.
    pub fn connected(&mut self, connection: C, row: i64) {
        self.connection = Some(Connection { inner: connection, row, marks: 0 });
    }

    pub fn connect_failed(&mut self) {
        self.must_rest = true;
    }

    /// Nothing may be sent now: a pause comes before the next try.
    pub fn pause(&mut self) {
        self.must_rest = true;
    }

    pub fn rested(&mut self) {
        self.must_rest = false;
    }

    /// The connection is lost or not usable any more. The server rolls back its open transaction. The cache is
    /// cleared, because another process may write while there is no connection.
    pub fn lost(&mut self) {
        self.connection = None;
        self.cache.forget();
    }

    /// The same, and a pause before the next try.
    pub(super) fn lost_and_rest(&mut self) {
        self.lost();
        self.must_rest = true;
    }

    /// The connection, or what must be done to get one.
    pub(super) fn ready(&self) -> Result<&C, ConnectionAction> {
        match &self.connection {
            _ if self.must_rest => Err(ConnectionAction::Rest),
            Some(connection) => Ok(&connection.inner),
            None => Err(ConnectionAction::Connect),
        }
    }

    /// The mark for the next transaction, if it can begin.
    pub(super) fn next_mark(&mut self) -> Option<Mark> {
        let connection = self.connection.as_mut().filter(|_| !self.must_rest)?;
        connection.marks += 1;
        Some(Mark { writer: connection.row, number: connection.marks })
    }
}
