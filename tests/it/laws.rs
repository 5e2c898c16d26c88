//! The laws that the whole database keeps at every commit, each a statement that finds the rows which
//! break it. Knows the schema and nothing of the service, so that every kind of test may ask.

use tokio_postgres::Client;

/// What is broken; nothing, if all is well.
pub async fn broken(sql: &Client) -> Vec<String> {
    let mut found = Vec::new();
    for (law, statement) in LAWS {
        let rows = sql.query(*statement, &[]).await.unwrap();
        if let Some(first) = rows.first() {
            found.push(format!("{law}: {} rows, first {first:?}", rows.len()));
        }
    }
    found
}

const LAWS: &[(&str, &str)] = &[
    ("all balances sum to zero", "SELECT sum(balance) FROM accounts HAVING sum(balance) <> 0"),
    (
        "every balance equals its transfers",
        "SELECT a.id, a.balance, m.moved FROM accounts a FULL JOIN
         (SELECT account, sum(amount) AS moved FROM (SELECT credit AS account, amount FROM transfers
          UNION ALL SELECT debit, -amount FROM transfers) entries GROUP BY account) m ON m.account = a.id
         WHERE a.balance IS DISTINCT FROM coalesce(m.moved, 0)",
    ),
    (
        "a wallet's transfers leave what they say",
        "SELECT * FROM (SELECT user_id, id, balance_after, sum(CASE WHEN credit = user_id * 8 + 1 THEN amount
         ELSE -amount END) OVER (PARTITION BY user_id ORDER BY id) AS running FROM transfers WHERE user_id > 0) t
         WHERE balance_after <> running",
    ),
    (
        "every purchase has one debit, and exactly its paid tickets behind it",
        "SELECT p.id FROM payments p JOIN draws d ON d.id = p.draw_id
         LEFT JOIN (SELECT reference, count(*) AS transfers, sum(amount) AS amount FROM transfers
                    WHERE kind = 'purchase' GROUP BY reference) t ON t.reference = p.id
         LEFT JOIN (SELECT payment_id, count(*) AS tickets FROM tickets WHERE status = 'paid'
                    GROUP BY payment_id) k ON k.payment_id = p.id
         WHERE p.status = 'paid' AND (t.transfers IS DISTINCT FROM 1 OR t.amount IS DISTINCT FROM p.amount
         OR d.price * k.tickets IS DISTINCT FROM p.amount)",
    ),
    (
        "nothing unpaid was debited",
        "SELECT t.* FROM transfers t LEFT JOIN payments p ON p.id = t.reference
         WHERE t.kind = 'purchase' AND p.status IS DISTINCT FROM 'paid'",
    ),
    (
        "nothing unpaid has a paid ticket",
        "SELECT t.id FROM tickets t LEFT JOIN payments p ON p.id = t.payment_id
         WHERE t.status = 'paid' AND p.status IS DISTINCT FROM 'paid'",
    ),
    (
        "every card's money reached its wallet once, and no other money did",
        "SELECT p.id, t.reference FROM (SELECT reference, count(*) AS transfers, sum(amount) AS amount
         FROM transfers WHERE kind = 'deposit' GROUP BY reference) t FULL JOIN
         (SELECT id, amount FROM payments WHERE kind = 'deposit' AND status = 'paid'
          OR kind = 'purchase' AND status = 'refunded') p ON p.id = t.reference
         WHERE t.transfers IS DISTINCT FROM 1 OR t.amount IS DISTINCT FROM p.amount",
    ),
    (
        "a pool ticket has one paid owner ever, and one holder at a time",
        "SELECT pool_ticket_id FROM tickets WHERE pool_ticket_id IS NOT NULL AND status IN ('reserved', 'paid')
         GROUP BY pool_ticket_id HAVING count(*) > 1",
    ),
    (
        "a draw's numbers have no gap",
        "SELECT s.draw_id FROM draw_sales s LEFT JOIN (SELECT draw_id, count(*) AS paid, max(number) AS last
         FROM tickets WHERE status = 'paid' GROUP BY draw_id) t ON t.draw_id = s.draw_id
         WHERE s.sold <> coalesce(t.paid, 0) OR s.sold <> coalesce(t.last, 0)",
    ),
    (
        "no ticket entered after the seal",
        "SELECT s.draw_id FROM draw_seals s JOIN draw_sales d ON d.draw_id = s.draw_id WHERE d.sold <> s.tickets",
    ),
    (
        "nothing is held in a draw that is not on sale",
        "SELECT t.id FROM tickets t JOIN draws d ON d.id = t.draw_id
         WHERE t.status = 'reserved' AND d.status NOT IN ('scheduled', 'open')",
    ),
    (
        "a draw that is over holds nothing",
        "SELECT a.id FROM accounts a JOIN draws d ON d.id = a.draw_id
         WHERE d.status IN ('completed', 'cancelled') AND a.balance <> 0",
    ),
    (
        "a cancelled draw refunded every payer once, and no other draw anybody",
        "SELECT p.id FROM payments p JOIN draws d ON d.id = p.draw_id
         LEFT JOIN (SELECT reference, count(*) AS transfers, sum(amount) AS amount FROM transfers
                    WHERE kind = 'refund' GROUP BY reference) t ON t.reference = p.id
         WHERE (d.status = 'cancelled' AND p.status = 'paid'
                AND (t.transfers IS DISTINCT FROM 1 OR t.amount IS DISTINCT FROM p.amount))
         OR (t.transfers > 0 AND (d.status NOT IN ('cancelling', 'cancelled') OR p.status <> 'paid'))",
    ),
    (
        "every winner was paid once, and nobody else",
        "SELECT t.id FROM tickets t JOIN draws d ON d.id = t.draw_id LEFT JOIN draw_results r ON r.draw_id = d.id
         LEFT JOIN result_tiers rt ON rt.draw_id = d.id AND t.status = 'paid'
                   AND rt.matches = bit_count((t.pick & r.pick)::bit(64))
         LEFT JOIN (SELECT reference, count(*) AS transfers, sum(amount) AS amount FROM transfers
                    WHERE kind = 'prize' GROUP BY reference) x ON x.reference = t.id
         WHERE (d.status = 'completed' AND coalesce(rt.prize, 0) <> coalesce(x.amount, 0))
         OR x.transfers > 1 OR (x.transfers = 1 AND x.amount IS DISTINCT FROM rt.prize)",
    ),
    (
        "what is set aside is what is on its way out",
        "SELECT a.id, a.balance, w.amount FROM accounts a LEFT JOIN (SELECT user_id, sum(amount) AS amount
         FROM payments WHERE kind = 'withdrawal' AND status = 'processing' GROUP BY user_id) w USING (user_id)
         WHERE a.kind = 'held' AND a.balance <> coalesce(w.amount, 0)",
    ),
    (
        "every withdrawal was set aside once, and then went out or back as it says",
        "SELECT p.id, p.status, t.* FROM payments p LEFT JOIN (SELECT reference,
         sum(amount) FILTER (WHERE debit % 8 = 1 AND credit = debit + 1) AS aside,
         sum(amount) FILTER (WHERE debit % 8 = 2 AND credit = 0) AS out,
         sum(amount) FILTER (WHERE debit % 8 = 2 AND credit = debit - 1) AS back
         FROM transfers WHERE kind = 'withdrawal' GROUP BY reference) t ON t.reference = p.id
         WHERE p.kind = 'withdrawal' AND (t.aside IS DISTINCT FROM p.amount
         OR coalesce(t.out, 0) <> CASE p.status WHEN 'paid' THEN p.amount ELSE 0 END
         OR coalesce(t.back, 0) <> CASE p.status WHEN 'failed' THEN p.amount ELSE 0 END)
         OR p.kind <> 'withdrawal' AND t.reference IS NOT NULL",
    ),
    (
        "a payment is what a payment can be",
        "SELECT * FROM payments WHERE kind NOT IN ('purchase', 'deposit', 'withdrawal') OR amount <= 0
         OR status NOT IN ('pending', 'processing', 'paid', 'failed', 'expired', 'refunded')
         OR method NOT IN ('wallet', 'card') OR (kind = 'purchase') <> (draw_id IS NOT NULL)
         OR (kind = 'purchase') <> (coalesce(lines, 0) BETWEEN 1 AND 100)
         OR (reserved_until IS NOT NULL AND kind <> 'purchase')",
    ),
    (
        "a ticket is what a ticket can be",
        "SELECT * FROM tickets WHERE origin NOT IN ('chosen', 'quick_pick', 'pool')
         OR status NOT IN ('reserved', 'paid', 'expired', 'returned') OR (status = 'paid') <> (number IS NOT NULL)
         OR (origin = 'pool') <> (pool_ticket_id IS NOT NULL)",
    ),
    (
        "a transfer is what a transfer can be",
        "SELECT * FROM transfers WHERE amount <= 0 OR debit = credit OR balance_after < 0
         OR (user_id = 0) <> (balance_after IS NULL) OR kind NOT IN ('deposit', 'purchase', 'prize', 'refund',
         'withdrawal', 'jackpot', 'rollover', 'reserve', 'revenue')",
    ),
    (
        "a draw's money adds up",
        "SELECT r.draw_id FROM draw_results r JOIN draws d ON d.id = r.draw_id AND d.status = 'completed'
         LEFT JOIN (SELECT account, sum(amount) AS kept FROM (SELECT credit AS account, amount FROM transfers
          UNION ALL SELECT debit, -amount FROM transfers) entries GROUP BY account) m
         ON m.account = r.draw_id * 8 + 3 WHERE coalesce(m.kept, 0) <> 0",
    ),
    (
        "what is kept under a key is there",
        "SELECT k.* FROM idempotency_keys k LEFT JOIN payments p ON p.id = k.payment_id
         WHERE k.payment_id IS NOT NULL AND p.id IS NULL",
    ),
];
