-- What a purchase pays for each row, made less. A CHECK is read anew for every statement and asked for every
-- row: those of the hot tables took a fifth of the database's time. What they said follows from the types
-- that the service writes from, and is looked after when the books are checked. The one that guards money
-- stays: no wallet below zero (accounts).

ALTER TABLE payments
    DROP CONSTRAINT payments_kind_check,
    DROP CONSTRAINT payments_status_check,
    DROP CONSTRAINT payments_amount_check,
    DROP CONSTRAINT payments_method_check,
    DROP CONSTRAINT payments_lines_check,
    DROP CONSTRAINT payments_check,
    DROP CONSTRAINT payments_check1,
    DROP CONSTRAINT payments_check2;

ALTER TABLE tickets
    DROP CONSTRAINT tickets_origin_check,
    DROP CONSTRAINT tickets_status_check,
    DROP CONSTRAINT tickets_check,
    DROP CONSTRAINT tickets_check1;

ALTER TABLE transfers
    DROP CONSTRAINT transfers_amount_check,
    DROP CONSTRAINT transfers_kind_check,
    DROP CONSTRAINT transfers_balance_after_check,
    DROP CONSTRAINT transfers_check,
    DROP CONSTRAINT transfers_check1,
    -- Numbers are taken from the sequence a thousand at a time: one session writes them all.
    ALTER COLUMN id SET CACHE 1000;

ALTER TABLE idempotency_keys
    DROP CONSTRAINT idempotency_keys_key_check,
    DROP CONSTRAINT idempotency_keys_request_check;

-- What an account is never changes; only its balance is written again and again. So this is asked when an
-- account is made, and not with every balance.
ALTER TABLE accounts
    DROP CONSTRAINT accounts_check1,
    DROP CONSTRAINT accounts_check2;
CREATE FUNCTION account_is_its_owners() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF num_nonnulls(NEW.user_id, NEW.draw_id, NEW.lottery) > 1 OR NEW.id IS DISTINCT FROM (CASE NEW.kind
        WHEN 'clearing' THEN 0 WHEN 'reserve' THEN 8 WHEN 'revenue' THEN 16
        WHEN 'wallet' THEN NEW.user_id * 8 + 1 WHEN 'held' THEN NEW.user_id * 8 + 2
        WHEN 'escrow' THEN NEW.draw_id * 8 + 3 WHEN 'jackpot' THEN NEW.lottery * 8 + 4 END)
    THEN
        RAISE EXCEPTION 'account % is not the % of its owner', NEW.id, NEW.kind USING ERRCODE = 'check_violation';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER accounts_are_their_owners BEFORE INSERT OR UPDATE OF id, kind, user_id, draw_id, lottery ON accounts
    FOR EACH ROW EXECUTE FUNCTION account_is_its_owners();

-- Keys are dropped when they are old enough. Rows stand nearly in the order of their time, so this index
-- costs an insert next to nothing.
CREATE INDEX idempotency_keys_by_age ON idempotency_keys USING brin (created_at) WITH (autosummarize = on);

-- A row for each connection of a writer. Closed, it takes no mark any more: what a lost connection still had
-- on its way can then not be committed, and the last mark says what was.
ALTER TABLE writers ADD COLUMN closed boolean NOT NULL DEFAULT false;
