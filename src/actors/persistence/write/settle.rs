//! Settlement: stores the winning numbers and, once every ticket is counted, the prizes. It does not pay them:
//! `payout` does.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use jiff::Timestamp;
use tokio_postgres::Client;

use super::draws::{lock, set_status};
use super::{audit, ledger};
use crate::actors::persistence::connection::WriterConnection;
use crate::actors::persistence::step::{StepFailure, StepTransaction};
use crate::actors::snapshots::DrawSnapshots;
use crate::domain::audit::AuditEntry;
use crate::domain::draw::WinningPick;
use crate::domain::game::Pick;
use crate::domain::ledger::{AccountId, Transfer, TransferKind};
use crate::domain::lottery::{DrawStatus, Rules};
use crate::domain::money::Money;
use crate::domain::record::Fence;

/// Stores the winning numbers and moves the jackpot into the draw. If the draw has numbers already, they stay.
pub struct Conduct {
    pub fence: Fence,
    pub rules: Arc<Rules>,
    pub pick: Pick,
    pub at: Timestamp,
    pub audit: Option<AuditEntry>,
}

impl StepTransaction for Conduct {
    type Output = WinningPick;

    async fn run(&self, session: &WriterConnection) -> Result<WinningPick, StepFailure> {
        let (db, draw) = (&session.client, self.fence.draw);
        lock(db, self.fence).await?;
        let (escrow, jackpot) = (AccountId::escrow(draw), jackpot_account(db, &self.rules).await?);
        let mut ledger = ledger::open(db, &BTreeSet::from([escrow, jackpot])).await?;
        let amount = ledger.balance(jackpot).unwrap_or(Money::ZERO);
        if amount > Money::ZERO {
            ledger.transfer(internal_transfer(jackpot, escrow, amount, TransferKind::Jackpot, self.at))?;
        }
        ledger::write(db, &ledger).await?;
        let sql = "-- settle::conduct(result)
            INSERT INTO draw_results (draw_id, pick, drawn_at, jackpot) VALUES ($1, $2, $3, $4)";
        db.execute(sql, &[&draw.0, &self.pick.mask(), &self.at, &amount.minor()]).await?;
        let sql = "-- settle::conduct(tiers)
            INSERT INTO result_tiers (draw_id, matches) SELECT draw_id, matches FROM draw_tiers WHERE draw_id = $1";
        db.execute(sql, &[&draw.0]).await?;
        set_status(db, draw, DrawStatus::Settling).await?;
        audit::record(db, self.audit.as_ref()).await?;
        Ok(WinningPick { pick: self.pick, jackpot: amount })
    }

    fn committed(&self, _: &WinningPick, snapshots: &DrawSnapshots) {
        snapshots.set_jackpot(&self.rules.lottery, Money::ZERO);
    }
}

/// Stores the prizes, once every ticket is counted. The part of the escrow that is no prize leaves the draw.
pub struct FixPrizes {
    pub fence: Fence,
    pub rules: Arc<Rules>,
    pub winning: WinningPick,
    /// The number of tickets for each possible number of matches.
    pub hits: BTreeMap<i64, i64>,
    pub at: Timestamp,
}

impl StepTransaction for FixPrizes {
    /// The lottery's jackpot after the step.
    type Output = Money;

    async fn run(&self, session: &WriterConnection) -> Result<Money, StepFailure> {
        let (db, draw) = (&session.client, self.fence.draw);
        let sold = lock(db, self.fence).await?;
        if self.hits.values().sum::<i64>() != sold {
            return Err(StepFailure::Rejected(format!("of draw {draw} not every ticket was counted once")));
        }
        self.fix(db, sold).await?;
        let account = jackpot_account(db, &self.rules).await?;
        let ledger = ledger::open(db, &BTreeSet::from([account])).await?;
        Ok(ledger.balance(account).unwrap_or(Money::ZERO))
    }

    fn committed(&self, jackpot: &Money, snapshots: &DrawSnapshots) {
        snapshots.set_jackpot(&self.rules.lottery, *jackpot);
    }
}

impl FixPrizes {
    /// Computes and writes the prize of one winner, the operator's revenue and the rollover.
    async fn fix(&self, db: &Client, sold: i64) -> Result<(), StepFailure> {
        let draw = self.fence.draw;
        let sql = "-- settle::fix(uncounted)
            SELECT FROM draw_results WHERE draw_id = $1 AND prize_fund IS NULL FOR UPDATE";
        if db.query_opt(sql, &[&draw.0]).await?.is_none() {
            return Err(StepFailure::Rejected(format!("the prizes of draw {draw} are fixed already")));
        }
        let winners = |matches| self.hits.get(&i64::from(matches)).map_or(0, |tickets| tickets.unsigned_abs());
        let winners: Vec<u64> = self.rules.prizes.tiers().iter().map(|tier| winners(tier.matches)).collect();
        let overflow = || StepFailure::Rejected(format!("the prizes of draw {draw} do not fit"));
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
                ledger.transfer(internal_transfer(debit, credit, amount, kind, self.at))?;
            }
        }
        if ledger.balance(escrow) != Some(settled.prizes) {
            return Err(StepFailure::Rejected(format!("the escrow of draw {draw} does not hold its prizes")));
        }
        ledger::write(db, &ledger).await?;
        for tier in &settled.tiers {
            let winners = i64::try_from(tier.winners).map_err(|_| overflow())?;
            let sql = "-- settle::fix(tier)
                UPDATE result_tiers SET winners = $3, prize = $4 WHERE draw_id = $1 AND matches = $2";
            db.execute(sql, &[&draw.0, &i16::from(tier.matches), &winners, &tier.prize.minor()]).await?;
        }
        let sql = "-- settle::fix(result)
            UPDATE draw_results SET prize_fund = $2, rollover = $3, cursor = 0 WHERE draw_id = $1";
        db.execute(sql, &[&draw.0, &settled.prize_fund.minor(), &settled.rollover.minor()]).await?;
        Ok(())
    }
}

async fn jackpot_account(db: &Client, rules: &Rules) -> Result<AccountId, StepFailure> {
    let sql = "-- settle::jackpot_account()
        SELECT seq FROM lotteries WHERE id = $1";
    Ok(AccountId::jackpot(db.query_one(sql, &[&rules.lottery.0]).await?.get(0)))
}

/// A transfer between two accounts of the operator.
fn internal_transfer(
    debit: AccountId,
    credit: AccountId,
    amount: Money,
    kind: TransferKind,
    at: Timestamp,
) -> Transfer {
    Transfer { debit, credit, amount, kind, reference: None, at, balance_after: None }
}
