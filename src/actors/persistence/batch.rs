//! A batch: one transaction for whatever has queued. Sees to it that what the records need is known, has
//! them judged in order, writes the accepted ones set-wise, and answers for each.

use std::time::Instant;

use tokio_postgres::Error;
use tokio_postgres::error::SqlState;

use super::mailbox::{Outcomes, Submit};
use super::transaction::{Failure, Mark, Writer};
use super::write::sales;
use crate::db;
use crate::domain::known::Found;
use crate::domain::record::{Accepted, Refused};

impl Writer {
    /// Writes a batch and answers for every record of it, however long the database is away: those past
    /// their deadline are dropped before each BEGIN, never after.
    pub async fn batch(&mut self, batch: Vec<Submit>) -> Outcomes {
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
                Err(Unwritten::Outdated) => {
                    tracing::info!("the writer's memory was not what the database has: it reads anew");
                    self.disconnect();
                    self.rest().await;
                }
                Err(Unwritten::KeyExists) => self.known.met_a_key(),
                Err(Unwritten::Failed(Failure::Unknown(mark), results)) => {
                    tracing::warn!(?mark, "the connection died at COMMIT");
                    if self.committed(mark).await {
                        return answered(answers, todo, results);
                    }
                }
                Err(Unwritten::Failed(Failure::Lost(error), _)) => {
                    tracing::warn!(error = db::describe(&error), "a batch is tried again");
                    self.disconnect();
                    self.rest().await;
                }
                Err(Unwritten::Failed(Failure::Refused(error), _)) if todo.len() == 1 => {
                    tracing::error!(error = db::describe(&error), record = ?todo[0].record, "the database refused a record");
                    self.disconnect();
                    return answered(answers, todo, vec![Err(Refused::Broken)]);
                }
                Err(Unwritten::Failed(Failure::Refused(error), _)) => {
                    tracing::warn!(
                        error = db::describe(&error),
                        records = todo.len(),
                        "a batch was refused: each record goes alone"
                    );
                    self.disconnect();
                    for submit in todo {
                        answers.extend(Box::pin(self.batch(vec![submit])).await);
                    }
                    return answers;
                }
            }
        }
    }

    /// One transaction. In one round trip, when all it needs is known; else what it needs is read first.
    async fn write(&mut self, batch: &[Submit]) -> Result<Results, Unwritten> {
        self.session().await.map_err(|error| Unwritten::Failed(Failure::Lost(error), Vec::new()))?;
        let Some(session) = &self.session else { return Err(Unwritten::Outdated) };
        let records = || batch.iter().map(|submit| &submit.record);
        let plan = self.known.plan(records());
        let begun = !plan.wanted.is_nothing();
        let found = match begun {
            true => sales::begin(session, &plan.wanted)
                .await
                .map_err(|error| Unwritten::Failed(Failure::early(error), Vec::new()))?,
            false => Found::default(),
        };
        let mut books = self.known.open(&plan, found, self.currency);
        let results: Results = records().map(|record| books.judge(record)).collect();
        tracing::debug!(accepted = results.iter().filter(|result| result.is_ok()).count(), "a batch was judged");
        let (over, mark) = (self.known.over(&books), session.next_mark());
        match sales::finish(session, &books, &over, mark.number, begun).await {
            Ok(()) => {
                self.known.committed(&over);
                Ok(results)
            }
            Err(error) => {
                self.known.forget();
                Err(Unwritten::of(error, mark, plan.wary, results))
            }
        }
    }
}

type Results = Vec<Result<Accepted, Refused>>;

/// Why a batch was not written as it was judged.
enum Unwritten {
    /// What the writer remembered is not what the database has.
    Outdated,
    /// A key that was taken for new is there.
    KeyExists,
    /// With the verdicts, in case it turns out to have been written.
    Failed(Failure, Results),
}

impl Unwritten {
    fn of(error: Error, mark: Mark, wary: bool, results: Results) -> Unwritten {
        let constraint = error.as_db_error().and_then(|error| error.constraint());
        match error.code() {
            Some(state) if *state == SqlState::DIVISION_BY_ZERO => Unwritten::Outdated,
            Some(state)
                if *state == SqlState::UNIQUE_VIOLATION
                    && constraint == Some("idempotency_keys_pkey")
                    && !wary =>
            {
                Unwritten::KeyExists
            }
            _ => Unwritten::Failed(Failure::late(error, mark), results),
        }
    }
}

/// With what was judged of those that were written.
fn answered(mut answers: Outcomes, batch: Vec<Submit>, results: Results) -> Outcomes {
    answers.extend(batch.into_iter().zip(results));
    answers
}

/// Takes those out that nobody can wait for any longer: nothing of them was taken.
fn drop_late(todo: &mut Vec<Submit>, answers: &mut Outcomes) {
    #[allow(clippy::disallowed_methods, reason = "a wait of ours, not the draw's time")]
    let now = Instant::now();
    let late = todo.extract_if(.., |submit| submit.is_late(now));
    answers.extend(late.map(|submit| (submit, Err(Refused::Overloaded))));
}
