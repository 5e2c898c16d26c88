//! The state of one process of the service: its draw actors with their mailboxes, the queue of the persistence
//! actor, and the writer. All of it is lost when the process is killed. This file knows no table.

use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use jiff::Timestamp;
use lottery::domain::draw::{
    DrawAnswer, DrawLoad, DrawRequest, NewPool, OpenReservations, PoolError, PoolOrder, StepError, WriteResult,
};
use lottery::domain::id::DrawId;
use lottery::domain::log_keys::{LogKeys, LogOrigin};
use lottery::domain::record::{Fence, KeyId, Record};
use lottery::domain::ticket_log::TicketLogs;
use lottery::domain::writer::{BatchRecord, BatchRun, ConnectionState, QueuedWork, StepRun, WriteQueue};
use verifiable_draw::keys::MasterSecret;

use crate::actor::Actor;
use crate::coverage::Coverage;
use crate::dice::Dice;
use crate::model;
use crate::store::{Output, Step, Store};

/// The limit of the queue.
pub const QUEUE: usize = 12;

/// What waits for an answer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Waiting {
    /// A client's request, by its index in the world's list.
    Request(usize),
    /// A charge of a card, by its index.
    Charge(usize),
    /// The request of an admin, by its index.
    Admin(usize),
    Nobody,
}

/// The waiter for the answer to a request of a draw.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Waiter {
    pub who: Waiting,
    /// The step of the history at which the record is too late to be written.
    pub deadline: Option<u64>,
}

/// A request that was sent to a draw and not received yet.
pub struct Message {
    pub request: DrawRequest,
    pub waiter: Waiter,
}

pub struct WriteRequest {
    pub record: Record,
    /// The step of the history at which the record is too late to be written.
    pub deadline: Option<u64>,
    /// The draw actor that decided the record. `None`: only the waiter gets the result.
    pub actor: Option<(DrawId, u64)>,
    pub waiting: Waiting,
    /// Whether the database refuses the record.
    pub bad: Cell<bool>,
}

impl BatchRecord for WriteRequest {
    type Time = u64;

    fn record(&self) -> &Record {
        &self.record
    }

    fn deadline(&self) -> Option<u64> {
        self.deadline
    }
}

/// A step, requested by this draw actor.
pub struct Job {
    pub actor: (DrawId, u64),
    pub fence: Fence,
    pub step: Step,
}

/// The current work of the writer: the machines of `domain::writer`, as production has them.
#[derive(Default)]
pub enum WriterJob {
    #[default]
    Idle,
    Batch(BatchRun<WriteRequest>),
    /// The output is known once the step is committed.
    Step(Job, StepRun<Option<Output>, u64>),
}

/// The writer with its connection. Only the machines know the state of the connection.
pub struct Writer {
    pub state: ConnectionState<()>,
    pub job: WriterJob,
    /// Whether the database is unavailable for longer than a step is retried.
    pub away: bool,
    /// Whether the last try found a key that it had treated as new.
    pub key_existed: bool,
    /// Whether a transaction has begun and waits for a lock.
    pub waits_for_lock: bool,
}

impl Writer {
    /// A writer with nothing to do.
    pub fn new(logs: TicketLogs) -> Writer {
        let (state, job) = (ConnectionState::new(logs), WriterJob::Idle);
        Writer { state, job, away: false, key_existed: false, waits_for_lock: false }
    }
}

/// The ticket logs of a new process: it knows of no commit.
pub fn ticket_logs() -> TicketLogs {
    let origin = LogOrigin::of_url(model::PUBLIC_URL).expect("an origin");
    TicketLogs::new(Arc::new(LogKeys::new(MasterSecret::new(model::MASTER_SECRET), origin)))
}

/// A message in an actor's mailbox.
pub struct Mail {
    pub to: (DrawId, u64),
    pub what: Word,
}

pub enum Word {
    Results(Vec<WriteResult<Waiter>>),
    Step(Result<Output, StepError>),
    Pool(Result<NewPool, PoolError>, Waiter),
}

/// An effect of an actor outside its process.
pub enum Effect {
    Answer(Waiting, Box<DrawAnswer>),
    Over(DrawId),
}

/// Pool tickets that are being made while the sale goes on.
pub struct PoolJob {
    pub actor: (DrawId, u64),
    pub order: PoolOrder,
    pub waiter: Waiter,
}

pub enum Entry {
    Live(Box<Actor>),
    Loading { load: DrawLoad, messages: Vec<Message> },
}

pub struct Process {
    pub name: u64,
    pub draws: BTreeMap<DrawId, Entry>,
    /// Counts what the players have reserved, over all draws.
    pub reservations: OpenReservations,
    pub queue: WriteQueue<WriteRequest, Job>,
    pub writer: Writer,
    pub logs: TicketLogs,
    /// Whether another writer has written since the cache was last empty.
    pub disturbed: bool,
    pub inbox: VecDeque<Mail>,
    pub pools: Vec<PoolJob>,
    /// The idempotency keys of the requests that are being handled: the locked keys.
    pub working: BTreeSet<KeyId>,
}

/// The context of an actor while it handles a message.
pub struct Around<'a> {
    pub now: Timestamp,
    /// For reads outside the writer.
    pub store: &'a Store,
    pub dice: &'a mut Dice,
    pub ids: &'a mut u64,
    pub queue: &'a mut WriteQueue<WriteRequest, Job>,
    pub inbox: &'a mut VecDeque<Mail>,
    pub pools: &'a mut Vec<PoolJob>,
    pub effects: &'a mut Vec<Effect>,
    pub coverage: &'a mut Coverage,
}

impl Process {
    pub fn new(name: u64) -> Process {
        let logs = ticket_logs();
        Process {
            name,
            draws: BTreeMap::new(),
            reservations: OpenReservations::new(Some(model::OPEN_RESERVATIONS)),
            queue: WriteQueue::new(QUEUE),
            writer: Writer::new(logs.clone()),
            logs,
            disturbed: false,
            inbox: VecDeque::new(),
            pools: Vec::new(),
            working: BTreeSet::new(),
        }
    }

    /// Whether this actor, in this generation, is live.
    pub fn is_live(&self, (draw, generation): (DrawId, u64)) -> bool {
        matches!(self.draws.get(&draw), Some(Entry::Live(actor)) if actor.generation == generation)
    }

    pub fn live(&self) -> Vec<DrawId> {
        self.draws.iter().filter(|(_, entry)| matches!(entry, Entry::Live(_))).map(|(draw, _)| *draw).collect()
    }

    pub fn loading(&self) -> Vec<DrawId> {
        self.draws.iter().filter(|(_, entry)| !matches!(entry, Entry::Live(_))).map(|(draw, _)| *draw).collect()
    }

    pub fn has_work_for_writer(&self) -> bool {
        !self.queue.is_empty() || !matches!(self.writer.job, WriterJob::Idle)
    }

    /// Whether nothing of this actor is in flight.
    pub fn at_rest(&self, actor: (DrawId, u64)) -> bool {
        let queued = self.queue.iter().any(|work| match work {
            QueuedWork::Record(submit) => submit.actor == Some(actor),
            QueuedWork::Step(job) => job.actor == actor,
        });
        let in_hand = match &self.writer.job {
            WriterJob::Idle => false,
            WriterJob::Batch(run) => run.undelivered().any(|submit| submit.actor == Some(actor)),
            WriterJob::Step(job, _) => job.actor == actor,
        };
        let mail = self.inbox.iter().any(|mail| mail.to == actor);
        let pools = self.pools.iter().any(|job| job.actor == actor);
        !(queued || in_hand || mail || pools)
    }
}
