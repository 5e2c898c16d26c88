//! Reads what a settlement or a refund has to pay, part by part. A draw's tickets do not change once its list
//! is sealed, so these reads run outside the write transactions, in small parts, and do not slow down the
//! writer.

use tokio_postgres::Row;

use crate::db::{Db, DbError};
use crate::domain::game::Pick;
use crate::domain::id::{DrawId, UserId};
use crate::domain::money::Money;
use crate::domain::payout::{Credit, Part, Progress};
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
        SELECT matches::bigint AS matches, prize FROM result_tiers WHERE draw_id = $1 AND prize > 0";
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

/// The tickets of a draw with a number above the first value and not above the second.
pub type TicketRange = (i64, i64);

/// How many of these tickets have how many matches: pairs of matches and tickets.
pub async fn hits(
    db: &Db,
    draw: DrawId,
    winning: Pick,
    (after, to): TicketRange,
) -> Result<Vec<(i64, i64)>, DbError> {
    let sql = "-- payout::hits()
        SELECT bit_count((pick & $2)::bit(64)) AS matches, count(*) AS tickets
        FROM tickets WHERE draw_id = $1 AND number > $3 AND number <= $4 GROUP BY 1";
    let rows = db.query(sql, &[&draw.0, &winning.mask(), &after, &to]).await?;
    Ok(rows.iter().map(|row| (row.get("matches"), row.get("tickets"))).collect())
}

/// The prizes of these tickets.
pub async fn prizes(
    db: &Db,
    draw: DrawId,
    winning: Pick,
    prizes: &[(i64, Money)],
    (after, to): TicketRange,
) -> Result<Vec<Credit>, DbError> {
    let sql = "-- payout::prizes()
        SELECT user_id, id, bit_count((pick & $2)::bit(64)) AS matches
        FROM tickets WHERE draw_id = $1 AND number > $3 AND number <= $4
             AND bit_count((pick & $2)::bit(64)) = ANY($5)";
    let paying: Vec<i64> = prizes.iter().map(|(matches, _)| *matches).collect();
    let rows = db.query(sql, &[&draw.0, &winning.mask(), &after, &to, &paying]).await?;
    let credit = |row: &Row| {
        let matches: i64 = row.get(2);
        let tier = prizes.iter().find(|(tier, _)| *tier == matches);
        let (_, amount) = *tier.ok_or(DbError::Corrupt("a winner of no tier"))?;
        Ok(Credit { user: UserId(row.get(0)), reference: row.get(1), amount })
    };
    rows.iter().map(credit).collect()
}

/// The refunds of these tickets, one for each.
pub async fn refunds(
    db: &Db,
    draw: DrawId,
    price: Money,
    (after, to): TicketRange,
) -> Result<Vec<Credit>, DbError> {
    let sql = "-- payout::refunds()
        SELECT user_id, payment_id FROM tickets WHERE draw_id = $1 AND number > $2 AND number <= $3";
    let rows = db.query(sql, &[&draw.0, &after, &to]).await?;
    let credit = |row: &Row| Credit { user: UserId(row.get(0)), reference: row.get(1), amount: price };
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
