//! Carries out the actions of the state machines of `domain::writer`: it connects, reads, writes, asks the
//! database whether a transaction was committed, waits, and logs. It decides nothing itself.

use std::time::{Duration, Instant};

use futures_util::TryFutureExt;
use tokio::time::{sleep, timeout};
use tokio::try_join;
use tokio_postgres::Error;

use super::connection::WriterConnection;
use super::failure::{self, TransactionFailure};
use super::health::WriterHealth;
use super::step::{StepFailure, StepTransaction};
use super::write::{self, sales, writers};
use crate::actors::lease::Lease;
use crate::actors::snapshots::DrawSnapshots;
use crate::db::{self, DbError, Target};
use crate::domain::draw::StepError;
use crate::domain::id::NodeId;
use crate::domain::money::Currency;
use crate::domain::ticket_log::TicketLogs;
use crate::domain::writer::{
    Answers, BatchAction, BatchRecord, BatchRun, ConnectionAction, ConnectionState, Decision, Mark, StepAction,
    StepEnd, StepRun, TransactionEnd,
};

/// The pause between two tries to connect.
const RETRY: Duration = Duration::from_millis(100);
/// The time limit for one try to connect.
const CONNECT_WAIT: Duration = Duration::from_secs(5);
/// The time limit for the answer to a ping.
const PING_WAIT: Duration = Duration::from_secs(2);
/// How long a step is retried while the database is unavailable.
const STEP_PATIENCE: Duration = Duration::from_secs(60);

/// The only writer of batches and steps. It runs one transaction after the other.
pub struct Writer {
    target: Target,
    lease: Lease,
    currency: Currency,
    logs: TicketLogs,
    snapshots: DrawSnapshots,
    pub health: WriterHealth,
    state: ConnectionState<WriterConnection>,
    /// Why there is no connection. It is logged when it changes, not at each of the ten tries in a second.
    connect_error: Option<String>,
}

impl Writer {
    pub fn new(
        (target, lease): (Target, Lease),
        currency: Currency,
        logs: TicketLogs,
        snapshots: DrawSnapshots,
        health: WriterHealth,
    ) -> Writer {
        Writer {
            target,
            lease,
            currency,
            state: ConnectionState::new(logs.clone()),
            logs,
            snapshots,
            health,
            connect_error: None,
        }
    }

    /// Begins a batch; [`Writer::next_answers`] writes it.
    pub fn begin_batch<R: BatchRecord>(&mut self, records: Vec<R>) -> BatchRun<R> {
        BatchRun::new(records, self.currency)
    }

    /// Works on the batch until some of its records have their answers, even if the database is unavailable for a
    /// long time. Returns `None` if every record was answered before.
    pub async fn next_answers<R>(&mut self, run: &mut BatchRun<R>) -> Option<Answers<R>>
    where
        R: BatchRecord<Time = Instant>,
    {
        loop {
            self.look_around(run.is_unknown());
            match run.next(&mut self.state, now()) {
                BatchAction::Connection(action) => self.make_ready(action).await,
                BatchAction::Prefetch(connection, missing) => {
                    let found = self.health.timed(sales::prefetch(connection, missing)).await;
                    let (found, error) = match found {
                        Ok(found) => (Ok(found), None),
                        Err(error) => (Err(failure::of_prefetch(&error)), Some(error)),
                    };
                    if let Some(decision) = run.prefetched(&mut self.state, found) {
                        log(decision, error.as_ref(), run);
                    }
                }
                BatchAction::Write(connection, records, write) => {
                    let error = self.health.timed(sales::write(connection, records, write)).await.err();
                    let end = error.as_ref().map_or(TransactionEnd::Committed, failure::of_batch);
                    if end == TransactionEnd::Committed {
                        self.health.succeeded();
                    }
                    let decision = run.ended(&mut self.state, end);
                    log(decision, error.as_ref(), run);
                }
                BatchAction::CloseRow(connection, row) => {
                    let last = self.health.timed(last_mark(connection, row)).await;
                    run.row_closed(&mut self.state, last);
                }
                BatchAction::Answer => {
                    let answers = run.take_answers();
                    let accepted = answers.iter().filter(|(_, result)| result.is_ok()).count();
                    tracing::debug!(records = answers.len(), accepted, "records have their answers");
                    return Some(answers);
                }
                BatchAction::Done => return None,
            }
        }
    }

    /// Takes a step, retries while the database is unavailable, and publishes the result.
    pub async fn step<S: StepTransaction>(&mut self, step: &S) -> Result<S::Output, StepError> {
        let mut run = StepRun::new(step.invalidates(), now() + STEP_PATIENCE);
        loop {
            self.look_around(run.is_unknown());
            match run.next(&mut self.state, now()) {
                StepAction::Connection(action) => self.make_ready(action).await,
                StepAction::Write(connection, mark) => {
                    let end = self.health.timed(take_step(connection, mark, step)).await;
                    if matches!(end, StepEnd::Committed(_)) {
                        self.health.succeeded();
                    }
                    run.ended(&mut self.state, end);
                }
                StepAction::CloseRow(connection, row) => {
                    let last = self.health.timed(last_mark(connection, row)).await;
                    run.row_closed(&mut self.state, last);
                }
                StepAction::Done => break,
            }
        }
        // A run in the phase `Done` has a result.
        let output = run.into_result().unwrap_or(Err(StepError::Failed))?;
        step.committed(&output, &self.snapshots);
        Ok(output)
    }

    /// Waits for an answer of the database, over a new connection if there is none. Called while nothing is to be
    /// written.
    pub async fn ping(&mut self) {
        self.notice_closed();
        if self.state.connection().is_none() {
            self.connect().await;
        }
        let Some(connection) = self.state.connection() else { return };
        let error = match timeout(PING_WAIT, writers::ping(&connection.client)).await {
            Ok(Ok(())) => return self.health.succeeded(),
            Ok(Err(error)) => db::describe(&error),
            Err(_) => "no answer".to_owned(),
        };
        tracing::warn!(error, "the writer's connection is lost or does not answer: it is opened again");
        self.state.lost();
    }

    /// Notices what has happened to the connection and the lease. Without the lease no transaction begins; whether one
    /// was committed is asked all the same, because its clients wait.
    fn look_around(&mut self, is_unknown: bool) {
        self.notice_closed();
        if !is_unknown && !self.lease.is_held() {
            self.state.pause();
        }
    }

    /// The server may have closed the connection since it was last used.
    fn notice_closed(&mut self) {
        if self.state.connection().is_some_and(|connection| connection.client.is_closed()) {
            self.state.lost();
        }
    }

    /// Does what must be done before a transaction can begin.
    async fn make_ready(&mut self, action: ConnectionAction) {
        match action {
            ConnectionAction::Rest => {
                sleep(RETRY).await;
                self.state.rested();
            }
            ConnectionAction::Connect => self.connect().await,
        }
    }

    /// Tries once to connect.
    async fn connect(&mut self) {
        let tried = match timeout(CONNECT_WAIT, open(&self.target, self.logs.clone(), self.lease.node())).await {
            Ok(opened) => opened.map_err(|error| db::describe(&error)),
            Err(_) => {
                // A new row waits for the standby, which a primary does not have any more when another one took over.
                self.target.skip_host();
                Err("no answer".to_owned())
            }
        };
        match tried {
            Ok((_, None)) => {
                self.lease.lost();
                self.state.connect_failed();
            }
            Ok((connection, Some(row))) => {
                tracing::info!("the writer is connected to the database");
                self.connect_error = None;
                self.state.connected(connection, row);
            }
            Err(error) => {
                if self.connect_error.as_ref() != Some(&error) {
                    tracing::warn!(error, "the writer has no connection to the database");
                    self.connect_error = Some(error);
                }
                self.state.connect_failed();
            }
        }
    }
}

fn now() -> Instant {
    #[allow(clippy::disallowed_methods, reason = "waits and deadlines of ours, not the draw's time")]
    Instant::now()
}

/// A new connection with its row in `writers`. `None`: the node is dead.
async fn open(
    target: &Target,
    logs: TicketLogs,
    node: NodeId,
) -> Result<(WriterConnection, Option<i64>), DbError> {
    let connection = WriterConnection::open(target, logs, write::SESSION, write::statements()).await?;
    let row = writers::insert(&connection.client, node).await?;
    Ok((connection, row))
}

/// Closes the row of a lost connection and returns its last mark. `None`: the database did not answer.
async fn last_mark(connection: &WriterConnection, row: i64) -> Option<i64> {
    match writers::close(&connection.client, row).await {
        Ok(last) => Some(last),
        Err(error) => {
            let error = db::describe(&error);
            tracing::warn!(error, writer = row, "it is not known yet whether a transaction was committed");
            None
        }
    }
}

/// One transaction of a step.
async fn take_step<S: StepTransaction>(connection: &WriterConnection, mark: Mark, step: &S) -> StepEnd<S::Output> {
    let client = &connection.client;
    // Polled in this order, so sent in this order. If BEGIN fails, the step ends before its second statement.
    let run = try_join!(
        biased;
        client.batch_execute("BEGIN").map_err(StepFailure::from),
        writers::mark(connection, mark).map_err(StepFailure::from),
        step.run(connection),
    );
    let output = match run {
        Ok(((), true, output)) => output,
        Ok(((), false, _)) => {
            tracing::warn!("the writer's row is closed or missing: a step is tried again over a new connection");
            return StepEnd::Lost;
        }
        Err(failure) => return step_failed(&failure),
    };
    let Err(error) = client.batch_execute("COMMIT").await else { return StepEnd::Committed(output) };
    match TransactionFailure::at_commit(&error) {
        TransactionFailure::Unknown => {
            tracing::warn!(?mark, "the connection died at COMMIT");
            StepEnd::Unknown(output)
        }
        TransactionFailure::Lost | TransactionFailure::Refused => step_failed(&StepFailure::Postgres(error)),
    }
}

/// The end of a step that was rolled back; logs the reason.
fn step_failed<O>(failure: &StepFailure) -> StepEnd<O> {
    match failure {
        StepFailure::StaleEpoch => StepEnd::StaleEpoch,
        StepFailure::Rejected(what) => {
            tracing::error!(what, "a step does not add up and was not taken");
            StepEnd::Failed
        }
        StepFailure::Postgres(error) if db::is_transient(error) => {
            tracing::warn!(error = db::describe(error), "a step is tried again");
            StepEnd::Lost
        }
        StepFailure::Postgres(error) => {
            tracing::error!(error = db::describe(error), "the database refused a step");
            StepEnd::Failed
        }
    }
}

/// Logs the decision at the end of a batch's transaction.
fn log<R: BatchRecord>(decision: Decision, error: Option<&Error>, run: &BatchRun<R>) {
    let error = error.map(|error| db::describe(error));
    match decision {
        Decision::Answer => {}
        Decision::CheckKeys => tracing::debug!("a key of the batch was there: all keys are looked up"),
        Decision::ReadAnew => {
            tracing::info!("the writer's cache was not what the database has: it reads again");
        }
        Decision::AskDatabase => tracing::warn!(error, "the connection died at COMMIT"),
        Decision::TryAgain => tracing::warn!(error, "a batch is tried again"),
        Decision::Split => {
            let records = run.unanswered().count();
            tracing::warn!(error, records, "a batch was refused: each record goes alone");
        }
        Decision::Reject => tracing::error!(error, record = ?run.rejected(), "the database refused a record"),
    }
}
