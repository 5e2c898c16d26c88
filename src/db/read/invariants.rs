//! The invariants that the whole database keeps at every commit. Each is a statement that returns the rows
//! which break it; its first line names it. This file knows the schema and nothing else of the service.

/// Ordered from the ledger as a whole down to single rows. A statement may return very many rows: only the
/// first ones are fetched.
pub const INVARIANTS: &[&str] = &[
    "-- all balances sum to zero
         SELECT sum(balance) FROM accounts HAVING sum(balance) <> 0",
    "-- every balance equals its transfers
         SELECT a.id, a.balance, m.moved FROM accounts a FULL JOIN
         (SELECT account, sum(amount) AS moved FROM (SELECT credit AS account, amount FROM transfers
          UNION ALL SELECT debit, -amount FROM transfers) entries GROUP BY account) m ON m.account = a.id
         WHERE a.balance IS DISTINCT FROM coalesce(m.moved, 0)",
    "-- a wallet's transfers leave what they say: balance_after is their running sum
         SELECT * FROM (SELECT user_id, id, balance_after, sum(CASE WHEN credit = user_id * 8 + 1 THEN amount
         ELSE -amount END) OVER (PARTITION BY user_id ORDER BY id) AS running FROM transfers WHERE user_id > 0) t
         WHERE balance_after <> running",
    "-- every purchase has one debit, and exactly its paid tickets behind it
         SELECT p.id FROM payments p JOIN draws d ON d.id = p.draw_id
         LEFT JOIN (SELECT reference, count(*) AS transfers, sum(amount) AS amount FROM transfers
                    WHERE kind = 'purchase' GROUP BY reference) t ON t.reference = p.id
         LEFT JOIN (SELECT payment_id, count(*) AS tickets FROM tickets WHERE status = 'paid'
                    GROUP BY payment_id) k ON k.payment_id = p.id
         WHERE p.status = 'paid' AND (t.transfers IS DISTINCT FROM 1 OR t.amount IS DISTINCT FROM p.amount
         OR d.price * k.tickets IS DISTINCT FROM p.amount)",
    "-- nothing unpaid was debited
         SELECT t.* FROM transfers t LEFT JOIN payments p ON p.id = t.reference
         WHERE t.kind = 'purchase' AND p.status IS DISTINCT FROM 'paid'",
    "-- nothing unpaid has a paid ticket
         SELECT t.id FROM tickets t LEFT JOIN payments p ON p.id = t.payment_id
         WHERE t.status = 'paid' AND p.status IS DISTINCT FROM 'paid'",
    "-- every card's money reached its wallet once, and no other money did
         SELECT c.payment_id, c.credits, t.* FROM (SELECT reference, count(*) AS transfers, sum(amount) AS amount
         FROM transfers WHERE kind = 'deposit' GROUP BY reference) t FULL JOIN
         (SELECT payment_id, count(*) AS credits, sum(amount) AS amount
          FROM (SELECT id AS payment_id, amount FROM payments WHERE kind = 'deposit' AND status = 'paid'
                UNION ALL SELECT payment_id, amount FROM charges WHERE late) credited GROUP BY payment_id) c
         ON c.payment_id = t.reference
         WHERE t.transfers IS DISTINCT FROM c.credits OR t.amount IS DISTINCT FROM c.amount",
    "-- a charge that ended as paid has paid its payment, or its money is a late credit
         SELECT c.payment_id, c.begun_at FROM charges c LEFT JOIN payments p ON p.id = c.payment_id
         WHERE c.outcome = 'paid' AND ((p.method, p.status) IS DISTINCT FROM ('card', 'paid') AND NOT c.late
         OR p.kind = 'deposit' AND c.late <> (p.status = 'failed'))",
    "-- a payment that a card has paid has one charge for it, and a late card's money has its charge
         SELECT p.id, p.status, c.charges, c.amount FROM payments p
         LEFT JOIN (SELECT payment_id, count(*) FILTER (WHERE NOT late) AS charges, count(*) FILTER (WHERE late) AS late,
                    sum(amount) FILTER (WHERE NOT late) AS amount
                    FROM charges WHERE outcome = 'paid' GROUP BY payment_id) c ON c.payment_id = p.id
         WHERE p.method = 'card' AND p.status = 'paid'
               AND (c.charges IS DISTINCT FROM 1 OR c.amount IS DISTINCT FROM p.amount)
         OR p.status = 'refunded' AND coalesce(c.late, 0) = 0",
    "-- an open charge is the one that its payment waits for, and such a payment has it
         SELECT c.payment_id, c.begun_at FROM charges c
         LEFT JOIN payments p ON (p.id, p.updated_at) = (c.payment_id, c.begun_at)
                   AND p.status = 'processing' AND p.method = 'card'
         WHERE c.outcome IS NULL AND coalesce(c.issue, 'not_found') = 'not_found' AND p.id IS NULL
         UNION ALL SELECT p.id, p.updated_at FROM payments p
         LEFT JOIN charges c ON (c.payment_id, c.begun_at) = (p.id, p.updated_at) AND c.outcome IS NULL
         WHERE p.status = 'processing' AND p.method = 'card' AND c.payment_id IS NULL",
    "-- a charge is of a payment by card, and of its payer
         SELECT c.payment_id, c.begun_at, c.user_id FROM charges c LEFT JOIN payments p ON p.id = c.payment_id
         WHERE p.id IS NULL OR p.user_id <> c.user_id OR p.kind = 'withdrawal' OR c.begun_at < p.created_at
         OR p.kind = 'deposit' AND (p.created_at, p.amount) <> (c.begun_at, c.amount)
         OR p.kind = 'purchase' AND p.reserved_until IS NULL",
    "-- a held account's balance is the sum of its owner's open withdrawals
         SELECT a.id, a.balance, w.amount FROM accounts a LEFT JOIN (SELECT user_id, sum(amount) AS amount
         FROM payments WHERE kind = 'withdrawal' AND status = 'processing' GROUP BY user_id) w USING (user_id)
         WHERE a.kind = 'held' AND a.balance <> coalesce(w.amount, 0)",
    "-- every withdrawal was held once, and then paid out or returned as its status says
         SELECT p.id, p.status, t.* FROM payments p LEFT JOIN (SELECT reference,
         sum(amount) FILTER (WHERE debit % 8 = 1 AND credit = debit + 1) AS aside,
         sum(amount) FILTER (WHERE debit % 8 = 2 AND credit = 0) AS out,
         sum(amount) FILTER (WHERE debit % 8 = 2 AND credit = debit - 1) AS back
         FROM transfers WHERE kind = 'withdrawal' GROUP BY reference) t ON t.reference = p.id
         WHERE p.kind = 'withdrawal' AND (t.aside IS DISTINCT FROM p.amount
         OR coalesce(t.out, 0) <> CASE p.status WHEN 'paid' THEN p.amount ELSE 0 END
         OR coalesce(t.back, 0) <> CASE p.status WHEN 'failed' THEN p.amount ELSE 0 END)
         OR p.kind <> 'withdrawal' AND t.reference IS NOT NULL",
    "-- a pool ticket has one paid owner ever, and one holder at a time
         SELECT pool_ticket_id FROM tickets WHERE pool_ticket_id IS NOT NULL AND status IN ('reserved', 'paid')
         GROUP BY pool_ticket_id HAVING count(*) > 1",
    "-- a draw's numbers have no gap
         SELECT s.draw_id FROM draw_sales s LEFT JOIN (SELECT draw_id, count(*) AS paid, max(number) AS last
         FROM tickets WHERE status = 'paid' GROUP BY draw_id) t ON t.draw_id = s.draw_id
         WHERE s.sold <> coalesce(t.paid, 0) OR s.sold <> coalesce(t.last, 0)",
    "-- no ticket entered after the seal
         SELECT s.draw_id FROM draw_seals s JOIN draw_sales d ON d.draw_id = s.draw_id WHERE d.sold <> s.tickets",
    "-- nothing is held in a draw that is not on sale
         SELECT t.id FROM tickets t JOIN draws d ON d.id = t.draw_id
         WHERE t.status = 'reserved' AND d.status NOT IN ('scheduled', 'open')",
    "-- the escrow of a draw that is over is empty
         SELECT a.id FROM accounts a JOIN draws d ON d.id = a.draw_id
         WHERE d.status IN ('completed', 'cancelled') AND a.balance <> 0",
    "-- a cancelled draw refunded every payer once, and no other draw anybody
         SELECT p.id FROM payments p JOIN draws d ON d.id = p.draw_id
         LEFT JOIN (SELECT reference, count(*) AS transfers, sum(amount) AS amount FROM transfers
                    WHERE kind = 'refund' GROUP BY reference) t ON t.reference = p.id
         WHERE (d.status = 'cancelled' AND p.status = 'paid'
                AND (t.transfers IS DISTINCT FROM 1 OR t.amount IS DISTINCT FROM p.amount))
         OR (t.transfers > 0 AND (d.status NOT IN ('cancelling', 'cancelled') OR p.status <> 'paid'))",
    "-- every winner was paid once, and nobody else
         SELECT t.id FROM tickets t JOIN draws d ON d.id = t.draw_id LEFT JOIN draw_results r ON r.draw_id = d.id
         LEFT JOIN result_tiers rt ON rt.draw_id = d.id AND t.status = 'paid'
                   AND rt.matches = bit_count((t.pick & r.pick)::bit(64))
         LEFT JOIN (SELECT reference, count(*) AS transfers, sum(amount) AS amount FROM transfers
                    WHERE kind = 'prize' GROUP BY reference) x ON x.reference = t.id
         WHERE (d.status = 'completed' AND coalesce(rt.prize, 0) <> coalesce(x.amount, 0))
         OR x.transfers > 1 OR (x.transfers = 1 AND x.amount IS DISTINCT FROM rt.prize)",
    "-- a payment is what a payment can be: its columns have allowed values
         SELECT id, kind, status, amount, method, draw_id, lines FROM payments WHERE amount <= 0
         OR CASE kind WHEN 'purchase' THEN status NOT IN ('pending', 'processing', 'paid', 'expired', 'refunded')
                      WHEN 'deposit' THEN status NOT IN ('processing', 'paid', 'failed')
                      WHEN 'withdrawal' THEN status NOT IN ('processing', 'paid', 'failed') ELSE true END
         OR method NOT IN ('wallet', 'card') OR (kind = 'purchase') <> (draw_id IS NOT NULL)
         OR (kind = 'purchase') <> (coalesce(lines, 0) BETWEEN 1 AND 100)
         OR (reserved_until IS NOT NULL AND kind <> 'purchase')",
    "-- a reservation has its end, and so has whatever a card was to pay
         SELECT id, status, method FROM payments WHERE kind = 'purchase' AND reserved_until IS NULL
         AND (status, method) IS DISTINCT FROM ('paid', 'wallet')",
    "-- a reserved ticket waits for a payment that is still open
         SELECT t.id, p.id AS payment, p.status FROM tickets t LEFT JOIN payments p ON p.id = t.payment_id
         WHERE t.status = 'reserved' AND coalesce(p.status NOT IN ('pending', 'processing'), true)",
    "-- a ticket is what a ticket can be: its columns have allowed values
         SELECT * FROM tickets WHERE origin NOT IN ('chosen', 'quick_pick', 'pool')
         OR status NOT IN ('reserved', 'paid', 'expired', 'returned') OR (status = 'paid') <> (number IS NOT NULL)
         OR (origin = 'pool') <> (pool_ticket_id IS NOT NULL)",
    "-- a transfer is what a transfer can be: its columns have allowed values
         SELECT * FROM transfers WHERE amount <= 0 OR debit = credit OR balance_after < 0
         OR (user_id = 0) <> (balance_after IS NULL) OR kind NOT IN ('deposit', 'purchase', 'prize', 'refund',
         'withdrawal', 'jackpot', 'rollover', 'reserve', 'revenue')",
    "-- a completed draw has paid out all its money
         SELECT r.draw_id FROM draw_results r JOIN draws d ON d.id = r.draw_id AND d.status = 'completed'
         LEFT JOIN (SELECT account, sum(amount) AS kept FROM (SELECT credit AS account, amount FROM transfers
          UNION ALL SELECT debit, -amount FROM transfers) entries GROUP BY account) m
         ON m.account = r.draw_id * 8 + 3 WHERE coalesce(m.kept, 0) <> 0",
    "-- a key leads to the payment of its request: made at the key's time, or named by the kept answer
         SELECT k.id, k.payment_id, k.created_at FROM idempotency_keys k LEFT JOIN payments p ON p.id = k.payment_id
         WHERE k.payment_id IS NOT NULL AND (p.id IS NULL
         OR CASE WHEN k.answer IS NULL THEN p.created_at <> k.created_at
                 ELSE NOT starts_with(k.answer, '{\"id\":\"' || k.payment_id || '\"') END)",
    "-- a key stands for a success: it has an answer and a status of 2xx
         SELECT id, payment_id, status FROM idempotency_keys
         WHERE num_nonnulls(payment_id, answer) = 0 OR status NOT BETWEEN 200 AND 299",
    "-- an account is its owner's, and all have theirs: users, draws and lotteries
         SELECT id, kind FROM accounts WHERE num_nonnulls(user_id, draw_id, lottery) > 1
         OR id IS DISTINCT FROM (CASE kind WHEN 'clearing' THEN 0 WHEN 'reserve' THEN 8 WHEN 'revenue' THEN 16
         WHEN 'wallet' THEN user_id * 8 + 1 WHEN 'held' THEN user_id * 8 + 2
         WHEN 'escrow' THEN draw_id * 8 + 3 WHEN 'jackpot' THEN lottery * 8 + 4 END)
         UNION ALL SELECT a.id, a.kind FROM accounts a LEFT JOIN users u ON u.id = a.user_id
         LEFT JOIN draws d ON d.id = a.draw_id LEFT JOIN lotteries l ON l.seq = a.lottery
         WHERE num_nonnulls(a.user_id, a.draw_id, a.lottery) <> num_nonnulls(u.id, d.id, l.seq)
         UNION ALL SELECT u.id * 8 + 1, 'wallet' FROM users u LEFT JOIN accounts a ON a.id = u.id * 8 + 1
         WHERE a.id IS NULL
         UNION ALL SELECT u.id * 8 + 2, 'held' FROM users u LEFT JOIN accounts a ON a.id = u.id * 8 + 2
         WHERE a.id IS NULL
         UNION ALL SELECT d.id * 8 + 3, 'escrow' FROM draws d LEFT JOIN accounts a ON a.id = d.id * 8 + 3
         WHERE a.id IS NULL
         UNION ALL SELECT l.seq * 8 + 4, 'jackpot' FROM lotteries l LEFT JOIN accounts a ON a.id = l.seq * 8 + 4
         WHERE a.id IS NULL",
    "-- a transfer goes where its kind says, and is listed with the wallet it moves
         SELECT id, user_id, debit, credit, kind FROM transfers WHERE NOT CASE kind
         WHEN 'deposit' THEN debit = 0 AND credit % 8 = 1
         WHEN 'purchase' THEN (debit = 0 OR debit % 8 = 1) AND credit % 8 = 3
         WHEN 'prize' THEN debit % 8 = 3 AND credit % 8 = 1
         WHEN 'refund' THEN debit % 8 = 3 AND credit % 8 = 1
         WHEN 'jackpot' THEN debit % 8 = 4 AND credit % 8 = 3
         WHEN 'rollover' THEN debit % 8 = 3 AND credit % 8 = 4
         WHEN 'reserve' THEN debit = 8 AND credit % 8 = 3
         WHEN 'revenue' THEN debit % 8 = 3 AND credit = 16 ELSE true END
         OR user_id <> CASE WHEN debit % 8 = 1 THEN debit / 8 WHEN credit % 8 = 1 THEN credit / 8 ELSE 0 END",
    "-- money of a purchase, refund, deposit or withdrawal moved between the payer's accounts and the draw's
         SELECT t.id, t.kind, t.debit, t.credit, p.id AS payment FROM transfers t JOIN payments p ON p.id = t.reference
         WHERE (t.kind = 'purchase' AND (t.credit <> p.draw_id * 8 + 3
                OR t.debit <> CASE WHEN p.method = 'wallet' THEN p.user_id * 8 + 1 ELSE 0 END))
         OR (t.kind = 'refund' AND (t.debit, t.credit) <> (p.draw_id * 8 + 3, p.user_id * 8 + 1))
         OR (t.kind = 'deposit' AND t.credit <> p.user_id * 8 + 1)
         OR (t.kind = 'withdrawal' AND (t.debit, t.credit) NOT IN ((p.user_id * 8 + 1, p.user_id * 8 + 2),
             (p.user_id * 8 + 2, 0), (p.user_id * 8 + 2, p.user_id * 8 + 1)))",
    "-- a draw's jackpot comes from its own lottery, and its rollover goes there
         SELECT t.id, t.kind, t.debit, t.credit, d.id AS draw FROM transfers t
         LEFT JOIN draws d ON d.id = (CASE t.kind WHEN 'jackpot' THEN t.credit ELSE t.debit END) / 8
         LEFT JOIN lotteries l ON l.id = d.lottery
         WHERE t.kind IN ('jackpot', 'rollover')
               AND (CASE t.kind WHEN 'jackpot' THEN t.debit ELSE t.credit END) IS DISTINCT FROM l.seq * 8 + 4",
    "-- an approved or rejected withdrawal has that admin action in the audit log, and no other has
         SELECT p.id, p.status, a.actions FROM (SELECT id, status FROM payments WHERE kind = 'withdrawal') p
         FULL JOIN (SELECT subject, array_agg(action) AS actions FROM audit_log
                    WHERE action IN ('withdrawal.approve', 'withdrawal.reject') GROUP BY subject) a
         ON a.subject = 'payment:' || p.id
         WHERE a.actions IS DISTINCT FROM CASE p.status WHEN 'paid' THEN '{withdrawal.approve}'::text[]
                                               WHEN 'failed' THEN '{withdrawal.reject}' END",
    "-- every prize has its ticket, and every refund its payment
         SELECT x.id, x.kind, x.reference FROM transfers x LEFT JOIN tickets t ON t.id = x.reference
                AND (x.debit, x.credit) = (t.draw_id * 8 + 3, t.user_id * 8 + 1)
         WHERE x.kind = 'prize' AND t.id IS NULL
         UNION ALL SELECT x.id, x.kind, x.reference FROM transfers x LEFT JOIN payments p ON p.id = x.reference
         WHERE x.kind = 'refund' AND p.id IS NULL",
    "-- a ticket is its payer's and its draw's, and its numbers are legal there
         SELECT t.id, t.user_id, t.draw_id, t.payment_id, t.pick FROM tickets t
         LEFT JOIN payments p ON p.id = t.payment_id LEFT JOIN draws d ON d.id = t.draw_id
         WHERE p.id IS NULL OR d.id IS NULL OR (p.user_id, p.draw_id) IS DISTINCT FROM (t.user_id, t.draw_id)
         OR t.id <= t.payment_id OR bit_count(t.pick::bit(64)) <> d.pick OR d.of < 64 AND t.pick >> d.of <> 0",
    "-- a ticket from the pool bears the numbers of a pool ticket of its draw
         SELECT t.id, t.draw_id, t.pool_ticket_id FROM tickets t
         LEFT JOIN pool_tickets p ON (p.draw_id, p.id) = (t.draw_id, t.pool_ticket_id)
         WHERE t.pool_ticket_id IS NOT NULL AND t.pick IS DISTINCT FROM p.pick",
    "-- what waits to be paid is the price of what it holds
         SELECT p.id, p.status, p.amount, t.held, t.expired FROM payments p JOIN draws d ON d.id = p.draw_id
         LEFT JOIN (SELECT payment_id, count(*) FILTER (WHERE status = 'reserved') AS held,
                           count(*) FILTER (WHERE status = 'expired') AS expired
                    FROM tickets GROUP BY payment_id) t ON t.payment_id = p.id
         WHERE p.status = 'pending' AND p.amount IS DISTINCT FROM d.price * t.held
         -- The sale may end while a card is charged. Then the tickets have expired, and the charge goes on.
         OR p.status = 'processing' AND p.amount IS DISTINCT FROM d.price * (t.held + t.expired)",
    "-- no more tickets are there than were ordered, and none where none was
         SELECT p.id, p.lines, t.tickets FROM payments p
         LEFT JOIN (SELECT payment_id, count(*) AS tickets FROM tickets GROUP BY payment_id) t ON t.payment_id = p.id
         WHERE coalesce(t.tickets, 0) <> coalesce(p.lines, 0)",
    "-- a draw's numbers are legal, and its pool's
         SELECT r.draw_id, r.pick FROM draw_results r JOIN draws d ON d.id = r.draw_id
         WHERE bit_count(r.pick::bit(64)) <> d.pick OR d.of < 64 AND r.pick >> d.of <> 0
         UNION ALL SELECT p.draw_id, p.pick FROM pool_tickets p JOIN draws d ON d.id = p.draw_id
         WHERE bit_count(p.pick::bit(64)) <> d.pick OR d.of < 64 AND p.pick >> d.of <> 0",
    "-- a draw has what belongs to its state
         SELECT d.id, d.status FROM draws d LEFT JOIN draw_sales s ON s.draw_id = d.id
         LEFT JOIN draw_seals e ON e.draw_id = d.id LEFT JOIN draw_results r ON r.draw_id = d.id
         LEFT JOIN draw_cancellations c ON c.draw_id = d.id
         WHERE s.draw_id IS NULL
         OR CASE WHEN d.status IN ('closed', 'settling', 'completed') THEN e.draw_id IS NULL
                 WHEN d.status IN ('scheduled', 'open') THEN e.draw_id IS NOT NULL ELSE false END
         OR CASE WHEN d.status IN ('cancelling', 'cancelled') THEN r.prize_fund IS NOT NULL
                 ELSE (r.draw_id IS NOT NULL) <> (d.status IN ('settling', 'completed')) END
         OR (c.draw_id IS NOT NULL) <> (d.status IN ('cancelling', 'cancelled'))
         OR (d.status = 'completed' AND (r.prize_fund IS NULL OR r.cursor <> s.sold))
         OR (d.status = 'cancelled' AND c.cursor <> s.sold)",
    "-- a lottery's draws are numbered without a gap, but for draws that were not announced before a backup was restored
         SELECT l.id, l.last_draw FROM lotteries l
         LEFT JOIN (SELECT lottery, count(*) AS draws, max(number) AS last FROM draws GROUP BY lottery) d
         ON d.lottery = l.id LEFT JOIN (SELECT DISTINCT lottery FROM rolled_back_draws JOIN draws ON id = draw_id) b
         ON b.lottery = l.id WHERE l.last_draw <> coalesce(d.draws, 0) AND b.lottery IS NULL
         OR l.last_draw <> coalesce(d.last, 0)",
    "-- each entry of the audit log continues the chain of hashes, and the newest one ends it
         SELECT a.id, a.position FROM (
             SELECT l.id, l.position, l.hash, row_number() OVER chain AS place,
                    audit_hash(lag(l.hash, 1, decode(repeat('00', 32), 'hex')) OVER chain, l) AS expected
             FROM audit_log l WINDOW chain AS (ORDER BY l.position)) a
         WHERE a.position <> a.place OR a.hash IS DISTINCT FROM a.expected
         UNION ALL SELECT NULL, c.position FROM audit_chain c
         LEFT JOIN (SELECT position, hash FROM audit_log ORDER BY position DESC LIMIT 1) l ON true
         WHERE c.position <> coalesce(l.position, 0) OR l.hash IS DISTINCT FROM nullif(c.hash, decode(repeat('00', 32), 'hex'))",
];
