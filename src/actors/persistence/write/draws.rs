//! The statements of a draw's steps except the settlement: create, open, reschedule, seal, cancel. Also its pool
//! tickets, and the epoch for a newly loaded actor.

use std::collections::BTreeSet;
use std::sync::Arc;

use jiff::Timestamp;
use tokio_postgres::types::ToSql;
use tokio_postgres::{Client, Error, Row};
use uuid::Uuid;
use verifiable_draw::beacon::BeaconChain;
use verifiable_draw::merkle::Head;
use verifiable_draw::merkle::edge::Edge;

use super::{audit, ledger, log, witnesses};
use crate::actors::persistence::connection::WriterConnection;
use crate::actors::persistence::step::{StepFailure, StepTransaction};
use crate::actors::snapshots::DrawSnapshots;
use crate::domain::audit::AuditEntry;
use crate::domain::beacon::AnnouncedRound;
use crate::domain::draw::Times;
use crate::domain::game::Pick;
use crate::domain::id::{DrawId, LotteryId, PoolTicketId};
use crate::domain::ledger::AccountId;
use crate::domain::lottery::{DrawStatus, Fairness, Rules};
use crate::domain::money::{Currency, Money};
use crate::domain::prize::Award;
use crate::domain::public_log;
use crate::domain::record::{Fence, Key};
use crate::domain::settle::return_jackpot;
use crate::domain::witness_policy::WitnessPolicy;

/// The number of pool tickets in one statement.
const POOL_CHUNK: usize = 5_000;

/// Creates a draw with these rules and returns its id.
pub async fn create(db: &Client, rules: &Rules, times: &Times, at: Timestamp) -> Result<DrawId, Error> {
    let sql = "-- draws::create(number)
        UPDATE lotteries SET last_draw = last_draw + 1 WHERE id = $1 RETURNING last_draw";
    let number: i32 = db.query_one(sql, &[&rules.lottery.0]).await?.get(0);
    let sql = "-- draws::create(id)
        SELECT nextval(pg_get_serial_sequence('draws', 'id'))";
    let id = DrawId(db.query_one(sql, &[]).await?.get(0));
    insert(db, id, number, rules, times, at).await?;
    Ok(id)
}

/// Writes a draw that has this id and this number of its lottery.
pub async fn insert(
    db: &Client,
    id: DrawId,
    number: i32,
    rules: &Rules,
    times: &Times,
    at: Timestamp,
) -> Result<(), Error> {
    let sql = "-- draws::insert(draw)
        INSERT INTO draws (lottery, number, pick, of, price, fund_share, sales_open_at, sales_close_at, draw_at,
                           created_at, id)
        OVERRIDING SYSTEM VALUE VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)";
    let (pick, of) = (i16::from(rules.game.pick_size()), i16::from(rules.game.of()));
    // A share is at most 10,000 basis points.
    let fund_share = rules.fund_share.basis_points() as i16;
    let params: [&(dyn ToSql + Sync); 11] = [
        &rules.lottery.0,
        &number,
        &pick,
        &of,
        &rules.price.minor(),
        &fund_share,
        &times.sales_open_at,
        &times.sales_close_at,
        &times.draw_at,
        &at,
        &id.0,
    ];
    db.execute(sql, &params).await?;
    for tier in rules.prizes.tiers() {
        let (amount, share, minimum) = match tier.award {
            Award::Fixed(amount) => (Some(amount.minor()), None, None),
            Award::Shared { share, minimum } => {
                (None, Some(share.basis_points() as i16), minimum.map(Money::minor))
            }
        };
        let sql = "-- draws::insert(tier)
            INSERT INTO draw_tiers (draw_id, matches, amount, share, minimum) VALUES ($1, $2, $3, $4, $5)";
        db.execute(sql, &[&id.0, &i16::from(tier.matches), &amount, &share, &minimum]).await?;
    }
    let sql = "-- draws::insert(sales)
        INSERT INTO draw_sales (draw_id) VALUES ($1)";
    db.execute(sql, &[&id.0]).await?;
    let sql = "-- draws::insert(escrow)
        INSERT INTO accounts (id, kind, draw_id) VALUES ($1::bigint * 8 + 3, 'escrow', $1)";
    db.execute(sql, &[&id.0]).await?;
    Ok(())
}

/// Whether a draw is planned for this time. Locks the plans of this lottery until the transaction ends.
pub async fn is_planned(db: &Client, lottery: &LotteryId, draw_at: Timestamp) -> Result<bool, Error> {
    let sql = "-- draws::is_planned(lock)
        SELECT FROM lotteries WHERE id = $1 FOR UPDATE";
    db.query_one(sql, &[&lottery.0]).await?;
    let sql = "-- draws::is_planned()
        SELECT FROM planned_draws WHERE lottery = $1 AND draw_at = $2";
    Ok(db.query_opt(sql, &[&lottery.0, &draw_at]).await?.is_some())
}

/// Stores that this draw is the planned one for this time, and the size of its pool.
pub async fn plan(
    db: &Client,
    lottery: &LotteryId,
    draw_at: Timestamp,
    draw: DrawId,
    pool: i32,
) -> Result<(), Error> {
    let sql = "-- draws::plan()
        INSERT INTO planned_draws (lottery, draw_at, draw_id, pool) VALUES ($1, $2, $3, $4)";
    db.execute(sql, &[&lottery.0, &draw_at, &draw.0, &pool]).await.map(drop)
}

/// Creates the lottery and its jackpot account, unless they exist.
pub async fn ensure_lottery(db: &Client, lottery: &LotteryId) -> Result<(), Error> {
    let sql = "-- draws::ensure_lottery(lottery)
        INSERT INTO lotteries (id) VALUES ($1) ON CONFLICT DO NOTHING";
    db.execute(sql, &[&lottery.0]).await?;
    let sql = "-- draws::ensure_lottery(jackpot)
        INSERT INTO accounts (id, kind, lottery) SELECT seq * 8 + 4, 'jackpot', seq FROM lotteries WHERE id = $1
        ON CONFLICT DO NOTHING";
    db.execute(sql, &[&lottery.0]).await?;
    Ok(())
}

/// Takes the draw over with a new epoch. From then on the database refuses the records in flight of an earlier
/// actor or of a killed process. `None`: there is no such draw.
pub async fn take_over(db: &Client, draw: DrawId) -> Result<Option<i64>, Error> {
    let sql = "-- draws::take_over()
        UPDATE draw_sales SET epoch = epoch + 1 WHERE draw_id = $1 RETURNING epoch";
    Ok(db.query_opt(sql, &[&draw.0]).await?.map(|row| row.get(0)))
}

/// Adds tickets to a draw's pool. The draw's row is locked only at the end, so that the sale goes on while a
/// large pool is written.
pub async fn add_to_pool(db: &Client, fence: Fence, tickets: &[(PoolTicketId, Pick)]) -> Result<(), StepFailure> {
    let sql = "-- draws::add_to_pool()
        INSERT INTO pool_tickets (draw_id, id, pick) SELECT $1, * FROM unnest($2::uuid[], $3::bigint[])";
    let statement = db.prepare(sql).await?;
    for chunk in tickets.chunks(POOL_CHUNK) {
        let (ids, picks): (Vec<Uuid>, Vec<i64>) = chunk.iter().map(|(id, pick)| (id.0, pick.mask())).unzip();
        db.execute(&statement, &[&fence.draw.0, &ids, &picks]).await?;
    }
    lock(db, fence).await?;
    Ok(())
}

/// The number of pool tickets for sale, for a stored answer.
pub async fn count_for_sale(db: &Client, draw: DrawId) -> Result<i64, Error> {
    let sql = "-- draws::count_for_sale()
        SELECT count(*) FROM pool_tickets p WHERE p.draw_id = $1 AND NOT EXISTS (
            SELECT FROM tickets t WHERE t.pool_ticket_id = p.id AND t.status IN ('reserved', 'paid'))";
    Ok(db.query_one(sql, &[&draw.0]).await?.get(0))
}

/// Stores an answer under its key. False if the key exists already.
pub async fn keep_answer(db: &Client, key: &Key, answer: &str, at: Timestamp) -> Result<bool, Error> {
    let sql = "-- draws::keep_answer()
        INSERT INTO idempotency_keys (id, request, answer, status, created_at)
        VALUES ($1, $2, $3, 201, $4) ON CONFLICT DO NOTHING";
    let written = db.execute(sql, &[&key.id.0, &key.request, &answer, &at]).await?;
    Ok(written == 1)
}

pub const LOCK: &str = "-- draws::lock(id, epoch)
    SELECT sold FROM draw_sales WHERE draw_id = $1 AND epoch = $2 FOR UPDATE";

/// Locks a draw's row and checks the epoch; returns the number of sold tickets.
pub async fn lock(db: &Client, fence: Fence) -> Result<i64, StepFailure> {
    sold(db.query_opt(LOCK, &[&fence.draw.0, &fence.epoch]).await?)
}

/// The number of sold tickets. `None` as the row means that the draw has a newer epoch.
pub fn sold(row: Option<Row>) -> Result<i64, StepFailure> {
    row.map(|row| row.get(0)).ok_or(StepFailure::StaleEpoch)
}

/// Changes the status of a draw.
pub async fn set_status(db: &Client, draw: DrawId, status: DrawStatus) -> Result<(), Error> {
    let sql = "-- draws::set_status()
        UPDATE draws SET status = $2 WHERE id = $1";
    db.execute(sql, &[&draw.0, &status.as_str()]).await.map(drop)
}

/// Starts a new epoch for a draw whose row is locked: no record of the old epoch can be written any more.
async fn next_epoch(db: &Client, draw: DrawId) -> Result<i64, StepFailure> {
    take_over(db, draw).await?.ok_or(StepFailure::StaleEpoch)
}

/// The step that opens the sale.
pub struct Open {
    pub fence: Fence,
    pub rules: Arc<Rules>,
    pub at: Timestamp,
    pub audit: Option<AuditEntry>,
    pub currency: Currency,
    /// What the numbers will come from. `None`: they follow from a seed and the sealed list.
    pub round: Option<AnnouncedRound>,
    /// Of the witnesses of the public log.
    pub policy: Option<Arc<WitnessPolicy>>,
}

impl StepTransaction for Open {
    type Output = ();

    async fn run(&self, session: &WriterConnection) -> Result<(), StepFailure> {
        let db = &session.client;
        lock(db, self.fence).await?;
        let row = announce(db, self.fence.draw, self.round.as_ref()).await?;
        let (rules, round) = ((&*self.rules, self.currency), self.round.as_ref());
        let (keys, number) = (session.logs.log_keys(), row.get("number"));
        if let Some(policy) = &self.policy {
            witnesses::keep_policy(db, policy).await?;
        }
        let published = (round, self.policy.as_deref().map(WitnessPolicy::hash));
        let event = public_log::announced(keys, self.fence.draw, number, rules, &times(&row), published, self.at);
        log::append(db, keys, &event).await?;
        Ok(audit::record(db, self.audit.as_ref()).await?)
    }
}

/// Opens the sale of a draw whose numbers come from this round, or from a seed. Returns its number and its times.
pub async fn announce(db: &Client, draw: DrawId, round: Option<&AnnouncedRound>) -> Result<Row, Error> {
    let sql = "-- draws::open_log()
        UPDATE draw_sales SET edge = $2 WHERE draw_id = $1";
    db.execute(sql, &[&draw.0, &Edge::new().to_bytes()]).await?;
    let fairness = match round {
        Some(round) => {
            record_chain(db, &round.chain).await?;
            Fairness::Beacon
        }
        None => Fairness::CommitReveal,
    };
    let chain = round.map(|round| round.chain.hash().as_slice());
    let round = round.map(|announced| announced.round.cast_signed());
    let sql = "-- draws::announce()
        UPDATE draws SET status = 'open', fairness = $2, chain = $3, round = $4 WHERE id = $1
        RETURNING number, sales_open_at, sales_close_at, draw_at";
    db.query_one(sql, &[&draw.0, &fairness.as_str(), &chain, &round]).await
}

/// Stores all that the hash of a chain covers, unless it is stored.
async fn record_chain(db: &Client, chain: &BeaconChain) -> Result<(), Error> {
    let sql = "-- draws::record_chain()
        INSERT INTO beacon_chains (hash, public_key, genesis, period, group_hash, beacon_id)
        VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT DO NOTHING";
    let (genesis, period) = (chain.genesis().cast_signed(), chain.period().cast_signed());
    let params: [&(dyn ToSql + Sync); 6] = [
        &chain.hash().as_slice(),
        &chain.public_key().as_slice(),
        &genesis,
        &period,
        &chain.group_hash().as_slice(),
        &chain.beacon_id(),
    ];
    db.execute(sql, &params).await.map(drop)
}

fn times(row: &Row) -> Times {
    Times {
        sales_open_at: row.get("sales_open_at"),
        sales_close_at: row.get("sales_close_at"),
        draw_at: row.get("draw_at"),
    }
}

/// The step that changes the times of the draw.
pub struct Reschedule {
    pub fence: Fence,
    pub times: Times,
    /// The round of these times, of a draw that is announced with a beacon.
    pub round: Option<u64>,
    pub at: Timestamp,
    pub audit: Option<AuditEntry>,
}

impl StepTransaction for Reschedule {
    type Output = ();

    async fn run(&self, session: &WriterConnection) -> Result<(), StepFailure> {
        let db = &session.client;
        lock(db, self.fence).await?;
        let sql = "-- draws::reschedule()
            UPDATE draws SET sales_open_at = $2, sales_close_at = $3, draw_at = $4, round = $5 WHERE id = $1";
        let Times { sales_open_at, sales_close_at, draw_at } = self.times;
        let (draw, round) = (self.fence.draw, self.round.map(u64::cast_signed));
        db.execute(sql, &[&draw.0, &sales_open_at, &sales_close_at, &draw_at, &round]).await?;
        if log::fairness(db, draw).await?.is_some() {
            let keys = session.logs.log_keys();
            let at = public_log::not_before(&log::entries_of(db, keys, draw).await?, self.at);
            log::append(db, keys, &public_log::rescheduled(draw, &self.times, self.round, at)).await?;
        }
        Ok(audit::record(db, self.audit.as_ref()).await?)
    }
}

/// The step that ends the sale: the ticket list is sealed, and the epoch of the sale ends.
pub struct Seal {
    pub fence: Fence,
    pub at: Timestamp,
    pub audit: Option<AuditEntry>,
}

impl StepTransaction for Seal {
    /// The new epoch.
    type Output = i64;

    async fn run(&self, session: &WriterConnection) -> Result<i64, StepFailure> {
        let (db, keys) = (&session.client, session.logs.log_keys());
        let sold = lock(db, self.fence).await?;
        nothing_reserved(db, self.fence.draw).await?;
        let log = self.log(session).await?;
        let sql = "-- draws::published_close()
            SELECT sales_close_at FROM draws WHERE id = $1";
        let close_at = db.query_one(sql, &[&self.fence.draw.0]).await?.get(0);
        let published = log::entries_of(db, keys, self.fence.draw).await?;
        let at = public_log::sealed_at(&published, close_at)
            .unwrap_or_else(|| public_log::not_before(&published, self.at));
        let (orders, root) = log.as_ref().map(|head| (head.size.cast_signed(), head.root.to_vec())).unzip();
        let sql = "-- draws::seal()
            INSERT INTO draw_seals (draw_id, tickets, sealed_at, orders, root) VALUES ($1, $2, $3, $4, $5)";
        db.execute(sql, &[&self.fence.draw.0, &sold, &at, &orders, &root]).await?;
        set_status(db, self.fence.draw, DrawStatus::Closed).await?;
        if let Some(log) = log
            && log::fairness(db, self.fence.draw).await?.is_some()
        {
            log::append(db, keys, &public_log::sealed(self.fence.draw, &log, sold, close_at, at)).await?;
        }
        audit::record(db, self.audit.as_ref()).await?;
        next_epoch(db, self.fence.draw).await
    }
}

impl Seal {
    /// The head of the ticket log that is sealed, if the draw has one.
    async fn log(
        &self,
        WriterConnection { client, logs, .. }: &WriterConnection,
    ) -> Result<Option<Head>, StepFailure> {
        let sql = "-- draws::sealed_log()
            SELECT edge FROM draw_sales WHERE draw_id = $1";
        let edge: Option<Vec<u8>> = client.query_one(sql, &[&self.fence.draw.0]).await?.get(0);
        let Some(edge) = edge else { return Ok(None) };
        let log = logs.open(self.fence.draw, &edge);
        log.map(|log| Some(log.head())).map_err(|fault| StepFailure::Rejected(fault.to_string()))
    }
}

/// The step that cancels the draw: refunds begin.
pub struct BeginCancel {
    pub fence: Fence,
    pub rules: Arc<Rules>,
    pub reason: String,
    pub at: Timestamp,
    pub audit: Option<AuditEntry>,
}

/// What beginning to cancel a draw has changed.
pub struct CancelBegun {
    pub epoch: i64,
    /// The lottery's jackpot, if the draw has given it back.
    jackpot: Option<Money>,
}

impl StepTransaction for BeginCancel {
    type Output = CancelBegun;

    async fn run(&self, session: &WriterConnection) -> Result<CancelBegun, StepFailure> {
        let (db, keys) = (&session.client, session.logs.log_keys());
        lock(db, self.fence).await?;
        nothing_reserved(db, self.fence.draw).await?;
        let jackpot = self.return_jackpot(db).await?;
        let published = log::entries_of(db, keys, self.fence.draw).await?;
        let at = public_log::voided_at(&published).unwrap_or_else(|| public_log::not_before(&published, self.at));
        let sql = "-- draws::begin_cancel()
            INSERT INTO draw_cancellations (draw_id, reason, cancelled_at) VALUES ($1, $2, $3)";
        db.execute(sql, &[&self.fence.draw.0, &self.reason, &at]).await?;
        set_status(db, self.fence.draw, DrawStatus::Cancelling).await?;
        if let Some(fairness) = log::fairness(db, self.fence.draw).await? {
            // The rows of a draw that was rolled back may lack the seal that was published.
            let is_sealed = public_log::is_sealed(&published);
            let draw = self.fence.draw;
            log::append(db, keys, &public_log::voided(keys, draw, fairness, is_sealed, &self.reason, at)).await?;
        }
        audit::record(db, self.audit.as_ref()).await?;
        Ok(CancelBegun { epoch: next_epoch(db, self.fence.draw).await?, jackpot })
    }

    fn committed(&self, begun: &CancelBegun, snapshots: &DrawSnapshots) {
        if let Some(jackpot) = begun.jackpot {
            snapshots.set_jackpot(&self.rules.lottery, jackpot);
        }
    }
}

impl BeginCancel {
    /// If the numbers are drawn, the jackpot goes back to where it came from. Once the prizes are fixed, a trigger refuses
    /// to cancel. Returns the lottery's jackpot then.
    async fn return_jackpot(&self, db: &Client) -> Result<Option<Money>, StepFailure> {
        let sql = "-- draws::return_jackpot()
            SELECT jackpot FROM draw_results WHERE draw_id = $1";
        let draw = self.fence.draw;
        let Some(row) = db.query_opt(sql, &[&draw.0]).await? else { return Ok(None) };
        let jackpot = ledger::jackpot_account(db, &self.rules).await?;
        let mut ledger = ledger::open(db, &BTreeSet::from([AccountId::escrow(draw), jackpot])).await?;
        return_jackpot(draw, Money::new(row.get(0)), jackpot, self.at, &mut ledger)?;
        ledger::write(db, &ledger).await?;
        Ok(ledger.balance(jackpot))
    }
}

/// Checks in the table what the actor has ensured before: no ticket is reserved.
async fn nothing_reserved(db: &Client, draw: DrawId) -> Result<(), StepFailure> {
    let sql = "-- draws::nothing_reserved()
        SELECT FROM tickets WHERE draw_id = $1 AND status = 'reserved' LIMIT 1";
    match db.query_opt(sql, &[&draw.0]).await? {
        None => Ok(()),
        Some(_) => Err(StepFailure::Rejected(format!("draw {draw} still has reserved tickets"))),
    }
}
