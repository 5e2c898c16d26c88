-- The rows of a purchase, both sides of the double entry, in a transaction of its own: what flood.sh is held
-- against. For pgbench, with the draw and the first of 256 players beside each other:
--   pgbench -n -M prepared -c 4 -T 5 -D draw=1 -D first=2 -f tests/load/naive.sql -h data/postgres.sock -U lottery lottery
\set user :first + random(0, 255)
\set wallet :user * 8 + 1
\set escrow :draw * 8 + 3
BEGIN;
UPDATE accounts SET balance = balance - 10000 WHERE id = :wallet AND balance >= 10000 RETURNING balance AS left \gset
INSERT INTO payments (id, user_id, kind, status, amount, method, draw_id, lines, created_at, updated_at) SELECT encode(overlay(uuid_send(gen_random_uuid()) PLACING substring(int8send((extract(epoch FROM clock_timestamp()) * 1000)::bigint) FROM 3) FROM 1 FOR 6), 'hex')::uuid, :user, 'purchase', 'paid', 10000, 'wallet', :draw, 1, now(), now() RETURNING id AS payment \gset
INSERT INTO transfers (user_id, debit, credit, amount, kind, reference, balance_after, created_at) VALUES (:user, :wallet, :escrow, 10000, 'purchase', :payment, :left, now());
UPDATE accounts SET balance = balance + 10000 WHERE id = :escrow;
UPDATE draw_sales SET sold = sold + 1 WHERE draw_id = :draw RETURNING sold AS number \gset
INSERT INTO tickets (user_id, id, payment_id, draw_id, number, pick, origin, status) SELECT :user, encode(overlay(uuid_send(gen_random_uuid()) PLACING substring(int8send((extract(epoch FROM clock_timestamp()) * 1000)::bigint) FROM 3) FROM 1 FOR 6), 'hex')::uuid, :payment, :draw, :number, 31, 'quick_pick', 'paid';
COMMIT;
