-- The whole truth of the service. Times are timestamptz and written in UTC; money is bigint in minor
-- units (kopecks, cents) of the one currency; a pick is one bigint, bit i-1 standing for the number i.
--
-- Hot tables (payments, tickets, transfers, idempotency_keys) carry no foreign keys and no triggers:
-- each costs the sale a lookup for every row. What they would guard is guarded otherwise: the batch
-- that writes such a row has locked the draw's and the wallet's rows in the same transaction, and
-- users, draws and lotteries are never deleted (see the triggers at the end).

-- People ---------------------------------------------------------------------------------------

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
-- Log-in by either name, and no second account under another spelling of the same one.
CREATE UNIQUE INDEX users_username ON users (lower(username));
CREATE UNIQUE INDEX users_email ON users (lower(email));

-- A log-in. Its refresh tokens form one family: a spent token used again ends the session.
CREATE TABLE sessions (
    id         uuid PRIMARY KEY,
    user_id    bigint      NOT NULL REFERENCES users,
    created_at timestamptz NOT NULL,
    ended_at   timestamptz
);
-- Ending every other session when a password changes; a user's live sessions.
CREATE INDEX sessions_live ON sessions (user_id) WHERE ended_at IS NULL;

CREATE TABLE refresh_tokens (
    hash       bytea PRIMARY KEY CHECK (length(hash) = 32), -- SHA-256; the token itself is never stored
    session_id uuid        NOT NULL REFERENCES sessions ON DELETE CASCADE,
    expires_at timestamptz NOT NULL,
    spent_at   timestamptz
);

-- Lotteries and draws --------------------------------------------------------------------------

-- The rules live in the configuration and are copied onto each draw; here is only what outlives it.
CREATE TABLE lotteries (
    id         text PRIMARY KEY CHECK (id ~ '^[a-z0-9_-]{1,32}$'),
    seq        bigint GENERATED ALWAYS AS IDENTITY UNIQUE, -- names the jackpot's account
    last_draw  integer NOT NULL DEFAULT 0 CHECK (last_draw >= 0) -- the number the newest draw bears
);

CREATE TABLE draws (
    id             bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    lottery        text        NOT NULL REFERENCES lotteries,
    number         integer     NOT NULL CHECK (number > 0),
    status         text        NOT NULL DEFAULT 'scheduled' CHECK (status IN
                   ('scheduled', 'open', 'closed', 'settling', 'completed', 'cancelling', 'cancelled')),
    -- The rules as they were when the draw was made: a copy on purpose, the configuration may change.
    pick           smallint    NOT NULL CHECK (pick BETWEEN 1 AND 63),
    of             smallint    NOT NULL CHECK (of BETWEEN 2 AND 64 AND of > pick),
    price          bigint      NOT NULL CHECK (price > 0),
    fund_share     smallint    NOT NULL CHECK (fund_share BETWEEN 0 AND 10000),
    sales_open_at  timestamptz,
    sales_close_at timestamptz NOT NULL,
    draw_at        timestamptz NOT NULL CHECK (draw_at >= sales_close_at),
    created_at     timestamptz NOT NULL,
    CHECK (sales_open_at < sales_close_at),
    UNIQUE (lottery, number)
);
-- GET /draws?lottery=, newest first.
CREATE INDEX draws_of_lottery ON draws (lottery, id);
-- The draws that want an actor, at start.
CREATE INDEX draws_active ON draws (id) WHERE status NOT IN ('completed', 'cancelled');

CREATE TABLE draw_tiers (
    draw_id bigint   NOT NULL REFERENCES draws,
    matches smallint NOT NULL CHECK (matches BETWEEN 1 AND 63),
    amount  bigint   CHECK (amount > 0),                 -- a fixed tier: what one winner gets
    share   smallint CHECK (share BETWEEN 0 AND 10000),  -- a pool tier: basis points of what is left
    PRIMARY KEY (draw_id, matches),
    CHECK ((amount IS NULL) <> (share IS NULL))
);

-- What each sale changes of its draw, kept narrow: locked and written once in every batch.
CREATE TABLE draw_sales (
    draw_id bigint PRIMARY KEY REFERENCES draws,
    epoch   bigint NOT NULL DEFAULT 1,                   -- the fencing token: records of an older one are refused
    sold    bigint NOT NULL DEFAULT 0 CHECK (sold >= 0)  -- paid tickets, numbered 1..sold without a gap
) WITH (fillfactor = 50);

-- The sealed list: what was sold when the sale ended, and not one ticket more.
CREATE TABLE draw_seals (
    draw_id   bigint PRIMARY KEY REFERENCES draws,
    tickets   bigint      NOT NULL CHECK (tickets >= 0),
    sealed_at timestamptz NOT NULL
);

CREATE TABLE draw_cancellations (
    draw_id      bigint PRIMARY KEY REFERENCES draws,
    reason       text        NOT NULL CHECK (length(reason) BETWEEN 1 AND 500),
    cancelled_at timestamptz NOT NULL,
    cursor       bigint      NOT NULL DEFAULT 0          -- tickets up to this number are refunded
);

CREATE TABLE draw_results (
    draw_id      bigint PRIMARY KEY REFERENCES draws,
    pick         bigint      NOT NULL,
    drawn_at     timestamptz NOT NULL,
    jackpot      bigint      NOT NULL CHECK (jackpot >= 0), -- rolled in with the numbers
    -- Settlement: null until every ticket is counted.
    prize_fund   bigint      CHECK (prize_fund >= 0),
    rollover     bigint      CHECK (rollover >= 0),
    cursor       bigint      NOT NULL DEFAULT 0          -- counted, then paid, up to this ticket number
);

CREATE TABLE result_tiers (
    draw_id bigint   NOT NULL,
    matches smallint NOT NULL,
    winners bigint   NOT NULL DEFAULT 0 CHECK (winners >= 0),
    prize   bigint   CHECK (prize >= 0),                 -- for one winning ticket; null until counted
    PRIMARY KEY (draw_id, matches),
    FOREIGN KEY (draw_id, matches) REFERENCES draw_tiers
);

-- Tickets made in advance. Sold or free is not written here: it follows from `tickets`.
CREATE TABLE pool_tickets (
    draw_id bigint NOT NULL REFERENCES draws,
    id      uuid   NOT NULL,
    pick    bigint NOT NULL,
    PRIMARY KEY (draw_id, id),   -- GET /draws/{id}/pool, page by page; loading a draw
    UNIQUE (draw_id, pick)       -- a pool holds a combination once
);

-- Money ----------------------------------------------------------------------------------------

-- An account's id is its owner and its kind in one number (owner * 8 + kind), so that a batch finds
-- and locks all it needs by primary key alone. A balance is credits less debits, and all sum to zero.
CREATE TABLE accounts (
    id      bigint PRIMARY KEY,
    kind    text   NOT NULL,
    user_id bigint REFERENCES users,
    draw_id bigint REFERENCES draws,
    lottery bigint REFERENCES lotteries (seq),
    balance bigint NOT NULL DEFAULT 0,
    CHECK (balance >= 0 OR kind IN ('clearing', 'reserve')),
    CHECK (num_nonnulls(user_id, draw_id, lottery) <= 1),
    CHECK (id = CASE kind
        WHEN 'clearing' THEN 0 WHEN 'reserve' THEN 8 WHEN 'revenue' THEN 16
        WHEN 'wallet' THEN user_id * 8 + 1 WHEN 'held' THEN user_id * 8 + 2
        WHEN 'escrow' THEN draw_id * 8 + 3 WHEN 'jackpot' THEN lottery * 8 + 4 END)
) WITH (fillfactor = 70);
INSERT INTO accounts (id, kind) VALUES (0, 'clearing'), (8, 'reserve'), (16, 'revenue');

CREATE TABLE transfers (
    user_id       bigint      NOT NULL, -- whose wallet it moves, 0 for none: follows from the accounts,
                                        -- written so that one index serves a wallet's list of both sides
    id            bigint GENERATED ALWAYS AS IDENTITY,
    debit         bigint      NOT NULL,
    credit        bigint      NOT NULL,
    amount        bigint      NOT NULL CHECK (amount > 0),
    kind          text        NOT NULL CHECK (kind IN ('deposit', 'purchase', 'prize', 'refund', 'withdrawal',
                              'jackpot', 'rollover', 'reserve', 'revenue')),
    reference     uuid,                 -- the payment, or the ticket of a prize; null between the house's own
    balance_after bigint      CHECK (balance_after >= 0), -- of that wallet
    created_at    timestamptz NOT NULL,
    PRIMARY KEY (user_id, id),          -- GET /wallet/transfers, newest first
    CHECK (debit <> credit),
    CHECK ((user_id = 0) = (balance_after IS NULL))
);

CREATE TABLE payments (
    id             uuid PRIMARY KEY,    -- UUIDv7: rows arrive in its order
    user_id        bigint      NOT NULL,
    kind           text        NOT NULL CHECK (kind IN ('purchase', 'deposit', 'withdrawal')),
    status         text        NOT NULL CHECK (status IN
                   ('pending', 'processing', 'paid', 'failed', 'expired', 'refunded')),
    amount         bigint      NOT NULL CHECK (amount > 0),
    method         text        CHECK (method IN ('wallet', 'card')),
    failure_code   text,
    draw_id        bigint,
    lines          smallint    CHECK (lines BETWEEN 1 AND 100), -- tickets first ordered
    reserved_until timestamptz,         -- null when it was paid in the same step
    created_at     timestamptz NOT NULL,
    updated_at     timestamptz NOT NULL,
    CHECK ((kind = 'purchase') = (draw_id IS NOT NULL)),
    CHECK ((kind = 'purchase') = (lines IS NOT NULL)),
    CHECK (reserved_until IS NULL OR kind = 'purchase')
) WITH (fillfactor = 90);
-- GET /payments, newest first.
CREATE INDEX payments_of_user ON payments (user_id, id);

CREATE TABLE tickets (
    user_id        bigint NOT NULL,     -- follows from the payment; written so that the owner leads the key
    id             uuid   NOT NULL,     -- UUIDv7, made right after its payment's: a payment's tickets stand together
    payment_id     uuid   NOT NULL,
    draw_id        bigint NOT NULL,     -- follows from the payment; written for the settlement's index
    number         bigint,              -- among the draw's paid tickets
    pick           bigint NOT NULL,
    origin         text   NOT NULL CHECK (origin IN ('chosen', 'quick_pick', 'pool')),
    pool_ticket_id uuid,
    -- What happens once the draw is over is not written: won, lost and refunded follow from the draw.
    status         text   NOT NULL CHECK (status IN ('reserved', 'paid', 'expired', 'returned')),
    PRIMARY KEY (user_id, id),          -- GET /tickets, newest first; a payment's tickets
    CHECK ((status = 'paid') = (number IS NOT NULL)),
    CHECK ((origin = 'pool') = (pool_ticket_id IS NOT NULL))
) WITH (fillfactor = 90);
-- No number twice; settling, refunding and the sealed list walk a draw in this order.
CREATE UNIQUE INDEX tickets_by_number ON tickets (draw_id, number) WHERE number IS NOT NULL;
-- A pool ticket has one holder at a time, and one paid owner ever.
CREATE UNIQUE INDEX tickets_holding_pool ON tickets (pool_ticket_id)
    WHERE pool_ticket_id IS NOT NULL AND status IN ('reserved', 'paid');
-- Loading a draw's reservations.
CREATE INDEX tickets_reserved ON tickets (draw_id) WHERE status = 'reserved';

-- Successful answers to requests with an Idempotency-Key, written with the effect itself.
CREATE TABLE idempotency_keys (
    user_id    bigint      NOT NULL,
    key        text        NOT NULL CHECK (length(key) BETWEEN 1 AND 255),
    request    bytea       NOT NULL CHECK (length(request) = 32), -- SHA-256 of path and body
    payment_id uuid,                    -- the answer is rebuilt from this payment,
    answer     text,                    -- or was kept as it was given
    status     smallint    NOT NULL,
    created_at timestamptz NOT NULL,
    PRIMARY KEY (user_id, key)
);

-- One row for each start of the service, marked by each transaction of its writer: when the connection
-- dies at COMMIT, the mark says whether that transaction was committed. (Its transaction id would not do:
-- one that a crash of the server took back is given out again, and pg_xact_status answers for another.)
CREATE TABLE writers (
    id   bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    mark bigint NOT NULL DEFAULT 0
) WITH (fillfactor = 50);

-- What follows ---------------------------------------------------------------------------------

-- A ticket as people see it.
CREATE VIEW ticket_states AS
SELECT t.user_id, t.id, t.payment_id, t.draw_id, d.lottery, t.number, t.pick, t.origin, t.pool_ticket_id,
       d.price, p.created_at,
       CASE WHEN t.status = 'reserved' THEN p.reserved_until END AS reserved_until,
       CASE WHEN t.status = 'returned' THEN 'expired'
            WHEN t.status <> 'paid' THEN t.status
            WHEN d.status = 'completed' THEN CASE WHEN rt.matches IS NULL THEN 'lost' ELSE 'won' END
            WHEN d.status = 'cancelled' OR t.number <= c.cursor THEN 'refunded'
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

-- A payment as people see it. Its tickets are found by the owner-first key: they were made right after
-- the payment, so the scan ends with the last of them.
CREATE VIEW payment_states AS
SELECT p.id, p.user_id, p.kind, p.amount, p.method, p.failure_code, p.draw_id, p.reserved_until,
       p.created_at, p.updated_at,
       coalesce(t.ids, '{}') AS ticket_ids,
       CASE WHEN p.kind = 'purchase' AND p.status = 'paid'
                 AND (d.status = 'cancelled' OR t.first_number <= c.cursor) THEN 'refunded'
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

-- What must not happen, from SQL either: on cold tables, where a trigger costs nothing.

CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION '% on % is not allowed', lower(TG_OP), TG_TABLE_NAME USING ERRCODE = 'restrict_violation';
END $$;

CREATE TRIGGER users_stay BEFORE DELETE ON users EXECUTE FUNCTION refuse();
CREATE TRIGGER lotteries_stay BEFORE DELETE ON lotteries EXECUTE FUNCTION refuse();
CREATE TRIGGER draws_stay BEFORE DELETE ON draws EXECUTE FUNCTION refuse();
CREATE TRIGGER draw_tiers_stay BEFORE UPDATE OR DELETE ON draw_tiers EXECUTE FUNCTION refuse();
CREATE TRIGGER draw_seals_stay BEFORE UPDATE OR DELETE ON draw_seals EXECUTE FUNCTION refuse();
CREATE TRIGGER draw_results_stay BEFORE DELETE OR UPDATE OF draw_id, pick, drawn_at, jackpot ON draw_results
    EXECUTE FUNCTION refuse();

-- scheduled -> open -> closed -> settling -> completed, and cancelling -> cancelled from the first three.
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
