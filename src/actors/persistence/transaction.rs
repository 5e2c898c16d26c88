//! The writer's own connection, and transactions whose outcome is always cache: when the connection dies
//! at COMMIT, the database is asked, never guessed. Knows no table.

use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, Instant};

use futures_util::TryFutureExt;
use futures_util::future::{self, Either};
use tokio::time::sleep;
use tokio::try_join;
use tokio_postgres::error::{Severity, SqlState};
use tokio_postgres::{Client, Error};

use super::write::payout;
use super::write::sales::{self, BatchStatements};
use crate::actors::snapshots::DrawSnapshots;
use crate::db::{self, Target};
use crate::domain::draw::StepError;
use crate::domain::money::Currency;
use crate::domain::writer_cache::{Invalidation, WriterCache};

/// Between two tries to reach the database.
const RETRY: Duration = Duration::from_millis(100);
/// How long one try to connect may take.
const CONNECT_WAIT: Duration = Duration::from_secs(5);
/// How long a step is tried again while the database is unavailable.
const STEP_PATIENCE: Duration = Duration::from_secs(60);

/// Why a step's statements ended early.
#[derive(Debug, thiserror::Error)]
pub enum StepFailure {
    #[error("the draw has been taken over by a newer epoch")]
    StaleEpoch,
    #[error(transparent)]
    Postgres(#[from] Error),
    /// Money or state that does not add up: a bug, and nothing is written.
    #[error("{0}")]
    Rejected(String),
}

/// A transaction of its own. It may be run again after a failure, and must then do the same.
pub trait StepTransaction: Send + Sync {
    type Output: Send;

    /// The statements between BEGIN and COMMIT. They are sent before BEGIN is answered: the first of them must
    /// write nothing, and be awaited.
    fn run(&self, session: &WriterConnection) -> impl Future<Output = Result<Self::Output, StepFailure>> + Send;

    /// What of the writer's memory it may change.
    fn invalidates(&self) -> Invalidation {
        Invalidation::Everything
    }

    /// Publishes what is true now. Called in the order of the commits.
    fn committed(&self, _output: &Self::Output, _board: &DrawSnapshots) {}
}

/// By which it can be asked whether a transaction was committed: the writer's row, and what it set there.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Mark {
    pub writer: i64,
    pub number: i64,
}

/// How a transaction failed.
#[derive(Debug)]
pub enum TransactionFailure {
    /// The database refused a statement: nothing was written.
    Refused(Error),
    /// Nothing was written, and it may well work again: the connection or the server went connect_error.
    Lost(Error),
    /// The connection died after COMMIT was sent: only the database knows.
    Unknown(Mark),
}

impl TransactionFailure {
    /// Of a statement before COMMIT.
    pub fn early(error: Error) -> TransactionFailure {
        if db::is_transient(&error) { TransactionFailure::Lost(error) } else { TransactionFailure::Refused(error) }
    }

    /// Of COMMIT, or of a statement sent along with it.
    pub fn late(error: Error, mark: Mark) -> TransactionFailure {
        let died = match error.as_db_error() {
            None => db::is_transient(&error),
            Some(_) => ends_session(&error),
        };
        if died { TransactionFailure::Unknown(mark) } else { TransactionFailure::early(error) }
    }
}

/// Whether the server ended the session with this error, and did not only refuse a statement.
fn ends_session(error: &Error) -> bool {
    let ends = [SqlState::ADMIN_SHUTDOWN, SqlState::CRASH_SHUTDOWN, SqlState::CANNOT_CONNECT_NOW];
    let severity = error.as_db_error().and_then(|error| error.parsed_severity());
    let fatal = matches!(severity, Some(Severity::Fatal | Severity::Panic));
    fatal || error.code().is_some_and(|state| ends.contains(state))
}

/// An open connection with its prepared statements.
pub struct WriterConnection {
    pub client: Client,
    pub statements: BatchStatements,
    pub payout: payout::PayoutStatements,
    /// The connection's row, which every transaction marks.
    pub writer: i64,
    marks: AtomicI64,
}

impl WriterConnection {
    /// A mark for the next transaction.
    pub fn next_mark(&self) -> Mark {
        Mark { writer: self.writer, number: self.marks.fetch_add(1, Ordering::Relaxed) + 1 }
    }
}

/// The one who writes.
pub struct Writer {
    target: Target,
    pub(super) currency: Currency,
    snapshots: DrawSnapshots,
    pub(super) session: Option<WriterConnection>,
    /// Why there is none. Logged when it changes, and not at each of ten tries a second.
    connect_error: Option<String>,
    pub(super) cache: WriterCache,
}

impl Writer {
    pub fn new(target: Target, currency: Currency, snapshots: DrawSnapshots) -> Writer {
        Writer { target, currency, snapshots, session: None, connect_error: None, cache: WriterCache::default() }
    }

    /// The connection, opened if it is not; one try.
    pub(super) async fn session(&mut self) -> Result<&WriterConnection, Error> {
        if self.session.as_ref().is_some_and(|session| session.client.is_closed()) {
            self.session = None;
        }
        match &mut self.session {
            Some(session) => Ok(session),
            empty => {
                let client = db::connect(&self.target).await?;
                let statements = BatchStatements::prepare(&client).await?;
                let payout = payout::PayoutStatements::prepare(&client).await?;
                let writer = sales::new_writer(&client).await?;
                tracing::info!("the writer is connected to the database");
                Ok(empty.insert(WriterConnection { client, statements, payout, writer, marks: AtomicI64::new(0) }))
            }
        }
    }

    /// Makes sure of a connection: one try, and a pause if it failed.
    pub(super) async fn connected(&mut self) -> bool {
        let tried = match future::select(Box::pin(self.session()), Box::pin(sleep(CONNECT_WAIT))).await {
            Either::Left((session, _)) => session.map(|_| ()).map_err(|error| db::describe(&error)),
            Either::Right(_) => Err("no answer".to_owned()),
        };
        let Err(error) = tried else {
            self.connect_error = None;
            return true;
        };
        if self.connect_error.as_ref() != Some(&error) {
            tracing::warn!(error, "the writer has no connection to the database");
            self.connect_error = Some(error);
        }
        self.session = None;
        sleep(RETRY).await;
        false
    }

    /// Gives the connection up: what it was in the middle of is rolled back by the server.
    pub(super) fn disconnect(&mut self) {
        self.session = None;
        self.cache.forget();
    }

    /// A short rest before what the database did not take this time is tried again.
    pub(super) async fn rest(&self) {
        sleep(RETRY).await;
    }

    /// Asks the database whether the transaction with this mark was committed, for as long as it takes to
    /// hear it.
    pub(super) async fn committed(&mut self, mark: Mark) -> bool {
        self.disconnect();
        loop {
            if !self.connected().await {
                continue;
            }
            let Ok(session) = self.session().await else { continue };
            match sales::close_writer(&session.client, mark.writer).await {
                Ok(last) => return last == mark.number,
                Err(error) => {
                    let error = db::describe(&error);
                    tracing::warn!(error, ?mark, "the outcome of a transaction is not known yet");
                    self.disconnect();
                    self.rest().await;
                }
            }
        }
    }

    /// Takes a step, again if the database was connect_error, and publishes what came of it.
    pub(super) async fn step<S: StepTransaction>(&mut self, step: &S) -> Result<S::Output, StepError> {
        #[allow(clippy::disallowed_methods, reason = "a wait of ours, not the draw's time")]
        let started = Instant::now();
        loop {
            if started.elapsed() > STEP_PATIENCE {
                return Err(StepError::Unavailable);
            }
            if !self.connected().await {
                continue;
            }
            // It moves money and draws beside the batches.
            self.cache.invalidate(&step.invalidates());
            let Ok(session) = self.session().await else { continue };
            match attempt(session, step).await {
                Ok(output) => return Ok(self.publish(step, output)),
                Err((StepFailure::StaleEpoch, _)) => {
                    self.disconnect();
                    return Err(StepError::StaleEpoch);
                }
                Err((StepFailure::Rejected(what), _)) => {
                    tracing::error!(what, "a step does not add up and was not taken");
                    self.disconnect();
                    return Err(StepError::Failed);
                }
                Err((StepFailure::Postgres(error), at_commit)) => {
                    let failure = match at_commit {
                        None => TransactionFailure::early(error),
                        Some((mark, _)) => TransactionFailure::late(error, mark),
                    };
                    match (failure, at_commit) {
                        (TransactionFailure::Unknown(mark), Some((_, output))) => {
                            if self.committed(mark).await {
                                return Ok(self.publish(step, output));
                            }
                        }
                        (TransactionFailure::Refused(error), _) => {
                            tracing::error!(error = db::describe(&error), "the database refused a step");
                            self.disconnect();
                            return Err(StepError::Failed);
                        }
                        (TransactionFailure::Lost(error), _) => {
                            tracing::warn!(error = db::describe(&error), "a step is tried again");
                            self.disconnect();
                            self.rest().await;
                        }
                        (TransactionFailure::Unknown(_), None) => self.disconnect(),
                    }
                }
            }
        }
    }

    fn publish<S: StepTransaction>(&self, step: &S, output: S::Output) -> S::Output {
        step.committed(&output, &self.snapshots);
        output
    }
}

/// One try of a step. With an error of COMMIT comes the transaction's mark and what the step had to say.
async fn attempt<S: StepTransaction>(
    session: &WriterConnection,
    step: &S,
) -> Result<S::Output, (StepFailure, Option<(Mark, S::Output)>)> {
    let (client, mark) = (&session.client, session.next_mark());
    // Polled in this order, so sent in this order; a BEGIN that fails is heard of before the step goes on.
    let begun = try_join!(
        biased;
        client.batch_execute("BEGIN").map_err(StepFailure::from),
        sales::mark(session, mark.number).map_err(StepFailure::from),
        step.run(session),
    );
    let ((), marked, output) = begun.map_err(|failure| (failure, None))?;
    if !marked {
        return Err((StepFailure::Rejected("the writer's row is closed".to_owned()), None));
    }
    match client.batch_execute("COMMIT").await {
        Ok(()) => Ok(output),
        Err(error) => Err((StepFailure::Postgres(error), Some((mark, output)))),
    }
}
