//! One process of the service: its draws' actors, the persistence actor's queue with the writer behind it,
//! and what lies in the actors' mailboxes. All of it is gone when the process is killed. Knows no table.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use jiff::Timestamp;
use lottery::domain::draw::{DrawAnswer, DrawRequest, NewPool, PoolError, PoolOrder, StepError, WriteResult};
use lottery::domain::id::DrawId;
use lottery::domain::record::{Fence, KeyId, Outcome, Record, Refusal};
use lottery::domain::writer_cache::WriterCache;

use crate::actor::Actor;
use crate::coverage::Coverage;
use crate::dice::Dice;
use crate::store::{Mark, Output, Step, Store, Write};

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
    pub bad: bool,
}

/// A transaction of a draw's life, asked for by this actor.
pub struct Job {
    pub actor: (DrawId, u64),
    pub fence: Fence,
    pub step: Step,
}

pub enum Queued {
    Record(WriteRequest),
    Step(Job),
}

/// An open connection to the database.
pub struct Session {
    pub writer: usize,
    pub marks: i64,
}

/// What the writer is in the middle of.
pub enum Writer {
    Idle,
    /// What was rolled back, and is tried again, less what is too late by then.
    Trying(Vec<WriteRequest>),
    /// It has begun, and waits for a lock.
    Waiting(Vec<WriteRequest>),
    /// What it needs is read and locked, and it is judged: next it is written.
    Begun(Box<Batch>),
    /// The connection died at COMMIT: the database is asked.
    Asking(Vec<WriteRequest>, Vec<Result<Outcome, Refusal>>, Mark),
    TryingStep(Job),
    AskingOfStep(Job, Mark, Option<Output>),
}

/// A batch that was judged.
pub struct Batch {
    pub records: Vec<WriteRequest>,
    pub results: Vec<Result<Outcome, Refusal>>,
    pub write: Write,
    /// All its keys were looked up.
    pub check_keys: bool,
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
    pub queue: VecDeque<Queued>,
    pub writer: Writer,
    /// The records of a batch that was refused: each goes alone, before the queue.
    pub alone: VecDeque<WriteRequest>,
    pub session: Option<Session>,
    /// The writer's memory: the real one.
    pub cache: WriterCache,
    /// The last try met a key that it had taken for new.
    pub key_existed: bool,
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
    pub queue: &'a mut VecDeque<Queued>,
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
            queue: VecDeque::new(),
            writer: Writer::Idle,
            alone: VecDeque::new(),
            session: None,
            cache: WriterCache::default(),
            key_existed: false,
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
        !self.queue.is_empty() || !self.alone.is_empty() || !matches!(self.writer, Writer::Idle)
    }

    /// The records that the writer has in hand.
    fn in_hand(&self) -> impl Iterator<Item = &WriteRequest> {
        let batch: &[WriteRequest] = match &self.writer {
            Writer::Trying(batch) | Writer::Waiting(batch) | Writer::Asking(batch, ..) => batch,
            Writer::Begun(batch) => &batch.records,
            Writer::Idle | Writer::TryingStep(_) | Writer::AskingOfStep(..) => &[],
        };
        batch.iter().chain(&self.alone)
    }

    /// A mark for the next transaction, on a new connection if there is none.
    pub fn next_mark(&mut self, store: &mut Store) -> Mark {
        let session = self.session.get_or_insert_with(|| Session { writer: store.new_writer(), marks: 0 });
        session.marks += 1;
        Mark { writer: session.writer, number: session.marks }
    }

    pub fn forget(&mut self) {
        self.cache.forget();
        self.disturbed = false;
    }

    /// Gives the connection up: what it was in the middle of is rolled back.
    pub fn disconnect(&mut self) {
        self.session = None;
        self.forget();
    }

    /// Whether nothing of this actor is on its way anywhere.
    pub fn at_rest(&self, actor: (DrawId, u64)) -> bool {
        let queued = self.queue.iter().any(|queued| match queued {
            Queued::Record(submit) => submit.actor == Some(actor),
            Queued::Step(job) => job.actor == actor,
        });
        let asking = match &self.writer {
            Writer::TryingStep(job) | Writer::AskingOfStep(job, ..) => job.actor == actor,
            _ => false,
        };
        let in_hand = self.in_hand().any(|submit| submit.actor == Some(actor));
        let mail = self.inbox.iter().any(|mail| mail.to == actor);
        let pools = self.pools.iter().any(|job| job.actor == actor);
        !(queued || asking || in_hand || mail || pools)
    }
}
