-- Refresh tokens that have expired are dropped, the oldest first, and then the sessions that have none left.
CREATE INDEX refresh_tokens_by_age ON refresh_tokens (expires_at);
CREATE INDEX refresh_tokens_of_session ON refresh_tokens (session_id);
