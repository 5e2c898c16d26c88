-- What a player takes out is set aside until an admin says whether it may leave: everybody has an account for
-- it beside the wallet.
INSERT INTO accounts (id, kind, user_id) SELECT id * 8 + 2, 'held', id FROM users;
