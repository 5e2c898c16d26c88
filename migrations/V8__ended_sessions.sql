-- Access tokens of a log-in that has ended are refused for as long as they live. What ended that lately is asked
-- for when the service starts.
CREATE INDEX sessions_ended ON sessions (ended_at) WHERE ended_at IS NOT NULL;
