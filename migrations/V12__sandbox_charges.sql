-- The charges of the sandbox, which plays a payment provider. This table is not a part of the ledger: it says what the
-- provider was asked for and answered, as Stripe would, also if the service that asked has ended. Services on other
-- machines see the same charges. Each name is stored once, and its first outcome stays.
CREATE TABLE sandbox_charges (
    payment_id uuid        NOT NULL,
    begun_at   timestamptz NOT NULL,
    outcome    text        NOT NULL,  -- paid, processing, or the failure code; not_charged: no card can be charged any more
    PRIMARY KEY (payment_id, begun_at)
);
