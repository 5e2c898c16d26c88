-- Witnesses of the public log: docs/verifiable-draw.md, "Witnesses".

-- The policies that draws were announced with. An announcement has the SHA-256 of the policy's bytes, so the bytes are kept
-- for as long as the draw can be verified, whatever policy the service has later.
CREATE TABLE witness_policies (
    hash   bytea PRIMARY KEY CHECK (hash = sha256(policy)),
    policy bytea NOT NULL CHECK (length(policy) BETWEEN 1 AND 65536)
);
CREATE TRIGGER witness_policies_stay BEFORE UPDATE OR DELETE OR TRUNCATE ON witness_policies EXECUTE FUNCTION refuse();

-- The first cosignature of each witness of the heads that cover the seal of a draw. Those of a later try have a later time,
-- and prove less, so the first one stays.
CREATE TABLE log_cosignatures (
    size bigint NOT NULL CHECK (size > 0),                    -- of the cosigned head
    key  bytea  NOT NULL CHECK (length(key) = 32),            -- the witness' public key
    root bytea  NOT NULL CHECK (length(root) = 32),           -- of the cosigned head
    line text   NOT NULL CHECK (length(line) BETWEEN 1 AND 1000), -- the signature line of the note, with its newline
    PRIMARY KEY (size, key)
);
CREATE TRIGGER log_cosignatures_stay BEFORE UPDATE OR DELETE OR TRUNCATE ON log_cosignatures EXECUTE FUNCTION refuse();
