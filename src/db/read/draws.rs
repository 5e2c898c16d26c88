//! Reads draws, their pools, results and jackpots. This file knows no actor: the current state of a draw on
//! sale may be newer in the memory of its actor.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use jiff::Timestamp;
use tokio_postgres::{Client, Row};
use uuid::Uuid;
use verifiable_draw::event::Event;

use super::rules::{game, rules};
use super::{Page, PageRows, beacon};
use crate::db::{Db, DbError};
use crate::domain::draw::{
    DrawSnapshot, DrawState, Reservation, ReservationState, ReservedTicket, RolledBack, Times, WinningPick,
};
use crate::domain::game::{Game, Pick};
use crate::domain::id::{DrawId, LotteryId, PaymentId, PoolTicketId, TicketId, UserId};
use crate::domain::lottery::{DrawStatus, Fairness, Rules};
use crate::domain::money::Money;
use crate::domain::pool::Pool;

const VIEW: &str = "SELECT d.id, d.lottery, d.number, d.status, d.pick, d.of, d.price, d.fund_share, \
     t.matches, t.amounts, t.shares, t.minimums, d.sales_open_at, d.sales_close_at, d.draw_at, d.fairness, s.epoch, s.sold, \
     r.pick AS winning, r.drawn_at, r.jackpot, c.reason FROM draws d JOIN draw_sales s ON s.draw_id = d.id \
     LEFT JOIN draw_results r ON r.draw_id = d.id LEFT JOIN draw_cancellations c ON c.draw_id = d.id \
     CROSS JOIN LATERAL (SELECT array_agg(matches) AS matches, array_agg(amount) AS amounts, \
         array_agg(share) AS shares, array_agg(minimum) AS minimums FROM draw_tiers WHERE draw_id = d.id) t";

/// The draw with this id.
pub async fn one(db: &Db, id: DrawId) -> Result<Option<DrawSnapshot>, DbError> {
    let sql = format!("-- draws::one()\n{VIEW} WHERE d.id = $1");
    db.query_opt(&sql, &[&id.0]).await?.as_ref().map(view).transpose()
}

/// The rules of a draw, and its number among those of its lottery. The draw must exist.
pub async fn rules_and_number(db: &Client, id: DrawId) -> Result<(Rules, i32), DbError> {
    let sql = format!("-- draws::rules_and_number()\n{VIEW} WHERE d.id = $1");
    let row = db.query_one(&sql, &[&id.0]).await?;
    Ok((rules(&row)?, row.get("number")))
}

/// Draws, newest first, with optional filters: an empty list of lotteries or statuses means all. A corrupt draw is
/// left out.
pub async fn list(
    db: &Db,
    lotteries: &[String],
    statuses: &[DrawStatus],
    page: Page<i64>,
) -> Result<PageRows<DrawSnapshot, i64>, DbError> {
    let sql = format!(
        "-- draws::list()\n{VIEW} WHERE d.id < $1 AND ($2::text[] = '{{}}' OR d.lottery = ANY($2)) \
         AND ($3::text[] = '{{}}' OR d.status = ANY($3)) ORDER BY d.id DESC LIMIT $4"
    );
    let statuses: Vec<&str> = statuses.iter().map(|status| status.as_str()).collect();
    let rows =
        db.query(&sql, &[&page.after.unwrap_or(i64::MAX), &lotteries, &statuses, &(page.limit + 1)]).await?;
    let rows = rows.iter().map(|row| (row.get::<_, i64>("id"), view(row))).collect();
    let PageRows { items, next } = PageRows::cut(rows, page.limit, |(id, _)| *id);
    let intact = |(id, draw): (i64, Result<DrawSnapshot, DbError>)| {
        draw.inspect_err(|error| tracing::error!(draw = id, %error, "a draw is corrupt and is left out of a list"))
            .ok()
    };
    Ok(PageRows { items: items.into_iter().filter_map(intact).collect(), next })
}

/// The draws that need an actor.
pub async fn active(db: &Db) -> Result<Vec<DrawId>, DbError> {
    let sql = "-- draws::active()
        SELECT id FROM draws WHERE status NOT IN ('completed', 'cancelled') ORDER BY id";
    Ok(db.query(sql, &[]).await?.iter().map(|row| DrawId(row.get("id"))).collect())
}

/// The times from `from` on for which a draw of this lottery was planned.
pub async fn planned(db: &Db, lottery: &LotteryId, from: Timestamp) -> Result<HashSet<Timestamp>, DbError> {
    let sql = "-- draws::planned()
        SELECT draw_at FROM planned_draws WHERE lottery = $1 AND draw_at >= $2";
    Ok(db.query(sql, &[&lottery.0, &from]).await?.iter().map(|row| row.get("draw_at")).collect())
}

/// The planned draws that need a pool and have none yet, with the pool's size.
pub async fn without_pool(db: &Db) -> Result<Vec<(DrawId, usize)>, DbError> {
    let sql = "-- draws::without_pool()
        SELECT p.draw_id, p.pool FROM planned_draws p JOIN draws d ON d.id = p.draw_id
        WHERE p.pool > 0 AND d.status IN ('scheduled', 'open')
        AND NOT EXISTS (SELECT FROM pool_tickets t WHERE t.draw_id = p.draw_id) ORDER BY p.draw_at";
    let pool = |row: &Row| usize::try_from(row.get::<_, i32>("pool")).map_err(|_| DbError::Corrupt("pool"));
    db.query(sql, &[]).await?.iter().map(|row| Ok((DrawId(row.get("draw_id")), pool(row)?))).collect()
}

/// A draw with all that its actor needs: the rules, the free pool tickets, the reservations.
pub async fn load(db: &Db, id: DrawId) -> Result<Option<DrawState>, DbError> {
    let sql = format!("-- draws::load()\n{VIEW} WHERE d.id = $1");
    let Some(row) = db.query_opt(&sql, &[&id.0]).await? else { return Ok(None) };
    let view = view(&row)?;
    let game = view.rules.game;
    let selling = matches!(view.status, DrawStatus::Scheduled | DrawStatus::Open);
    let pool = if selling { pool(db, id, game).await? } else { Pool::default() };
    let reservations = if selling { reservations(db, id, game).await? } else { HashMap::new() };
    Ok(Some(DrawState {
        id,
        number: view.number,
        rules: view.rules,
        times: view.times,
        status: view.status,
        fairness: view.fairness,
        round: match view.fairness {
            Some(Fairness::Beacon) => beacon::announced_round(db, id).await?,
            Some(Fairness::CommitReveal) | None => None,
        },
        epoch: row.get("epoch"),
        sold: view.sold,
        pool,
        reservations,
        winning: view.winning,
        cancel_reason: view.cancel_reason,
        rolled_back: rolled_back(db, id).await?,
    }))
}

/// What the public log has of a draw that was brought back by a backup.
async fn rolled_back(db: &Db, id: DrawId) -> Result<Option<RolledBack>, DbError> {
    let sql = "-- draws::rolled_back()
        SELECT b.goes_on, e.entry FROM rolled_back_draws b LEFT JOIN log_entries e ON e.index = b.entry WHERE b.draw_id = $1";
    let Some(row) = db.query_opt(sql, &[&id.0]).await? else { return Ok(None) };
    let corrupt = DbError::Corrupt("the state to which a draw goes on");
    Ok(Some(match (row.get::<_, Option<&str>>(0), row.get::<_, Option<&[u8]>>(1).map(Event::parse)) {
        (None, _) => RolledBack::Lost,
        (Some("sealed"), _) => RolledBack::Sealed,
        (Some("completed"), _) => RolledBack::Completed,
        (Some("voided"), Some(Ok(Event::DrawVoided { reason, .. }))) => RolledBack::Voided(reason),
        _ => return Err(corrupt),
    }))
}

/// The pool tickets that nobody holds.
async fn pool(db: &Db, id: DrawId, game: Game) -> Result<Pool, DbError> {
    let sql = "-- draws::pool()
        SELECT p.id, p.pick FROM pool_tickets p WHERE p.draw_id = $1 AND NOT EXISTS (
            SELECT FROM tickets t WHERE t.pool_ticket_id = p.id AND t.status IN ('reserved', 'paid'))";
    let mut pool = Pool::default();
    let put = |row: &Row| {
        pool.put(PoolTicketId(row.get(0)), pick(game, row.get(1))?);
        Ok(())
    };
    db.for_each_row(sql, &[&id.0], put).await?;
    Ok(pool)
}

async fn reservations(db: &Db, id: DrawId, game: Game) -> Result<HashMap<PaymentId, Reservation>, DbError> {
    let sql = "-- draws::reservations()
        SELECT t.id, t.user_id, t.payment_id, t.pick, t.pool_ticket_id, p.reserved_until, p.status, p.updated_at
        FROM tickets t JOIN payments p ON p.id = t.payment_id
        WHERE t.draw_id = $1 AND t.status = 'reserved' ORDER BY t.id";
    let mut reservations: HashMap<PaymentId, Reservation> = HashMap::new();
    for row in db.query_long(sql, &[&id.0]).await? {
        let until: Option<Timestamp> = row.get("reserved_until");
        let charging = row.get::<_, &str>("status") == "processing";
        let reservation = reservations.entry(PaymentId(row.get("payment_id"))).or_insert(Reservation {
            user: UserId(row.get("user_id")),
            until: until.ok_or(DbError::Corrupt("a reservation without an end"))?,
            tickets: Vec::new(),
            state: if charging {
                ReservationState::Charging { begun: row.get("updated_at") }
            } else {
                ReservationState::Held
            },
        });
        let taken = row.get::<_, Option<Uuid>>("pool_ticket_id");
        let pick = pick(game, row.get("pick"))?;
        reservation.tickets.push(ReservedTicket {
            id: TicketId(row.get("id")),
            pick,
            pool: taken.map(PoolTicketId),
            returning: false,
        });
    }
    Ok(reservations)
}

/// A pool ticket that is for sale.
#[derive(Clone, PartialEq, Debug)]
pub struct PoolTicket {
    pub id: PoolTicketId,
    pub pick: Pick,
    pub price: Money,
}

/// The pool tickets for sale, in the order in which they were made; `None` if there is no such draw.
pub async fn pool_page(
    db: &Db,
    id: DrawId,
    page: Page<Uuid>,
) -> Result<Option<PageRows<PoolTicket, Uuid>>, DbError> {
    let sql = "-- draws::pool_page(draw)
        SELECT pick, of, price, status IN ('scheduled', 'open') AS selling FROM draws WHERE id = $1";
    let Some(draw) = db.query_opt(sql, &[&id.0]).await? else { return Ok(None) };
    if !draw.get::<_, bool>("selling") {
        return Ok(Some(PageRows { items: Vec::new(), next: None }));
    }
    let (game, price) = (game(&draw)?, Money::new(draw.get("price")));
    let sql = "-- draws::pool_page(tickets)
        SELECT p.id, p.pick FROM pool_tickets p WHERE p.draw_id = $1 AND p.id > $2 AND NOT EXISTS (
            SELECT FROM tickets t WHERE t.pool_ticket_id = p.id AND t.status IN ('reserved', 'paid'))
        ORDER BY p.id LIMIT $3";
    let rows = db.query(sql, &[&id.0, &page.after.unwrap_or(Uuid::nil()), &(page.limit + 1)]).await?;
    let ticket =
        |row: &Row| Ok(PoolTicket { id: PoolTicketId(row.get("id")), pick: pick(game, row.get("pick"))?, price });
    let items = rows.iter().map(ticket).collect::<Result<_, DbError>>()?;
    Ok(Some(PageRows::cut(items, page.limit, |ticket: &PoolTicket| ticket.id.0)))
}

/// A completed draw's result.
#[derive(Clone, PartialEq, Debug)]
pub struct ResultView {
    pub draw: DrawId,
    pub winning: Pick,
    pub drawn_at: Timestamp,
    pub sold: i64,
    pub prize_fund: Money,
    pub rollover: Money,
    /// Matches, number of winners and the prize of one winning ticket, the most matches first.
    pub tiers: Vec<(i16, i64, Money)>,
}

/// Whether a draw has a result.
#[derive(Clone, PartialEq, Debug)]
pub enum ResultState {
    NoSuchDraw,
    NotCompleted,
    Completed(ResultView),
}

/// The result of a draw.
pub async fn result(db: &Db, id: DrawId) -> Result<ResultState, DbError> {
    let sql = "-- draws::result(draw)
        SELECT d.pick, d.of, d.status, s.sold, r.pick AS winning, r.drawn_at, r.prize_fund, r.rollover
        FROM draws d JOIN draw_sales s ON s.draw_id = d.id LEFT JOIN draw_results r ON r.draw_id = d.id
        WHERE d.id = $1";
    let Some(row) = db.query_opt(sql, &[&id.0]).await? else { return Ok(ResultState::NoSuchDraw) };
    if row.get::<_, &str>("status") != DrawStatus::Completed.as_str() {
        return Ok(ResultState::NotCompleted);
    }
    let sql = "-- draws::result(tiers)
        SELECT matches, winners, prize FROM result_tiers WHERE draw_id = $1 ORDER BY matches DESC";
    let tiers = db.query(sql, &[&id.0]).await?;
    let tiers = tiers.iter().map(|row| (row.get("matches"), row.get("winners"), Money::new(row.get("prize"))));
    Ok(ResultState::Completed(ResultView {
        draw: id,
        winning: pick(game(&row)?, row.get("winning"))?,
        drawn_at: row.get("drawn_at"),
        sold: row.get("sold"),
        prize_fund: Money::new(row.get("prize_fund")),
        rollover: Money::new(row.get("rollover")),
        tiers: tiers.collect(),
    }))
}

/// What each lottery's last draw left for the next draw.
pub async fn jackpots(db: &Db) -> Result<HashMap<LotteryId, Money>, DbError> {
    let sql = "-- draws::jackpots()
        SELECT l.id, a.balance FROM lotteries l JOIN accounts a ON a.id = l.seq * 8 + 4";
    let rows = db.query(sql, &[]).await?;
    Ok(rows.iter().map(|row| (LotteryId(row.get("id")), Money::new(row.get("balance")))).collect())
}

fn view(row: &Row) -> Result<DrawSnapshot, DbError> {
    let rules = rules(row)?;
    let is_cancelled = row.get::<_, Option<&str>>("reason").is_some();
    let winning = match row.get::<_, Option<i64>>("winning") {
        // The numbers of a draw that was cancelled after them are none.
        Some(mask) if !is_cancelled => {
            let jackpot = Money::new(row.get("jackpot"));
            Some(WinningPick { pick: pick(rules.game, mask)?, drawn_at: row.get("drawn_at"), jackpot })
        }
        _ => None,
    };
    Ok(DrawSnapshot {
        id: DrawId(row.get("id")),
        rules: Arc::new(rules),
        number: row.get("number"),
        status: DrawStatus::parse(row.get("status")).ok_or(DbError::Corrupt("draw status"))?,
        times: Times {
            sales_open_at: row.get("sales_open_at"),
            sales_close_at: row.get("sales_close_at"),
            draw_at: row.get("draw_at"),
        },
        fairness: row
            .get::<_, Option<&str>>("fairness")
            .map(|text| Fairness::parse(text).ok_or(DbError::Corrupt("fairness")))
            .transpose()?,
        sold: row.get("sold"),
        available: 0,
        winning,
        cancel_reason: row.get("reason"),
        payout_stopped: false,
    })
}

fn pick(game: Game, mask: i64) -> Result<Pick, DbError> {
    game.pick_from_mask(mask).map_err(|_| DbError::Corrupt("pick"))
}

/// Every combination that was ever put into a draw's pool.
pub async fn pool_picks(db: &Db, id: DrawId, game: Game) -> Result<HashSet<Pick>, DbError> {
    let sql = "-- draws::pool_picks()
        SELECT pick FROM pool_tickets WHERE draw_id = $1";
    let mut picks = HashSet::new();
    let insert = |row: &Row| {
        picks.insert(pick(game, row.get(0))?);
        Ok(())
    };
    db.for_each_row(sql, &[&id.0], insert).await?;
    Ok(picks)
}
