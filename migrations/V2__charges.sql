-- Charges of cards. Only a payment by card adds a row, so this table may have CHECKs and indexes. It has no foreign key
-- to payments: every purchase inserts there. `lottery check` verifies that each charge has its payment.

CREATE TABLE charges (
    payment_id   uuid        NOT NULL,
    begun_at     timestamptz NOT NULL,    -- with the payment it is the charge's name, also at the provider
    user_id      bigint      NOT NULL,    -- copied from the payment
    amount       bigint      NOT NULL CHECK (amount > 0), -- what was to be taken
    ended_at     timestamptz,             -- null while the provider has not decided
    outcome      text        CHECK (outcome IN ('paid', 'failed')),
    failure_code text,
    -- The money came too late for what the payment is for, so it is in the wallet.
    late         boolean     NOT NULL DEFAULT false,
    -- Why the charge waits for an admin; null if it does not. A charge that has failed waits if the provider reports
    -- later that it took money.
    issue        text        CHECK (issue IN ('not_found', 'other_money', 'unclear')),
    -- What the provider reports of the money later. It moves no money here.
    dispute      text,                    -- the status of the dispute, as the provider writes it
    disputed_at  timestamptz,             -- when the provider reported that status
    refunded     bigint      NOT NULL DEFAULT 0 CHECK (refunded >= 0), -- given back at the provider, in all
    -- False: the charge ended before this table existed, and begun_at is the time of its end.
    begun_known  boolean     NOT NULL DEFAULT true,
    PRIMARY KEY (payment_id, begun_at),
    CHECK ((outcome IS NULL) = (ended_at IS NULL)),
    CHECK (NOT late OR outcome = 'paid'),
    CHECK (issue IS NULL OR outcome IS DISTINCT FROM 'paid'),
    CHECK (failure_code IS NULL OR outcome = 'failed'),
    CHECK ((dispute IS NULL) = (disputed_at IS NULL))
);
-- The charges that wait for an admin: for the metric and the list. Nearly always empty.
CREATE INDEX charges_waiting ON charges (payment_id) WHERE issue IS NOT NULL;

-- The charges of the past. A deposit has one charge, which began when the deposit was made.
INSERT INTO charges (payment_id, begun_at, user_id, amount, ended_at, outcome, failure_code)
SELECT id, created_at, user_id, amount, CASE WHEN status <> 'processing' THEN updated_at END,
       CASE status WHEN 'paid' THEN 'paid' WHEN 'failed' THEN 'failed' END,
       CASE status WHEN 'failed' THEN failure_code END
FROM payments WHERE kind = 'deposit';
-- A purchase whose card is being charged: the charge began with the payment's last change.
INSERT INTO charges (payment_id, begun_at, user_id, amount)
SELECT id, updated_at, user_id, amount
FROM payments WHERE kind = 'purchase' AND method = 'card' AND status = 'processing';
-- A purchase that a card has paid: only the end of that charge is known. If a success is reported for such a payment
-- later, it may be this charge or an earlier one, so an admin decides.
INSERT INTO charges (payment_id, begun_at, user_id, amount, ended_at, outcome, late, begun_known)
SELECT id, updated_at, user_id, amount, updated_at, 'paid', status = 'refunded', false
FROM payments WHERE kind = 'purchase' AND method = 'card' AND status IN ('paid', 'refunded');
-- Charges of purchases that were declined are not known: a payment stores only the reason of its last one. If such a
-- charge succeeds later all the same, it gets its row then.
