-- A draw whose tickets are not those that were sealed stops before its prizes are fixed. Until then an admin may cancel it,
-- although its numbers are drawn: they stay where they are, as what would have been drawn.
CREATE OR REPLACE FUNCTION draw_moves_on() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF (OLD.status, NEW.status) = ('settling', 'cancelling')
        AND EXISTS (SELECT FROM draw_results WHERE draw_id = NEW.id AND prize_fund IS NULL)
    THEN
        RETURN NEW;
    END IF;
    IF NOT (OLD.status, NEW.status) IN (
        ('scheduled', 'open'), ('open', 'closed'), ('closed', 'settling'), ('settling', 'completed'),
        ('scheduled', 'cancelling'), ('open', 'cancelling'), ('closed', 'cancelling'), ('cancelling', 'cancelled'))
    THEN
        RAISE EXCEPTION 'a draw cannot go from % to %', OLD.status, NEW.status USING ERRCODE = 'restrict_violation';
    END IF;
    RETURN NEW;
END $$;

-- A ticket has matches only of a draw that is not cancelled.
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
       CASE WHEN t.status = 'paid' AND c.draw_id IS NULL THEN bit_count((t.pick & r.pick)::bit(64))::smallint
            END AS matches,
       CASE WHEN t.status = 'paid' AND d.status = 'completed' THEN coalesce(rt.prize, 0) END AS prize
FROM tickets t
JOIN draws d ON d.id = t.draw_id
JOIN payments p ON p.id = t.payment_id
LEFT JOIN draw_cancellations c ON c.draw_id = t.draw_id
LEFT JOIN draw_results r ON r.draw_id = t.draw_id
LEFT JOIN result_tiers rt ON rt.draw_id = t.draw_id
     AND rt.matches = bit_count((t.pick & r.pick)::bit(64));

-- The keys that sign the public log, by their generations: one, or two while a key is rotated. The service reads them when it
-- starts.
CREATE TABLE log_key_generations (
    only_row boolean PRIMARY KEY DEFAULT true CHECK (only_row),
    oldest   bigint  NOT NULL DEFAULT 0 CHECK (oldest >= 0),
    newest   bigint  NOT NULL DEFAULT 0,
    CHECK (newest - oldest IN (0, 1))
);
INSERT INTO log_key_generations DEFAULT VALUES;
CREATE FUNCTION log_keys_move_on() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NEW.oldest < OLD.oldest OR NEW.newest < OLD.newest THEN
        RAISE EXCEPTION 'a retired key of the public log does not come back' USING ERRCODE = 'restrict_violation';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER log_keys_move_on BEFORE UPDATE ON log_key_generations
    FOR EACH ROW EXECUTE FUNCTION log_keys_move_on();
CREATE TRIGGER log_key_generations_stay BEFORE DELETE OR TRUNCATE ON log_key_generations EXECUTE FUNCTION refuse();
