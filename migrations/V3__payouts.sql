-- Prizes and refunds are paid in windows of tickets, and within a window by their owners: a window's credits
-- then stand together in the transfers' index, and a wallet is written once for many of them. Beside the
-- cursor (all tickets up to it are done) stands how far the window behind it has come: its last ticket, and
-- the last credit paid, by its owner and by what the transfer refers to (the ticket or the payment).

ALTER TABLE draw_results
    ADD COLUMN window_end     bigint,
    ADD COLUMN paid_user      bigint,
    ADD COLUMN paid_reference uuid,
    ADD CHECK (num_nonnulls(window_end, paid_user, paid_reference) IN (0, 3)),
    ADD CHECK (window_end > cursor);

ALTER TABLE draw_cancellations
    ADD COLUMN window_end     bigint,
    ADD COLUMN paid_user      bigint,
    ADD COLUMN paid_reference uuid,
    ADD CHECK (num_nonnulls(window_end, paid_user, paid_reference) IN (0, 3)),
    ADD CHECK (window_end > cursor);

-- Refunded is what the cursor has passed, or the part of the window that is done.
CREATE OR REPLACE VIEW ticket_states AS
SELECT t.user_id, t.id, t.payment_id, t.draw_id, d.lottery, t.number, t.pick, t.origin, t.pool_ticket_id,
       d.price, p.created_at,
       CASE WHEN t.status = 'reserved' THEN p.reserved_until END AS reserved_until,
       CASE WHEN t.status = 'returned' THEN 'expired'
            WHEN t.status <> 'paid' THEN t.status
            WHEN d.status = 'completed' THEN CASE WHEN rt.matches IS NULL THEN 'lost' ELSE 'won' END
            WHEN d.status = 'cancelled' OR t.number <= c.cursor
                 OR t.number <= c.window_end AND (t.user_id, t.payment_id) <= (c.paid_user, c.paid_reference)
                 THEN 'refunded'
            ELSE 'paid' END AS status,
       CASE WHEN t.status = 'paid' THEN bit_count((t.pick & r.pick)::bit(64))::smallint END AS matches,
       CASE WHEN t.status = 'paid' AND d.status = 'completed' THEN coalesce(rt.prize, 0) END AS prize
FROM tickets t
JOIN draws d ON d.id = t.draw_id
JOIN payments p ON p.id = t.payment_id
LEFT JOIN draw_cancellations c ON c.draw_id = t.draw_id
LEFT JOIN draw_results r ON r.draw_id = t.draw_id
LEFT JOIN result_tiers rt ON rt.draw_id = t.draw_id
     AND rt.matches = bit_count((t.pick & r.pick)::bit(64));

CREATE OR REPLACE VIEW payment_states AS
SELECT p.id, p.user_id, p.kind, p.amount, p.method, p.failure_code, p.draw_id, p.reserved_until,
       p.created_at, p.updated_at,
       coalesce(t.ids, '{}') AS ticket_ids,
       CASE WHEN p.kind = 'purchase' AND p.status = 'paid'
                 AND (d.status = 'cancelled' OR t.first_number <= c.cursor
                      OR t.first_number <= c.window_end AND (p.user_id, p.id) <= (c.paid_user, c.paid_reference))
                 THEN 'refunded'
            ELSE p.status END AS status
FROM payments p
LEFT JOIN draws d ON d.id = p.draw_id
LEFT JOIN draw_cancellations c ON c.draw_id = p.draw_id
LEFT JOIN LATERAL (
    SELECT array_agg(mine.id ORDER BY mine.id) FILTER (WHERE mine.status <> 'returned') AS ids,
           min(mine.number) AS first_number
    FROM (SELECT id, status, number FROM tickets
          WHERE user_id = p.user_id AND id > p.id AND payment_id = p.id
          ORDER BY id LIMIT p.lines) mine
) t ON p.kind = 'purchase';
