//! The persistence actor: takes records and steps from the draws, makes them true in Postgres in the
//! order they came, and tells what became of each. It decides nothing: `domain::writer` does, and carries out
//! here what it asks for.
//!
//! The records that queue while a transaction runs are the next batch. There is no delay timer: a single buyer
//! does not wait, and under load the batches become large.
//!
//! All changes of balances, tickets and payments go through the actor. `direct.rs` has the other writes.

mod actor;
mod connection;
mod direct;
mod failure;
mod step;
mod write;
mod writer;

use std::time::{Duration, Instant};

use actix::{Actor, Addr, Recipient};
use metrics::{Counter, Gauge, Histogram};
use tokio::sync::oneshot;

use crate::actors::messages::{ReplyTo, WriteRequest};
use crate::actors::snapshots::DrawSnapshots;
use crate::db::{Db, Target};
use crate::domain::draw::StepError;
use crate::domain::money::Currency;
use crate::domain::record::{Outcome, Record, Refusal};

use actor::{PersistenceActor, StepJob};
use writer::Writer;

pub use direct::{DuplicateName, PoolWrite, TokenRotation, UserChangeRefusal, insert_user};
pub use step::StepTransaction;
pub use write::draws::{BeginCancel, Open, Reschedule, Seal};
pub use write::settle::{Conduct, FixPrizes};

/// The limits of the persistence actor.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct WriteLimits {
    /// Records in one transaction.
    pub batch: usize,
    /// Records waiting for the next; beyond, they are refused as overloaded.
    pub queue: usize,
    /// How long a record may wait for its transaction to begin.
    pub deadline: Duration,
}

/// What the persistence actor measures of its work.
#[derive(Clone)]
pub struct WriterMetrics {
    /// Records in each batch.
    pub batch: Histogram,
    /// Seconds that each batch took, the commit included.
    pub commit: Histogram,
    /// Records and steps that wait, from time to time.
    pub queue: Gauge,
    /// Tickets paid for.
    pub sold: Counter,
}

impl WriterMetrics {
    /// Metrics that are not recorded.
    pub fn none() -> WriterMetrics {
        let (batch, commit) = (Histogram::noop(), Histogram::noop());
        WriterMetrics { batch, commit, queue: Gauge::noop(), sold: Counter::noop() }
    }
}

/// The handle to the persistence actor.
#[derive(Clone)]
pub struct Persistence {
    actor: Addr<PersistenceActor>,
    /// Where records go: the same, or what a bench put in its place.
    records: Recipient<WriteRequest>,
    db: Db,
    limits: WriteLimits,
}

impl Persistence {
    /// Starts the actor on the current arbiter. `writer` says where its own connection leads; `db` is the
    /// pool for the writes that stand apart from the sale.
    pub fn start(
        writer: impl Into<Target>,
        db: Db,
        currency: Currency,
        snapshots: DrawSnapshots,
        limits: WriteLimits,
        meters: WriterMetrics,
    ) -> Persistence {
        let writer = Writer::new(writer.into(), currency, snapshots);
        let actor = PersistenceActor::new(writer, limits, meters).start();
        Persistence { records: actor.clone().recipient(), actor, db, limits }
    }

    /// The same, but its records go to somebody else. Order is kept among them, not between them and steps.
    pub fn with_records(self, records: Recipient<WriteRequest>) -> Persistence {
        Persistence { records, ..self }
    }

    /// When a record submitted now must have been taken up.
    pub fn deadline(&self) -> Instant {
        #[allow(clippy::disallowed_methods, reason = "a wait of ours, not the draw's time")]
        let now = Instant::now();
        now + self.limits.deadline
    }

    /// Hands a record on, inside the handler that decided it: order is kept. A record without a deadline
    /// (what must become true whenever the database can) waits for as long as it takes.
    pub fn submit(&self, record: Record, deadline: Option<Instant>, reply_to: ReplyTo) {
        self.records.do_send(WriteRequest { record, deadline, reply_to });
    }

    /// Hands a record on and waits for what became of it.
    pub async fn write(&self, record: Record, deadline: Option<Instant>) -> Option<Result<Outcome, Refusal>> {
        let (reply, answer) = oneshot::channel();
        self.submit(record, deadline, ReplyTo::One(reply));
        answer.await.ok()
    }

    /// Whether the actor is still there.
    pub fn is_alive(&self) -> bool {
        self.actor.connected()
    }

    /// Waits until all that was handed on before is written.
    pub async fn flush(&self) {
        let (reply, done) = oneshot::channel();
        self.actor.do_send(StepJob::nothing(reply));
        // It fails only when the actor is gone, and then there is nothing to wait for.
        let _ = done.await;
    }

    /// Runs a step of a draw's life as a transaction of its own, after all that was handed on before it.
    pub async fn step<S: StepTransaction + 'static>(&self, step: S) -> Result<S::Output, StepError> {
        self.timed_step(step).await.map(|(output, _)| output)
    }

    /// The same, and says how long it had the writer to itself: for one who takes many steps in a row. What it
    /// waited for its turn is not counted.
    pub async fn timed_step<S: StepTransaction + 'static>(
        &self,
        step: S,
    ) -> Result<(S::Output, Duration), StepError> {
        let (reply, answer) = oneshot::channel();
        self.actor.do_send(StepJob::new(step, reply));
        answer.await.unwrap_or(Err(StepError::Failed))
    }
}
