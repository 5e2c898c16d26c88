-- A restored backup lacks what was published after it. `lottery log import` brings the missing entries of the public log back
-- from a copy, and stores here which draws are behind them.

CREATE TABLE log_imports (
    first          bigint      PRIMARY KEY CHECK (first >= 0), -- the index of the first entry that was brought back
    next           bigint      NOT NULL CHECK (next > first),  -- and of the first one after them
    audit_position bigint      NOT NULL CHECK (audit_position >= 0), -- the audit log's newest entry then: later ones are lost
    imported_at    timestamptz NOT NULL
);
CREATE TRIGGER log_imports_stay BEFORE UPDATE OR DELETE OR TRUNCATE ON log_imports EXECUTE FUNCTION refuse();

-- The draws that the backup had in an earlier state than the public log has them, or whose sale went on after it.
CREATE TABLE rolled_back_draws (
    draw_id bigint PRIMARY KEY REFERENCES draws,
    goes_on text   CHECK (goes_on IN ('sealed', 'completed', 'voided')), -- to this state of the public log; null: it stops
    entry   bigint NOT NULL CHECK (entry >= 0)                           -- the index of its newest entry then
);
CREATE TRIGGER rolled_back_draws_stay BEFORE DELETE OR TRUNCATE ON rolled_back_draws EXECUTE FUNCTION refuse();
