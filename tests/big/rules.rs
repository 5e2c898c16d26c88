//! What must be true of a settled or cancelled big draw, checked by SQL: winners are counted from the numbers of the
//! tickets, independently of the service's code.

use tokio_postgres::Client;

use crate::fill::{DRAW, PRICE};

/// Rules of every database, each with a query for the rows that break it.
const ALWAYS: &[(&str, &str)] = &[
    ("all balances sum to zero", "SELECT sum(balance) FROM accounts HAVING sum(balance) <> 0"),
    (
        "every balance equals its transfers",
        "SELECT a.id FROM accounts a LEFT JOIN (
             SELECT account, sum(amount) AS moved FROM (
                 SELECT credit AS account, amount FROM transfers UNION ALL SELECT debit, -amount FROM transfers) entries
             GROUP BY account) m ON m.account = a.id
         WHERE a.balance <> coalesce(m.moved, 0)",
    ),
    (
        "a wallet's transfers leave what they say",
        "SELECT user_id FROM (SELECT user_id, balance_after, sum(CASE WHEN credit = user_id * 8 + 1 THEN amount
             ELSE -amount END) OVER (PARTITION BY user_id ORDER BY id) AS running FROM transfers WHERE user_id > 0) t
         WHERE balance_after <> running",
    ),
    ("the draw holds nothing any more", "SELECT FROM accounts WHERE id = 1 * 8 + 3 AND balance <> 0"),
];

/// Matches of a ticket, by the text of its bits.
const MATCHES: &str = "length(replace((t.pick & r.pick)::bit(64)::text, '0', ''))";

/// Panics with the rows that break the rule.
async fn nothing_breaks(db: &Client, law: &str, sql: &str) {
    let broken = db.query(&format!("{sql} LIMIT 5"), &[]).await.unwrap();
    assert!(broken.is_empty(), "{law}: {broken:?}");
}

async fn always(db: &Client) {
    // The queries sort and join all rows.
    db.batch_execute("SET work_mem = '256MB'; SET jit = off").await.unwrap();
    for (law, sql) in ALWAYS {
        nothing_breaks(db, law, sql).await;
    }
}

/// Of a settled draw every winner of every tier was paid once, and nobody else. Returns how many winners there are.
pub async fn settled(db: &Client) -> i64 {
    always(db).await;
    let tiers = format!(
        "SELECT tier.matches, tier.winners, counted.tickets
         FROM (SELECT {MATCHES} AS matches, count(*) AS tickets FROM tickets t, draw_results r
               WHERE t.draw_id = {DRAW} AND t.status = 'paid' AND r.draw_id = {DRAW} GROUP BY 1) counted
         RIGHT JOIN result_tiers tier ON tier.draw_id = {DRAW} AND tier.matches = counted.matches
         WHERE tier.draw_id = {DRAW} AND tier.winners <> coalesce(counted.tickets, 0)"
    );
    nothing_breaks(db, "a tier's winners are those whose numbers match", &tiers).await;
    // The share of four matches is less than its minimum even if one ticket has them, so the minimum is paid whatever numbers are drawn.
    let amounts = format!(
        "WITH tiers AS (
             SELECT t.*, r.winners, r.prize, r.prize = coalesce(t.amount, t.minimum) AS guaranteed
             FROM draw_tiers t JOIN result_tiers r USING (draw_id, matches) WHERE draw_id = {DRAW}
         ), rest AS (
             SELECT greatest(0, r.prize_fund - sum(t.prize * t.winners) FILTER (WHERE t.guaranteed)) AS left_to_share
             FROM tiers t, draw_results r WHERE r.draw_id = {DRAW} GROUP BY r.prize_fund
         )
         SELECT t.* FROM tiers t, rest WHERE t.prize IS DISTINCT FROM CASE
             WHEN t.amount IS NOT NULL THEN t.amount
             WHEN t.winners = 0 THEN 0
             ELSE greatest(t.minimum, div(div(rest.left_to_share * t.share, 10000), t.winners)) END
         OR t.matches = 4 AND t.winners > 0 AND t.prize <> 1500000"
    );
    nothing_breaks(db, "a tier pays what its rules say", &amounts).await;
    let division = format!(
        "SELECT r.* FROM draw_results r, draw_sales s WHERE r.draw_id = {DRAW} AND s.draw_id = {DRAW}
         AND (r.prize_fund <> s.sold * {PRICE} / 2 + r.jackpot
              OR r.prize_fund + (SELECT coalesce(sum(amount), 0) FROM transfers WHERE kind = 'reserve')
                 <> r.rollover + (SELECT sum(prize * winners) FROM result_tiers WHERE draw_id = {DRAW}))"
    );
    nothing_breaks(db, "the fund and the reserve are the prizes and the rollover", &division).await;
    let prizes = format!(
        "SELECT due.id, paid.* FROM (
             SELECT t.id, t.user_id, tier.prize FROM tickets t, draw_results r, result_tiers tier
             WHERE t.draw_id = {DRAW} AND t.status = 'paid' AND r.draw_id = {DRAW} AND tier.draw_id = {DRAW}
                   AND tier.matches = {MATCHES} AND tier.prize > 0) due
         FULL JOIN (SELECT reference, user_id, sum(amount) AS amount, count(*) AS transfers FROM transfers
                    WHERE kind = 'prize' GROUP BY 1, 2) paid ON paid.reference = due.id
         WHERE paid.transfers IS DISTINCT FROM 1 OR paid.amount <> due.prize OR paid.user_id <> due.user_id
               OR due.id IS NULL"
    );
    nothing_breaks(db, "every winner is paid once, and nobody else", &prizes).await;
    let winners = format!("SELECT sum(winners)::bigint FROM result_tiers WHERE draw_id = {DRAW}");
    db.query_one(&winners, &[]).await.unwrap().get(0)
}

/// Of a cancelled draw every payment was refunded once, and nothing else.
pub async fn cancelled(db: &Client) {
    always(db).await;
    let refunds = format!(
        "SELECT due.id, back.* FROM (SELECT id, user_id, amount FROM payments
                                     WHERE draw_id = {DRAW} AND status = 'paid') due
         FULL JOIN (SELECT reference, user_id, sum(amount) AS amount, count(*) AS transfers FROM transfers
                    WHERE kind = 'refund' GROUP BY 1, 2) back ON back.reference = due.id
         WHERE back.transfers IS DISTINCT FROM 1 OR back.amount <> due.amount OR back.user_id <> due.user_id
               OR due.id IS NULL"
    );
    nothing_breaks(db, "every payment is refunded once, and nothing else", &refunds).await;
}
