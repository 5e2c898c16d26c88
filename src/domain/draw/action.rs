//! What a draw's machine wants done: the outputs of [`DrawMachine`](super::DrawMachine). Whoever drives the
//! machine does them in their order, and brings the results back.

use jiff::Timestamp;

use super::{DrawAnswer, StepError, Times, WinningPick};
use crate::domain::audit::AuditEntry;
use crate::domain::game::{Game, Pick};
use crate::domain::id::PoolTicketId;
use crate::domain::record::{Fence, Key, Outcome, Record};

/// Something to do. `W` is the one who waits for an answer.
#[allow(clippy::large_enum_variant, reason = "nearly all are records and answers: a box would cost an allocation")]
#[derive(PartialEq, Debug)]
pub enum DrawAction<W> {
    /// Hand this record to the writer. Its result comes back by [`written`](super::DrawMachine::written).
    Submit { record: Record, waiter: Option<W> },
    /// Write this step. Its result comes back by [`step_written`](super::DrawMachine::step_written).
    Write(StepWrite),
    /// Make pool tickets. The result comes back by [`pool_written`](super::DrawMachine::pool_written).
    MakePool(PoolOrder, W),
    /// Tell the one who waits.
    Answer(W, DrawAnswer),
    /// Call [`wake`](super::DrawMachine::wake) at this time and at no other that was set before; none: at no time.
    SetTimer(Option<Timestamp>),
    /// Show everybody the draw as it is now.
    Publish,
    /// The draw is completed or cancelled.
    Over,
    /// Report a bug: this can not have happened. The machine gives up next.
    Fault(DrawFault),
    /// The memory may not be the truth: forget it, and load the draw anew. The last action of a machine.
    GiveUp(GiveUpReason),
}

/// A step of a draw's life to write.
#[derive(Clone, PartialEq, Debug)]
pub struct StepWrite {
    pub fence: Fence,
    pub kind: StepKind,
    pub at: Timestamp,
    /// Written with the step, if an admin asked for it.
    pub audit: Option<AuditEntry>,
}

/// What a step writes.
#[derive(Clone, PartialEq, Debug)]
pub enum StepKind {
    Open,
    Reschedule(Times),
    /// The list of tickets is closed for good.
    Seal,
    BeginCancel {
        reason: String,
    },
    /// Winning numbers are drawn. Whoever writes the step draws them: from a source that nobody can foresee.
    Conduct,
    /// Every ticket is counted, and every winner paid: many transactions.
    Settle {
        winning: WinningPick,
        sold: i64,
    },
    /// Every payer has the money back: many transactions.
    Refund {
        sold: i64,
    },
}

/// What a step that was written says.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum StepOutcome {
    Opened,
    Rescheduled,
    /// The draw has a new epoch: no record of the sale can be written any more.
    Sealed {
        epoch: i64,
    },
    /// Likewise.
    Cancelling {
        epoch: i64,
    },
    Conducted(WinningPick),
    Settled,
    Refunded,
}

/// Pool tickets to make, beside the sale.
#[derive(Clone, PartialEq, Debug)]
pub struct PoolOrder {
    pub fence: Fence,
    pub game: Game,
    pub count: usize,
    pub key: Option<Key>,
    pub audit: Option<AuditEntry>,
}

/// Pool tickets that were written.
#[derive(Clone, PartialEq, Debug)]
pub struct NewPool {
    pub tickets: Vec<(PoolTicketId, Pick)>,
    /// How many were for sale then, if the answer was stored with a key.
    pub available: Option<i64>,
}

/// Why a machine gives up.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum GiveUpReason {
    #[error("a newer epoch has taken the draw over")]
    StaleEpoch,
    #[error("a reservation is not what it was held for")]
    ReservationLost,
    #[error("an expiry was refused")]
    ExpiryRefused,
    /// Put back, it would be sold to the next one too: the database knows who holds it.
    #[error("a pool ticket is not free, or not of this draw")]
    PoolTicketTaken,
    #[error("a step was not written: {0}")]
    StepFailed(StepError),
    #[error("it is not known which pool tickets were written")]
    PoolUnknown,
    #[error("something happened that is impossible")]
    Fault,
}

/// Something that only a bug can bring about.
#[derive(Clone, PartialEq, Debug, thiserror::Error)]
pub enum DrawFault {
    #[error("the outcome is of another kind than its record: {0:?}")]
    WrongOutcome(Box<(Record, Outcome)>),
    #[error("a result of a record that was not on its way: {0:?}")]
    RecordNotAwaited(Box<Record>),
    #[error("a result of a step that was not being written: {0:?}")]
    StepNotAwaited(Result<StepOutcome, StepError>),
}
