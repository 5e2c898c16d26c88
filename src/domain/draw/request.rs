//! What a draw is asked, and what it answers. Knows neither who asks nor how an answer reaches him: that is
//! the waiter, a type of the caller's.

use super::{OrderRefusal, OrderRequest, Step, Times};
use crate::domain::id::{PaymentId, TicketId, UserId};
use crate::domain::lottery::DrawStatus;
use crate::domain::record::{EndCharge, Key, Outcome, Record, Refusal};

/// A request to a draw. Each gets exactly one [`DrawAnswer`].
#[derive(Clone, PartialEq, Debug)]
pub enum DrawRequest {
    /// Tickets: reserved, or paid from the wallet at once.
    Order(OrderRequest),
    /// A reservation is paid from its owner's wallet.
    Pay { user: UserId, payment: PaymentId, key: Option<Key> },
    /// A reservation is held while a card is charged for it.
    BeginCharge { user: UserId, payment: PaymentId, key: Option<Key> },
    /// The provider has told what became of a charge.
    EndCharge(EndCharge),
    /// A reserved ticket is given back.
    GiveBack { user: UserId, payment: PaymentId, ticket: TicketId },
    /// An admin asks for a step of the draw's life.
    Step { step: Step, reason: String, by: UserId },
    /// An admin gives the draw other times.
    Reschedule { times: Times, by: UserId },
    /// Tickets are made in advance; `by` nobody, if a schedule asks.
    AddToPool { count: usize, key: Option<Key>, by: Option<UserId> },
}

/// The answer to a request.
#[allow(clippy::large_enum_variant, reason = "nearly all are of the sale: a box would cost each an allocation")]
#[derive(Clone, PartialEq, Debug)]
pub enum DrawAnswer {
    /// To an order, a payment, a charge or a giving back: the record that was decided, and what was written.
    Sale(Result<(Record, Outcome), SaleError>),
    /// To a step, or to other times.
    Step(Result<(), StepRefusal>),
    /// To new pool tickets.
    Pool(Result<PoolCreated, PoolError>),
}

impl DrawAnswer {
    /// The answer of a request whose record was written or refused.
    pub fn of_record(record: Record, result: Result<Outcome, Refusal>) -> DrawAnswer {
        DrawAnswer::Sale(result.map(|outcome| (record, outcome)).map_err(SaleError::Refused))
    }
}

/// Why an order, a payment or a giving back did not succeed.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum SaleError {
    #[error("there is no such draw")]
    NoSuchDraw,
    #[error(transparent)]
    Order(#[from] OrderRefusal),
    #[error("the payment is not payable")]
    NotPayable,
    #[error("the ticket is not reserved")]
    NotReserved,
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// It may yet come true, or not.
    #[error("the outcome is not known yet")]
    OutcomeUnknown,
}

/// Why a step of a draw's life was not taken.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum StepRefusal {
    #[error("there is no such draw")]
    NoSuchDraw,
    #[error("the draw is {}", .0.as_str())]
    InvalidTransition(DrawStatus),
    #[error("the database is unavailable")]
    Unavailable,
    #[error("it did not work this time")]
    Failed,
}

impl From<StepError> for StepRefusal {
    fn from(error: StepError) -> StepRefusal {
        match error {
            // A draw that was taken over is being loaded anew: in a moment it works again.
            StepError::Unavailable | StepError::StaleEpoch => StepRefusal::Unavailable,
            StepError::Failed => StepRefusal::Failed,
        }
    }
}

/// Why the transaction of a step was not written. It had no effect.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum StepError {
    #[error("the draw has been taken over by a newer epoch")]
    StaleEpoch,
    /// For longer than a step waits for it.
    #[error("the database is unavailable")]
    Unavailable,
    /// Logged where it happened.
    #[error("the database did not take the step")]
    Failed,
}

/// New pool tickets: how many were made, and how many are for sale with them.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct PoolCreated {
    pub created: usize,
    pub tickets_available: i64,
}

/// Why no pool tickets were made.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum PoolError {
    #[error(transparent)]
    Step(#[from] StepRefusal),
    #[error("only {left} combinations are left")]
    TooFewLeft { left: u64 },
    #[error("at most {limit} at a time")]
    TooMany { limit: usize },
    #[error("the key has an answer already")]
    KeyTaken,
    /// They may have been made, or not.
    #[error("the outcome is not known yet")]
    OutcomeUnknown,
}

/// Why a draw has no actor to ask.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum DrawAbsent {
    NoSuchDraw,
    /// It is completed or cancelled.
    Over(DrawStatus),
    /// It could not be loaded.
    Unreachable,
}

impl DrawRequest {
    /// The answer for a draw that has no actor.
    pub fn answer_absent(&self, absent: DrawAbsent) -> DrawAnswer {
        match self {
            DrawRequest::Order(_) => absent.sale(OrderRefusal::NotOpen.into()),
            DrawRequest::Pay { .. } | DrawRequest::BeginCharge { .. } => absent.sale(SaleError::NotPayable),
            // The end of a charge is written without the draw then.
            DrawRequest::EndCharge(_) | DrawRequest::GiveBack { .. } => absent.sale(SaleError::NotReserved),
            DrawRequest::Step { step, .. } => DrawAnswer::Step(absent.step(*step)),
            DrawRequest::Reschedule { .. } => DrawAnswer::Step(Err(absent.refusal())),
            DrawRequest::AddToPool { .. } => DrawAnswer::Pool(Err(absent.refusal().into())),
        }
    }
}

impl DrawAbsent {
    /// `over` is the error if the draw is over.
    fn sale(self, over: SaleError) -> DrawAnswer {
        DrawAnswer::Sale(Err(match self {
            DrawAbsent::NoSuchDraw => SaleError::NoSuchDraw,
            DrawAbsent::Over(_) => over,
            DrawAbsent::Unreachable => SaleError::Refused(Refusal::Overloaded),
        }))
    }

    fn refusal(self) -> StepRefusal {
        match self {
            DrawAbsent::NoSuchDraw => StepRefusal::NoSuchDraw,
            DrawAbsent::Over(status) => StepRefusal::InvalidTransition(status),
            DrawAbsent::Unreachable => StepRefusal::Unavailable,
        }
    }

    /// A step that was taken before is no error.
    fn step(self, step: Step) -> Result<(), StepRefusal> {
        match (self, step) {
            (DrawAbsent::Over(DrawStatus::Completed), Step::Conduct)
            | (DrawAbsent::Over(DrawStatus::Cancelled), Step::Cancel) => Ok(()),
            _ => Err(self.refusal()),
        }
    }
}

/// What became of a record that a draw decided, with the one who waits for it, if anyone does.
#[derive(Debug)]
pub struct WriteResult<W> {
    pub record: Record,
    pub result: Result<Outcome, Refusal>,
    pub waiter: Option<W>,
}
