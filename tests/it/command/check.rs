//! `lottery check` finds a planted corruption of each law, and nothing in a sound database.

use lottery::db::read::{check, schema_objects};
use serde_json::json;

use super::*;
use crate::webhook::tell;

const THE_AUDIT_CHAIN: &str = "each entry of the audit log continues the chain of hashes";

/// A law, and SQL that breaks it, which only the database's owner can run. Draw 1 is completed, with winners; draw 2
/// was cancelled; draw 3 is on sale with paid and reserved tickets from its pool.
const PLANTED: &[(&str, &str)] = &[
    ("all balances sum to zero", "UPDATE accounts SET balance = balance + 1 WHERE kind = 'revenue'"),
    (
        "every balance equals its transfers",
        "UPDATE accounts SET balance = balance + CASE kind WHEN 'revenue' THEN 1 ELSE -1 END
         WHERE kind IN ('revenue', 'clearing')",
    ),
    (
        "a wallet's transfers leave what they say",
        "UPDATE transfers SET balance_after = balance_after + 1 WHERE id = (SELECT min(id) FROM transfers)",
    ),
    (
        "every purchase has one debit, and exactly its paid tickets behind it",
        "DELETE FROM transfers WHERE id = (SELECT min(id) FROM transfers WHERE kind = 'purchase')",
    ),
    ("nothing unpaid was debited", "UPDATE payments SET status = 'pending' WHERE draw_id = 3 AND status = 'paid'"),
    (
        "every card's money reached its wallet once, and no other money did",
        "INSERT INTO payments (id, user_id, kind, status, amount, method, created_at, updated_at)
         SELECT gen_random_uuid(), user_id, kind, status, amount, method, created_at, updated_at
         FROM payments WHERE kind = 'deposit' LIMIT 1",
    ),
    (
        "a pool ticket has one paid owner ever, and one holder at a time",
        "DROP INDEX tickets_holding_pool;
         UPDATE tickets SET pool_ticket_id = (SELECT min(pool_ticket_id::text)::uuid FROM tickets WHERE draw_id = 3)
         WHERE draw_id = 3",
    ),
    (
        "a draw's numbers have no gap",
        "UPDATE tickets SET number = number + 1 WHERE draw_id = 1
         AND number = (SELECT max(number) FROM tickets WHERE draw_id = 1)",
    ),
    (
        "no ticket entered after the seal",
        "INSERT INTO tickets (user_id, id, payment_id, draw_id, number, pick, origin, status)
         SELECT user_id, gen_random_uuid(), payment_id, draw_id, number + 1, pick, origin, status FROM tickets
         WHERE draw_id = 1 ORDER BY number DESC LIMIT 1;
         UPDATE draw_sales SET sold = sold + 1 WHERE draw_id = 1",
    ),
    (
        "nothing is held in a draw that is not on sale",
        "UPDATE tickets SET draw_id = 2 WHERE draw_id = 3 AND status = 'reserved'",
    ),
    (
        "a cancelled draw refunded every payer once, and no other draw anybody",
        "DELETE FROM transfers WHERE kind = 'refund'",
    ),
    (
        "every winner was paid once, and nobody else",
        "DELETE FROM transfers WHERE id = (SELECT min(id) FROM transfers WHERE kind = 'prize')",
    ),
    ("a payment is what a payment can be", "UPDATE payments SET method = 'barter' WHERE kind = 'deposit'"),
    ("a ticket is what a ticket can be", "UPDATE tickets SET origin = 'found' WHERE draw_id = 3"),
    ("a transfer is what a transfer can be", "UPDATE transfers SET kind = 'gift' WHERE kind = 'revenue'"),
    (
        "a transfer goes where its kind says, and is listed with the wallet it moves",
        "UPDATE transfers SET credit = 8 WHERE kind = 'revenue'",
    ),
    ("a key leads to the payment of its request", "UPDATE idempotency_keys SET payment_id = gen_random_uuid()"),
    ("a key stands for a success", "UPDATE idempotency_keys SET payment_id = NULL"),
    ("an account is its owner's, and all have theirs", "UPDATE accounts SET kind = 'held' WHERE id % 8 = 1"),
    (
        "an account is its owner's, and all have theirs",
        "INSERT INTO accounts (id, kind, user_id) VALUES (1000002, 'held', 125000)",
    ),
    (
        "a ticket is its payer's and its draw's, and its numbers are legal there",
        "UPDATE tickets SET user_id = 1000 WHERE draw_id = 1 AND number = 1",
    ),
    (
        "a ticket from the pool bears the numbers of a pool ticket of its draw",
        "UPDATE pool_tickets SET pick = 31 WHERE draw_id = 3
         AND id = (SELECT pool_ticket_id FROM tickets WHERE draw_id = 3 AND status = 'paid')",
    ),
    (
        "what waits to be paid is the price of what it holds",
        "UPDATE payments SET amount = amount - 1 WHERE status = 'pending'",
    ),
    (
        "no more tickets are there than were ordered, and none where none was",
        "UPDATE payments SET lines = lines + 1 WHERE draw_id = 3",
    ),
    ("a draw's numbers are legal, and its pool's", "UPDATE draw_results SET pick = 1"),
    ("a draw has what belongs to its state", "DELETE FROM draw_seals"),
    ("a lottery's draws are numbered without a gap", "UPDATE draws SET number = 9 WHERE id = 3"),
    (THE_AUDIT_CHAIN, "UPDATE audit_log SET detail = '{}' WHERE id = (SELECT min(id) FROM audit_log)"),
    (THE_AUDIT_CHAIN, "DELETE FROM audit_log WHERE id = (SELECT min(id) FROM audit_log)"),
    (THE_AUDIT_CHAIN, "DELETE FROM audit_log WHERE id = (SELECT max(id) FROM audit_log)"),
    (
        THE_AUDIT_CHAIN,
        "INSERT INTO audit_log (at, action, subject, detail, position, hash)
         SELECT at, action, subject, detail, position + 1, hash FROM audit_log ORDER BY position DESC LIMIT 1",
    ),
    (THE_AUDIT_CHAIN, "UPDATE audit_chain SET position = 0, hash = decode(repeat('00', 32), 'hex')"),
    ("a draw's winners, prizes and money", "UPDATE result_tiers SET prize = prize + 1 WHERE matches = 2"),
    ("a draw's winners, prizes and money", "UPDATE result_tiers SET winners = winners + 1 WHERE matches = 3"),
    ("a draw's winners, prizes and money", "UPDATE draw_results SET rollover = rollover + 1"),
    ("a draw's winners, prizes and money", "UPDATE draw_tiers SET amount = amount + 1 WHERE (draw_id, matches) = (1, 2)"),
    ("a draw's winners, prizes and money", "DELETE FROM draw_tiers WHERE draw_id = 3"),
    (
        "a draw's winners, prizes and money",
        "ALTER TABLE draw_tiers DROP CONSTRAINT draw_tiers_minimum_check;
         UPDATE draw_tiers SET minimum = 1 WHERE draw_id = 3",
    ),
    (
        "a draw's winners, prizes and money",
        "UPDATE transfers SET amount = amount - 1 WHERE kind = 'revenue';
         UPDATE transfers SET amount = amount + 1 WHERE kind = 'rollover'",
    ),
];

/// Plants each corruption in a transaction that is rolled back, without triggers and foreign keys.
pub async fn assert_finds(sql: &tokio_postgres::Client, planted: &[(&str, &str)]) {
    let logs = ticket_logs(sql).await;
    for (law, spoil) in planted {
        sql.batch_execute(&format!("BEGIN; SET LOCAL session_replication_role = replica; {spoil}")).await.unwrap();
        let found = check::check_in_transaction(sql, Some(&logs), |_| {}).await.unwrap().violations;
        assert!(found.iter().any(|broken| broken.invariant.starts_with(law)), "{law}: {spoil}: {found:#?}");
        sql.batch_execute("ROLLBACK").await.unwrap();
    }
}

/// The same for charges of cards. One charge was called failed and succeeded later, after another charge had paid its
/// payment; one has paid, one has failed, and one is open.
const PLANTED_IN_CHARGES: &[(&str, &str)] = &[
    (EVERY_CARDS_MONEY, "UPDATE charges SET late = false WHERE late"),
    (EVERY_CARDS_MONEY, "DELETE FROM charges WHERE late"),
    (EVERY_CARDS_MONEY, "DELETE FROM transfers WHERE reference = (SELECT payment_id FROM charges WHERE late)"),
    (
        EVERY_CARDS_MONEY,
        "INSERT INTO transfers (user_id, debit, credit, amount, kind, reference, balance_after, created_at)
         SELECT user_id, debit, credit, amount, kind, reference, balance_after, created_at FROM transfers
         WHERE kind = 'deposit' AND reference = (SELECT payment_id FROM charges WHERE late)",
    ),
    (PAID_ITS_PAYMENT, "UPDATE charges SET outcome = 'paid', failure_code = NULL WHERE outcome = 'failed'"),
    (PAID_ITS_PAYMENT, "UPDATE payments SET status = 'expired' WHERE kind = 'purchase' AND status = 'paid'"),
    (HAS_ITS_CHARGE, "DELETE FROM charges WHERE outcome = 'paid' AND NOT late"),
    (HAS_ITS_CHARGE, "UPDATE charges SET amount = amount + 1"),
    (
        HAS_ITS_CHARGE,
        "INSERT INTO charges (payment_id, begun_at, user_id, amount, ended_at, outcome)
         SELECT payment_id, begun_at + interval '1 ms', user_id, amount, ended_at, outcome FROM charges
         WHERE outcome = 'paid' AND NOT late",
    ),
    (HAS_ITS_CHARGE, "UPDATE payments SET status = 'refunded' WHERE kind = 'purchase' AND status = 'pending'"),
    (
        OPEN_CHARGE,
        "UPDATE charges SET outcome = NULL, ended_at = NULL, failure_code = NULL WHERE outcome = 'failed'",
    ),
    (OPEN_CHARGE, "DELETE FROM charges WHERE outcome IS NULL"),
    (OPEN_CHARGE, "UPDATE charges SET outcome = 'failed', ended_at = begun_at WHERE outcome IS NULL"),
    (OPEN_CHARGE, "UPDATE payments SET updated_at = updated_at + interval '1 ms' WHERE status = 'processing'"),
    (OF_ITS_PAYER, "UPDATE charges SET user_id = user_id + 1"),
    (OF_ITS_PAYER, "UPDATE charges SET payment_id = gen_random_uuid() WHERE outcome IS NULL"),
];

const EVERY_CARDS_MONEY: &str = "every card's money reached its wallet once, and no other money did";
const PAID_ITS_PAYMENT: &str = "a charge that ended as paid has paid its payment, or its money is a late credit";
const HAS_ITS_CHARGE: &str = "a payment that a card has paid has one charge for it";
const OPEN_CHARGE: &str = "an open charge is the one that its payment waits for";
const OF_ITS_PAYER: &str = "a charge is of a payment by card, and of its payer";

#[actix_web::test]
async fn check_finds_each_planted_corruption_of_a_charge() {
    let (world, _, draw) = World::on_sale(5).await;
    let ann = world.player("ann").await;
    let invoice = ann.reserve(draw).await;
    let bill = id(&invoice["payment"]);
    let first = ann.pay(bill, card(SLOW_CARD)).await.expect(200);
    tell(&world, &first, "failed").await;
    ann.pay(bill, card(GOOD_CARD)).await.expect(200);
    tell(&world, &first, "paid").await;
    let declined = ann.reserve(draw).await;
    assert_eq!(ann.pay(id(&declined["payment"]), card("tok_declined")).await.expect(200)["status"], "pending");
    let open = ann.reserve(draw).await;
    assert_eq!(ann.pay(id(&open["payment"]), card(SLOW_CARD)).await.expect(200)["status"], "processing");
    world.check_invariants().await;
    assert_finds(&world.sql().await, PLANTED_IN_CHARGES).await;
}

/// The same for what only an attack or a slip of an operator can cause. Ann has withdrawals that are open, approved and
/// rejected, a deposit, an order under a key and a reservation whose card is being charged; Bob has the same order.
const PLANTED_AT_THE_EDGES: &[(&str, &str)] = &[
    (
        "money of a purchase, refund, deposit or withdrawal moved between the payer's accounts and the draw's",
        "UPDATE payments SET user_id = (SELECT id FROM users WHERE username = 'bob')
         WHERE kind = 'withdrawal' AND status = 'paid'",
    ),
    (
        "a draw's jackpot comes from its own lottery, and its rollover goes there",
        "INSERT INTO transfers (user_id, debit, credit, amount, kind, created_at)
         SELECT 0, 1 * 8 + 3, seq * 8 + 4, 1, 'rollover', now() FROM lotteries WHERE id = '6of45'",
    ),
    (
        "a draw's jackpot comes from its own lottery, and its rollover goes there",
        "INSERT INTO transfers (user_id, debit, credit, amount, kind, created_at)
         SELECT 0, seq * 8 + 4, 1 * 8 + 3, 1, 'jackpot', now() FROM lotteries WHERE id = '6of45'",
    ),
    (
        "a reserved ticket waits for a payment that is still open",
        "UPDATE tickets SET status = 'reserved', number = NULL WHERE number = 1",
    ),
    (
        "what waits to be paid is",
        "UPDATE payments SET amount = amount + 1 WHERE status = 'processing' AND method = 'card'",
    ),
    (
        "a key leads to the payment of its request",
        "UPDATE idempotency_keys SET payment_id = (SELECT max(p.id::text)::uuid FROM payments p JOIN users u
         ON u.id = p.user_id WHERE u.username = 'bob' AND p.kind = 'purchase') WHERE answer IS NULL",
    ),
    (
        "a key leads to the payment of its request",
        "UPDATE idempotency_keys SET payment_id = (SELECT max(p.id::text)::uuid FROM payments p JOIN users u
         ON u.id = p.user_id WHERE u.username = 'bob') WHERE answer IS NOT NULL",
    ),
    ("a payment is what a payment can be", "UPDATE payments SET status = 'refunded' WHERE kind = 'deposit'"),
    ("a payment is what a payment can be", "UPDATE payments SET status = 'expired' WHERE kind = 'withdrawal'"),
    (APPROVED, "DELETE FROM audit_log WHERE action = 'withdrawal.approve'"),
    (APPROVED, "UPDATE audit_log SET action = 'withdrawal.approve' WHERE action = 'withdrawal.reject'"),
    (APPROVED, "UPDATE audit_log SET subject = 'payment:none' WHERE action = 'withdrawal.approve'"),
    ("a reservation has its end", "UPDATE payments SET reserved_until = NULL WHERE status = 'processing'"),
    (SCHEMA, "ALTER TABLE audit_log DISABLE TRIGGER audit_log_stays"),
    (SCHEMA, "DROP TRIGGER draws_move_on ON draws"),
    (SCHEMA, "ALTER TABLE sessions DISABLE TRIGGER ALL"),
    (SCHEMA, "ALTER TABLE accounts DROP CONSTRAINT accounts_check"),
    (SCHEMA, "ALTER TABLE tickets ADD CONSTRAINT odd CHECK (number <> 13) NOT VALID"),
    (SCHEMA, "DROP INDEX tickets_holding_pool"),
    // The same words, but its parentheses stand elsewhere.
    (
        SCHEMA,
        "DELETE FROM draw_tiers; ALTER TABLE draw_tiers DROP CONSTRAINT draw_tiers_minimum_check,
         ADD CONSTRAINT draw_tiers_minimum_check CHECK ((minimum IS NULL OR minimum > 0) AND share IS NOT NULL)",
    ),
    (SCHEMA, "CREATE OR REPLACE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN RETURN NULL; END'"),
    (SCHEMA, "CREATE TRIGGER odd AFTER INSERT ON transfers FOR EACH ROW EXECUTE FUNCTION refuse()"),
];

const APPROVED: &str =
    "an approved or rejected withdrawal has that admin action in the audit log, and no other has";
const SCHEMA: &str = "the triggers, functions, constraints and indexes are those of this version, and enabled";

#[actix_web::test]
async fn check_finds_each_planted_corruption_at_the_edges() {
    let (world, admin, first) = World::on_sale(0).await;
    let (ann, bob) = (world.rich_player("ann", 1_000_000).await, world.rich_player("bob", 1_000_000).await);
    for (user, at) in [(&ann, 1), (&bob, 2)] {
        world.advance(jiff::SignedDuration::from_secs(at));
        user.post_keyed(&format!("/draws/{first}/tickets"), "key", order(json!([quick_pick()]), "wallet"))
            .await
            .expect(201);
    }
    admin.conduct(first).await;
    for step in ["approve", "reject", ""] {
        let body = json!({"amount": 1_000});
        let withdrawal =
            ann.post_keyed("/wallet/withdrawals", &format!("withdrawal-{step}"), body).await.expect(201);
        if !step.is_empty() {
            admin.post(&format!("/admin/withdrawals/{}/{step}", id(&withdrawal)), json!({})).await.expect(200);
        }
    }
    let second = admin.open_draw(&world, 1).await;
    let reserved = ann.reserve(second).await;
    ann.pay(id(&reserved["payment"]), card(SLOW_CARD)).await.expect(200);
    world.check_invariants().await;
    assert_finds(&world.sql().await, PLANTED_AT_THE_EDGES).await;
}

/// `RENEW_SCHEMA_OBJECTS=1` writes the list anew, after a migration was added.
#[actix_web::test]
async fn the_list_of_schema_objects_is_that_of_the_migrations() {
    let world = World::new().await;
    let list = schema_objects::list(&world.sql().await).await.unwrap().join("\n") + "\n";
    let file = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("src/db/read/schema_objects.txt");
    if std::env::var_os("RENEW_SCHEMA_OBJECTS").is_some() {
        std::fs::write(&file, &list).unwrap();
    }
    assert_eq!(std::fs::read_to_string(&file).unwrap(), list, "run with RENEW_SCHEMA_OBJECTS=1");
}

/// `pg_restore` makes each constraint from the text that Postgres wrote of it, and Postgres may write the new one
/// differently.
#[actix_web::test]
async fn a_schema_that_was_restored_from_a_dump_is_as_expected() {
    let mut world = World::new().await;
    let sql = world.sql().await;
    // Its statements would wait for these locks, and these for them.
    world.stop().await;
    let restore = "DO $$ DECLARE c record; BEGIN
        FOR c IN SELECT conrelid::regclass AS owner, conname, pg_get_constraintdef(oid) AS source FROM pg_constraint
            WHERE contype = 'c' AND conrelid <> 0 AND connamespace = current_schema()::regnamespace
        LOOP
            EXECUTE format('ALTER TABLE %1$s DROP CONSTRAINT %2$I, ADD CONSTRAINT %2$I %3$s',
                c.owner, c.conname, c.source);
        END LOOP; END $$";
    sql.batch_execute(restore).await.unwrap();
    assert_eq!(schema_objects::differences(&sql).await.unwrap(), [] as [String; 0]);
}

#[actix_web::test]
async fn check_finds_each_planted_corruption_and_nothing_in_a_sound_database() {
    let mut world = World::new().await;
    let admin = world.admin().await;
    let ann = world.rich_player("ann", 5_000_000).await;
    let draw = admin.open_draw(&world, 0).await;
    for key in ["one", "two"] {
        let lines = json!(vec![quick_pick(); 100]);
        let body = json!({"tickets": lines, "payment": "wallet"});
        ann.post_keyed(&format!("/draws/{draw}/tickets"), key, body).await.expect(201);
    }
    let (cancelled, on_sale) = (admin.open_draw(&world, 0).await, admin.open_draw(&world, 5).await);
    ann.buy_quick(cancelled, 3).await;
    ann.order(on_sale, json!([{"from_pool": true}]), "wallet").await.expect(201);
    ann.reserve(on_sale).await;
    admin.conduct(draw).await;
    admin.cancel(cancelled).await.expect(200);

    let sql = world.sql().await;
    assert_finds(&sql, PLANTED).await;

    // The command, beside the running service and after its stop; then with a corruption that is committed.
    let program = program_on(&world.database);
    let (code, out, _) = printed(&program.run(&["check"]).await);
    assert_eq!(code, Some(0), "{out}");
    assert!(out.contains("3 draws, 205 tickets") && out.contains("every law holds"), "{out}");
    world.stop().await;
    assert_eq!(printed(&program.run(&["check"]).await), (Some(0), out, String::new()));
    sql.batch_execute("UPDATE transfers SET amount = amount + 1 WHERE kind = 'purchase'").await.unwrap();
    let (code, out, error) = printed(&program.run(&["check"]).await);
    assert_eq!(code, Some(1), "{out}");
    assert!(error.starts_with("lottery: ") && error.contains("laws are broken"), "{error}");
    assert!(out.contains("BROKEN: every balance equals its transfers\n    {\"id\":"), "{out}");

    // Another database: the error says what to do there.
    let mut elsewhere = world.database.clone();
    let program = program_on(elsewhere.dbname("postgres"));
    let refused = refusal(&program, &["check"]).await;
    assert!(
        refused.contains("schema of this database is V0") && refused.contains("`lottery migrate`"),
        "{refused}"
    );
}
