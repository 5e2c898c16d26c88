-- The schema of the service. Postgres holds everything that must not be lost.
--
-- Units: times are timestamptz and are written in UTC. Money is bigint, in minor units (kopecks, cents) of the
-- service's one currency. A pick (the numbers of a ticket) is one bigint: bit i-1 stands for the number i.
--
-- The hot tables are payments, tickets, transfers and idempotency_keys. Each purchase inserts rows into them, so
-- each row must cost little:
-- - They have no foreign keys and no triggers: each of these costs a lookup for every row. The batch that writes
--   such a row also updates the row of its draw and of its wallet in the same transaction, and users, draws and
--   lotteries are never deleted (the triggers at the end of this file refuse it).
-- - They have no CHECKs: Postgres reads a CHECK again for every statement and evaluates it for every row, which
--   took a fifth of the database's time. The types of the service guarantee the same, and `lottery check` verifies it.
-- - Their keys start with the time or with the owner. An insert at a random position of an index costs several
--   times as much as an insert at its end.
--
-- One CHECK on a table that each purchase updates stays, because it protects money: no wallet below zero (accounts).

-- Users ----------------------------------------------------------------------------------------

CREATE TABLE users (
    id            bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    username      text        NOT NULL CHECK (username ~ '^[A-Za-z0-9_.-]{3,32}$'),
    email         text        NOT NULL CHECK (length(email) BETWEEN 3 AND 254),
    name          text        CHECK (length(name) BETWEEN 1 AND 100),
    password_hash text        NOT NULL,
    role          text        NOT NULL DEFAULT 'player' CHECK (role IN ('player', 'admin')),
    status        text        NOT NULL DEFAULT 'active' CHECK (status IN ('active', 'blocked')),
    created_at    timestamptz NOT NULL
);
-- Users log in with their username or their email. Two accounts cannot differ only in upper and lower case.
CREATE UNIQUE INDEX users_username ON users (lower(username));
CREATE UNIQUE INDEX users_email ON users (lower(email));

-- At least one active admin must remain. A change locks these rows, so of two changes at the same time the second
-- waits for the first and then sees its result.
CREATE INDEX users_active_admins ON users (id) WHERE role = 'admin' AND status = 'active';

-- Search for users by any part of their username or email. The extension pg_trgm is not installed everywhere, and
-- a plain GIN index over an array of trigrams does the same.
CREATE FUNCTION trigrams(whole text) RETURNS text[] LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE AS
$$ SELECT coalesce(array_agg(DISTINCT substr(whole, i, 3)), '{}') FROM generate_series(1, length(whole) - 2) i $$;
CREATE INDEX users_search ON users USING gin (trigrams(lower(username || ' ' || email)));

-- A session starts with a log-in. All its refresh tokens belong together: when a token that was already used is
-- used again, the session ends.
CREATE TABLE sessions (
    id         uuid PRIMARY KEY,
    user_id    bigint      NOT NULL REFERENCES users,
    created_at timestamptz NOT NULL,
    ended_at   timestamptz
);
-- A user's active sessions; a new password ends all of them but one.
CREATE INDEX sessions_live ON sessions (user_id) WHERE ended_at IS NULL;
-- Access tokens of an ended session are refused until they expire. At its start the service reads the sessions
-- that ended recently.
CREATE INDEX sessions_ended ON sessions (ended_at) WHERE ended_at IS NOT NULL;

CREATE TABLE refresh_tokens (
    hash       bytea PRIMARY KEY CHECK (length(hash) = 32), -- SHA-256; the token itself is never stored
    session_id uuid        NOT NULL REFERENCES sessions ON DELETE CASCADE,
    expires_at timestamptz NOT NULL,
    spent_at   timestamptz
);
-- Expired tokens are deleted, the oldest first, and then the sessions that have no token left.
CREATE INDEX refresh_tokens_by_age ON refresh_tokens (expires_at);
CREATE INDEX refresh_tokens_of_session ON refresh_tokens (session_id);

-- A permission to set a new password once. A user has at most one: a new one replaces it.
CREATE TABLE password_resets (
    user_id    bigint PRIMARY KEY REFERENCES users,
    hash       bytea       NOT NULL UNIQUE CHECK (length(hash) = 32), -- SHA-256; the token itself is never stored
    expires_at timestamptz NOT NULL
);

-- Every admin action, written in the same transaction as its effect. Rows are only added.
CREATE TABLE audit_log (
    id       bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    at       timestamptz NOT NULL,
    actor_id bigint      REFERENCES users, -- null: done at the command line
    action   text        NOT NULL,
    subject  text        NOT NULL,
    detail   jsonb       NOT NULL
);

-- Lotteries and draws --------------------------------------------------------------------------

-- The rules of a lottery are in the configuration and are copied to each draw. This table holds only what must
-- outlive the configuration.
CREATE TABLE lotteries (
    id         text PRIMARY KEY CHECK (id ~ '^[a-z0-9_-]{1,32}$'),
    seq        bigint GENERATED ALWAYS AS IDENTITY UNIQUE, -- part of the id of the jackpot's account
    last_draw  integer NOT NULL DEFAULT 0 CHECK (last_draw >= 0) -- the number of the newest draw
);

CREATE TABLE draws (
    id             bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    lottery        text        NOT NULL REFERENCES lotteries,
    number         integer     NOT NULL CHECK (number > 0),
    status         text        NOT NULL DEFAULT 'scheduled' CHECK (status IN
                   ('scheduled', 'open', 'closed', 'settling', 'completed', 'cancelling', 'cancelled')),
    -- The rules at the time when the draw was created. They are a copy because the configuration may change.
    pick           smallint    NOT NULL CHECK (pick BETWEEN 1 AND 63),
    of             smallint    NOT NULL CHECK (of BETWEEN 2 AND 64 AND of > pick),
    price          bigint      NOT NULL CHECK (price > 0),
    fund_share     smallint    NOT NULL CHECK (fund_share BETWEEN 0 AND 10000), -- basis points
    sales_open_at  timestamptz,
    sales_close_at timestamptz NOT NULL,
    draw_at        timestamptz NOT NULL CHECK (draw_at >= sales_close_at),
    created_at     timestamptz NOT NULL,
    CHECK (sales_open_at < sales_close_at),
    UNIQUE (lottery, number)
);
-- GET /draws?lottery=, newest first.
CREATE INDEX draws_of_lottery ON draws (lottery, id);
-- The draws that need an actor when the service starts.
CREATE INDEX draws_active ON draws (id) WHERE status NOT IN ('completed', 'cancelled');

-- The draws that a schedule created. A planned draw is created once, however often the service starts, also when
-- that draw was later moved to another time or cancelled.
CREATE TABLE planned_draws (
    lottery text        NOT NULL REFERENCES lotteries,
    draw_at timestamptz NOT NULL,                  -- the planned time
    draw_id bigint      NOT NULL UNIQUE REFERENCES draws,
    pool    integer     NOT NULL CHECK (pool >= 0), -- the tickets to make in advance; made if the draw has none
    PRIMARY KEY (lottery, draw_at)
);

CREATE TABLE draw_tiers (
    draw_id bigint   NOT NULL REFERENCES draws,
    matches smallint NOT NULL CHECK (matches BETWEEN 1 AND 63),
    amount  bigint   CHECK (amount > 0),                 -- a fixed tier: the prize of one winning ticket
    share   smallint CHECK (share BETWEEN 0 AND 10000),  -- a shared tier: basis points of what the fixed prizes leave
    PRIMARY KEY (draw_id, matches),
    CHECK ((amount IS NULL) <> (share IS NULL))
);

-- The columns of a draw that sales change, in a table of their own so that the row is small: each batch updates it
-- once. The free space of a page (fillfactor) keeps its new versions on the same page.
CREATE TABLE draw_sales (
    draw_id bigint PRIMARY KEY REFERENCES draws,
    epoch   bigint NOT NULL DEFAULT 1,                   -- the fencing token: records of an older epoch are refused
    sold    bigint NOT NULL DEFAULT 0 CHECK (sold >= 0)  -- paid tickets; they are numbered 1..sold without a gap
) WITH (fillfactor = 50);

-- The sealed list: how many tickets were sold when the sale ended. No ticket is added afterwards.
CREATE TABLE draw_seals (
    draw_id   bigint PRIMARY KEY REFERENCES draws,
    tickets   bigint      NOT NULL CHECK (tickets >= 0),
    sealed_at timestamptz NOT NULL
);

-- Prizes and refunds are paid in windows of consecutive ticket numbers, and within a window in the order of their
-- owners: the transfers of one owner are then inserted together, and a wallet is updated once for many of them. So
-- the two tables below store how far the payout has come:
-- - `cursor`: all tickets up to this number are paid.
-- - `window_end`: the last ticket of the window after the cursor that is being paid; null between windows.
-- - `paid_user`, `paid_reference`: the last transfer of this window, by its owner and by what it refers to (the
--   ticket of a prize, the payment of a refund).

CREATE TABLE draw_cancellations (
    draw_id        bigint PRIMARY KEY REFERENCES draws,
    reason         text        NOT NULL CHECK (length(reason) BETWEEN 1 AND 500),
    cancelled_at   timestamptz NOT NULL,
    cursor         bigint      NOT NULL DEFAULT 0,
    window_end     bigint,
    paid_user      bigint,
    paid_reference uuid,
    CHECK (num_nonnulls(window_end, paid_user, paid_reference) IN (0, 3)),
    CHECK (window_end > cursor)
);

CREATE TABLE draw_results (
    draw_id        bigint PRIMARY KEY REFERENCES draws,
    pick           bigint      NOT NULL,
    drawn_at       timestamptz NOT NULL,
    jackpot        bigint      NOT NULL CHECK (jackpot >= 0), -- moved into the draw when the numbers were drawn
    prize_fund     bigint      CHECK (prize_fund >= 0),       -- null until all tickets are counted
    rollover       bigint      CHECK (rollover >= 0),         -- null until all tickets are counted
    cursor         bigint      NOT NULL DEFAULT 0,
    window_end     bigint,
    paid_user      bigint,
    paid_reference uuid,
    CHECK (num_nonnulls(window_end, paid_user, paid_reference) IN (0, 3)),
    CHECK (window_end > cursor)
);

CREATE TABLE result_tiers (
    draw_id bigint   NOT NULL,
    matches smallint NOT NULL,
    winners bigint   NOT NULL DEFAULT 0 CHECK (winners >= 0),
    prize   bigint   CHECK (prize >= 0),                 -- of one winning ticket; null until all tickets are counted
    PRIMARY KEY (draw_id, matches),
    FOREIGN KEY (draw_id, matches) REFERENCES draw_tiers
);

-- Tickets that were made in advance. Whether one is free or sold is not stored here: it follows from `tickets`.
CREATE TABLE pool_tickets (
    draw_id bigint NOT NULL REFERENCES draws,
    id      uuid   NOT NULL,
    pick    bigint NOT NULL,
    PRIMARY KEY (draw_id, id),   -- GET /draws/{id}/pool, page by page; loading a draw
    UNIQUE (draw_id, pick)       -- a pool contains a combination once
);

-- Money ----------------------------------------------------------------------------------------

-- The id of an account combines its owner and its kind (owner * 8 + kind), so that a batch finds all accounts by
-- primary key. A balance is the sum of the credits less the debits; all balances sum to zero.
--
-- Every purchase updates a balance, so this table has no foreign keys and no row trigger for updates: each would
-- read or lock the row again. The trigger `accounts_are_their_owners` checks a new account once, and
-- `accounts_stay` refuses every change of its identity.
CREATE TABLE accounts (
    id      bigint PRIMARY KEY,
    kind    text   NOT NULL,
    user_id bigint,
    draw_id bigint,
    lottery bigint, -- lotteries.seq
    balance bigint NOT NULL DEFAULT 0,
    CHECK (balance >= 0 OR kind IN ('clearing', 'reserve'))
) WITH (fillfactor = 70);
INSERT INTO accounts (id, kind) VALUES (0, 'clearing'), (8, 'reserve'), (16, 'revenue');

CREATE TABLE transfers (
    user_id       bigint      NOT NULL, -- the user whose wallet changes, 0 for none. It follows from the accounts;
                                        -- with it, one index lists a wallet's debits and credits
    -- One session writes all transfers, so it takes a thousand numbers from the sequence at a time.
    id            bigint GENERATED ALWAYS AS IDENTITY (CACHE 1000),
    debit         bigint      NOT NULL,
    credit        bigint      NOT NULL,
    amount        bigint      NOT NULL,
    kind          text        NOT NULL,
    reference     uuid,                 -- the payment, or the ticket of a prize; null between accounts of the house
    balance_after bigint,               -- of the wallet; null without one
    created_at    timestamptz NOT NULL,
    PRIMARY KEY (user_id, id)           -- GET /wallet/transfers, newest first
);

CREATE TABLE payments (
    id             uuid PRIMARY KEY,    -- UUIDv7: rows are inserted in its order
    user_id        bigint      NOT NULL,
    kind           text        NOT NULL,
    status         text        NOT NULL,
    amount         bigint      NOT NULL,
    method         text,
    failure_code   text,
    draw_id        bigint,
    lines          smallint,            -- how many tickets were ordered
    reserved_until timestamptz,         -- null if the order was paid at once
    created_at     timestamptz NOT NULL,
    updated_at     timestamptz NOT NULL
) WITH (fillfactor = 90);
-- A user's purchases are found by their tickets: the ids of a purchase's tickets follow its own id, so the primary
-- key of `tickets` lists them together. Only payments without tickets need an index by owner.
CREATE INDEX payments_without_tickets ON payments (user_id, id) WHERE kind <> 'purchase';
-- Charges whose outcome is not stored yet. The provider is asked for it at start and from time to time. The index is
-- nearly always empty: only a card charge adds a row.
CREATE INDEX payments_under_way ON payments (id) WHERE status = 'processing' AND method = 'card';

CREATE TABLE tickets (
    user_id        bigint NOT NULL,     -- copied from the payment, so that the primary key starts with the owner
    id             uuid   NOT NULL,     -- UUIDv7, made right after the payment's id: a payment's tickets are adjacent
    payment_id     uuid   NOT NULL,
    draw_id        bigint NOT NULL,     -- copied from the payment, for the index that settling reads
    number         bigint,              -- among the draw's paid tickets; null until paid
    pick           bigint NOT NULL,
    origin         text   NOT NULL,
    pool_ticket_id uuid,
    -- The status at the end of the sale. Whether a ticket won, lost or was refunded is not stored: it follows from
    -- the draw (see the view ticket_states).
    status         text   NOT NULL,
    PRIMARY KEY (user_id, id)           -- GET /tickets, newest first; the tickets of a payment
) WITH (fillfactor = 90);
-- No number twice in a draw. Settling, refunding and the sealed list read a draw in this order.
CREATE UNIQUE INDEX tickets_by_number ON tickets (draw_id, number) WHERE number IS NOT NULL;
-- A pool ticket has one holder at a time, and at most one paid owner ever.
CREATE UNIQUE INDEX tickets_holding_pool ON tickets (pool_ticket_id)
    WHERE pool_ticket_id IS NOT NULL AND status IN ('reserved', 'paid');
-- The reservations of a draw, read when it is loaded.
CREATE INDEX tickets_reserved ON tickets (draw_id) WHERE status = 'reserved';

-- The successful answers to requests with an Idempotency-Key, written in the same transaction as their effect.
-- `id` is the first 16 bytes of a SHA-256 over the user and the key, `request` those over the request (see
-- domain/record.rs): they are short, have one length, and do not store a client's text.
CREATE TABLE idempotency_keys (
    id         uuid        PRIMARY KEY,
    request    uuid        NOT NULL,
    payment_id uuid,                    -- either: the answer is built again from this payment
    created_at timestamptz NOT NULL,
    status     smallint    NOT NULL,
    answer     text                     -- or: the answer as it was given
);
-- Old keys are deleted. Rows are stored nearly in the order of their time, so this index costs an insert very little.
CREATE INDEX idempotency_keys_by_age ON idempotency_keys USING brin (created_at) WITH (autosummarize = on);

-- One row for each connection of the writer. Each of its transactions stores its mark in the row: if the connection
-- is lost during COMMIT, the mark tells whether the transaction was committed. A closed row accepts no mark, so what
-- the lost connection still had sent can no longer be committed. (A transaction id would not do: after a crash,
-- Postgres may use the same id again, and pg_xact_status would answer for another transaction.)
CREATE TABLE writers (
    id     bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    mark   bigint NOT NULL DEFAULT 0,
    closed boolean NOT NULL DEFAULT false
) WITH (fillfactor = 50);

-- A batch updates rows of writers, draw_sales and accounts only where they are as the writer's cache has them. Where
-- they are not, this function fails the batch: the SQLSTATE tells the writer to read them again.
CREATE FUNCTION require_current_cache(is_current boolean) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    IF is_current IS NOT TRUE THEN
        RAISE EXCEPTION 'the writer''s cache was outdated: the mark, a draw or a balance was not as expected'
            USING ERRCODE = 'LT001';
    END IF;
END $$;

-- Views ----------------------------------------------------------------------------------------

-- A ticket as the API shows it. Of a draw that is being cancelled, these tickets are refunded: all up to the cursor,
-- and the part of the current window that is already paid.
CREATE VIEW ticket_states AS
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

-- A payment as the API shows it. Its tickets are found by the primary key of `tickets`: their ids follow the
-- payment's id directly, so LIMIT ends the scan at the last of them.
CREATE VIEW payment_states AS
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

-- Triggers -------------------------------------------------------------------------------------

-- They refuse what must never happen, also when it is tried with SQL by hand. All are on tables or columns that
-- purchases do not write, where a trigger costs nothing.

CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION '% on % is not allowed', lower(TG_OP), TG_TABLE_NAME USING ERRCODE = 'restrict_violation';
END $$;

CREATE TRIGGER users_stay BEFORE DELETE ON users EXECUTE FUNCTION refuse();
CREATE TRIGGER audit_log_stays BEFORE UPDATE OR DELETE OR TRUNCATE ON audit_log EXECUTE FUNCTION refuse();
CREATE TRIGGER lotteries_stay BEFORE DELETE ON lotteries EXECUTE FUNCTION refuse();
CREATE TRIGGER draws_stay BEFORE DELETE ON draws EXECUTE FUNCTION refuse();
CREATE TRIGGER draw_tiers_stay BEFORE UPDATE OR DELETE ON draw_tiers EXECUTE FUNCTION refuse();
CREATE TRIGGER draw_seals_stay BEFORE UPDATE OR DELETE ON draw_seals EXECUTE FUNCTION refuse();
CREATE TRIGGER draw_results_stay BEFORE DELETE OR UPDATE OF draw_id, pick, drawn_at, jackpot ON draw_results
    EXECUTE FUNCTION refuse();
CREATE TRIGGER accounts_stay BEFORE UPDATE OF id, kind, user_id, draw_id, lottery ON accounts
    FOR EACH STATEMENT EXECUTE FUNCTION refuse();

-- scheduled -> open -> closed -> settling -> completed; the first three may also go to cancelling -> cancelled.
CREATE FUNCTION draw_moves_on() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NOT (OLD.status, NEW.status) IN (
        ('scheduled', 'open'), ('open', 'closed'), ('closed', 'settling'), ('settling', 'completed'),
        ('scheduled', 'cancelling'), ('open', 'cancelling'), ('closed', 'cancelling'), ('cancelling', 'cancelled'))
    THEN
        RAISE EXCEPTION 'a draw cannot go from % to %', OLD.status, NEW.status USING ERRCODE = 'restrict_violation';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER draws_move_on BEFORE UPDATE OF status ON draws
    FOR EACH ROW WHEN (OLD.status IS DISTINCT FROM NEW.status) EXECUTE FUNCTION draw_moves_on();

-- A new account has the id of its kind and its owner, and its owner exists. The trigger runs after the statement,
-- because the same statement may insert the owner too. Users, draws and lotteries are never deleted, so an owner
-- that exists once exists for ever.
CREATE FUNCTION account_is_its_owners() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF num_nonnulls(NEW.user_id, NEW.draw_id, NEW.lottery) > 1 OR NEW.id IS DISTINCT FROM (CASE NEW.kind
        WHEN 'clearing' THEN 0 WHEN 'reserve' THEN 8 WHEN 'revenue' THEN 16
        WHEN 'wallet' THEN NEW.user_id * 8 + 1 WHEN 'held' THEN NEW.user_id * 8 + 2
        WHEN 'escrow' THEN NEW.draw_id * 8 + 3 WHEN 'jackpot' THEN NEW.lottery * 8 + 4 END)
    THEN
        RAISE EXCEPTION 'account % is not the % of its owner', NEW.id, NEW.kind USING ERRCODE = 'check_violation';
    END IF;
    IF NEW.user_id IS NOT NULL AND NOT EXISTS (SELECT FROM users WHERE id = NEW.user_id)
        OR NEW.draw_id IS NOT NULL AND NOT EXISTS (SELECT FROM draws WHERE id = NEW.draw_id)
        OR NEW.lottery IS NOT NULL AND NOT EXISTS (SELECT FROM lotteries WHERE seq = NEW.lottery)
    THEN
        RAISE EXCEPTION 'account % has no owner', NEW.id USING ERRCODE = 'foreign_key_violation';
    END IF;
    RETURN NULL;
END $$;
CREATE TRIGGER accounts_are_their_owners AFTER INSERT ON accounts
    FOR EACH ROW EXECUTE FUNCTION account_is_its_owners();
