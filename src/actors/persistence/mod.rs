//! The persistence actor: it receives records and steps from the draws, writes them to Postgres in the order in
//! which they arrived, and returns the result of each. It decides nothing: the state machines of `domain::writer`
//! decide, and this module carries out their actions.
//!
//! The records that queue while a transaction runs are the next batch. There is no delay timer: a single buyer
//! does not wait, and under load the batches become large.
//!
//! All changes of balances, sold tickets and paid payments go through the actor. `direct.rs` has the other writes.

mod actor;
mod connection;
mod direct;
mod failure;
mod health;
mod step;
mod write;
mod writer;

use std::time::{Duration, Instant};

use actix::{Actor, Addr, Recipient};
use metrics::{Counter, Gauge, Histogram};
use tokio::sync::oneshot;

use crate::actors::lease::Lease;
use crate::actors::messages::{Ping, ReplyTo, WriteRequest};
use crate::actors::snapshots::DrawSnapshots;
use crate::db::{Db, Target};
use crate::domain::draw::StepError;
use crate::domain::money::Currency;
use crate::domain::record::{Outcome, Record, Refusal};
use crate::domain::ticket_log::TicketLogs;

use actor::{PersistenceActor, StepJob};
use health::WriterHealth;
use writer::Writer;

pub use direct::{
    DuplicateName, PoolWrite, TokenRotation, UserChangeRefusal, change_log_key, import_log, insert_user, record,
    record_installation, record_log_identity,
};
pub use step::StepTransaction;
pub use write::draws::{BeginCancel, Open, Reschedule, Seal};
pub use write::log::LogHeads;
#[cfg(test)]
pub use write::log::write_first_entry;
pub use write::log_import::{ImportedLog, NewerEntries};
pub use write::nodes;
pub use write::settle::{ConductOutcome, FixAndLogPrizes};

/// The limits of the persistence actor.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct WriteLimits {
    /// Records in one transaction.
    pub batch: usize,
    /// The most records in the queue; more are refused as overloaded.
    pub queue: usize,
    /// How long a record may wait for its transaction to begin.
    pub deadline: Duration,
}

/// The metrics of the persistence actor.
#[derive(Clone)]
pub struct WriterMetrics {
    /// Records in each batch.
    pub batch: Histogram,
    /// The seconds that each batch took, including the commit.
    pub commit: Histogram,
    /// The number of records and steps in the queue, updated at intervals.
    pub queue: Gauge,
    /// Tickets paid for.
    pub sold: Counter,
    /// Charges whose money came too late and went into a wallet.
    pub late: Counter,
}

impl WriterMetrics {
    /// Metrics that are not recorded.
    pub fn none() -> WriterMetrics {
        let (batch, commit) = (Histogram::noop(), Histogram::noop());
        WriterMetrics { batch, commit, queue: Gauge::noop(), sold: Counter::noop(), late: Counter::noop() }
    }
}

/// The handle to the persistence actor.
#[derive(Clone)]
pub struct Persistence {
    actor: Addr<PersistenceActor>,
    /// The receiver of records: the actor, or the replacement of a benchmark.
    records: Recipient<WriteRequest>,
    db: Db,
    currency: Currency,
    logs: TicketLogs,
    limits: WriteLimits,
    health: WriterHealth,
}

impl Persistence {
    /// Starts the actor on the current arbiter. `writer` is the target of the writer's own connection; it writes only
    /// while the lease is held. `db` is the connection pool for the direct writes.
    pub fn start(
        (writer, lease): (impl Into<Target>, Lease),
        db: Db,
        currency: Currency,
        logs: TicketLogs,
        snapshots: DrawSnapshots,
        limits: WriteLimits,
        meters: WriterMetrics,
    ) -> Persistence {
        let health = WriterHealth::new();
        let writer = Writer::new((writer.into(), lease), currency, logs.clone(), snapshots, health.clone());
        let actor = PersistenceActor::new(writer, limits, meters).start();
        Persistence { records: actor.clone().recipient(), actor, db, currency, logs, limits, health }
    }

    /// The currency of all amounts.
    pub fn currency(&self) -> Currency {
        self.currency
    }

    /// The ticket logs that the actor appends to.
    pub fn ticket_logs(&self) -> &TicketLogs {
        &self.logs
    }

    /// The same handle, but records go to another receiver. The order is kept among the records, not between
    /// records and steps.
    pub fn with_records(self, records: Recipient<WriteRequest>) -> Persistence {
        Persistence { records, ..self }
    }

    /// The time by which the transaction of a record must have begun that is submitted now.
    pub fn deadline(&self) -> Instant {
        #[allow(clippy::disallowed_methods, reason = "a wait of ours, not the draw's time")]
        let now = Instant::now();
        now + self.limits.deadline
    }

    /// Submits a record. The caller does this inside the handler that decided the record, so that the order is
    /// kept. A record without a deadline must be written, so it waits until the database is available.
    pub fn submit(&self, record: Record, deadline: Option<Instant>, reply_to: ReplyTo) {
        self.records.do_send(WriteRequest { record, deadline, reply_to });
    }

    /// Submits a record and waits for its result. `None`: the result is unknown, because the actor is gone.
    pub async fn write(&self, record: Record, deadline: Option<Instant>) -> Option<Result<Outcome, Refusal>> {
        let (reply, answer) = oneshot::channel();
        self.submit(record, deadline, ReplyTo::One(reply));
        answer.await.ok()
    }

    /// Whether the actor is running.
    pub fn is_alive(&self) -> bool {
        self.actor.connected()
    }

    /// Waits for a sign that the actor handles its messages. False if it has ended.
    pub async fn answers(&self) -> bool {
        self.actor.send(Ping).await.is_ok()
    }

    /// How long the writer's current transaction has taken until now.
    pub fn transaction_time(&self) -> Option<Duration> {
        self.health.transaction_time()
    }

    /// Whether the database does what the writer asks for. A writer that has nothing to write asks for an answer.
    pub fn is_ready(&self) -> bool {
        self.health.is_good()
    }

    /// Waits until everything that was submitted before is written.
    pub async fn flush(&self) {
        let (reply, done) = oneshot::channel();
        self.actor.do_send(StepJob::nothing(reply));
        // This fails only if the actor is gone. Then there is nothing to wait for.
        let _ = done.await;
    }

    /// Runs a step of a draw as a transaction of its own, after everything that was submitted before it.
    pub async fn step<S: StepTransaction + 'static>(&self, step: S) -> Result<S::Output, StepError> {
        self.timed_step(step).await.map(|(output, _)| output)
    }

    /// The same, and also returns how long the step occupied the writer, without the time in the queue. A payout
    /// uses it to choose the size of its next step.
    pub async fn timed_step<S: StepTransaction + 'static>(
        &self,
        step: S,
    ) -> Result<(S::Output, Duration), StepError> {
        let (reply, answer) = oneshot::channel();
        self.actor.do_send(StepJob::new(step, reply));
        answer.await.unwrap_or(Err(StepError::Failed))
    }
}
