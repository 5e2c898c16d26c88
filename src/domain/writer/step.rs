//! A step of a draw's life on its way into the database: a transaction of its own, tried again while the database
//! is away, for a limited time. What it writes is not known here.

use std::mem;

use super::connection::{ConnectionAction, ConnectionState, Mark};
use crate::domain::draw::StepError;
use crate::domain::writer_cache::Invalidation;

/// What is to be done next. The same until it was done and the machine was told.
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
    /// Rolled back: the step does not add up, or the database refused a statement.
    Failed,
    /// Rolled back: the connection or the server was lost before COMMIT.
    Lost,
    /// The connection was lost after COMMIT was sent.
    Unknown(O),
}

#[derive(Debug)]
enum StepRunPhase<O> {
    Start,
    /// A transaction with this mark is under way.
    Write(Mark),
    /// The connection was lost at COMMIT; this is returned if the database says that it was committed.
    Unknown(Mark, O),
    Done(Result<O, StepError>),
}

/// One step, from the queue to its result. `T` is time.
#[derive(Debug)]
pub struct StepRun<O, T> {
    invalidates: Invalidation,
    give_up_after: T,
    phase: StepRunPhase<O>,
}

impl<O, T: Copy + Ord> StepRun<O, T> {
    /// `invalidates` is what the step may change of what the cache holds. After `give_up_after` it is not begun
    /// any more.
    pub fn new(invalidates: Invalidation, give_up_after: T) -> StepRun<O, T> {
        StepRun { invalidates, give_up_after, phase: StepRunPhase::Start }
    }

    /// What is to be done now.
    pub fn next<'a, C>(&mut self, state: &'a mut ConnectionState<C>, now: T) -> StepAction<'a, C> {
        self.begin(state, now);
        match (&self.phase, state.ready()) {
            (StepRunPhase::Done(_), _) => StepAction::Done,
            (_, Err(action)) => StepAction::Connection(action),
            (StepRunPhase::Write(mark), Ok(connection)) => StepAction::Write(connection, *mark),
            (StepRunPhase::Unknown(mark, _), Ok(connection)) => StepAction::CloseRow(connection, mark.writer),
            // Not reached: over a connection that is ready, `begin` has begun.
            (StepRunPhase::Start, Ok(_)) => StepAction::Connection(ConnectionAction::Rest),
        }
    }

    /// Begins a transaction, if none is under way and there is time left.
    fn begin<C>(&mut self, state: &mut ConnectionState<C>, now: T) {
        if matches!(self.phase, StepRunPhase::Write(_)) && state.connection().is_none() {
            // The connection was found closed before anything was sent.
            self.phase = StepRunPhase::Start;
        }
        if !matches!(self.phase, StepRunPhase::Start) {
            return;
        }
        if now > self.give_up_after {
            self.phase = StepRunPhase::Done(Err(StepError::Unavailable));
        } else if let Some(mark) = state.next_mark() {
            // It changes rows beside the batches, which must read them again.
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
                // No guess is made: the database is asked over another connection, however long it takes.
                state.lost();
                StepRunPhase::Unknown(mark, output)
            }
        };
    }

    /// The row of the lost connection is closed and held this mark. `None`: the database could not be asked, and is
    /// asked again.
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

    /// The result, once it is there.
    pub fn into_result(self) -> Option<Result<O, StepError>> {
        match self.phase {
            StepRunPhase::Done(result) => Some(result),
            _ => None,
        }
    }
}
