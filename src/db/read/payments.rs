//! Reads payments.

use jiff::Timestamp;
use serde::Serialize;
use tokio_postgres::Row;
use uuid::Uuid;

use super::{Page, PageRows};
use crate::db::{Db, DbError};
use crate::domain::id::{DrawId, PaymentId, TicketId, UserId};
use crate::domain::money::{Currency, Money};
use crate::domain::payment::{Method, Payment, PaymentKind, PaymentStatus, failure_code};

/// A payment, and the draw whose tickets it pays for.
#[derive(Clone, PartialEq, Debug)]
pub struct PaymentView {
    pub payment: Payment,
    pub draw: Option<DrawId>,
    /// `None` if the tickets were paid for when they were ordered.
    pub reserved_until: Option<Timestamp>,
}

const VIEW: &str = "SELECT id, user_id, kind, status, amount, method, failure_code, draw_id, reserved_until, ticket_ids, \
     created_at, updated_at \
     FROM payment_states";

/// One of this user's payments.
pub async fn one(
    db: &Db,
    currency: Currency,
    user: UserId,
    id: PaymentId,
) -> Result<Option<PaymentView>, DbError> {
    let sql = format!("-- payments::one()\n{VIEW} WHERE id = $1 AND user_id = $2");
    db.query_opt(&sql, &[&id.0, &user.0]).await?.map(|row| view(&row, currency)).transpose()
}

/// This user's payments, newest first.
pub async fn list(
    db: &Db,
    currency: Currency,
    user: UserId,
    page: Page<Uuid>,
) -> Result<PageRows<Payment, Uuid>, DbError> {
    // Purchases are found through their tickets, since no index lists them by user: a payment's tickets
    // have the ids that follow its own, so the newest ticket before a payment belongs to the user's previous
    // purchase. In old data another id may lie between a payment and its tickets; the second part finds the
    // purchase whose ticket comes next if the page starts there.
    let sql = format!(
        "-- payments::list()
        WITH RECURSIVE purchases (id) AS (
            SELECT $2::uuid
            UNION ALL
            SELECT (SELECT t.payment_id FROM tickets t WHERE t.user_id = $1 AND t.id < before.id
                    ORDER BY t.user_id DESC, t.id DESC LIMIT 1)
            FROM purchases before WHERE before.id IS NOT NULL
        ), own AS (
            (SELECT id FROM purchases OFFSET 1 LIMIT $3)
            UNION
            SELECT payment_id FROM (SELECT payment_id FROM tickets WHERE user_id = $1 AND id > $2
                                    ORDER BY user_id, id LIMIT 1) behind
            WHERE payment_id < $2
            UNION
            (SELECT id FROM payments WHERE user_id = $1 AND id < $2 AND kind <> 'purchase'
             ORDER BY user_id DESC, id DESC LIMIT $3)
        )
        {VIEW} WHERE id = ANY (ARRAY(SELECT id FROM own WHERE id IS NOT NULL ORDER BY id DESC LIMIT $3))
        ORDER BY id DESC"
    );
    let rows = db.query(&sql, &[&user.0, &page.after.unwrap_or(Uuid::max()), &(page.limit + 1)]).await?;
    let items = rows.iter().map(|row| Ok(view(row, currency)?.payment)).collect::<Result<_, DbError>>()?;
    Ok(PageRows::cut(items, page.limit, |payment| payment.id.0))
}

/// A payment with its payer's id.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct OwnedPayment {
    #[serde(flatten)]
    pub payment: Payment,
    pub user_id: UserId,
}

/// A payment of any user.
pub async fn owned(db: &Db, currency: Currency, id: PaymentId) -> Result<Option<OwnedPayment>, DbError> {
    let sql = format!("-- payments::owned()\n{VIEW} WHERE id = $1");
    db.query_opt(&sql, &[&id.0]).await?.map(|row| owned_payment(&row, currency)).transpose()
}

/// The payments of all users, newest first, with optional filters: an empty list means all.
pub async fn all(
    db: &Db,
    currency: Currency,
    users: &[i64],
    statuses: &[PaymentStatus],
    kinds: &[PaymentKind],
    page: Page<Uuid>,
) -> Result<PageRows<OwnedPayment, Uuid>, DbError> {
    let sql = format!(
        "-- payments::all()\n{VIEW} WHERE id < $1 AND ($2::bigint[] = '{{}}' OR user_id = ANY($2)) \
         AND ($3::text[] = '{{}}' OR status = ANY($3)) AND ($4::text[] = '{{}}' OR kind = ANY($4)) \
         ORDER BY id DESC LIMIT $5"
    );
    let statuses: Vec<&str> = statuses.iter().map(|status| status.as_str()).collect();
    let kinds: Vec<&str> = kinds.iter().map(|kind| kind.as_str()).collect();
    let after = page.after.unwrap_or(Uuid::max());
    let rows = db.query(&sql, &[&after, &users, &statuses, &kinds, &(page.limit + 1)]).await?;
    let items = rows.iter().map(|row| owned_payment(row, currency)).collect::<Result<_, DbError>>()?;
    Ok(PageRows::cut(items, page.limit, |owned: &OwnedPayment| owned.payment.id.0))
}

fn owned_payment(row: &Row, currency: Currency) -> Result<OwnedPayment, DbError> {
    Ok(OwnedPayment { payment: view(row, currency)?.payment, user_id: UserId(row.get("user_id")) })
}

fn view(row: &Row, currency: Currency) -> Result<PaymentView, DbError> {
    let method = match row.get::<_, Option<&str>>("method") {
        Some(text) => Some(Method::parse(text).ok_or(DbError::Corrupt("payment method"))?),
        None => None,
    };
    let payment = Payment {
        id: PaymentId(row.get("id")),
        kind: PaymentKind::parse(row.get("kind")).ok_or(DbError::Corrupt("payment kind"))?,
        status: PaymentStatus::parse(row.get("status")).ok_or(DbError::Corrupt("payment status"))?,
        amount: Money::new(row.get("amount")),
        currency,
        method,
        ticket_ids: row.get::<_, Vec<Uuid>>("ticket_ids").into_iter().map(TicketId).collect(),
        // An earlier version stored whatever the provider said.
        failure_code: row.get::<_, Option<&str>>("failure_code").map(|reason| failure_code(reason).to_owned()),
        created_at: row.get("created_at"),
        updated_at: row.get("updated_at"),
    };
    let draw = row.get::<_, Option<i64>>("draw_id").map(DrawId);
    Ok(PaymentView { payment, draw, reserved_until: row.get("reserved_until") })
}
