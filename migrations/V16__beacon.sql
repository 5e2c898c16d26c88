-- Draws whose numbers come from a public beacon (drand): the round is announced before the sale, and appears after it.

-- All that the hash of a chain covers, so that a draw that was announced with it can be verified whatever the settings are
-- by then.
CREATE TABLE beacon_chains (
    hash       bytea   PRIMARY KEY CHECK (length(hash) = 32),
    public_key bytea   NOT NULL CHECK (length(public_key) = 96),
    genesis    bigint  NOT NULL CHECK (genesis >= 0),
    period     integer NOT NULL CHECK (period > 0),
    group_hash bytea   NOT NULL CHECK (length(group_hash) = 32),
    beacon_id  text    NOT NULL
);
CREATE TRIGGER beacon_chains_stay BEFORE UPDATE OR DELETE OR TRUNCATE ON beacon_chains EXECUTE FUNCTION refuse();

-- The announced round: the first one at draw_at or after it.
ALTER TABLE draws ADD COLUMN chain bytea REFERENCES beacon_chains;
ALTER TABLE draws ADD COLUMN round bigint CHECK (round > 0);
ALTER TABLE draws ADD CHECK (num_nonnulls(chain, round) = CASE fairness WHEN 'beacon' THEN 2 ELSE 0 END);

-- What is announced stays. Only an open draw gets other times, and with them another round.
CREATE FUNCTION draw_keeps_its_beacon() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF (OLD.fairness, OLD.chain) IS DISTINCT FROM (NEW.fairness, NEW.chain) OR OLD.status <> 'open' THEN
        RAISE EXCEPTION 'draw % was announced with another beacon', OLD.id USING ERRCODE = 'restrict_violation';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER draws_keep_their_beacon BEFORE UPDATE OF fairness, chain, round ON draws FOR EACH ROW
    WHEN (OLD.fairness IS NOT NULL
          AND (OLD.fairness, OLD.chain, OLD.round) IS DISTINCT FROM (NEW.fairness, NEW.chain, NEW.round))
    EXECUTE FUNCTION draw_keeps_its_beacon();

-- The signature of the round, from which the numbers follow. Null: the draw has no beacon.
ALTER TABLE draw_results ADD COLUMN signature bytea CHECK (length(signature) = 48);
DROP TRIGGER draw_results_stay ON draw_results;
CREATE TRIGGER draw_results_stay
    BEFORE DELETE OR UPDATE OF draw_id, pick, drawn_at, jackpot, after_entry, signature ON draw_results
    EXECUTE FUNCTION refuse();

-- A program of before would draw other numbers than those of the round.
CREATE FUNCTION result_has_its_signature() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF (NEW.signature IS NOT NULL) IS DISTINCT FROM
        (SELECT fairness IS NOT DISTINCT FROM 'beacon' FROM draws WHERE id = NEW.draw_id)
    THEN
        RAISE EXCEPTION 'the numbers of draw % come from another source than was announced', NEW.draw_id
            USING ERRCODE = 'restrict_violation';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER results_have_their_signature BEFORE INSERT ON draw_results
    FOR EACH ROW EXECUTE FUNCTION result_has_its_signature();
