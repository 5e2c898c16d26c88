//! Reads charges of cards, each with its payment.

use jiff::Timestamp;
use serde::Serialize;
use tokio_postgres::Row;
use uuid::Uuid;

use super::{Page, PageRows};
use crate::db::{Db, DbError};
use crate::domain::charge::{ChargeEnd, ChargeIssue, ChargeName, ChargeOutcome, ChargeRow};
use crate::domain::id::{DrawId, PaymentId, UserId};
use crate::domain::money::{Currency, Money};
use crate::domain::payment::{PaymentKind, failure_code};

/// A charge and what it is for.
#[derive(Clone, PartialEq, Debug)]
pub struct PaymentCharge {
    pub name: ChargeName,
    pub user: UserId,
    /// `None`: a deposit.
    pub draw: Option<DrawId>,
    /// Whether the payment waits for this charge.
    pub is_current: bool,
    /// The amount to take. Of a charge without a row: the payment's.
    pub amount: Money,
    /// `None`: the charge is open, or has no row.
    pub outcome: Option<ChargeOutcome>,
    pub issue: Option<ChargeIssue>,
}

const SELECT: &str = "SELECT p.id AS payment_id, n.begun_at, p.user_id, p.draw_id,
       p.status = 'processing' AND p.method = 'card' AND p.updated_at = n.begun_at AS is_current,
       coalesce(c.amount, p.amount) AS amount, c.outcome, c.issue";

/// The charge of this name. `None`: it has no payment. A charge without a row is found too: it may be older than the
/// rows.
pub async fn one(db: &Db, name: ChargeName) -> Result<Option<PaymentCharge>, DbError> {
    let sql = format!(
        "-- charges::one(payment, begun)
        {SELECT}
        FROM payments p CROSS JOIN (SELECT $2::timestamptz AS begun_at) n
        LEFT JOIN charges c ON c.payment_id = p.id AND c.begun_at = n.begun_at
        WHERE p.id = $1 AND p.kind <> 'withdrawal'"
    );
    db.query_opt(&sql, &[&name.payment.0, &name.begun]).await?.as_ref().map(payment_charge).transpose()
}

/// The charges whose end is not written yet, ordered by payment: at most `limit`, from the payment after `after` on.
/// `lost`: also those that the provider did not find and that wait for an admin.
pub async fn unfinished(
    db: &Db,
    after: Option<PaymentId>,
    lost: bool,
    limit: i64,
) -> Result<Vec<PaymentCharge>, DbError> {
    let sql = format!(
        "-- charges::unfinished(after, lost, limit)
        {SELECT}
        FROM payments p CROSS JOIN LATERAL (SELECT p.updated_at AS begun_at) n
        LEFT JOIN charges c ON c.payment_id = p.id AND c.begun_at = n.begun_at
        WHERE p.status = 'processing' AND p.method = 'card' AND p.id > $1
              AND ($2 OR c.issue IS DISTINCT FROM 'not_found')
        ORDER BY p.id LIMIT $3"
    );
    let after = after.map_or(Uuid::nil(), |payment| payment.0);
    db.query(&sql, &[&after, &lost, &limit]).await?.iter().map(payment_charge).collect()
}

/// All charges of a payment, the oldest first.
pub async fn of_payment(db: &Db, payment: PaymentId) -> Result<Vec<PaymentCharge>, DbError> {
    let sql = format!(
        "-- charges::of_payment(payment)
        {SELECT}
        FROM payments p JOIN charges c ON c.payment_id = p.id CROSS JOIN LATERAL (SELECT c.begun_at) n
        WHERE p.id = $1 ORDER BY n.begun_at"
    );
    db.query(&sql, &[&payment.0]).await?.iter().map(payment_charge).collect()
}

/// How many charges wait for an admin.
pub async fn waiting(db: &Db) -> Result<i64, DbError> {
    let sql = "-- charges::waiting()
        SELECT count(*) FROM charges WHERE issue IS NOT NULL";
    Ok(db.query_opt(sql, &[]).await?.map_or(0, |row| row.get(0)))
}

fn payment_charge(row: &Row) -> Result<PaymentCharge, DbError> {
    Ok(PaymentCharge {
        name: ChargeName { payment: PaymentId(row.get("payment_id")), begun: row.get("begun_at") },
        user: UserId(row.get("user_id")),
        draw: row.get::<_, Option<i64>>("draw_id").map(DrawId),
        is_current: row.get("is_current"),
        amount: Money::new(row.get("amount")),
        outcome: outcome(row)?,
        issue: issue(row)?,
    })
}

fn outcome(row: &Row) -> Result<Option<ChargeOutcome>, DbError> {
    let text: Option<&str> = row.get("outcome");
    text.map(|text| ChargeOutcome::parse(text).ok_or(DbError::Corrupt("charge outcome"))).transpose()
}

fn issue(row: &Row) -> Result<Option<ChargeIssue>, DbError> {
    let text: Option<&str> = row.get("issue");
    text.map(|text| ChargeIssue::parse(text).ok_or(DbError::Corrupt("charge issue"))).transpose()
}

/// What admins can ask for. A charge may be several of these.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ChargeFilter {
    /// It has no end yet.
    Open,
    /// It waits for an admin.
    Waiting,
    Paid,
    Failed,
    /// Its money came too late and is in the wallet.
    Late,
    Disputed,
    Refunded,
}

impl ChargeFilter {
    pub const ALL: [ChargeFilter; 7] = [
        ChargeFilter::Open,
        ChargeFilter::Waiting,
        ChargeFilter::Paid,
        ChargeFilter::Failed,
        ChargeFilter::Late,
        ChargeFilter::Disputed,
        ChargeFilter::Refunded,
    ];

    /// As the contract writes it.
    pub fn as_str(self) -> &'static str {
        match self {
            ChargeFilter::Open => "open",
            ChargeFilter::Waiting => "waiting",
            ChargeFilter::Paid => "paid",
            ChargeFilter::Failed => "failed",
            ChargeFilter::Late => "late",
            ChargeFilter::Disputed => "disputed",
            ChargeFilter::Refunded => "refunded",
        }
    }

    /// The inverse of [`ChargeFilter::as_str`].
    pub fn parse(text: &str) -> Option<ChargeFilter> {
        ChargeFilter::ALL.into_iter().find(|filter| filter.as_str() == text)
    }
}

/// A charge as admins see it.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct ListedCharge {
    pub payment_id: PaymentId,
    pub user_id: UserId,
    pub kind: PaymentKind,
    pub amount: Money,
    pub currency: Currency,
    pub begun_at: Timestamp,
    pub ended_at: Option<Timestamp>,
    pub outcome: Option<ChargeOutcome>,
    pub late: bool,
    pub failure_code: Option<String>,
    pub issue: Option<ChargeIssue>,
    pub dispute: Option<String>,
    pub refunded: Money,
}

impl ListedCharge {
    fn name(&self) -> ChargeName {
        ChargeName { payment: self.payment_id, begun: self.begun_at }
    }
}

/// The charges of all users, those of the newest payment first, with optional filters: an empty list means all.
pub async fn all(
    db: &Db,
    currency: Currency,
    users: &[i64],
    filters: &[ChargeFilter],
    page: Page<ChargeName>,
) -> Result<PageRows<ListedCharge, ChargeName>, DbError> {
    let sql = "-- charges::all(payment, begun, users, filters, limit)
        SELECT c.*, p.kind FROM charges c JOIN payments p ON p.id = c.payment_id
        WHERE ($1::uuid IS NULL OR (c.payment_id, c.begun_at) < ($1, $2::timestamptz))
              AND ($3::bigint[] = '{}' OR c.user_id = ANY($3))
              AND ($4::text[] = '{}' OR c.outcome = ANY($4) OR 'open' = ANY($4) AND c.outcome IS NULL
                   OR 'waiting' = ANY($4) AND c.issue IS NOT NULL OR 'late' = ANY($4) AND c.late
                   OR 'disputed' = ANY($4) AND c.dispute IS NOT NULL OR 'refunded' = ANY($4) AND c.refunded > 0)
        ORDER BY c.payment_id DESC, c.begun_at DESC LIMIT $5";
    let filters: Vec<&str> = filters.iter().map(|filter| filter.as_str()).collect();
    let (payment, begun) = (page.after.map(|name| name.payment.0), page.after.map(|name| name.begun));
    let rows = db.query(sql, &[&payment, &begun, &users, &filters, &(page.limit + 1)]).await?;
    let items = rows.iter().map(|row| listed(row, currency)).collect::<Result<_, DbError>>()?;
    Ok(PageRows::cut(items, page.limit, ListedCharge::name))
}

fn listed(row: &Row, currency: Currency) -> Result<ListedCharge, DbError> {
    Ok(ListedCharge {
        payment_id: PaymentId(row.get("payment_id")),
        user_id: UserId(row.get("user_id")),
        kind: PaymentKind::parse(row.get("kind")).ok_or(DbError::Corrupt("payment kind"))?,
        amount: Money::new(row.get("amount")),
        currency,
        begun_at: row.get("begun_at"),
        ended_at: row.get("ended_at"),
        outcome: outcome(row)?,
        late: row.get("late"),
        failure_code: row.get::<_, Option<&str>>("failure_code").map(|reason| failure_code(reason).to_owned()),
        issue: issue(row)?,
        dispute: row.get("dispute"),
        refunded: Money::new(row.get("refunded")),
    })
}

/// A charge from its row, for the writer. `None`: the row is not what the writer writes.
pub fn charge_row(row: &Row) -> Option<(ChargeName, ChargeRow)> {
    let name = ChargeName { payment: PaymentId(row.get("payment_id")), begun: row.get("begun_at") };
    let end = outcome(row).ok()?.map(|outcome| {
        let (late, failure_code) = (row.get("late"), row.get("failure_code"));
        // The schema holds that a charge with an outcome has a time.
        ChargeEnd { outcome, late, failure_code, at: row.get("ended_at") }
    });
    let (user, amount) = (UserId(row.get("user_id")), Money::new(row.get("amount")));
    let begun_known = row.get("begun_known");
    Some((name, ChargeRow { user, amount, end, issue: issue(row).ok()?, begun_known }))
}
