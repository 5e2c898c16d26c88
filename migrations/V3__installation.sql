-- What this installation is: one row, written by the first start of the service. Amounts are stored without their
-- currency, and nothing in a balance tells play money from real money. So each later start is compared with this row
-- and refused if its configuration says something else. A database that was made before this migration takes the
-- configuration of its next start.
CREATE TABLE installation (
    only_row    boolean     PRIMARY KEY DEFAULT true CHECK (only_row),
    currency    text        NOT NULL CHECK (currency ~ '^[A-Z]{3}$'),
    provider    text        NOT NULL CHECK (provider IN ('sandbox', 'stripe_test', 'stripe')),
    recorded_at timestamptz NOT NULL
);
CREATE TRIGGER installation_stays BEFORE UPDATE OR DELETE OR TRUNCATE ON installation EXECUTE FUNCTION refuse();
