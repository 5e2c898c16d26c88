-- Whoever can write to the database could add entries to the public log, which the service would sign, and cosignatures that
-- keep the real ones out. So what the service writes has a MAC, with a key that comes from the master secret, which is never
-- here: docs/verifiable-draw.md, "Secrets and what hides them".

-- Of the entry's index, its draw and its bytes. Null: the entry is older than MACs.
ALTER TABLE log_entries ADD COLUMN mac bytea;
-- Without looking at the older ones. A program of before must append nothing: it does not know the key.
ALTER TABLE log_entries ADD CONSTRAINT log_entries_mac_check CHECK (mac IS NOT NULL AND length(mac) = 32) NOT VALID;

-- The first entry that needs one. The service only reads it.
CREATE TABLE log_macs (
    only_row    boolean PRIMARY KEY DEFAULT true CHECK (only_row),
    first_entry bigint  NOT NULL CHECK (first_entry >= 0)
);
INSERT INTO log_macs (first_entry) SELECT coalesce(max(index) + 1, 0) FROM log_entries;
CREATE TRIGGER log_macs_stay BEFORE INSERT OR UPDATE OR DELETE OR TRUNCATE ON log_macs EXECUTE FUNCTION refuse();

-- Of the size and the witness' key: what a cosignature is found by, so that rows which others write are not even read. Null:
-- the cosignature is older than MACs.
ALTER TABLE log_cosignatures ADD COLUMN mac bytea;
ALTER TABLE log_cosignatures
    ADD CONSTRAINT log_cosignatures_mac_check CHECK (mac IS NOT NULL AND length(mac) = 32) NOT VALID;
ALTER TABLE log_cosignatures DROP CONSTRAINT log_cosignatures_pkey;
CREATE UNIQUE INDEX log_cosignatures_by_mac ON log_cosignatures (mac);
-- The sizes that have cosignatures, one after the other; and the rows without a MAC.
CREATE INDEX log_cosignatures_by_size ON log_cosignatures (size);
CREATE UNIQUE INDEX log_cosignatures_without_mac ON log_cosignatures (size, key) WHERE mac IS NULL;

-- A program of before would append entries that nobody signs.
UPDATE schema_compatibility SET oldest_program = 22;
