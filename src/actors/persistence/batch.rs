//! A batch: one transaction for whatever has queued. Locks and reads what the records need, has them
//! judged in order, writes the accepted ones set-wise, and answers for each.

use std::time::Instant;

use super::mailbox::{Outcomes, Submit};
use super::transaction::{Failure, Session, Writer};
use super::write::sales;
use crate::db;
use crate::domain::books::{Books, Changes, Needs};
use crate::domain::ledger::Ledger;
use crate::domain::money::Currency;
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
            match self.try_batch(&todo).await {
                Ok(results) => {
                    answers.extend(todo.into_iter().zip(results));
                    return answers;
                }
                Err(Failure::Lost(error)) => {
                    tracing::warn!(error = db::describe(&error), "a batch is tried again");
                    self.disconnect();
                    self.rest().await;
                }
                Err(Failure::Refused(error)) if todo.len() == 1 => {
                    tracing::error!(error = db::describe(&error), record = ?todo[0].record, "the database refused a record");
                    self.disconnect();
                    answers.extend(todo.into_iter().map(|submit| (submit, Err(Refused::Broken))));
                    return answers;
                }
                Err(Failure::Refused(error)) => {
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
                // try_batch asks until it knows.
                Err(Failure::Unknown(_)) => {}
            }
        }
    }

    async fn try_batch(&mut self, batch: &[Submit]) -> Result<Vec<Result<Accepted, Refused>>, Failure> {
        let currency = self.currency;
        let session = self.session().await.map_err(Failure::Lost)?;
        match write(session, currency, batch).await {
            Err((Failure::Unknown(mark), results)) => {
                tracing::warn!(mark, "the connection died at COMMIT");
                if self.committed(mark).await { Ok(results) } else { Err(Failure::Unknown(mark)) }
            }
            Err((failure, _)) => Err(failure),
            Ok(results) => Ok(results),
        }
    }
}

type Results = Vec<Result<Accepted, Refused>>;

/// One transaction, in two round trips: BEGIN and what it needs, then the rows and COMMIT.
async fn write(session: &Session, currency: Currency, batch: &[Submit]) -> Result<Results, (Failure, Results)> {
    let early = |error| (Failure::early(error), Vec::new());
    let needs = Needs::of(batch.iter().map(|submit| &submit.record));
    let found = sales::begin(session, &needs).await.map_err(early)?;
    let mark = found.mark;
    let mut books = Books {
        currency,
        ledger: Ledger::new(found.accounts),
        draws: found.draws,
        payments: found.payments,
        keys: found.keys,
        changes: Changes::default(),
    };
    let results: Results = batch.iter().map(|submit| books.judge(&submit.record)).collect();
    tracing::debug!(accepted = results.iter().filter(|result| result.is_ok()).count(), "a batch was judged");
    match sales::finish(session, &books).await {
        Ok(()) => Ok(results),
        Err(error) => Err((Failure::late(error, mark), results)),
    }
}

/// Takes those out that nobody can wait for any longer: nothing of them was taken.
fn drop_late(todo: &mut Vec<Submit>, answers: &mut Outcomes) {
    #[allow(clippy::disallowed_methods, reason = "a wait of ours, not the draw's time")]
    let now = Instant::now();
    let late = todo.extract_if(.., |submit| submit.is_late(now));
    answers.extend(late.map(|submit| (submit, Err(Refused::Overloaded))));
}
