-- The audit log also tells of log-ins of admins, of refused calls of admins' addresses, and of reads of one user's data,
-- and in which request something was done. The rows of before do not know their request.

ALTER TABLE audit_log
    ADD COLUMN address    inet,                      -- the client's; null: done at the command line, or before this migration
    ADD COLUMN request_id uuid,                      -- as in X-Request-Id; null: the same
    -- How many times it happened in about a minute from `at` on. Only failed log-ins and refused calls are counted
    -- together, so that nobody fills the table: address and request_id are then those of the first.
    ADD COLUMN count      bigint NOT NULL DEFAULT 1 CONSTRAINT audit_log_count_check CHECK (count > 0);
-- GET /admin/audit-log?action= and ?actor_id=, newest first.
CREATE INDEX audit_log_by_action ON audit_log (action, id);
CREATE INDEX audit_log_by_actor ON audit_log (actor_id, id);
