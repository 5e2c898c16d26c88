//! A step of a draw: a transaction of its own. It is retried for a limited time while the database is
//! unavailable. This file does not know what the step writes.

use std::mem;

use super::connection::{ConnectionAction, ConnectionState, Mark};
use crate::domain::draw::StepError;
use crate::domain::writer_cache::Invalidation;

/// The next action. It stays the same until the driver has done it and reported the result.
#[derive(Debug)]
pub enum StepAction<'a, C> {
    Connection(ConnectionAction),
    /// Run the transaction with this mark, then call [`StepRun::ended`].
    Write(&'a C, Mark),
    /// Close this row of a lost connection, then call [`StepRun::row_closed`].
    CloseRow(&'a C, i64),
    /// [`StepRun::into_result`] has the result.
    Done,
}

/// How the transaction of a step ended. `O` is what the step returns.
#[derive(PartialEq, Debug)]
pub enum StepEnd<O> {
    Committed(O),
    /// Rolled back: the draw has a newer epoch.
    StaleEpoch,
    /// Rolled back: the step found an inconsistency, or the database refused a statement.
    Failed,
    /// Rolled back: the connection or the server was lost before COMMIT.
    Lost,
    /// The connection was lost after COMMIT was sent.
    Unknown(O),
}

#[derive(Debug)]
enum StepRunPhase<O> {
    Start,
    /// A transaction with this mark has begun.
    Write(Mark),
    /// The connection was lost at COMMIT. The output is returned if the transaction was committed.
    Unknown(Mark, O),
    Done(Result<O, StepError>),
}

/// One step, from the queue to its result. `T` is the type of time.
#[derive(Debug)]
pub struct StepRun<O, T> {
    invalidates: Invalidation,
    give_up_after: T,
    phase: StepRunPhase<O>,
}

impl<O, T: Copy + Ord> StepRun<O, T> {
    /// `invalidates` is the part of the cache that the step may change. After `give_up_after` the step is not
    /// begun any more.
    pub fn new(invalidates: Invalidation, give_up_after: T) -> StepRun<O, T> {
        StepRun { invalidates, give_up_after, phase: StepRunPhase::Start }
    }

    /// Whether the database must be asked if the transaction was committed.
    pub fn is_unknown(&self) -> bool {
        matches!(self.phase, StepRunPhase::Unknown(..))
    }

    /// The next action.
    pub fn next<'a, C>(&mut self, state: &'a mut ConnectionState<C>, now: T) -> StepAction<'a, C> {
        self.begin(state, now);
        match (&self.phase, state.ready()) {
            (StepRunPhase::Done(_), _) => StepAction::Done,
            (_, Err(action)) => StepAction::Connection(action),
            (StepRunPhase::Write(mark), Ok(connection)) => StepAction::Write(connection, *mark),
            (StepRunPhase::Unknown(mark, _), Ok(connection)) => StepAction::CloseRow(connection, mark.writer),
            // Not reached: with a ready connection, `begin` has begun a transaction.
            (StepRunPhase::Start, Ok(_)) => StepAction::Connection(ConnectionAction::Rest),
        }
    }

    /// Begins a transaction, if none has begun and there is time left.
    fn begin<C>(&mut self, state: &mut ConnectionState<C>, now: T) {
        if matches!(self.phase, StepRunPhase::Write(_)) && state.connection().is_none() {
            // The connection was closed before anything was sent.
            self.phase = StepRunPhase::Start;
        }
        if !matches!(self.phase, StepRunPhase::Start) {
            return;
        }
        if now > self.give_up_after {
            self.phase = StepRunPhase::Done(Err(StepError::Unavailable));
        } else if let Some(mark) = state.next_mark() {
            // The step changes rows without the cache, so the next batches must read them again.
            state.cache.invalidate(&self.invalidates);
            self.phase = StepRunPhase::Write(mark);
        }
    }

    /// The transaction of [`StepAction::Write`] ended.
    pub fn ended<C>(&mut self, state: &mut ConnectionState<C>, end: StepEnd<O>) {
        let StepRunPhase::Write(mark) = self.phase else {
            debug_assert!(false, "no transaction was sent");
            return;
        };
        self.phase = match end {
            StepEnd::Committed(output) => StepRunPhase::Done(Ok(output)),
            StepEnd::StaleEpoch => {
                state.lost();
                StepRunPhase::Done(Err(StepError::StaleEpoch))
            }
            StepEnd::Failed => {
                state.lost();
                StepRunPhase::Done(Err(StepError::Failed))
            }
            StepEnd::Lost => {
                state.lost_and_rest();
                StepRunPhase::Start
            }
            StepEnd::Unknown(output) => {
                // Do not guess: ask the database over another connection, however long it takes.
                state.lost();
                StepRunPhase::Unknown(mark, output)
            }
        };
    }

    /// The row of the lost connection is closed, and `last` is its last mark, or [`Mark::NONE`] if the row is missing. `None`: the database did not answer
    /// and must be asked again.
    pub fn row_closed<C>(&mut self, state: &mut ConnectionState<C>, last: Option<i64>) {
        match (mem::replace(&mut self.phase, StepRunPhase::Start), last) {
            (StepRunPhase::Unknown(mark, output), Some(last)) => {
                if mark.is_committed(last) {
                    self.phase = StepRunPhase::Done(Ok(output));
                }
            }
            (phase, _) => {
                debug_assert!(matches!(phase, StepRunPhase::Unknown(..)), "no commit was unknown");
                self.phase = phase;
                state.lost_and_rest();
            }
        }
    }

    /// The result, once the step is done.
    pub fn into_result(self) -> Option<Result<O, StepError>> {
        match self.phase {
            StepRunPhase::Done(result) => Some(result),
            _ => None,
        }
    }
}
