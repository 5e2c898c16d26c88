//! Settlement in bounded steps: the numbers are fixed, every ticket is counted, the winners are paid. A
//! stored cursor says how far it has come; each step moves it in its own transaction, so a crash goes on
//! where it stopped and pays nobody twice.

use std::collections::BTreeSet;
use std::sync::Arc;

use jiff::Timestamp;
use tokio_postgres::{Client, Row};
use uuid::Uuid;

use super::draws::{lock, set_status};
use super::{audit, ledger};
use crate::actors::board::Board;
use crate::actors::persistence::transaction::{Step, StepFailure};
use crate::domain::audit::Deed;
use crate::domain::draw::Winning;
use crate::domain::game::Pick;
use crate::domain::id::{DrawId, UserId};
use crate::domain::ledger::{AccountId, Transfer, TransferKind};
use crate::domain::lottery::{DrawStatus, Rules};
use crate::domain::money::Money;
use crate::domain::record::Fence;

/// Fixes the numbers, and moves the jackpot into the draw. Whatever numbers are already there stay.
pub struct Conduct {
    pub fence: Fence,
    pub rules: Arc<Rules>,
    pub pick: Pick,
    pub at: Timestamp,
    pub deed: Option<Deed>,
}

impl Step for Conduct {
    type Output = Winning;

    async fn run(&self, db: &Client) -> Result<Winning, StepFailure> {
        let draw = self.fence.draw;
        lock(db, self.fence).await?;
        let (escrow, jackpot) = (AccountId::escrow(draw), jackpot_account(db, &self.rules).await?);
        let mut ledger = ledger::open(db, &BTreeSet::from([escrow, jackpot])).await?;
        let amount = ledger.balance(jackpot).unwrap_or(Money::ZERO);
        if amount > Money::ZERO {
            ledger.transfer(house(jackpot, escrow, amount, TransferKind::Jackpot, self.at))?;
        }
        ledger::write(db, &ledger).await?;
        let sql = "-- settle::conduct(result)
            INSERT INTO draw_results (draw_id, pick, drawn_at, jackpot) VALUES ($1, $2, $3, $4)";
        db.execute(sql, &[&draw.0, &self.pick.mask(), &self.at, &amount.minor()]).await?;
        let sql = "-- settle::conduct(tiers)
            INSERT INTO result_tiers (draw_id, matches) SELECT draw_id, matches FROM draw_tiers WHERE draw_id = $1";
        db.execute(sql, &[&draw.0]).await?;
        set_status(db, draw, DrawStatus::Settling).await?;
        audit::record(db, self.deed.as_ref()).await?;
        Ok(Winning { pick: self.pick, jackpot: amount })
    }

    fn committed(&self, _: &Winning, board: &Board) {
        board.set_jackpot(&self.rules.lottery, Money::ZERO);
    }
}

/// How far the count has come.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Counted {
    More,
    /// All: the prizes are fixed, and what is nobody's prize has left the draw. The lottery's jackpot
    /// holds so much now.
    All {
        jackpot: Money,
    },
}

/// Counts the next tickets' hits; after the last, fixes the prizes.
pub struct Count {
    pub fence: Fence,
    pub rules: Arc<Rules>,
    pub winning: Winning,
    /// Tickets in one step.
    pub limit: i64,
    pub at: Timestamp,
}

impl Step for Count {
    type Output = Counted;

    async fn run(&self, db: &Client) -> Result<Counted, StepFailure> {
        let draw = self.fence.draw;
        let sold = lock(db, self.fence).await?;
        let sql = "-- settle::count(cursor)
            SELECT cursor, prize_fund IS NOT NULL AS counted FROM draw_results WHERE draw_id = $1 FOR UPDATE";
        let row = db.query_one(sql, &[&draw.0]).await?;
        if row.get("counted") {
            return self.all(db).await;
        }
        let from: i64 = row.get("cursor");
        let to = sold.min(from + self.limit);
        let sql = "-- settle::count(hits)
            UPDATE result_tiers rt SET winners = rt.winners + hit.tickets
            FROM (SELECT bit_count((t.pick & $2)::bit(64)) AS matches, count(*) AS tickets FROM tickets t
                  WHERE t.draw_id = $1 AND t.number > $3 AND t.number <= $4 GROUP BY 1) hit
            WHERE rt.draw_id = $1 AND rt.matches = hit.matches";
        db.execute(sql, &[&draw.0, &self.winning.pick.mask(), &from, &to]).await?;
        if to < sold {
            move_cursor(db, draw, to).await?;
            return Ok(Counted::More);
        }
        self.fix_prizes(db, sold).await?;
        self.all(db).await
    }

    fn committed(&self, output: &Counted, board: &Board) {
        if let Counted::All { jackpot } = output {
            board.set_jackpot(&self.rules.lottery, *jackpot);
        }
    }
}

impl Count {
    async fn all(&self, db: &Client) -> Result<Counted, StepFailure> {
        let account = jackpot_account(db, &self.rules).await?;
        let ledger = ledger::open(db, &BTreeSet::from([account])).await?;
        Ok(Counted::All { jackpot: ledger.balance(account).unwrap_or(Money::ZERO) })
    }

    /// Every ticket is counted: what one winner gets, what the house gets, what rolls over.
    async fn fix_prizes(&self, db: &Client, sold: i64) -> Result<(), StepFailure> {
        let draw = self.fence.draw;
        let sql = "-- settle::fix_prizes(winners)
            SELECT winners FROM result_tiers WHERE draw_id = $1 ORDER BY matches DESC";
        let winners: Vec<u64> =
            db.query(sql, &[&draw.0]).await?.iter().map(|row| row.get::<_, i64>(0).unsigned_abs()).collect();
        let overflow = || StepFailure::Broken(format!("the prizes of draw {draw} do not fit"));
        let sales = self.rules.price.checked_mul(sold.unsigned_abs()).ok_or_else(overflow)?;
        let settled = self
            .rules
            .prizes
            .settle(sales, self.rules.fund_share, self.winning.jackpot, &winners)
            .map_err(|_| overflow())?;

        let (escrow, jackpot) = (AccountId::escrow(draw), jackpot_account(db, &self.rules).await?);
        let accounts = BTreeSet::from([escrow, jackpot, AccountId::RESERVE, AccountId::REVENUE]);
        let mut ledger = ledger::open(db, &accounts).await?;
        for (debit, credit, amount, kind) in [
            (AccountId::RESERVE, escrow, settled.from_reserve, TransferKind::Reserve),
            (escrow, AccountId::REVENUE, settled.revenue, TransferKind::Revenue),
            (escrow, jackpot, settled.rollover, TransferKind::Rollover),
        ] {
            if amount > Money::ZERO {
                ledger.transfer(house(debit, credit, amount, kind, self.at))?;
            }
        }
        if ledger.balance(escrow) != Some(settled.prizes) {
            return Err(StepFailure::Broken(format!("the escrow of draw {draw} does not hold its prizes")));
        }
        ledger::write(db, &ledger).await?;
        for tier in &settled.tiers {
            let sql = "-- settle::fix_prizes(tier)
                UPDATE result_tiers SET prize = $3 WHERE draw_id = $1 AND matches = $2";
            db.execute(sql, &[&draw.0, &i16::from(tier.matches), &tier.prize.minor()]).await?;
        }
        let sql = "-- settle::fix_prizes(result)
            UPDATE draw_results SET prize_fund = $2, rollover = $3, cursor = 0 WHERE draw_id = $1";
        db.execute(sql, &[&draw.0, &settled.prize_fund.minor(), &settled.rollover.minor()]).await?;
        Ok(())
    }
}

/// Whether everybody is paid.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Completed(pub bool);

/// Pays the next tickets' prizes into their owners' wallets; with the last, the draw is completed.
pub struct PayPrizes {
    pub fence: Fence,
    pub winning: Winning,
    /// Tickets in one step, winning or not.
    pub limit: i64,
    pub at: Timestamp,
}

impl Step for PayPrizes {
    type Output = Completed;

    async fn run(&self, db: &Client) -> Result<Completed, StepFailure> {
        let draw = self.fence.draw;
        let sold = lock(db, self.fence).await?;
        let sql = "-- settle::pay_prizes(cursor)
            SELECT cursor FROM draw_results WHERE draw_id = $1 FOR UPDATE";
        let from: i64 = db.query_one(sql, &[&draw.0]).await?.get(0);
        let to = sold.min(from + self.limit);
        let sql = "-- settle::pay_prizes(winners)
            SELECT t.user_id, t.id, rt.prize FROM tickets t
            JOIN result_tiers rt ON rt.draw_id = $1 AND rt.matches = bit_count((t.pick & $2)::bit(64))
            WHERE t.draw_id = $1 AND t.number > $3 AND t.number <= $4 AND rt.prize > 0 ORDER BY t.number";
        let winners = db.query(sql, &[&draw.0, &self.winning.pick.mask(), &from, &to]).await?;
        self.credit(db, &winners).await?;
        move_cursor(db, draw, to).await?;
        if to == sold {
            set_status(db, draw, DrawStatus::Completed).await?;
        }
        Ok(Completed(to == sold))
    }
}

impl PayPrizes {
    async fn credit(&self, db: &Client, winners: &[Row]) -> Result<(), StepFailure> {
        let escrow = AccountId::escrow(self.fence.draw);
        let wallet = |row: &Row| AccountId::wallet(UserId(row.get("user_id")));
        let accounts = winners.iter().map(wallet).chain([escrow]).collect();
        let mut ledger = ledger::open(db, &accounts).await?;
        for row in winners {
            let ticket: Uuid = row.get("id");
            ledger.transfer(Transfer {
                debit: escrow,
                credit: wallet(row),
                amount: Money::new(row.get("prize")),
                kind: TransferKind::Prize,
                reference: Some(ticket),
                at: self.at,
            })?;
        }
        Ok(ledger::write(db, &ledger).await?)
    }
}

async fn move_cursor(db: &Client, draw: DrawId, to: i64) -> Result<(), StepFailure> {
    let sql = "-- settle::move_cursor()
        UPDATE draw_results SET cursor = $2 WHERE draw_id = $1";
    db.execute(sql, &[&draw.0, &to]).await?;
    Ok(())
}

async fn jackpot_account(db: &Client, rules: &Rules) -> Result<AccountId, StepFailure> {
    let sql = "-- settle::jackpot_account()
        SELECT seq FROM lotteries WHERE id = $1";
    Ok(AccountId::jackpot(db.query_one(sql, &[&rules.lottery.0]).await?.get(0)))
}

/// A transfer between the house's own accounts.
fn house(debit: AccountId, credit: AccountId, amount: Money, kind: TransferKind, at: Timestamp) -> Transfer {
    Transfer { debit, credit, amount, kind, reference: None, at }
}
