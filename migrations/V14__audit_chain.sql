-- The audit log as a hash chain: each entry's hash covers the entry and the hash before it, so that nobody can change or
-- drop an old entry and leave the newest hash as it was. That one stands in the public log again and again
-- (docs/verifiable-draw.md), where the operator cannot change it either. `id` is given when an entry is written and
-- `position` when its transaction has its turn in the chain, so the two orders may differ a little.
CREATE TABLE audit_chain (
    only_row boolean PRIMARY KEY DEFAULT true CHECK (only_row),
    position bigint  NOT NULL DEFAULT 0,                         -- of the newest entry; 0: there is none
    hash     bytea   NOT NULL DEFAULT decode(repeat('00', 32), 'hex') -- its hash
);
INSERT INTO audit_chain DEFAULT VALUES;
CREATE TRIGGER audit_chain_stays BEFORE DELETE OR TRUNCATE ON audit_chain EXECUTE FUNCTION refuse();

ALTER TABLE audit_log ADD COLUMN position bigint, ADD COLUMN hash bytea;

-- SHA-256 over a label, the hash before, and the entry as the text of a JSON array. The time is in microseconds since
-- 1970, because its text would depend on the session's time zone.
CREATE FUNCTION audit_hash(before bytea, it audit_log) RETURNS bytea LANGUAGE sql STABLE AS $$
    SELECT sha256('lottery/audit/v1'::bytea || '\x00'::bytea || before || convert_to(jsonb_build_array(it.position, it.id,
        (extract(epoch FROM it.at) * 1000000)::bigint, it.actor_id, it.action, it.subject, it.detail, host(it.address),
        it.request_id, it.count)::text, 'UTF8'))
$$;

-- One transaction after the other takes its place in the chain: the row of audit_chain is locked until it ends.
CREATE FUNCTION continue_audit_chain() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    before bytea;
BEGIN
    SELECT c.position + 1, c.hash INTO NEW.position, before FROM audit_chain c FOR UPDATE;
    NEW.hash := audit_hash(before, NEW);
    UPDATE audit_chain SET position = NEW.position, hash = NEW.hash;
    RETURN NEW;
END $$;

-- The entries of before, in the order of their ids.
ALTER TABLE audit_log DISABLE TRIGGER audit_log_stays;
DO $$
DECLARE
    it audit_log;
    last audit_chain;
BEGIN
    SELECT * INTO last FROM audit_chain;
    FOR it IN SELECT * FROM audit_log ORDER BY id LOOP
        last.position := last.position + 1;
        it.position := last.position;
        last.hash := audit_hash(last.hash, it);
        UPDATE audit_log SET position = last.position, hash = last.hash WHERE id = it.id;
    END LOOP;
    UPDATE audit_chain SET position = last.position, hash = last.hash;
END $$;
ALTER TABLE audit_log ENABLE TRIGGER audit_log_stays;

ALTER TABLE audit_log ALTER COLUMN position SET NOT NULL, ALTER COLUMN hash SET NOT NULL,
    ADD CONSTRAINT audit_log_position UNIQUE (position);
CREATE TRIGGER audit_log_is_a_chain BEFORE INSERT ON audit_log FOR EACH ROW EXECUTE FUNCTION continue_audit_chain();
