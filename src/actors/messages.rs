//! The messages between the handle [`Draws`](super::draws::Draws), the draw registry, the draw actors and the
//! persistence actor. These modules import this file, not each other. It decides nothing.

use std::any::Any;
use std::fmt;
use std::sync::Arc;
use std::time::Instant;

use actix::{Message, Recipient};
use tokio::sync::{OwnedSemaphorePermit, oneshot};

use crate::domain::draw::WriteResult;
use crate::domain::id::DrawId;
use crate::domain::record::{Outcome, Record, Refusal};

pub use crate::domain::draw::{
    DrawAbsent, DrawAnswer, DrawRequest, PoolCreated, PoolError, SaleError, StepRefusal,
};

/// Keeps the idempotency key of a request locked until the work for it ends, even if the client has disconnected.
pub type WorkGuard = Option<Arc<dyn Any + Send + Sync>>;

/// Carries the answer to the client. Until then it holds a permit of the orders in flight and the lock of the
/// idempotency key.
pub struct Reply {
    to: oneshot::Sender<DrawAnswer>,
    deadline: Option<Instant>,
    permit: Option<OwnedSemaphorePermit>,
    guard: WorkGuard,
}

impl Reply {
    /// A reply, and the receiver of its answer. `deadline` is the time by which the transaction of the record
    /// must have begun.
    pub fn new(
        deadline: Option<Instant>,
        permit: Option<OwnedSemaphorePermit>,
        guard: WorkGuard,
    ) -> (Reply, oneshot::Receiver<DrawAnswer>) {
        let (to, answer) = oneshot::channel();
        (Reply { to, deadline, permit, guard }, answer)
    }

    /// The time by which the transaction of the record must have begun. `None`: the record is written whenever
    /// the database is available.
    pub fn deadline(&self) -> Option<Instant> {
        self.deadline
    }

    /// Answers the client, which may have disconnected.
    pub fn send(self, answer: DrawAnswer) {
        let Reply { to, permit, guard, .. } = self;
        // Unlock first, so that a client that has its answer finds its key unlocked.
        drop((permit, guard));
        let _ = to.send(answer);
    }
}

impl fmt::Debug for Reply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reply").field("deadline", &self.deadline).finish_non_exhaustive()
    }
}

/// A request to a draw. The registry receives it and forwards it to the draw's actor.
#[derive(Message, Debug)]
#[rtype(result = "()")]
pub struct DrawMessage {
    pub draw: DrawId,
    pub request: DrawRequest,
    pub reply: Reply,
}

impl DrawMessage {
    /// Answers in place of a draw that has no actor.
    pub fn answer_absent(self, absent: DrawAbsent) {
        let answer = self.request.answer_absent(absent);
        self.reply.send(answer);
    }
}

/// To the registry: load this draw, unless it has an actor. The registry answers when the draw has an actor, is
/// over, or is left out because its rows are corrupt.
#[derive(Message)]
#[rtype(result = "()")]
pub struct LoadDraw(pub DrawId);

/// To the registry: a draw's actor has ended, or is about to.
#[derive(Message)]
#[rtype(result = "()")]
pub enum DrawActorEnded {
    /// The draw is over.
    Over(DrawId),
    /// The actor panicked, or gave up.
    Lost(DrawId),
}

/// To a draw's actor: stop. The draw is over, and no message follows this one.
#[derive(Message)]
#[rtype(result = "()")]
pub struct StopActor;

/// Asks an actor for a sign that it handles its messages.
#[derive(Message)]
#[rtype(result = "()")]
pub struct Ping;

/// To the registry, which forwards it to the draw's actor: panic, as a bug would cause it.
#[cfg(test)]
#[derive(Message)]
#[rtype(result = "()")]
pub struct PanicActor(pub DrawId);

/// To the persistence actor: write this record.
#[derive(Message)]
#[rtype(result = "()")]
pub struct WriteRequest {
    pub record: Record,
    pub deadline: Option<Instant>,
    pub reply_to: ReplyTo,
}

/// Where the result of a record goes.
pub enum ReplyTo {
    /// To the actor of the draw that decided it. The actor then answers the client, if there is one.
    Draw(Recipient<WriteResults>, Option<Reply>),
    /// To a caller that submitted the record without a draw.
    One(oneshot::Sender<Result<Outcome, Refusal>>),
}

/// To a draw's actor: the results of its records, in the order in which it submitted them.
#[derive(Message, Debug)]
#[rtype(result = "()")]
pub struct WriteResults(pub Vec<WriteResult<Reply>>);
