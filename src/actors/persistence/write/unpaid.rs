//! Deletes orders that ended unpaid, with their tickets. It walks through the payments in the order of their ids, which
//! is the order of their time, and remembers its place.

use tokio_postgres::{Client, Error};
use uuid::Uuid;

/// The name of the walk in the table `housekeeping`.
const WALK: &str = "unpaid_orders";

/// What one step of the walk did.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct WalkStep {
    /// The orders that it deleted.
    pub orders: u64,
    /// Whether the walk has come to its end.
    pub done: bool,
}

/// The next step of the walk, up to the payments with this id or a greater one. It looks at up to `payments` of them,
/// and deletes orders with up to `tickets` tickets, but at least one order. An order that has ever been charged to a
/// card stays: its money may still arrive. What was paid has another status, and stays with its transfers.
pub async fn drop_some(db: &Client, before: Uuid, payments: i64, tickets: i64) -> Result<WalkStep, Error> {
    let place = place(db).await?;
    let sql = "-- unpaid::drop_some(walk)
        SELECT id, user_id, lines, kind = 'purchase' AND status = 'expired' AND method IS NULL AS unpaid
        FROM payments WHERE id > $1 AND id < $2 ORDER BY id LIMIT $3";
    let walked = db.query(sql, &[&place, &before, &payments]).await?;
    let (mut last, mut held) = (place, 0);
    let (mut ids, mut users, mut lines) = (Vec::<Uuid>::new(), Vec::<i64>::new(), Vec::<i16>::new());
    let mut done = i64::try_from(walked.len()).is_ok_and(|walked| walked < payments);
    for row in &walked {
        if row.get("unpaid") {
            let count = row.get("lines");
            held += i64::from(count);
            if held > tickets && !ids.is_empty() {
                done = false;
                break;
            }
            ids.push(row.get("id"));
            users.push(row.get("user_id"));
            lines.push(count);
        }
        last = row.get("id");
    }
    delete(db, &ids, &users, &lines).await?;
    let sql = "-- unpaid::drop_some(place)
        UPDATE housekeeping SET place = $2 WHERE task = $1";
    db.execute(sql, &[&WALK, &last]).await?;
    Ok(WalkStep { orders: ids.len() as u64, done })
}

/// The place of the walk, locked: of two walks at the same time, the second waits and continues behind the first.
async fn place(db: &Client) -> Result<Uuid, Error> {
    let sql = "-- unpaid::place(begin)
        INSERT INTO housekeeping (task, place) VALUES ($1, $2) ON CONFLICT DO NOTHING";
    db.execute(sql, &[&WALK, &Uuid::nil()]).await?;
    let sql = "-- unpaid::place()
        SELECT place FROM housekeeping WHERE task = $1 FOR UPDATE";
    Ok(db.query_one(sql, &[&WALK]).await?.get("place"))
}

/// The tickets are found like in the view `payment_states`: their ids follow the payment's id, and LIMIT ends the scan.
async fn delete(db: &Client, payments: &[Uuid], users: &[i64], lines: &[i16]) -> Result<(), Error> {
    if payments.is_empty() {
        return Ok(());
    }
    let sql = "-- unpaid::delete(tickets)
        DELETE FROM tickets WHERE ctid = ANY (ARRAY(
            SELECT mine.ctid FROM unnest($1::uuid[], $2::bigint[], $3::smallint[]) AS o (id, user_id, lines)
            CROSS JOIN LATERAL (SELECT ctid FROM tickets WHERE user_id = o.user_id AND id > o.id AND payment_id = o.id
                                ORDER BY id LIMIT o.lines) mine))";
    db.execute(sql, &[&payments, &users, &lines]).await?;
    let sql = "-- unpaid::delete(payments)
        DELETE FROM payments WHERE id = ANY ($1)";
    db.execute(sql, &[&payments]).await.map(drop)
}
