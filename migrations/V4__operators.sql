-- For those who run the service: what admins did, passwords set anew, people found by a part of a name.

-- Every admin action, written in the transaction that makes it true. It only grows.
CREATE TABLE audit_log (
    id       bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    at       timestamptz NOT NULL,
    actor_id bigint      REFERENCES users, -- null: at the command line
    action   text        NOT NULL,
    subject  text        NOT NULL,
    detail   jsonb       NOT NULL
);
CREATE TRIGGER audit_log_stays BEFORE UPDATE OR DELETE OR TRUNCATE ON audit_log EXECUTE FUNCTION refuse();

-- The right to set a password anew, once. A person has one at most: a later one takes its place.
CREATE TABLE password_resets (
    user_id    bigint PRIMARY KEY REFERENCES users,
    hash       bytea       NOT NULL UNIQUE CHECK (length(hash) = 32), -- SHA-256; the token itself is never stored
    expires_at timestamptz NOT NULL
);

-- The last active admin stays one: of two changes at once, the second waits for the first on these rows.
CREATE INDEX users_active_admins ON users (id) WHERE role = 'admin' AND status = 'active';

-- People by any part of their name or address. The extension for this is not installed everywhere, and an
-- array of trigrams under a plain GIN index does the same.
CREATE FUNCTION trigrams(whole text) RETURNS text[] LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE AS
$$ SELECT coalesce(array_agg(DISTINCT substr(whole, i, 3)), '{}') FROM generate_series(1, length(whole) - 2) i $$;
CREATE INDEX users_search ON users USING gin (trigrams(lower(username || ' ' || email)));
