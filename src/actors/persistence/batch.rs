//! A batch: one transaction for whatever has queued. Sees to it that what the records need is cache, has
//! them judged in order, writes the accepted ones set-wise, and answers for each.

use std::time::Instant;

use tokio_postgres::Error;
use tokio_postgres::error::SqlState;

use super::actor::BatchResults;
use super::transaction::{Mark, TransactionFailure, Writer};
use super::write::sales;
use crate::actors::messages::WriteRequest;
use crate::db;
use crate::domain::record::{Outcome, Refusal};
use crate::domain::writer_cache::PrefetchResult;

impl Writer {
    /// Writes a batch and answers for every record of it, however long the database is away: those past
    /// their deadline are dropped before each BEGIN, never after.
    pub async fn batch(&mut self, batch: Vec<WriteRequest>) -> BatchResults {
        let mut answers = Vec::with_capacity(batch.len());
        let mut todo = batch;
        loop {
            drop_late(&mut todo, &mut answers);
            if todo.is_empty() {
                return answers;
            }
            if !self.connected().await {
                continue;
            }
            match self.write(&todo).await {
                Ok(results) => return answered(answers, todo, results),
                Err(BatchFailure::Outdated) => {
                    tracing::info!("the writer's memory was not what the database has: it reads anew");
                    self.disconnect();
                    self.rest().await;
                }
                Err(BatchFailure::KeyExists) => self.cache.key_existed(),
                Err(BatchFailure::Failed(TransactionFailure::Unknown(mark), results)) => {
                    tracing::warn!(?mark, "the connection died at COMMIT");
                    if self.committed(mark).await {
                        return answered(answers, todo, results);
                    }
                }
                Err(BatchFailure::Failed(TransactionFailure::Lost(error), _)) => {
                    tracing::warn!(error = db::describe(&error), "a batch is tried again");
                    self.disconnect();
                    self.rest().await;
                }
                Err(BatchFailure::Failed(TransactionFailure::Refused(error), _)) if todo.len() == 1 => {
                    tracing::error!(error = db::describe(&error), record = ?todo[0].record, "the database refused a record");
                    self.disconnect();
                    return answered(answers, todo, vec![Err(Refusal::Rejected)]);
                }
                Err(BatchFailure::Failed(TransactionFailure::Refused(error), _)) => {
                    tracing::warn!(
                        error = db::describe(&error),
                        records = todo.len(),
                        "a batch was refused: each record goes alone"
                    );
                    self.disconnect();
                    for request in todo {
                        answers.extend(Box::pin(self.batch(vec![request])).await);
                    }
                    return answers;
                }
            }
        }
    }

    /// One transaction. In one round trip, when all it needs is cache; else what it needs is read first.
    async fn write(&mut self, batch: &[WriteRequest]) -> Result<Results, BatchFailure> {
        self.session().await.map_err(|error| BatchFailure::Failed(TransactionFailure::Lost(error), Vec::new()))?;
        let Some(session) = &self.session else { return Err(BatchFailure::Outdated) };
        let records = || batch.iter().map(|request| &request.record);
        let plan = self.cache.plan(records());
        let begun = !plan.missing.is_empty();
        let found = match begun {
            true => sales::begin(session, &plan.missing)
                .await
                .map_err(|error| BatchFailure::Failed(TransactionFailure::early(error), Vec::new()))?,
            false => PrefetchResult::default(),
        };
        let mut state = self.cache.open(&plan, found, self.currency);
        let results: Results = records().map(|record| state.apply(record)).collect();
        tracing::debug!(accepted = results.iter().filter(|result| result.is_ok()).count(), "a batch was judged");
        let (expected, mark) = (self.cache.expected(&state), session.next_mark());
        match sales::finish(session, &state, &expected, mark.number, begun).await {
            Ok(()) => {
                self.cache.committed(&expected);
                Ok(results)
            }
            Err(error) => {
                self.cache.forget();
                Err(BatchFailure::of(error, mark, plan.check_keys, results))
            }
        }
    }
}

type Results = Vec<Result<Outcome, Refusal>>;

/// Why a batch was not written as it was judged.
enum BatchFailure {
    /// What the writer remembered is not what the database has.
    Outdated,
    /// A key that was taken for new is there.
    KeyExists,
    /// With the verdicts, in case it turns out to have been written.
    Failed(TransactionFailure, Results),
}

impl BatchFailure {
    fn of(error: Error, mark: Mark, check_keys: bool, results: Results) -> BatchFailure {
        let constraint = error.as_db_error().and_then(|error| error.constraint());
        match error.code() {
            Some(state) if state.code() == sales::CACHE_OUTDATED => BatchFailure::Outdated,
            Some(state)
                if *state == SqlState::UNIQUE_VIOLATION
                    && constraint == Some("idempotency_keys_pkey")
                    && !check_keys =>
            {
                BatchFailure::KeyExists
            }
            _ => BatchFailure::Failed(TransactionFailure::late(error, mark), results),
        }
    }
}

/// With what was judged of those that were written.
fn answered(mut answers: BatchResults, batch: Vec<WriteRequest>, results: Results) -> BatchResults {
    answers.extend(batch.into_iter().zip(results));
    answers
}

/// Takes those out that nobody can wait for any longer: nothing of them was taken.
fn drop_late(todo: &mut Vec<WriteRequest>, answers: &mut BatchResults) {
    #[allow(clippy::disallowed_methods, reason = "a wait of ours, not the draw's time")]
    let now = Instant::now();
    let late = todo.extract_if(.., |request| request.is_late(now));
    answers.extend(late.map(|request| (request, Err(Refusal::Overloaded))));
}
