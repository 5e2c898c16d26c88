//! Settlement: stores the winning numbers and, once every ticket is counted, the prizes. It does not pay them:
//! `payout` does. `domain::settle` decides which money moves.

use jiff::Timestamp;
use tokio_postgres::Client;
use verifiable_draw::event::Event;

use super::draws::{lock, set_status};
use super::{audit, ledger, log};
use crate::actors::persistence::connection::WriterConnection;
use crate::actors::persistence::step::{StepFailure, StepTransaction};
use crate::actors::snapshots::DrawSnapshots;
use crate::db::read::beacon::EARLIER_DRAW;
use crate::domain::draw::WinningPick;
use crate::domain::id::DrawId;
use crate::domain::log_keys::LogKeys;
use crate::domain::lottery::DrawStatus;
use crate::domain::money::Money;
use crate::domain::prize::Settlement;
use crate::domain::public_log::{self, DrawTimes};
use crate::domain::settle::{Conduct, FixPrizes, FixPrizesError};

/// How the step ends that draws the numbers.
pub enum ConductOutcome {
    Drawn(WinningPick),
    /// Nothing was written: this draw of the lottery takes the jackpot first.
    Waits(DrawId),
}

impl StepTransaction for Conduct {
    type Output = ConductOutcome;

    /// If the draw has numbers already, they stay.
    async fn run(&self, session: &WriterConnection) -> Result<ConductOutcome, StepFailure> {
        let (db, draw) = (&session.client, self.fence.draw);
        lock(db, self.fence).await?;
        if let Some(earlier) = db.query_opt(EARLIER_DRAW, &[&draw.0, &self.audit.is_none()]).await? {
            return Ok(ConductOutcome::Waits(DrawId(earlier.get(0))));
        }
        let jackpot = ledger::jackpot_account(db, &self.rules).await?;
        let mut ledger = ledger::open(db, &self.accounts(jackpot)).await?;
        let winning =
            WinningPick { drawn_at: drawn_at(session, self).await?, ..self.apply(jackpot, &mut ledger)? };
        ledger::write(db, &ledger).await?;
        let sql = "-- settle::conduct(result)
            INSERT INTO draw_results (draw_id, pick, drawn_at, jackpot, after_entry, signature)
            VALUES ($1, $2, $3, $4, $5, $6) RETURNING pick, jackpot, signature";
        let after = log::last_completed(db, draw).await?;
        let signature = self.round.as_ref().map(|round| round.signature().as_slice());
        let (pick, amount) = (winning.pick.mask(), winning.jackpot.minor());
        let written = db.query_one(sql, &[&draw.0, &pick, &winning.drawn_at, &amount, &after, &signature]).await?;
        if (written.get(0), written.get(1), written.get(2)) != (pick, amount, signature) {
            return Err(StepFailure::Rejected(
                "a trigger of the database has changed the winning numbers".to_owned(),
            ));
        }
        let sql = "-- settle::conduct(tiers)
            INSERT INTO result_tiers (draw_id, matches) SELECT draw_id, matches FROM draw_tiers WHERE draw_id = $1";
        db.execute(sql, &[&draw.0]).await?;
        set_status(db, draw, DrawStatus::Settling).await?;
        audit::record(db, self.audit.as_ref()).await?;
        Ok(ConductOutcome::Drawn(winning))
    }

    fn committed(&self, outcome: &ConductOutcome, snapshots: &DrawSnapshots) {
        if matches!(outcome, ConductOutcome::Drawn(_)) {
            snapshots.set_jackpot(&self.rules.lottery, Money::ZERO);
        }
    }
}

/// When the numbers are drawn: as the public log says, if the draw was completed before a backup was restored.
async fn drawn_at(session: &WriterConnection, step: &Conduct) -> Result<Timestamp, StepFailure> {
    let (db, draw) = (&session.client, step.fence.draw);
    let published = log::entries_of(db, session.logs.log_keys(), draw).await?;
    let sql = "-- settle::drawn_at()
        SELECT s.sealed_at, d.sales_close_at, d.draw_at FROM draws d JOIN draw_seals s ON s.draw_id = d.id WHERE d.id = $1";
    let row = db.query_one(sql, &[&draw.0]).await?;
    let was_closed_by_hand = row.get::<_, Timestamp>("sealed_at") < row.get("sales_close_at");
    Ok(public_log::drawn_at(&published, was_closed_by_hand, row.get("draw_at")).unwrap_or(step.at))
}

/// The step that stores the prizes, and says so in the public log.
pub struct FixAndLogPrizes(pub FixPrizes);

impl StepTransaction for FixAndLogPrizes {
    /// The lottery's jackpot after the step. `None`: nothing was written, because another result was published.
    type Output = Option<Money>;

    async fn run(&self, session: &WriterConnection) -> Result<Option<Money>, StepFailure> {
        let (db, keys, step) = (&session.client, session.logs.log_keys(), &self.0);
        let draw = step.fence.draw;
        let sold = lock(db, step.fence).await?;
        let sql = "-- settle::fix(fixed)
            SELECT prize_fund IS NOT NULL FROM draw_results WHERE draw_id = $1 FOR UPDATE";
        let fixed = db.query_one(sql, &[&draw.0]).await?.get(0);
        let jackpot = ledger::jackpot_account(db, &step.rules).await?;
        let mut ledger = ledger::open(db, &step.accounts(jackpot)).await?;
        let settled = step.apply(fixed, sold, jackpot, &mut ledger)?;
        let event = match log::fairness(db, draw).await? {
            Some(_) => Some(self.event(db, keys, &settled).await?),
            None => None,
        };
        if let Some(event) = &event
            && log::published(db, keys, event).await?.is_some_and(|published| published != *event)
        {
            return Ok(None);
        }
        ledger::write(db, &ledger).await?;
        write_result(db, draw, &settled).await?;
        if let Some(event) = event {
            log::append(db, keys, &event).await?;
        }
        Ok(Some(ledger.balance(jackpot).unwrap_or(Money::ZERO)))
    }

    fn committed(&self, jackpot: &Option<Money>, snapshots: &DrawSnapshots) {
        if let Some(jackpot) = jackpot {
            snapshots.set_jackpot(&self.0.rules.lottery, *jackpot);
        }
    }
}

impl FixAndLogPrizes {
    /// What the public log says of the result.
    async fn event(&self, db: &Client, keys: &LogKeys, settled: &Settlement) -> Result<Event, StepFailure> {
        let FixPrizes { fence, winning, at, .. } = &self.0;
        let sql = "-- settle::log()
            SELECT r.after_entry, r.drawn_at, r.signature, s.sealed_at, d.sales_close_at, d.draw_at FROM draws d
            JOIN draw_results r ON r.draw_id = d.id JOIN draw_seals s ON s.draw_id = d.id WHERE d.id = $1";
        let row = db.query_one(sql, &[&fence.draw.0]).await?;
        let times = DrawTimes {
            sealed_at: row.get("sealed_at"),
            drawn_at: row.get("drawn_at"),
            sales_close_at: row.get("sales_close_at"),
            draw_at: row.get("draw_at"),
        };
        let after = row.get::<_, Option<i64>>("after_entry").map(i64::cast_unsigned);
        let numbers = (winning.pick, winning.jackpot);
        let signature = row.get::<_, Option<&[u8]>>("signature").map(TryInto::try_into).transpose();
        let signature = signature.map_err(|_| StepFailure::Rejected("the signature of the round".to_owned()))?;
        let published = log::entries_of(db, keys, fence.draw).await?;
        let at = public_log::completed_at(&published)
            .unwrap_or_else(|| public_log::not_before(&published, times.drawn_at.max(*at)));
        Ok(public_log::completed(keys, (fence.draw, signature), numbers, settled, after, &times, at))
    }
}

async fn write_result(db: &Client, draw: DrawId, settled: &Settlement) -> Result<(), StepFailure> {
    for tier in &settled.tiers {
        let winners = i64::try_from(tier.winners).map_err(|_| FixPrizesError::Overflow(draw))?;
        let sql = "-- settle::fix(tier)
            UPDATE result_tiers SET winners = $3, prize = $4 WHERE draw_id = $1 AND matches = $2";
        db.execute(sql, &[&draw.0, &i16::from(tier.matches), &winners, &tier.prize.minor()]).await?;
    }
    let sql = "-- settle::fix(result)
        UPDATE draw_results SET prize_fund = $2, rollover = $3, cursor = 0 WHERE draw_id = $1";
    db.execute(sql, &[&draw.0, &settled.prize_fund.minor(), &settled.rollover.minor()]).await?;
    Ok(())
}

impl From<FixPrizesError> for StepFailure {
    fn from(error: FixPrizesError) -> StepFailure {
        StepFailure::Rejected(error.to_string())
    }
}
