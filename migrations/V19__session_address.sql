-- Where a session was last used, for the user's own list of log-ins. It is written at the log-in and at a refresh only.
-- Null: a session from before, until its next refresh.
ALTER TABLE sessions ADD COLUMN address inet;
