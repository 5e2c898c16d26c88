//! The queue of the persistence actor: records and steps in the order in which they arrived, up to its limit. It
//! runs no transaction.

use std::collections::VecDeque;

use crate::domain::record::{Outcome, Record, Refusal};

/// Records with their results.
pub type Answers<R> = Vec<(R, Result<Outcome, Refusal>)>;

/// A record in the queue, together with the receiver of its result.
pub trait BatchRecord {
    type Time: Copy + Ord;

    fn record(&self) -> &Record;

    /// After this time no transaction may begin with the record. `None`: the record must be written, however
    /// late.
    fn deadline(&self) -> Option<Self::Time>;

    fn is_late(&self, now: Self::Time) -> bool {
        self.deadline().is_some_and(|deadline| deadline <= now)
    }
}

/// An entry of the queue.
#[allow(clippy::large_enum_variant, reason = "nearly all are records: a box would cost each an allocation")]
#[derive(Debug)]
pub enum QueuedWork<R, S> {
    Record(R),
    Step(S),
}

/// The next work, which is one transaction.
#[derive(PartialEq, Debug)]
pub enum Work<R, S> {
    Batch(Vec<R>),
    Step(S),
}

/// The queue. `R` are the records, `S` the steps.
#[derive(Debug)]
pub struct WriteQueue<R, S> {
    waiting: VecDeque<QueuedWork<R, S>>,
    limit: usize,
}

impl<R: BatchRecord, S> WriteQueue<R, S> {
    pub fn new(limit: usize) -> WriteQueue<R, S> {
        WriteQueue { waiting: VecDeque::new(), limit }
    }

    pub fn len(&self) -> usize {
        self.waiting.len()
    }

    pub fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    pub fn iter(&self) -> impl Iterator<Item = &QueuedWork<R, S>> {
        self.waiting.iter()
    }

    /// Queues a record, or returns its answer, if the queue is full. A record without a deadline is always accepted:
    /// it must be written, and its source limits how many there are.
    #[must_use = "a refused record needs its answer"]
    pub fn push(&mut self, record: R) -> Answers<R> {
        if self.waiting.len() >= self.limit && record.deadline().is_some() {
            return vec![(record, Err(Refusal::Overloaded))];
        }
        self.waiting.push_back(QueuedWork::Record(record));
        Vec::new()
    }

    /// Queues a step. There is no limit for steps: each draw has one at a time.
    pub fn push_step(&mut self, step: S) {
        self.waiting.push_back(QueuedWork::Step(step));
    }

    /// The next work: a single step, or the records before the next step, at most `batch_limit`.
    pub fn pop(&mut self, batch_limit: usize) -> Option<Work<R, S>> {
        let first = match self.waiting.pop_front()? {
            QueuedWork::Record(record) => record,
            QueuedWork::Step(step) => return Some(Work::Step(step)),
        };
        let mut batch = vec![first];
        while batch.len() < batch_limit {
            match self.waiting.pop_front() {
                Some(QueuedWork::Record(record)) => batch.push(record),
                Some(step @ QueuedWork::Step(_)) => {
                    self.waiting.push_front(step);
                    break;
                }
                None => break,
            }
        }
        Some(Work::Batch(batch))
    }

    /// Removes the records whose deadline has passed and returns their answers. Nothing of them was written.
    #[must_use = "a dropped record needs its answer"]
    pub fn drop_late(&mut self, now: R::Time) -> Answers<R> {
        let is_late = |work: &QueuedWork<R, S>| matches!(work, QueuedWork::Record(it) if it.is_late(now));
        if !self.waiting.iter().any(is_late) {
            return Vec::new();
        }
        let mut late = Vec::new();
        for work in std::mem::take(&mut self.waiting) {
            match work {
                QueuedWork::Record(record) if record.is_late(now) => late.push((record, Err(Refusal::Overloaded))),
                other => self.waiting.push_back(other),
            }
        }
        late
    }
}
