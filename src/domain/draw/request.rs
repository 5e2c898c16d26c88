//! The requests to a draw, and its answers. This file does not know who sends a request or how the answer reaches
//! the client: that is the waiter, a type of the caller.

use jiff::Timestamp;

use super::{OrderRefusal, OrderRequest, Step, TimesError};
use crate::domain::audit::AuditActor;
use crate::domain::id::{DrawId, PaymentId, TicketId, UserId};
use crate::domain::lottery::DrawStatus;
use crate::domain::record::{EndCharge, Key, Outcome, Record, Refusal};

/// A request to a draw. Each gets exactly one [`DrawAnswer`].
#[derive(Clone, PartialEq, Debug)]
pub enum DrawRequest {
    /// Order tickets: reserve them, or pay them from the wallet at once.
    Order(OrderRequest),
    /// Pay a reservation from its owner's wallet.
    Pay { user: UserId, payment: PaymentId, key: Option<Key> },
    /// Hold a reservation while a card is charged for it.
    BeginCharge { user: UserId, payment: PaymentId, key: Option<Key> },
    /// The provider has reported the result of a charge.
    EndCharge(EndCharge),
    /// Return a reserved ticket.
    GiveBack { user: UserId, payment: PaymentId, ticket: TicketId },
    /// An admin requests a step of the draw.
    Step { step: Step, reason: String, by: AuditActor },
    /// Make pool tickets. `by` is the admin; `None`: a schedule asks.
    AddToPool { count: usize, key: Option<Key>, by: Option<AuditActor> },
}

/// The answer to a request.
#[allow(clippy::large_enum_variant, reason = "nearly all are of the sale: a box would cost each an allocation")]
#[derive(Clone, PartialEq, Debug)]
pub enum DrawAnswer {
    /// The answer to an order, a payment, a charge or a returned ticket: the record that was decided, and its
    /// outcome.
    Sale(Result<(Record, Outcome), SaleError>),
    /// The answer to a step.
    Step(Result<(), StepRefusal>),
    /// The answer to new pool tickets.
    Pool(Result<PoolCreated, PoolError>),
}

impl DrawAnswer {
    /// The answer to a request whose record was written or refused.
    pub fn of_record(record: Record, result: Result<Outcome, Refusal>) -> DrawAnswer {
        DrawAnswer::Sale(result.map(|outcome| (record, outcome)).map_err(SaleError::Refused))
    }
}

/// Why an order, a payment or the return of a ticket did not succeed.
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
    /// The record may still be written, or not.
    #[error("the outcome is not known yet")]
    OutcomeUnknown,
}

/// Why a step of a draw was not taken.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum StepRefusal {
    #[error("there is no such draw")]
    NoSuchDraw,
    #[error("the draw is {}", .0.as_str())]
    InvalidTransition(DrawStatus),
    #[error("the draw's new times are not possible")]
    InvalidTimes(Vec<TimesError>),
    /// The draw cannot be opened with its times.
    #[error("sales_close_at {0}: change the times first")]
    CloseToRound(TimesError),
    #[error("the signature of the beacon's round is not known; the round appears at {0}")]
    BeaconNotReady(Timestamp),
    #[error("draw {0} takes the jackpot first, and has not ended")]
    DrawWaits(DrawId),
    #[error("the sale was to end by now, so the draw takes place as it was announced")]
    DrawDue,
    #[error("too many steps wait for this draw")]
    Overloaded,
    #[error("the database is unavailable")]
    Unavailable,
    #[error("it did not work this time")]
    Failed,
    /// Nothing is paid, and nothing will be until an admin has decided what to do.
    #[error("the sold tickets are not those that were sealed")]
    ListMismatch,
}

impl From<StepError> for StepRefusal {
    fn from(error: StepError) -> StepRefusal {
        match error {
            // A draw that was taken over is being loaded again, so a retry soon succeeds.
            StepError::Unavailable | StepError::StaleEpoch => StepRefusal::Unavailable,
            StepError::Failed => StepRefusal::Failed,
            StepError::ListMismatch { .. } => StepRefusal::ListMismatch,
        }
    }
}

/// Why the transaction of a step was not written. It had no effect.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum StepError {
    #[error("the draw has been taken over by a newer epoch")]
    StaleEpoch,
    /// The database was unavailable for longer than a step is retried.
    #[error("the database is unavailable")]
    Unavailable,
    /// The reason was logged where it occurred.
    #[error("the database did not take the step")]
    Failed,
    /// The reason was logged where it was found. The draw stops: only an admin can have it settled again.
    #[error("the sold tickets are not those that were sealed")]
    ListMismatch {
        /// Whether the prizes were fixed and published before. Then the draw can only be settled.
        prizes_fixed: bool,
    },
}

/// The result of new pool tickets: how many were made, and how many are for sale now.
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
    /// The tickets may have been made, or not.
    #[error("the outcome is not known yet")]
    OutcomeUnknown,
}

/// Why a draw has no actor.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum DrawAbsent {
    NoSuchDraw,
    /// The draw is completed or cancelled.
    Over(DrawStatus),
    /// The draw could not be loaded, or its rows are corrupt.
    Unreachable,
}

impl DrawRequest {
    /// The answer for a draw that has no actor.
    pub fn answer_absent(&self, absent: DrawAbsent) -> DrawAnswer {
        match self {
            DrawRequest::Order(_) => absent.sale(OrderRefusal::NotOpen.into()),
            DrawRequest::Pay { .. } | DrawRequest::BeginCharge { .. } => absent.sale(SaleError::NotPayable),
            // The caller then writes the end of the charge without the draw.
            DrawRequest::EndCharge(_) | DrawRequest::GiveBack { .. } => absent.sale(SaleError::NotReserved),
            DrawRequest::Step { step, .. } => DrawAnswer::Step(absent.step(*step)),
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

    /// A step that was taken before is not an error.
    fn step(self, step: Step) -> Result<(), StepRefusal> {
        match (self, step) {
            (DrawAbsent::Over(DrawStatus::Completed), Step::Conduct)
            | (DrawAbsent::Over(DrawStatus::Cancelled), Step::Cancel) => Ok(()),
            _ => Err(self.refusal()),
        }
    }
}

/// The result of a record that a draw decided, with its waiter, if there is one.
#[derive(Debug)]
pub struct WriteResult<W> {
    pub record: Record,
    pub result: Result<Outcome, Refusal>,
    pub waiter: Option<W>,
}

impl<W> WriteResult<W> {
    /// The answer to its waiter, for a result that cannot reach its draw: the draw's actor is gone, and the next one
    /// loads the draw from the database. `None`: nothing waits.
    pub fn into_answer(self) -> Option<(W, DrawAnswer)> {
        Some((self.waiter?, DrawAnswer::of_record(self.record, self.result)))
    }
}
