//! Reads what a settlement or a refund has to pay, part by part. A draw's tickets do not change once its list
//! is sealed, so these reads run outside the write transactions, in small parts, and do not slow down the
//! writer.

use tokio_postgres::Row;
use uuid::Uuid;
use verifiable_draw::Hash;
use verifiable_draw::merkle::Head;

use crate::db::{Db, DbError};
use crate::domain::game::Pick;
use crate::domain::id::{DrawId, PaymentId, UserId};
use crate::domain::money::Money;
use crate::domain::payout::{Credit, Part, Progress};
use crate::domain::recount::{SealedTickets, SoldTicket, TicketRange};
use crate::domain::settle::StoredSettlement;

/// The tickets of one payment have consecutive numbers; it has at most this many.
const MOST_LINES: i64 = 100;

/// The settlement of a draw whose winning numbers are known.
pub async fn settlement(db: &Db, draw: DrawId) -> Result<StoredSettlement, DbError> {
    let sql = "-- payout::settlement(result)
        SELECT cursor, window_end, paid_user, paid_reference, prize_fund IS NOT NULL AS fixed
        FROM draw_results WHERE draw_id = $1";
    let row = db.query_opt(sql, &[&draw.0]).await?.ok_or(DbError::Corrupt("a draw without its result"))?;
    if !row.get::<_, bool>("fixed") {
        return Ok(StoredSettlement::NotFixed);
    }
    let sql = "-- payout::settlement(prizes)
        SELECT matches::bigint AS matches, prize FROM result_tiers WHERE draw_id = $1 AND prize > 0
        ORDER BY matches DESC";
    let tiers = db.query(sql, &[&draw.0]).await?;
    let prizes = tiers.iter().map(|row| (row.get("matches"), Money::new(row.get("prize"))));
    Ok(StoredSettlement::Fixed { prizes: prizes.collect(), progress: progress(&row) })
}

/// The progress of the refunds of a cancelled draw.
pub async fn refunded(db: &Db, draw: DrawId) -> Result<Progress, DbError> {
    let sql = "-- payout::refunded()
        SELECT cursor, window_end, paid_user, paid_reference FROM draw_cancellations WHERE draw_id = $1";
    let row = db.query_opt(sql, &[&draw.0]).await?;
    Ok(progress(&row.ok_or(DbError::Corrupt("a draw without its cancellation"))?))
}

/// Reads the columns that results and cancellations have in common.
pub fn progress(row: &Row) -> Progress {
    let part = |end| Part { end, user: UserId(row.get("paid_user")), reference: row.get("paid_reference") };
    Progress { done: row.get("cursor"), window: row.get::<_, Option<i64>>("window_end").map(part) }
}

/// Rows of sold tickets. They are parsed where they are counted, because that takes long for thousands of rows.
pub struct SoldTicketRows(Vec<Row>);

impl SoldTicketRows {
    /// In the order of their numbers.
    pub fn tickets(&self) -> impl Iterator<Item = SoldTicket> {
        self.0.iter().map(|row| SoldTicket {
            number: row.get(0),
            id: row.get(1),
            payment: PaymentId(row.get(2)),
            user: UserId(row.get(3)),
            pick: row.get(4),
        })
    }
}

/// These tickets.
pub async fn sold_tickets(db: &Db, draw: DrawId, (after, to): TicketRange) -> Result<SoldTicketRows, DbError> {
    let sql = "-- payout::sold_tickets()
        SELECT number, id, payment_id, user_id, pick FROM tickets
        WHERE draw_id = $1 AND number > $2 AND number <= $3 ORDER BY number";
    Ok(SoldTicketRows(db.query(sql, &[&draw.0, &after, &to]).await?))
}

/// Those of these tickets that have as many matches as a tier of prizes.
pub async fn winning_tickets(
    db: &Db,
    draw: DrawId,
    winning: Pick,
    tiers: &[u8],
    (after, to): TicketRange,
) -> Result<SoldTicketRows, DbError> {
    let sql = "-- payout::winning_tickets()
        SELECT number, id, payment_id, user_id, pick FROM tickets
        WHERE draw_id = $1 AND number > $3 AND number <= $4
              AND bit_count((pick & $2)::bit(64)) = ANY($5) ORDER BY number";
    let tiers: Vec<i64> = tiers.iter().copied().map(i64::from).collect();
    Ok(SoldTicketRows(db.query(sql, &[&draw.0, &winning.mask(), &after, &to, &tiers]).await?))
}

/// The seal of a draw.
pub async fn seal(db: &Db, draw: DrawId) -> Result<SealedTickets, DbError> {
    let sql = "-- payout::seal()
        SELECT tickets, orders, root FROM draw_seals WHERE draw_id = $1";
    let row = db.query_opt(sql, &[&draw.0]).await?.ok_or(DbError::Corrupt("a draw without its seal"))?;
    let root = row.get::<_, Option<&[u8]>>("root").map(|root| root.try_into());
    let root = root.transpose().map_err(|_| DbError::Corrupt("root of a seal"))?;
    let orders = row.get::<_, Option<i64>>("orders").map(i64::cast_unsigned);
    let log = orders.zip(root).map(|(size, root)| Head { size, root });
    Ok(SealedTickets { tickets: row.get("tickets"), log })
}

/// The stored roots of the complete tiles of the draw's ticket log.
pub async fn tile_roots(db: &Db, draw: DrawId) -> Result<Vec<Hash>, DbError> {
    let sql = "-- payout::tile_roots()
        SELECT root FROM ticket_log_tiles WHERE draw_id = $1 AND level = 0 ORDER BY tile";
    let mut roots = Vec::new();
    let push = |row: &Row| {
        roots.push(row.get::<_, &[u8]>(0).try_into().map_err(|_| DbError::Corrupt("a tile of a ticket log"))?);
        Ok(())
    };
    db.for_each_row(sql, &[&draw.0], push).await?;
    Ok(roots)
}

/// The refunds of these tickets, one for each. An error: a payment whose ticket has another owner than the payer.
pub async fn refunds(
    db: &Db,
    draw: DrawId,
    price: Money,
    (after, to): TicketRange,
) -> Result<Result<Vec<Credit>, PaymentId>, DbError> {
    let sql = "-- payout::refunds()
        SELECT t.user_id, t.payment_id, p.user_id AS payer FROM tickets t LEFT JOIN payments p ON p.id = t.payment_id
        WHERE t.draw_id = $1 AND t.number > $2 AND t.number <= $3";
    let rows = db.query(sql, &[&draw.0, &after, &to]).await?;
    let credit = |row: &Row| {
        let (user, payment): (i64, Uuid) = (row.get(0), row.get(1));
        let is_payer = row.get::<_, Option<i64>>(2) == Some(user);
        let credit = Credit { user: UserId(user), reference: payment, amount: price };
        if is_payer { Ok(credit) } else { Err(PaymentId(payment)) }
    };
    Ok(rows.iter().map(credit).collect())
}

/// The number of the last ticket of the payment that this ticket belongs to.
pub async fn end_of_payment(db: &Db, draw: DrawId, number: i64) -> Result<i64, DbError> {
    let sql = "-- payout::end_of_payment()
        SELECT max(t.number) AS last FROM tickets t
        JOIN tickets one ON one.draw_id = $1 AND one.number = $2 AND t.payment_id = one.payment_id
        WHERE t.draw_id = $1 AND t.number >= $2 AND t.number < $2 + $3";
    let row = db.query_opt(sql, &[&draw.0, &number, &MOST_LINES]).await?;
    row.and_then(|row| row.get(0)).ok_or(DbError::Corrupt("a number without its ticket"))
}
