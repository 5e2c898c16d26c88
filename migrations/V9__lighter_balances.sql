-- A balance is written with every purchase, and each row trigger of its table, a foreign key's among them, then
-- locks or reads the row once more, only to find that nothing of its concern has changed. What else an account
-- says never changes: so it is asked once, when the account is made, and any later change is refused outright.
DROP TRIGGER accounts_are_their_owners ON accounts;
ALTER TABLE accounts
    DROP CONSTRAINT accounts_user_id_fkey,
    DROP CONSTRAINT accounts_draw_id_fkey,
    DROP CONSTRAINT accounts_lottery_fkey;

CREATE OR REPLACE FUNCTION account_is_its_owners() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF num_nonnulls(NEW.user_id, NEW.draw_id, NEW.lottery) > 1 OR NEW.id IS DISTINCT FROM (CASE NEW.kind
        WHEN 'clearing' THEN 0 WHEN 'reserve' THEN 8 WHEN 'revenue' THEN 16
        WHEN 'wallet' THEN NEW.user_id * 8 + 1 WHEN 'held' THEN NEW.user_id * 8 + 2
        WHEN 'escrow' THEN NEW.draw_id * 8 + 3 WHEN 'jackpot' THEN NEW.lottery * 8 + 4 END)
    THEN
        RAISE EXCEPTION 'account % is not the % of its owner', NEW.id, NEW.kind USING ERRCODE = 'check_violation';
    END IF;
    -- Its owner may have been made by the same statement, so this is asked behind it. Users, draws and lotteries
    -- are never deleted: who is there now stays.
    IF NEW.user_id IS NOT NULL AND NOT EXISTS (SELECT FROM users WHERE id = NEW.user_id)
        OR NEW.draw_id IS NOT NULL AND NOT EXISTS (SELECT FROM draws WHERE id = NEW.draw_id)
        OR NEW.lottery IS NOT NULL AND NOT EXISTS (SELECT FROM lotteries WHERE seq = NEW.lottery)
    THEN
        RAISE EXCEPTION 'account % has no owner', NEW.id USING ERRCODE = 'foreign_key_violation';
    END IF;
    RETURN NULL;
END $$;
CREATE TRIGGER accounts_are_their_owners AFTER INSERT ON accounts
    FOR EACH ROW EXECUTE FUNCTION account_is_its_owners();
CREATE TRIGGER accounts_stay BEFORE UPDATE OF id, kind, user_id, draw_id, lottery ON accounts
    FOR EACH STATEMENT EXECUTE FUNCTION refuse();
