//! Fills a database by SQL with a draw of very many tickets, as if they had been sold one after the other: payments,
//! tickets, transfers, balances and the pool are consistent. It can be filled in parts. In the end the draw gets its ticket
//! log, as the sale would have made it. Knows the schema, and of the service only how a ticket log is made.

use std::pin::pin;
use std::sync::Arc;

use futures_util::TryStreamExt;
use lottery::domain::game::Game;
use lottery::domain::id::{DrawId, PaymentId, UserId};
use lottery::domain::log_keys::{LogKeys, LogOrigin};
use lottery::domain::ticket_log::{TicketLog, TicketLogs, TileRow};
use tokio_postgres::Client;
use verifiable_draw::keys::MasterSecret;

/// The master secret of the service that works on the database: 00, 01, … 1f.
pub const MASTER_SECRET: &str = "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f";
/// Orders that are hashed together.
const ORDERS_AT_ONCE: i64 = 4_096;

/// The price of a ticket, and what every player deposited.
pub const PRICE: i64 = 10_000;
const DEPOSITED: i64 = 1_000_000_000;
/// The id of the draw.
pub const DRAW: i64 = 1;
/// Tickets in one part, which takes some seconds.
const PART: i64 = 500_000;

/// Creates the players and the open draw of 6 of 45, unless they exist; then sells tickets up to this number, or stops
/// after this number of parts. Returns how many are sold.
pub async fn fill(db: &Client, tickets: i64, users: i64, parts: usize) -> i64 {
    // The planner has no statistics of the new rows, and must not choose nested loops over all of them.
    let session = "SET synchronous_commit = off; SET jit = off; SET enable_nestloop = off";
    db.batch_execute(session).await.unwrap();
    let there = "SELECT count(*) FROM draws";
    if db.query_one(there, &[]).await.unwrap().get::<_, i64>(0) == 0 {
        db.batch_execute(&players_and_draw(users)).await.unwrap();
    }
    let mut sold = sold(db).await;
    for _ in 0..parts {
        if sold >= tickets {
            break;
        }
        let to = tickets.min(sold + PART);
        db.batch_execute(&sell(sold + 1, to)).await.unwrap();
        sold = to;
    }
    sold
}

/// Tickets sold so far.
pub async fn sold(db: &Client) -> i64 {
    let sql = format!("SELECT sold FROM draw_sales WHERE draw_id = {DRAW}");
    db.query_opt(&sql, &[]).await.unwrap().map_or(0, |row| row.get(0))
}

/// Sets the balances to the sums of the transfers; then vacuums the tables, as autovacuum does during a long sale.
pub async fn finish(db: &Client) {
    let sql = format!(
        "BEGIN;
         UPDATE accounts a SET balance = {DEPOSITED} - {PRICE} * bought.tickets
         FROM (SELECT user_id, count(*) AS tickets FROM tickets GROUP BY 1) bought
         WHERE a.id = bought.user_id * 8 + 1;
         UPDATE accounts SET balance = {PRICE} * (SELECT sold FROM draw_sales WHERE draw_id = {DRAW})
         WHERE id = {DRAW} * 8 + 3;
         COMMIT;"
    );
    db.batch_execute(&sql).await.unwrap();
    for table in ["accounts", "payments", "tickets", "transfers", "pool_tickets"] {
        db.batch_execute(&format!("VACUUM ANALYZE {table}")).await.unwrap();
    }
}

/// Makes the ticket log of the draw, unless it has one: each ticket is an order of its own.
pub async fn log(db: &Client) {
    let has_log = format!("SELECT edge IS NOT NULL FROM draw_sales WHERE draw_id = {DRAW}");
    if db.query_one(&has_log, &[]).await.unwrap().get(0) {
        return;
    }
    let origin = LogOrigin::of_url("https://big.example").unwrap();
    let keys = LogKeys::new(MasterSecret::new(std::array::from_fn(|i| i as u8)), origin);
    let (mut log, game) =
        (TicketLog::empty(TicketLogs::new(Arc::new(keys)).keys(DrawId(DRAW))), Game::new(6, 45).unwrap());
    let sql =
        format!("SELECT number, user_id, payment_id, pick FROM tickets WHERE draw_id = {DRAW} ORDER BY number");
    let mut rows = pin!(db.query_raw(&sql, std::iter::empty::<i64>()).await.unwrap());
    let mut tiles: Vec<TileRow> = Vec::new();
    while let Some(row) = rows.try_next().await.unwrap() {
        let (number, pick) = (row.get(0), game.pick_from_mask(row.get(3)).unwrap());
        log.append(number, PaymentId(row.get(2)), UserId(row.get(1)), [pick].into_iter()).unwrap();
        if number % ORDERS_AT_ONCE == 0 {
            tiles.extend(log.finish().tiles);
        }
    }
    tiles.extend(log.finish().tiles);
    let sql = "INSERT INTO ticket_log_tiles (draw_id, level, tile, last_number, root)
        SELECT $1, * FROM unnest($2::smallint[], $3::bigint[], $4::bigint[], $5::bytea[])";
    let levels: Vec<i16> = tiles.iter().map(|tile| tile.level).collect();
    let indexes: Vec<i64> = tiles.iter().map(|tile| tile.tile).collect();
    let last: Vec<i64> = tiles.iter().map(|tile| tile.last_number).collect();
    let roots: Vec<&[u8]> = tiles.iter().map(|tile| tile.root.as_slice()).collect();
    db.execute(sql, &[&DRAW, &levels, &indexes, &last, &roots]).await.unwrap();
    let sql = "UPDATE draw_sales SET edge = $2 WHERE draw_id = $1";
    db.execute(sql, &[&DRAW, &log.edge().to_bytes()]).await.unwrap();
}

fn players_and_draw(users: i64) -> String {
    format!(
        "BEGIN;
         INSERT INTO users (username, email, password_hash, created_at)
         SELECT 'player' || n, 'player' || n || '@example.com', 'nobody''s', '2030-01-01'
         FROM generate_series(1, {users}) n;
         INSERT INTO accounts (id, kind, user_id, balance) SELECT id * 8 + 1, 'wallet', id, {DEPOSITED} FROM users;
         INSERT INTO payments (id, user_id, kind, status, amount, method, created_at, updated_at)
         SELECT gen_random_uuid(), id, 'deposit', 'paid', {DEPOSITED}, 'card', created_at, created_at FROM users;
         INSERT INTO transfers (user_id, debit, credit, amount, kind, reference, balance_after, created_at)
         SELECT user_id, 0, user_id * 8 + 1, amount, 'deposit', id, amount, created_at FROM payments;
         UPDATE accounts SET balance = -{DEPOSITED}::bigint * {users} WHERE kind = 'clearing';
         INSERT INTO lotteries (id, last_draw) VALUES ('6of45', 1);
         INSERT INTO accounts (id, kind, lottery) SELECT seq * 8 + 4, 'jackpot', seq FROM lotteries;
         INSERT INTO draws (lottery, number, status, pick, of, price, fund_share, sales_close_at, draw_at, created_at)
         VALUES ('6of45', 1, 'open', 6, 45, {PRICE}, 5000, '2099-01-01', '2099-01-01', '2030-01-01');
         INSERT INTO draw_tiers (draw_id, matches, amount, share, minimum) VALUES
         ({DRAW}, 6, NULL, 8000, 1000000000), ({DRAW}, 5, NULL, 1000, NULL), ({DRAW}, 4, NULL, 1000, 1500000),
         ({DRAW}, 3, 30000, NULL, NULL), ({DRAW}, 2, 10000, NULL, NULL);
         INSERT INTO draw_sales (draw_id) VALUES ({DRAW});
         INSERT INTO accounts (id, kind, draw_id) VALUES ({DRAW} * 8 + 3, 'escrow', {DRAW});
         SELECT setseed(0.45);
         COMMIT;"
    )
}

/// Sells these ticket numbers, each in its own payment, to all players in turn. For each tenth a pool ticket is made;
/// one in five of those is not sold.
fn sell(from: i64, to: i64) -> String {
    let number = "(1::bigint << floor(random() * 45)::int)";
    let six = [number; 6].join(" | ");
    let id = |moment: &str, turn: &str, salt: i64| {
        format!(
            "(lpad(to_hex(1900000000000 + {moment}), 12, '0') || '7' || lpad(to_hex({turn}), 3, '0') || '8'
             || lpad(to_hex(hashint8extended(n, {salt}) & 1152921504606846975), 15, '0'))::uuid"
        )
    };
    let (payment, ticket) = (id("n / 10", "n % 10 * 2", 1), id("n / 10", "n % 10 * 2 + 1", 2));
    let made = id("-86400000 + n / 10", "n % 10", 3);
    format!(
        "BEGIN;
         CREATE TEMPORARY TABLE part ON COMMIT DROP AS
         SELECT n, pick, 1 + ((n - 1) % users * 7919 + (n - 1) / users * 31) % users AS user_id,
                (n - 1) / users + 1 AS turn, {payment} AS payment, {ticket} AS ticket, {made} AS made,
                '2030-02-01'::timestamptz + n / 10 * interval '1 ms' AS at
         FROM (SELECT {from} - 1 + row_number() OVER () AS n, pick
               FROM (SELECT {six} AS pick FROM generate_series(1, ({to} - {from} + 1) * 8 / 5 + 1000)) any_six
               WHERE bit_count(pick::bit(64)) = 6 LIMIT {to} - {from} + 1) picks,
              (SELECT count(*) AS users FROM users WHERE username LIKE 'player%') people;
         INSERT INTO pool_tickets (draw_id, id, pick) SELECT {DRAW}, made, pick FROM part WHERE n % 10 = 0
         ON CONFLICT DO NOTHING;
         INSERT INTO payments (id, user_id, kind, status, amount, method, draw_id, lines, created_at, updated_at)
         SELECT payment, user_id, 'purchase', 'paid', {PRICE}, 'wallet', {DRAW}, 1, at, at FROM part ORDER BY n;
         INSERT INTO tickets (user_id, id, payment_id, draw_id, number, pick, origin, pool_ticket_id, status)
         SELECT user_id, ticket, payment, {DRAW}, n, part.pick,
                CASE WHEN pool.id IS NULL THEN 'quick_pick' ELSE 'pool' END, pool.id, 'paid'
         FROM part LEFT JOIN pool_tickets pool ON pool.draw_id = {DRAW} AND pool.id = made AND n % 50 <> 0
         ORDER BY n;
         INSERT INTO transfers (user_id, debit, credit, amount, kind, reference, balance_after, created_at)
         SELECT user_id, user_id * 8 + 1, {DRAW} * 8 + 3, {PRICE}, 'purchase', payment, {DEPOSITED} - {PRICE} * turn,
                at
         FROM part ORDER BY n;
         UPDATE draw_sales SET sold = {to} WHERE draw_id = {DRAW};
         COMMIT;"
    )
}
