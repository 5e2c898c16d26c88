-- A session that ends is deleted, with its refresh token: nothing ever read what was kept of it. A user has a limited
-- number of sessions, and the one that was not used for the longest time ends first.
DELETE FROM sessions WHERE ended_at IS NOT NULL;
ALTER TABLE sessions ADD COLUMN used_at timestamptz; -- the log-in, or the last refresh
UPDATE sessions s SET used_at =
    coalesce((SELECT max(spent_at) FROM refresh_tokens t WHERE t.session_id = s.id), created_at);
ALTER TABLE sessions ALTER COLUMN used_at SET NOT NULL;
-- It takes the indexes sessions_live and sessions_ended with it.
ALTER TABLE sessions DROP COLUMN ended_at;
CREATE INDEX sessions_of_user ON sessions (user_id);

-- All refresh tokens of a session begin with the same 16 random bytes, its family. A token of the family that is not the
-- session's current one was used before: so a session has one row of refresh_tokens, however often it is refreshed.
-- SHA-256 of the family; null until the first refresh of a session from before. spent_at is only in rows from before.
ALTER TABLE sessions ADD COLUMN family bytea UNIQUE CHECK (length(family) = 32);
