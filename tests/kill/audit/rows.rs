//! The rows that an audit compares, read from one snapshot of the database.

use std::collections::HashMap;

use lottery::domain::record::KeyId;
use tokio_postgres::Client;

#[derive(Clone, Debug)]
pub struct Payment {
    pub user: i64,
    pub kind: String,
    pub status: String,
    pub amount: i64,
    pub method: Option<String>,
    pub draw: Option<i64>,
    pub lines: i16,
    /// Whether the tickets were reserved first and paid later.
    pub reserved: bool,
}

#[derive(Clone, Debug)]
pub struct Ticket {
    pub id: String,
    pub draw: i64,
    pub number: Option<i64>,
    pub pick: i64,
    pub origin: String,
    pub pool: Option<String>,
    pub status: String,
}

pub struct Rows {
    pub payments: HashMap<String, Payment>,
    /// By the id of their payment.
    pub tickets: HashMap<String, Vec<Ticket>>,
    /// The payment that a user's key refers to.
    pub keys: HashMap<KeyId, String>,
    /// By ticket: how many transfers, and their sum.
    pub prizes: HashMap<String, (i64, i64)>,
}

impl Rows {
    pub async fn read(sql: &Client) -> Rows {
        sql.batch_execute("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY").await.unwrap();
        let rows = Rows {
            payments: payments(sql).await,
            tickets: tickets(sql).await,
            keys: keys(sql).await,
            prizes: prizes(sql).await,
        };
        sql.batch_execute("COMMIT").await.unwrap();
        rows
    }
}

async fn payments(sql: &Client) -> HashMap<String, Payment> {
    let statement =
        "SELECT id::text, user_id, kind, status, amount, method, draw_id, coalesce(lines, 0::smallint),
        reserved_until IS NOT NULL FROM payments";
    let rows = sql.query(statement, &[]).await.unwrap();
    let payment = |row: &tokio_postgres::Row| Payment {
        user: row.get(1),
        kind: row.get(2),
        status: row.get(3),
        amount: row.get(4),
        method: row.get(5),
        draw: row.get(6),
        lines: row.get(7),
        reserved: row.get(8),
    };
    rows.iter().map(|row| (row.get(0), payment(row))).collect()
}

async fn tickets(sql: &Client) -> HashMap<String, Vec<Ticket>> {
    let statement =
        "SELECT payment_id::text, id::text, draw_id, number, pick, origin, pool_ticket_id::text, status
        FROM tickets";
    let mut tickets: HashMap<String, Vec<Ticket>> = HashMap::new();
    for row in sql.query(statement, &[]).await.unwrap() {
        tickets.entry(row.get(0)).or_default().push(Ticket {
            id: row.get(1),
            draw: row.get(2),
            number: row.get(3),
            pick: row.get(4),
            origin: row.get(5),
            pool: row.get(6),
            status: row.get(7),
        });
    }
    tickets
}

async fn keys(sql: &Client) -> HashMap<KeyId, String> {
    let statement = "SELECT id, payment_id::text FROM idempotency_keys WHERE payment_id IS NOT NULL";
    let rows = sql.query(statement, &[]).await.unwrap();
    rows.iter().map(|row| (KeyId(row.get(0)), row.get(1))).collect()
}

async fn prizes(sql: &Client) -> HashMap<String, (i64, i64)> {
    let statement = "SELECT reference::text, count(*), sum(amount)::bigint FROM transfers
        WHERE kind = 'prize' GROUP BY reference";
    let rows = sql.query(statement, &[]).await.unwrap();
    rows.iter().map(|row| (row.get(0), (row.get(1), row.get(2)))).collect()
}
