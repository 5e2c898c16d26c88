//! Reads tickets.

use serde::Serialize;
use tokio_postgres::Row;
use uuid::Uuid;

use super::{Page, PageRows};
use crate::db::{Db, DbError};
use crate::domain::game::Game;
use crate::domain::id::{DrawId, LotteryId, PaymentId, PoolTicketId, TicketId, UserId};
use crate::domain::money::Money;
use crate::domain::ticket::{Origin, Ticket, TicketStatus};

const VIEW: &str = "SELECT t.user_id, t.id, t.payment_id, t.draw_id, t.lottery, t.number, t.pick, t.origin, t.pool_ticket_id, \
     t.status, t.price, t.reserved_until, t.matches, t.prize, t.created_at, d.pick AS size, d.of \
     FROM ticket_states t JOIN draws d ON d.id = t.draw_id";

/// A ticket, and the payment it belongs to.
#[derive(Clone, PartialEq, Debug)]
pub struct TicketView {
    pub ticket: Ticket,
    pub payment: PaymentId,
}

/// One of this user's tickets.
pub async fn one(db: &Db, user: UserId, id: TicketId) -> Result<Option<TicketView>, DbError> {
    let sql = format!("-- tickets::one()\n{VIEW} WHERE t.user_id = $1 AND t.id = $2");
    db.query_opt(&sql, &[&user.0, &id.0]).await?.as_ref().map(view).transpose()
}

/// This user's tickets, newest first, with optional filters: an empty list means all.
pub async fn list(
    db: &Db,
    user: UserId,
    draws: &[i64],
    statuses: &[TicketStatus],
    page: Page<Uuid>,
) -> Result<PageRows<Ticket, Uuid>, DbError> {
    let sql = format!(
        "-- tickets::list()\n{VIEW} WHERE t.user_id = $1 AND t.id < $2 \
         AND ($3::bigint[] = '{{}}' OR t.draw_id = ANY($3)) AND ($4::text[] = '{{}}' OR t.status = ANY($4)) \
         ORDER BY t.user_id DESC, t.id DESC LIMIT $5"
    );
    let statuses: Vec<&str> = statuses.iter().map(|status| status.as_str()).collect();
    let after = page.after.unwrap_or(Uuid::max());
    let rows = db.query(&sql, &[&user.0, &after, &draws, &statuses, &(page.limit + 1)]).await?;
    let items = rows.iter().map(|row| Ok(view(row)?.ticket)).collect::<Result<_, DbError>>()?;
    Ok(PageRows::cut(items, page.limit, |ticket| ticket.id.0))
}

/// A ticket with its owner's id.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct OwnedTicket {
    #[serde(flatten)]
    pub ticket: Ticket,
    pub user_id: UserId,
}

/// Every ticket of a draw, newest first, with an optional filter: an empty list of statuses means all.
pub async fn of_draw(
    db: &Db,
    draw: DrawId,
    statuses: &[TicketStatus],
    page: Page<Uuid>,
) -> Result<PageRows<OwnedTicket, Uuid>, DbError> {
    let sql = format!(
        "-- tickets::of_draw()\n{VIEW} WHERE t.draw_id = $1 AND t.id < $2 \
         AND ($3::text[] = '{{}}' OR t.status = ANY($3)) ORDER BY t.id DESC LIMIT $4"
    );
    let statuses: Vec<&str> = statuses.iter().map(|status| status.as_str()).collect();
    let rows =
        db.query(&sql, &[&draw.0, &page.after.unwrap_or(Uuid::max()), &statuses, &(page.limit + 1)]).await?;
    let owned = |row: &Row| Ok(OwnedTicket { ticket: view(row)?.ticket, user_id: UserId(row.get("user_id")) });
    let items = rows.iter().map(owned).collect::<Result<_, DbError>>()?;
    Ok(PageRows::cut(items, page.limit, |owned: &OwnedTicket| owned.ticket.id.0))
}

/// The tickets that were ordered with a payment, in the order of the lines, including those returned since.
pub async fn of_payment(db: &Db, user: UserId, payment: PaymentId) -> Result<Vec<Ticket>, DbError> {
    let sql = format!(
        "-- tickets::of_payment()\n{VIEW} WHERE t.user_id = $1 AND t.id > $2 AND t.payment_id = $2 \
         ORDER BY t.user_id, t.id LIMIT (SELECT lines FROM payments WHERE id = $2)"
    );
    let rows = db.query(&sql, &[&user.0, &payment.0]).await?;
    rows.iter().map(|row| Ok(view(row)?.ticket)).collect()
}

fn view(row: &Row) -> Result<TicketView, DbError> {
    let number = |name| u8::try_from(row.get::<_, i16>(name)).map_err(|_| DbError::Corrupt("game"));
    let game = Game::new(number("size")?, number("of")?).map_err(|_| DbError::Corrupt("game"))?;
    let ticket = Ticket {
        id: TicketId(row.get("id")),
        draw_id: DrawId(row.get("draw_id")),
        lottery: LotteryId(row.get("lottery")),
        number: row.get("number"),
        numbers: game.pick_from_mask(row.get("pick")).map_err(|_| DbError::Corrupt("pick"))?,
        origin: Origin::parse(row.get("origin")).ok_or(DbError::Corrupt("origin"))?,
        pool_ticket_id: row.get::<_, Option<Uuid>>("pool_ticket_id").map(PoolTicketId),
        status: TicketStatus::parse(row.get("status")).ok_or(DbError::Corrupt("ticket status"))?,
        price: Money::new(row.get("price")),
        reserved_until: row.get("reserved_until"),
        matches: row.get("matches"),
        prize: row.get::<_, Option<i64>>("prize").map(Money::new),
        created_at: row.get("created_at"),
    };
    Ok(TicketView { ticket, payment: PaymentId(row.get("payment_id")) })
}
