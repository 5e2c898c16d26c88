-- What a player takes out is set aside until an admin says whether it may leave: everybody has an account for
-- it beside the wallet.
INSERT INTO accounts (id, kind, user_id) SELECT id * 8 + 2, 'held', id FROM users;

-- Charges whose end is not written: asked for at start, and from time to time. Nearly always empty; a row enters
-- it only when a card is charged.
CREATE INDEX payments_under_way ON payments (id) WHERE status = 'processing' AND method = 'card';
