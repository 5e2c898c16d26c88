//! Pays prizes and refunds into the wallets, in steps of limited size. Each step updates the stored progress in
//! its own transaction. So after a crash the payout continues where it stopped, and nobody is paid twice. The
//! credits were read before, outside the writer; a step compares them with the stored progress and writes them.
//! `domain::payout` decides what a step transfers.

use tokio::try_join;
use tokio_postgres::Error;
use tokio_postgres::types::ToSql;

use super::draws::{self, set_status, sold};
use super::ledger;
use super::params::Params;
use crate::actors::persistence::connection::WriterConnection;
use crate::actors::persistence::step::{StepFailure, StepTransaction};
use crate::db::read::payout::progress;
use crate::domain::id::DrawId;
use crate::domain::ledger::Ledger;
use crate::domain::payout::{PayStep, PayStepError, Payout, Progress};
use crate::domain::writer_cache::Invalidation;

type Param<'a> = &'a (dyn ToSql + Sync);

const FIND_PRIZES: &str = "-- payout::find(draw)
    SELECT cursor, window_end, paid_user, paid_reference FROM draw_results WHERE draw_id = $1 FOR UPDATE";

const FIND_REFUNDS: &str = "-- payout::find(draw)
    SELECT cursor, window_end, paid_user, paid_reference FROM draw_cancellations WHERE draw_id = $1 FOR UPDATE";

/// The statement that locks and reads the progress of a payout.
fn find(payout: Payout) -> &'static str {
    match payout {
        Payout::Prizes => FIND_PRIZES,
        Payout::Refunds => FIND_REFUNDS,
    }
}

const ADVANCE_PRIZES: &str = "-- payout::advance(cursor, window_end, user, reference, draw)
    UPDATE draw_results SET cursor = $1, window_end = $2, paid_user = $3, paid_reference = $4 WHERE draw_id = $5";

const ADVANCE_REFUNDS: &str = "-- payout::advance(cursor, window_end, user, reference, draw)
    UPDATE draw_cancellations SET cursor = $1, window_end = $2, paid_user = $3, paid_reference = $4
    WHERE draw_id = $5";

/// The statement that writes the progress after a step.
fn advance(payout: Payout) -> &'static str {
    match payout {
        Payout::Prizes => ADVANCE_PRIZES,
        Payout::Refunds => ADVANCE_REFUNDS,
    }
}

/// The statements of a step. They are prepared; otherwise the database would plan them again for each step.
pub const STATEMENTS: [&str; 8] = [
    draws::LOCK,
    ledger::LOCK_ACCOUNTS,
    ledger::UPDATE_BALANCES,
    ledger::INSERT_TRANSFERS,
    FIND_PRIZES,
    FIND_REFUNDS,
    ADVANCE_PRIZES,
    ADVANCE_REFUNDS,
];

fn advance_params(draw: DrawId, to: Progress) -> Params<'static> {
    Params::with_capacity(5)
        .value(to.done)
        .value(to.window.map(|it| it.end))
        .value(to.window.map(|it| it.user.0))
        .value(to.window.map(|it| it.reference))
        .value(draw.0)
}

impl StepTransaction for PayStep {
    /// Whether the payout is complete.
    type Output = bool;

    async fn run(&self, session: &WriterConnection) -> Result<bool, StepFailure> {
        let (mut ledger, stored, tickets) = self.open(session).await?;
        let all = self.apply(stored, tickets, &mut ledger)?;
        self.write(session, &ledger).await?;
        if all {
            set_status(&session.client, self.fence.draw, self.payout.ends_as()).await?;
        }
        Ok(all)
    }

    fn invalidates(&self) -> Invalidation {
        self.invalidation()
    }
}

impl From<PayStepError> for StepFailure {
    fn from(error: PayStepError) -> StepFailure {
        StepFailure::Rejected(error.to_string())
    }
}

impl PayStep {
    /// Locks the draw, its progress and the accounts, in one round trip. Returns the progress and the number of
    /// sold tickets.
    async fn open(&self, session: &WriterConnection) -> Result<(Ledger, Progress, i64), StepFailure> {
        let (db, draw) = (&session.client, self.fence.draw);
        let lock_draw = session.prepare(draws::LOCK).await?;
        let find = session.prepare(find(self.payout)).await?;
        let lock_accounts = session.prepare(ledger::LOCK_ACCOUNTS).await?;
        let accounts: Vec<i64> = self.accounts().iter().map(|id| id.0).collect();
        let (fence, of, owners): ([Param<'_>; 2], [Param<'_>; 1], [Param<'_>; 1]) =
            ([&draw.0, &self.fence.epoch], [&draw.0], [&accounts]);
        // Polled in this order, so sent and locked in this order.
        let (drawn, stored, found) = try_join!(
            biased;
            db.query_opt(&lock_draw, &fence),
            db.query_one(&find, &of),
            db.query(&lock_accounts, &owners),
        )?;
        let tickets = sold(drawn)?;
        Ok((ledger::of(&found), progress(&stored), tickets))
    }

    /// Writes balances, transfers and progress, in one round trip.
    async fn write(&self, session: &WriterConnection, ledger: &Ledger) -> Result<(), Error> {
        let db = &session.client;
        let update_balances = session.prepare(ledger::UPDATE_BALANCES).await?;
        let insert_transfers = session.prepare(ledger::INSERT_TRANSFERS).await?;
        let advance = session.prepare(advance(self.payout)).await?;
        let balances = ledger::balance_params(ledger);
        let transfers = ledger::transfer_params(Params::with_capacity(8), ledger.made());
        try_join!(
            biased;
            balances.execute(db, &update_balances),
            transfers.execute(db, &insert_transfers),
            advance_params(self.fence.draw, self.after).execute(db, &advance),
        )?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_progress_is_written_with_all_its_parameters_in_order() {
        for payout in [Payout::Prizes, Payout::Refunds] {
            advance_params(DrawId(1), Progress::default()).assert_fit(advance(payout));
        }
    }
}
