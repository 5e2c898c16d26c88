//! One process of the service: its draws' actors, the persistence actor's queue with the writer behind it,
//! and what lies in the actors' mailboxes. All of it is gone when the process is killed. Knows no table.

use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet, VecDeque};

use jiff::Timestamp;
use lottery::domain::draw::{DrawAnswer, DrawRequest, NewPool, PoolError, PoolOrder, StepError, WriteResult};
use lottery::domain::id::DrawId;
use lottery::domain::record::{Fence, KeyId, Record};
use lottery::domain::writer::{BatchRecord, BatchRun, ConnectionState, QueuedWork, StepRun, WriteQueue};

use crate::actor::Actor;
use crate::coverage::Coverage;
use crate::dice::Dice;
use crate::store::{Output, Step, Store};

/// Records that may wait for the writer.
pub const QUEUE: usize = 12;

/// Who waits for an answer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Waiting {
    /// A client's request, by its place in the world's list.
    Request(usize),
    /// One who charges a card, likewise.
    Charge(usize),
    /// An admin who asked for a step, likewise.
    Admin(usize),
    Nobody,
}

/// Who waits for the answer to a request of a draw.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Waiter {
    pub who: Waiting,
    /// The step of the history at which it is too late to take the record up.
    pub deadline: Option<u64>,
}

/// A request on its way to a draw.
pub struct Message {
    pub request: DrawRequest,
    pub waiter: Waiter,
}

pub struct WriteRequest {
    pub record: Record,
    /// The step of the history at which it is too late to take it up.
    pub deadline: Option<u64>,
    /// The draw's actor that decided it; none: nobody but the one who waits is told.
    pub actor: Option<(DrawId, u64)>,
    pub waiting: Waiting,
    /// The database will not take it.
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

/// A transaction of a draw's life, asked for by this actor.
pub struct Job {
    pub actor: (DrawId, u64),
    pub fence: Fence,
    pub step: Step,
}

/// What the writer is in the middle of: the machines of `domain::writer`, as production has them.
#[derive(Default)]
pub enum WriterJob {
    #[default]
    Idle,
    Batch(BatchRun<WriteRequest>),
    /// What it returns is known once it is committed.
    Step(Job, StepRun<Option<Output>, u64>),
}

/// The writer with its connection, of which the machines alone know the state.
#[derive(Default)]
pub struct Writer {
    pub state: ConnectionState<()>,
    pub job: WriterJob,
    /// The database is away for longer than a step waits for it.
    pub away: bool,
    /// The last try met a key that it had taken for new.
    pub key_existed: bool,
    /// A transaction has begun, and waits for a lock.
    pub waits_for_lock: bool,
}

/// What lies in an actor's mailbox.
pub struct Mail {
    pub to: (DrawId, u64),
    pub what: Word,
}

pub enum Word {
    Results(Vec<WriteResult<Waiter>>),
    Step(Result<Output, StepError>),
    Pool(Result<NewPool, PoolError>, Waiter),
}

/// What an actor does to the world outside its process.
pub enum Effect {
    Answer(Waiting, Box<DrawAnswer>),
    Over(DrawId),
}

/// Pool tickets being made beside the sale.
pub struct PoolJob {
    pub actor: (DrawId, u64),
    pub order: PoolOrder,
    pub waiter: Waiter,
}

pub enum Entry {
    Live(Box<Actor>),
    /// First the new epoch, then the state.
    Loading {
        epoch: Option<i64>,
        messages: Vec<Message>,
    },
}

pub struct Process {
    pub name: u64,
    pub draws: BTreeMap<DrawId, Entry>,
    pub queue: WriteQueue<WriteRequest, Job>,
    pub writer: Writer,
    /// Somebody else has written since the memory was empty.
    pub disturbed: bool,
    pub inbox: VecDeque<Mail>,
    pub pools: Vec<PoolJob>,
    /// The idempotency keys that requests are being worked on with.
    pub working: BTreeSet<KeyId>,
}

/// What surrounds an actor while it handles a message.
pub struct Around<'a> {
    pub now: Timestamp,
    /// To read in, beside the writer.
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
        Process {
            name,
            draws: BTreeMap::new(),
            queue: WriteQueue::new(QUEUE),
            writer: Writer::default(),
            disturbed: false,
            inbox: VecDeque::new(),
            pools: Vec::new(),
            working: BTreeSet::new(),
        }
    }

    /// Whether this very actor still lives.
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

    /// Whether nothing of this actor is on its way anywhere.
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
