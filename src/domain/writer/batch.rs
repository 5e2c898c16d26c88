//! A batch of records: one transaction, which is tried again until every record has its answer. This file runs no
//! statement.
//!
//! `prefetch` decides what must be read, `execute` applies the records to what was read, and [`BatchRun::ended`]
//! decides what to do at the end of the transaction.

use std::{mem, vec};

use super::connection::{ConnectionAction, ConnectionState, Mark};
use super::queue::{Answers, BatchRecord};
use crate::domain::batch_state::BatchState;
use crate::domain::money::Currency;
use crate::domain::prefetch::Prefetch;
use crate::domain::record::{Line, Order, Outcome, Record, Refusal};
use crate::domain::writer_cache::{BatchPlan, ExpectedState, PrefetchResult};

/// The next action. It stays the same until the driver has done it and reported the result.
#[derive(Debug)]
pub enum BatchAction<'a, C, R> {
    Connection(ConnectionAction),
    /// Begin a transaction and read this, then call [`BatchRun::prefetched`].
    Prefetch(&'a C, &'a Prefetch),
    /// Write this, which follows from these records, and commit; then call [`BatchRun::ended`].
    Write(&'a C, &'a [R], &'a BatchWrite),
    /// Close this row of a lost connection, then call [`BatchRun::row_closed`].
    CloseRow(&'a C, i64),
    /// Deliver [`BatchRun::take_answers`].
    Answer,
    /// Every record has its answer.
    Done,
}

/// What a transaction writes, once its records were applied to the state of the batch: the rows of the accepted
/// records, and the state that it expects in the database.
#[derive(Clone, Debug)]
pub struct BatchWrite {
    pub mark: Mark,
    /// Whether the transaction has begun with a prefetch.
    pub begun: bool,
    pub state: BatchState,
    pub expected: ExpectedState,
    /// The results of the records, in their order. They hold once the transaction is committed.
    pub results: Vec<Result<Outcome, Refusal>>,
    /// Whether every key of the batch was looked up.
    pub check_keys: bool,
}

impl BatchWrite {
    /// The tickets of the accepted orders, in their order: each with its order, and its number if it is paid.
    /// `records` are all records of the batch.
    pub fn new_tickets<'a>(
        &'a self,
        records: impl Iterator<Item = &'a Record>,
    ) -> impl Iterator<Item = (&'a Order, &'a Line, Option<i64>)> {
        let ordered = records.zip(&self.results).filter_map(|(record, result)| match (record, result) {
            (Record::Order(order), Ok(Outcome::Ordered { first_number, .. })) => Some((order, *first_number)),
            _ => None,
        });
        ordered.flat_map(|(order, first)| order.numbered(first).map(move |(line, number)| (order, line, number)))
    }
}

/// Why a prefetch failed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum PrefetchFailure {
    /// The database refused a statement.
    Refused,
    /// The connection or the server was lost.
    Lost,
}

/// How the transaction of a batch ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum TransactionEnd {
    Committed,
    /// Rolled back: the database does not hold what the cache expected, or the connection's row is closed.
    Outdated,
    /// Rolled back: a key that is inserted as new is already there.
    KeyExists,
    /// Rolled back: the database refused a statement.
    Refused,
    /// Rolled back: the connection or the server was lost before COMMIT.
    Lost,
    /// The connection was lost after COMMIT was sent.
    Unknown,
}

/// What the machine decides at the end of a transaction, for the log.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Decision {
    /// The records are written: answer them with their results.
    Answer,
    /// Try again with an empty cache.
    ReadAnew,
    /// Try again, and look every key up first.
    CheckKeys,
    /// Ask the database whether the transaction was committed.
    AskDatabase,
    /// Try again over a new connection, after a pause.
    TryAgain,
    /// Try each record of the batch alone, so that one bad record does not fail the others.
    Split,
    /// The database refuses this single record: answer it with `Rejected`.
    Reject,
}

#[allow(
    clippy::large_enum_variant,
    reason = "there is one for each batch: a box would cost each batch an allocation"
)]
#[derive(Debug)]
enum BatchPhase {
    /// No transaction has begun.
    Start,
    Prefetch(BatchPlan),
    /// The records were applied, and the transaction can be sent.
    Execute(Box<BatchWrite>),
    /// The connection was lost at COMMIT. The results are valid if the transaction was committed.
    Unknown(Box<BatchWrite>),
}

/// One batch, from the queue to its answers.
#[derive(Debug)]
pub struct BatchRun<R> {
    currency: Currency,
    /// The records of the next transaction.
    records: Vec<R>,
    /// The other records of a refused batch; each is tried alone.
    alone: vec::IntoIter<R>,
    /// The database refused the batch, and its records are tried one by one.
    is_split: bool,
    phase: BatchPhase,
    answers: Answers<R>,
}

impl<R: BatchRecord> BatchRun<R> {
    pub fn new(records: Vec<R>, currency: Currency) -> BatchRun<R> {
        let (alone, answers) = (Vec::new().into_iter(), Vec::new());
        BatchRun { currency, records, alone, is_split: false, phase: BatchPhase::Start, answers }
    }

    /// The records of the current transaction.
    pub fn records(&self) -> &[R] {
        &self.records
    }

    /// The records that have no answer yet.
    pub fn unanswered(&self) -> impl Iterator<Item = &R> {
        self.records.iter().chain(self.alone.as_slice())
    }

    /// The records whose answers were not taken yet.
    pub fn undelivered(&self) -> impl Iterator<Item = &R> {
        self.unanswered().chain(self.answers.iter().map(|(record, _)| record))
    }

    /// Whether the database must be asked if a transaction was committed.
    pub fn is_unknown(&self) -> bool {
        matches!(self.phase, BatchPhase::Unknown(_))
    }

    /// What the current transaction writes.
    pub fn executed(&self) -> Option<&BatchWrite> {
        match &self.phase {
            BatchPhase::Execute(write) => Some(write),
            _ => None,
        }
    }

    /// The record that the database has just refused alone.
    pub fn rejected(&self) -> Option<&Record> {
        let (record, result) = self.answers.last()?;
        (*result == Err(Refusal::Rejected)).then(|| record.record())
    }

    /// Takes the records that have an answer now.
    pub fn take_answers(&mut self) -> Answers<R> {
        mem::take(&mut self.answers)
    }

    /// The next action.
    pub fn next<'a, C>(&'a mut self, state: &'a mut ConnectionState<C>, now: R::Time) -> BatchAction<'a, C, R> {
        self.begin(state, now);
        if self.must_answer() {
            return BatchAction::Answer;
        }
        match (&self.phase, state.ready()) {
            (BatchPhase::Start, _) if self.records.is_empty() => BatchAction::Done,
            (_, Err(action)) => BatchAction::Connection(action),
            (BatchPhase::Prefetch(plan), Ok(connection)) => BatchAction::Prefetch(connection, &plan.missing),
            (BatchPhase::Execute(write), Ok(connection)) => BatchAction::Write(connection, &self.records, write),
            (BatchPhase::Unknown(write), Ok(connection)) => BatchAction::CloseRow(connection, write.mark.writer),
            // Not reached: with a ready connection, `begin` has begun a transaction.
            (BatchPhase::Start, Ok(_)) => BatchAction::Connection(ConnectionAction::Rest),
        }
    }

    /// The answers of a split batch are kept until its last record has one: a draw that gives up because of a bad
    /// record is loaded again, and its new epoch must not refuse the neighbours of that record.
    fn must_answer(&self) -> bool {
        let wait = self.is_split && self.unanswered().next().is_some();
        !wait && !self.answers.is_empty()
    }

    /// Begins a transaction, if none has begun and one can begin.
    fn begin<C>(&mut self, state: &mut ConnectionState<C>, now: R::Time) {
        let is_sendable = matches!(self.phase, BatchPhase::Prefetch(_) | BatchPhase::Execute(_));
        if is_sendable && state.connection().is_none() {
            // The connection was closed before anything was sent.
            self.phase = BatchPhase::Start;
        }
        if !matches!(self.phase, BatchPhase::Start) || self.must_answer() {
            return;
        }
        self.drop_late(now);
        while self.records.is_empty()
            && let Some(record) = self.alone.next()
        {
            self.records.push(record);
            self.drop_late(now);
        }
        if !self.must_answer() && !self.records.is_empty() && state.ready().is_ok() {
            self.prefetch(state);
        }
    }

    /// Answers the records whose deadline has passed: their clients wait no longer, and nothing of them was
    /// written. Only called before a transaction begins.
    fn drop_late(&mut self, now: R::Time) {
        let late = self.records.extract_if(.., |record| record.is_late(now));
        self.answers.extend(late.map(|record| (record, Err(Refusal::Overloaded))));
    }

    /// Decides what must be read. If nothing must be read, the records are applied at once.
    fn prefetch<C>(&mut self, state: &mut ConnectionState<C>) {
        let plan = state.cache.plan(self.records.iter().map(BatchRecord::record));
        if plan.missing.is_empty() {
            self.execute(state, &plan, PrefetchResult::default());
        } else {
            self.phase = BatchPhase::Prefetch(plan);
        }
    }

    /// Applies the records in their order.
    fn execute<C>(&mut self, state: &mut ConnectionState<C>, plan: &BatchPlan, found: PrefetchResult) {
        let Some(mark) = state.next_mark() else { return };
        let mut batch = state.cache.open(plan, found, self.currency);
        let results = self.records.iter().map(|it| batch.apply(it.record())).collect();
        let expected = state.cache.expected(&mut batch);
        let (begun, check_keys) = (!plan.missing.is_empty(), plan.check_keys);
        let write = BatchWrite { mark, begun, state: batch, expected, results, check_keys };
        self.phase = BatchPhase::Execute(Box::new(write));
    }

    /// The result of [`BatchAction::Prefetch`]. Returns the decision if the prefetch failed.
    pub fn prefetched<C>(
        &mut self,
        state: &mut ConnectionState<C>,
        found: Result<PrefetchResult, PrefetchFailure>,
    ) -> Option<Decision> {
        let BatchPhase::Prefetch(plan) = mem::replace(&mut self.phase, BatchPhase::Start) else {
            debug_assert!(false, "no prefetch was requested");
            return None;
        };
        match found {
            Ok(found) => {
                self.execute(state, &plan, found);
                None
            }
            Err(PrefetchFailure::Refused) => Some(self.refused(state)),
            Err(PrefetchFailure::Lost) => Some(self.lost(state)),
        }
    }

    /// The transaction of [`BatchAction::Write`] ended.
    pub fn ended<C>(&mut self, state: &mut ConnectionState<C>, end: TransactionEnd) -> Decision {
        let write = match mem::replace(&mut self.phase, BatchPhase::Start) {
            BatchPhase::Execute(write) => write,
            other => {
                debug_assert!(false, "no transaction was sent");
                self.phase = other;
                return Decision::TryAgain;
            }
        };
        match end {
            TransactionEnd::Committed => {
                let BatchWrite { expected, results, .. } = *write;
                state.cache.committed(expected);
                self.answer(results);
                Decision::Answer
            }
            TransactionEnd::Unknown => {
                // Do not guess: ask the database over another connection.
                state.lost();
                self.phase = BatchPhase::Unknown(write);
                Decision::AskDatabase
            }
            TransactionEnd::Outdated => {
                state.lost_and_rest();
                Decision::ReadAnew
            }
            TransactionEnd::KeyExists if !write.check_keys => {
                state.cache.forget();
                state.cache.key_existed();
                Decision::CheckKeys
            }
            TransactionEnd::KeyExists | TransactionEnd::Refused => self.refused(state),
            TransactionEnd::Lost => self.lost(state),
        }
    }

    /// The row of the lost connection is closed, and `last` is its last mark, or [`Mark::NONE`] if the row is missing. `None`: the database did not answer
    /// and must be asked again.
    pub fn row_closed<C>(&mut self, state: &mut ConnectionState<C>, last: Option<i64>) {
        match (mem::replace(&mut self.phase, BatchPhase::Start), last) {
            (BatchPhase::Unknown(write), Some(last)) => {
                if write.mark.is_committed(last) {
                    state.cache.note_committed(&write.expected);
                    self.answer(write.results);
                }
            }
            (phase, _) => {
                debug_assert!(matches!(phase, BatchPhase::Unknown(_)), "no commit was unknown");
                self.phase = phase;
                state.lost_and_rest();
            }
        }
    }

    fn lost<C>(&mut self, state: &mut ConnectionState<C>) -> Decision {
        state.lost_and_rest();
        Decision::TryAgain
    }

    fn refused<C>(&mut self, state: &mut ConnectionState<C>) -> Decision {
        // The server may still have the transaction open, with its locks.
        state.lost();
        if self.records.len() > 1 {
            self.alone = mem::take(&mut self.records).into_iter();
            self.is_split = true;
            return Decision::Split;
        }
        self.answer(vec![Err(Refusal::Rejected)]);
        Decision::Reject
    }

    /// Answers all records of the transaction.
    fn answer(&mut self, results: Vec<Result<Outcome, Refusal>>) {
        self.answers.extend(mem::take(&mut self.records).into_iter().zip(results));
    }
}
