//! Refunds of a cancelled draw, in bounded steps with a stored cursor, as the settlement has them. One
//! transfer a payment: its tickets bear numbers in a row, and a step never ends in the middle of them.

use std::collections::BTreeMap;

use jiff::Timestamp;
use tokio_postgres::Client;
use uuid::Uuid;

use super::draws::{lock, set_status};
use super::ledger;
use crate::actors::persistence::transaction::{Step, StepFailure};
use crate::domain::id::UserId;
use crate::domain::ledger::{AccountId, Transfer, TransferKind};
use crate::domain::lottery::DrawStatus;
use crate::domain::money::Money;
use crate::domain::record::Fence;

/// Gives the next payers their money back; with the last, the draw is cancelled.
pub struct Refund {
    pub fence: Fence,
    pub price: Money,
    /// Tickets in one step, and more where a payment needs it.
    pub limit: i64,
    pub at: Timestamp,
}

/// A payment to refund.
struct Due {
    user: UserId,
    payment: Uuid,
    tickets: u64,
}

impl Step for Refund {
    /// Whether everybody has the money back.
    type Output = bool;

    async fn run(&self, db: &Client) -> Result<bool, StepFailure> {
        let draw = self.fence.draw;
        let sold = lock(db, self.fence).await?;
        let sql = "-- refund::run(cursor)
            SELECT cursor FROM draw_cancellations WHERE draw_id = $1 FOR UPDATE";
        let from: i64 = db.query_one(sql, &[&draw.0]).await?.get(0);
        let (due, to) = self.due(db, from, sold).await?;

        let escrow = AccountId::escrow(draw);
        let accounts = due.values().map(|due| AccountId::wallet(due.user)).chain([escrow]).collect();
        let mut ledger = ledger::open(db, &accounts).await?;
        for due in due.values() {
            let amount = self.price.checked_mul(due.tickets);
            ledger.transfer(Transfer {
                debit: escrow,
                credit: AccountId::wallet(due.user),
                amount: amount
                    .ok_or_else(|| StepFailure::Broken(format!("payment {} does not fit", due.payment)))?,
                kind: TransferKind::Refund,
                reference: Some(due.payment),
                at: self.at,
            })?;
        }
        ledger::write(db, &ledger).await?;
        let sql = "-- refund::run(move)
            UPDATE draw_cancellations SET cursor = $2 WHERE draw_id = $1";
        db.execute(sql, &[&draw.0, &to]).await?;
        if to == sold {
            set_status(db, draw, DrawStatus::Cancelled).await?;
        }
        Ok(to == sold)
    }
}

impl Refund {
    /// The payments whose tickets begin in this step, by their first number, and where the next begins.
    async fn due(&self, db: &Client, from: i64, sold: i64) -> Result<(BTreeMap<i64, Due>, i64), StepFailure> {
        // A payment has at most 100 tickets: the rows beyond the limit complete the last one.
        let sql = "-- refund::due()
            SELECT number, user_id, payment_id FROM tickets WHERE draw_id = $1 AND number > $2 AND number <= $3
            ORDER BY number";
        let mut due: BTreeMap<i64, Due> = BTreeMap::new();
        let mut to = from;
        for row in db.query(sql, &[&self.fence.draw.0, &from, &sold.min(from + self.limit + 100)]).await? {
            let (number, payment): (i64, Uuid) = (row.get("number"), row.get("payment_id"));
            let mut last = due.last_entry();
            match last.as_mut().map(|entry| entry.get_mut()) {
                Some(last) if last.payment == payment => last.tickets += 1,
                _ if number > from + self.limit => break,
                _ => {
                    let user = UserId(row.get("user_id"));
                    due.insert(number, Due { user, payment, tickets: 1 });
                }
            }
            to = number;
        }
        if to == from && from < sold {
            return Err(StepFailure::Broken(format!("draw {} has no ticket {}", self.fence.draw, from + 1)));
        }
        Ok((due, to))
    }
}
