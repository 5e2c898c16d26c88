-- Logs that anybody can verify: docs/verifiable-draw.md has the protocol. An edge is the state of a Merkle tree to which
-- leaves are appended: the number of its leaves (u64, big-endian), and the roots of the complete subtrees at its right
-- end. A tile stands for 256 leaves; its root is stored, so that a tree of millions is never hashed anew for an answer.

-- What the logs are for good, as the first start has chosen it. The name of the public log is signed with each checkpoint
-- and part of each commitment, so it stays, whatever address the service has later. The fingerprint is a hash of the
-- master secret, which is never here: a service with another one must not sign or draw.
CREATE TABLE log_identity (
    only_row    boolean     PRIMARY KEY DEFAULT true CHECK (only_row),
    origin      text        NOT NULL CHECK (length(origin) BETWEEN 1 AND 300),
    fingerprint bytea       NOT NULL CHECK (length(fingerprint) = 32),
    recorded_at timestamptz NOT NULL
);
CREATE TRIGGER log_identity_stays BEFORE UPDATE OR DELETE OR TRUNCATE ON log_identity EXECUTE FUNCTION refuse();

-- The public log: what happened to the draws. Each entry is written in the transaction of what it tells of, by the one
-- writer, so an index is given once and without a gap.
CREATE TABLE log_entries (
    index   bigint PRIMARY KEY CHECK (index >= 0),
    draw_id bigint REFERENCES draws,              -- null: not of one draw
    entry   bytea  NOT NULL CHECK (length(entry) BETWEEN 2 AND 65535)
);
CREATE INDEX log_entries_of_draw ON log_entries (draw_id, index) WHERE draw_id IS NOT NULL;
CREATE TRIGGER log_entries_stay BEFORE UPDATE OR DELETE OR TRUNCATE ON log_entries EXECUTE FUNCTION refuse();

CREATE TABLE log_tiles (
    tile bigint PRIMARY KEY CHECK (tile >= 0),
    root bytea  NOT NULL CHECK (length(root) = 32)
);
CREATE TRIGGER log_tiles_stay BEFORE UPDATE OR DELETE OR TRUNCATE ON log_tiles EXECUTE FUNCTION refuse();

CREATE TABLE log_edge (
    only_row boolean PRIMARY KEY DEFAULT true CHECK (only_row),
    edge     bytea   NOT NULL CHECK (length(edge) BETWEEN 8 AND 2056)
);
INSERT INTO log_edge (edge) VALUES ('\x0000000000000000');
CREATE TRIGGER log_edge_stays BEFORE DELETE OR TRUNCATE ON log_edge EXECUTE FUNCTION refuse();

-- How the numbers of a draw come about. Null: its sale has not begun, or began before draws were verifiable.
ALTER TABLE draws ADD COLUMN fairness text CHECK (fairness IN ('commit_reveal', 'beacon'));

-- The ticket log of a draw: one leaf for each paid order, in the order of the ticket numbers. The entries themselves
-- follow from `tickets`. The edge is null if the draw has no ticket log.
ALTER TABLE draw_sales ADD COLUMN edge bytea CHECK (length(edge) BETWEEN 8 AND 2056);

-- The complete tiles of ticket logs: of level 0, with 256 leaves, and of the levels above, with the roots of 256 tiles.
-- Like the other tables that batches insert into, this one has neither foreign keys nor CHECKs.
CREATE TABLE ticket_log_tiles (
    draw_id     bigint   NOT NULL,
    level       smallint NOT NULL,
    tile        bigint   NOT NULL,
    last_number bigint   NOT NULL, -- the number of the last ticket in the tile
    root        bytea    NOT NULL,
    PRIMARY KEY (draw_id, level, tile)
);
-- The tile of a ticket.
CREATE INDEX ticket_log_tiles_by_number ON ticket_log_tiles (draw_id, last_number) WHERE level = 0;
CREATE TRIGGER ticket_log_tiles_stay BEFORE UPDATE OR DELETE OR TRUNCATE ON ticket_log_tiles EXECUTE FUNCTION refuse();

-- The sealed list: its orders and the root over them, as its entry in the public log says.
ALTER TABLE draw_seals ADD COLUMN orders bigint CHECK (orders >= 0);
ALTER TABLE draw_seals ADD COLUMN root bytea CHECK (length(root) = 32);

-- A program of before would sell tickets of which the ticket log knows nothing.
UPDATE schema_compatibility SET oldest_program = 13;
