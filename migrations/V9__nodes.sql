-- Nodes: the services that run on this database. One of them is active, and the others stand by. The active one proves
-- that it works by its beat. Once it is marked as dead, nothing that it still sends is written.

CREATE TABLE nodes (
    -- One run of a service. Random, so that it is never given out again: after a failover or a restore, a sequence
    -- could give the id of a node that the database has forgotten to another one.
    id         bigint      PRIMARY KEY,
    host       text        NOT NULL,
    url        text        NOT NULL,
    version    text        NOT NULL,
    started_at timestamptz NOT NULL DEFAULT now(),
    -- Incremented at intervals while the node works. Only whether it changes counts, never how long ago it changed by
    -- another machine's clock.
    beat       bigint      NOT NULL DEFAULT 0,
    seen_at    timestamptz NOT NULL DEFAULT now(), -- when the beat changed, by the database's clock: for people alone
    dead       boolean     NOT NULL DEFAULT false
) WITH (fillfactor = 50);
CREATE TRIGGER nodes_stay_dead BEFORE UPDATE OF id, dead ON nodes FOR EACH ROW
    WHEN (OLD.dead AND NOT NEW.dead OR OLD.id <> NEW.id) EXECUTE FUNCTION refuse();

-- The active node; null when it has given up its place.
CREATE TABLE active (
    only_row boolean PRIMARY KEY DEFAULT true CHECK (only_row),
    node     bigint  REFERENCES nodes
);
INSERT INTO active DEFAULT VALUES;
CREATE TRIGGER active_stays BEFORE DELETE OR TRUNCATE ON active EXECUTE FUNCTION refuse();

-- A writer's row belongs to a node, and is made only while that node is not dead: so deposits and withdrawals, which
-- belong to no draw with an epoch, are refused like orders when they come from a dead node. The rows of earlier
-- services are deleted, and a service of an earlier version can make no new one: it writes nothing to this schema.
-- No foreign key: each batch updates a row of this table.
DELETE FROM writers;
ALTER TABLE writers ADD COLUMN node bigint NOT NULL;

-- The ids of a wallet's transfers ascend, also when another node goes on. Numbers that a session has taken from the
-- sequence in advance would be lower than those of the session before it.
ALTER TABLE transfers ALTER COLUMN id SET CACHE 1;
