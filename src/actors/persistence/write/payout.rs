//! Prizes and refunds into the wallets, in bounded steps. Each moves the stored progress in its own
//! transaction, so a crash goes on where it stopped and pays nobody twice. Who gets what was read beside the
//! sale; here it is held against the stored progress, and written. `domain::payout` says what a step moves.

use tokio::try_join;
use tokio_postgres::types::ToSql;
use tokio_postgres::{Client, Error, Statement};

use super::draws::{set_status, sold};
use super::ledger;
use super::params::Params;
use crate::actors::persistence::transaction::{StepFailure, StepTransaction, WriterConnection};
use crate::db::read::payout::progress;
use crate::domain::id::DrawId;
use crate::domain::ledger::Ledger;
use crate::domain::payout::{PayStep, PayStepError, Payout, Progress};
use crate::domain::writer_cache::Invalidation;

type Param<'a> = &'a (dyn ToSql + Sync);

/// Where the progress of a payout stands.
fn table(payout: Payout) -> &'static str {
    match payout {
        Payout::Prizes => "draw_results",
        Payout::Refunds => "draw_cancellations",
    }
}

/// The prepared statements of a connection: a step would else be planned anew each time.
pub struct PayoutStatements {
    lock_draw: Statement,
    lock_accounts: Statement,
    update_balances: Statement,
    insert_transfers: Statement,
    prizes: Stored,
    refunds: Stored,
}

/// How the progress of one kind is read and written.
struct Stored {
    find: Statement,
    advance: Statement,
}

impl Stored {
    async fn prepare(db: &Client, payout: Payout) -> Result<Stored, Error> {
        let table = table(payout);
        let find = format!(
            "-- payout::find({table})
            SELECT cursor, window_end, paid_user, paid_reference FROM {table} WHERE draw_id = $1 FOR UPDATE"
        );
        Ok(Stored { find: db.prepare(&find).await?, advance: db.prepare(&advance(payout)).await? })
    }
}

fn advance(payout: Payout) -> String {
    format!(
        "-- payout::advance(cursor, window_end, user, reference, draw)
        UPDATE {} SET cursor = $1, window_end = $2, paid_user = $3, paid_reference = $4 WHERE draw_id = $5",
        table(payout)
    )
}

fn advance_params(draw: DrawId, to: Progress) -> Params<'static> {
    Params::with_capacity(5)
        .value(to.done)
        .value(to.window.map(|it| it.end))
        .value(to.window.map(|it| it.user.0))
        .value(to.window.map(|it| it.reference))
        .value(draw.0)
}

impl PayoutStatements {
    pub async fn prepare(db: &Client) -> Result<PayoutStatements, Error> {
        Ok(PayoutStatements {
            lock_draw: db.prepare(super::draws::LOCK).await?,
            lock_accounts: db.prepare(ledger::LOCK_ACCOUNTS).await?,
            update_balances: db.prepare(ledger::UPDATE_BALANCES).await?,
            insert_transfers: db.prepare(ledger::INSERT_TRANSFERS).await?,
            prizes: Stored::prepare(db, Payout::Prizes).await?,
            refunds: Stored::prepare(db, Payout::Refunds).await?,
        })
    }

    fn stored(&self, payout: Payout) -> &Stored {
        match payout {
            Payout::Prizes => &self.prizes,
            Payout::Refunds => &self.refunds,
        }
    }
}

impl StepTransaction for PayStep {
    /// Whether everybody is paid.
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
        Invalidation::Balances(self.accounts())
    }
}

impl From<PayStepError> for StepFailure {
    fn from(error: PayStepError) -> StepFailure {
        StepFailure::Rejected(error.to_string())
    }
}

impl PayStep {
    /// Locks the draw, its progress and the accounts, in one round trip; says how far all is paid, and how
    /// many tickets were sold.
    async fn open(&self, session: &WriterConnection) -> Result<(Ledger, Progress, i64), StepFailure> {
        let (db, s, draw) = (&session.client, &session.payout, self.fence.draw);
        let accounts: Vec<i64> = self.accounts().iter().map(|id| id.0).collect();
        let (fence, of, owners): ([Param<'_>; 2], [Param<'_>; 1], [Param<'_>; 1]) =
            ([&draw.0, &self.fence.epoch], [&draw.0], [&accounts]);
        // Polled in this order, so sent and locked in this order.
        let (drawn, stored, found) = try_join!(
            biased;
            db.query_opt(&s.lock_draw, &fence),
            db.query_one(&s.stored(self.payout).find, &of),
            db.query(&s.lock_accounts, &owners),
        )?;
        let tickets = sold(drawn)?;
        Ok((ledger::of(&found), progress(&stored), tickets))
    }

    /// Writes balances, transfers and progress, in one round trip.
    async fn write(&self, session: &WriterConnection, ledger: &Ledger) -> Result<(), Error> {
        let (db, s) = (&session.client, &session.payout);
        let balances = ledger::balance_params(ledger);
        let transfers = ledger::transfer_params(Params::with_capacity(8), ledger.made());
        try_join!(
            biased;
            balances.execute(db, &s.update_balances),
            transfers.execute(db, &s.insert_transfers),
            advance_params(self.fence.draw, self.after).execute(db, &s.stored(self.payout).advance),
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
            advance_params(DrawId(1), Progress::default()).assert_fit(&advance(payout));
        }
    }
}
