//! The actions of a draw's state machine: the outputs of [`DrawMachine`](super::DrawMachine). The driver of the
//! machine carries them out in their order and returns the results to the machine. This file decides nothing.

use jiff::Timestamp;

use super::{DrawAnswer, StepError, Times, WinningPick};
use crate::domain::audit::AuditEntry;
use crate::domain::beacon::{AnnouncedRound, VerifiedRound};
use crate::domain::game::{Game, Pick};
use crate::domain::id::{DrawId, PoolTicketId};
use crate::domain::record::{Fence, Key, Outcome, Record};
use crate::domain::ticket_log::TicketLogFault;

/// An action. `W` is the waiter: the type through which a client gets its answer.
#[allow(clippy::large_enum_variant, reason = "nearly all are records and answers: a box would cost an allocation")]
#[derive(PartialEq, Debug)]
pub enum DrawAction<W> {
    /// Submit this record to the writer. The result returns through [`written`](super::DrawMachine::written).
    Submit { record: Record, waiter: Option<W> },
    /// Write this step. The result returns through [`step_written`](super::DrawMachine::step_written).
    Write(StepWrite),
    /// Make pool tickets. The result returns through [`pool_written`](super::DrawMachine::pool_written).
    MakePool(PoolOrder, W),
    /// Fetch the signature of this round; if it is not there, pause. The result returns through
    /// [`round_fetched`](super::DrawMachine::round_fetched).
    FetchRound(AnnouncedRound),
    /// Wait until no earlier draw of the lottery is left, then call [`turn_came`](super::DrawMachine::turn_came).
    AwaitTurn,
    /// Answer the waiter.
    Answer(W, DrawAnswer),
    /// Call [`wake`](super::DrawMachine::wake) at this time. It replaces the time that was set before. `None`: do
    /// not call it.
    SetTimer(Option<Timestamp>),
    /// Publish the draw's snapshot.
    Publish,
    /// The draw is completed or cancelled.
    Over,
    /// Report a bug: an input that is impossible without one. `GiveUp` follows.
    Fault(DrawFault),
    /// The state in memory may differ from the database: drop the machine, and load the draw again. This is the
    /// last action of a machine.
    GiveUp(GiveUpReason),
}

/// A step of a draw to write.
#[derive(Clone, PartialEq, Debug)]
pub struct StepWrite {
    pub fence: Fence,
    pub kind: StepKind,
    pub at: Timestamp,
    /// The audit entry to write with the step, if an admin requested it.
    pub audit: Option<AuditEntry>,
}

/// What a step writes.
#[derive(Clone, PartialEq, Debug)]
pub enum StepKind {
    /// Announce the draw, with a beacon if there is a round.
    Open(Option<AnnouncedRound>),
    /// New times, and the round of them if the draw is announced with a beacon.
    Reschedule(Times, Option<u64>),
    /// Close the ticket list for good.
    Seal,
    BeginCancel {
        reason: String,
    },
    /// Draw the winning numbers. They follow from what was announced and this round, if the draw has a beacon; the
    /// outcome is [`StepOutcome::Waits`] then if an earlier draw of the lottery has not ended.
    Conduct(Option<VerifiedRound>),
    /// Count every ticket and pay every winner: many transactions.
    Settle {
        winning: WinningPick,
        sold: i64,
    },
    /// Pay every payer the money back: many transactions.
    Refund {
        sold: i64,
    },
}

/// The outcome of a step that was written.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum StepOutcome {
    Opened,
    Rescheduled(Times),
    /// The draw has a new epoch: no record of the sale can be written any more.
    Sealed {
        epoch: i64,
    },
    /// The draw has a new epoch here too.
    Cancelling {
        epoch: i64,
    },
    Conducted(WinningPick),
    /// Nothing was written: this draw takes the jackpot first.
    Waits(DrawId),
    Settled,
    Refunded,
}

/// Pool tickets to make while the sale goes on.
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
    /// The number of pool tickets for sale at that time, if the answer was stored under a key.
    pub available: Option<i64>,
}

/// Why a machine gives up.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum GiveUpReason {
    #[error("a newer epoch has taken the draw over")]
    StaleEpoch,
    #[error(transparent)]
    TicketLog(TicketLogFault),
    #[error("a reservation is not what it was held for")]
    ReservationLost,
    #[error("an expiry was refused")]
    ExpiryRefused,
    /// The ticket does not return to the pool, because another player could buy it again. The database knows who
    /// has it.
    #[error("a pool ticket is not free, or not of this draw")]
    PoolTicketTaken,
    #[error("a step was not written: {0}")]
    StepFailed(StepError),
    #[error("it is not known which pool tickets were written")]
    PoolUnknown,
    #[error("something happened that is impossible")]
    Fault,
}

/// An input that only a bug can cause.
#[derive(Clone, PartialEq, Debug, thiserror::Error)]
pub enum DrawFault {
    #[error("the outcome is of another kind than its record: {0:?}")]
    WrongOutcome(Box<(Record, Outcome)>),
    #[error("a result of a record that was not on its way: {0:?}")]
    RecordNotAwaited(Box<Record>),
    #[error("a result of a step that was not being written: {0:?}")]
    StepNotAwaited(Result<StepOutcome, StepError>),
}
