//! A database of an earlier released schema starts on this version, with everything that it held, and is played on.
//! Each file in upgrade/ holds the rows of such a database. What is refused instead: see command/schema.rs.

use jiff::Timestamp;
use lottery::db::connect;
use refinery::{Migration, Runner};
use serde_json::{Value, json};
use tokio_postgres::Config;

use crate::common::PASSWORD;
use crate::money::finance::check_finance;
use crate::server;
use crate::webhook;
use crate::world::*;

/// A database of an earlier schema, and what its service had answered.
struct Earlier {
    /// The newest migration that it has.
    schema: u32,
    rows: &'static str,
    /// Within a minute after the rows were written, so that the reservations still hold.
    now: &'static str,
    /// What the wallets held: the draws were conducted by chance.
    ann: i64,
    bob: i64,
    /// The amounts and the minimums of the prizes of draw 3, and of draw 6, whose price is 1.
    prizes: [Value; 2],
}

/// The migrations of the released schemas.
const MIGRATIONS: [(u32, &str, &str); 13] = [
    (1, "V1__schema", include_str!("../../migrations/V1__schema.sql")),
    (2, "V2__charges", include_str!("../../migrations/V2__charges.sql")),
    (3, "V3__installation", include_str!("../../migrations/V3__installation.sql")),
    (4, "V4__minimum_prizes", include_str!("../../migrations/V4__minimum_prizes.sql")),
    (6, "V6__housekeeping", include_str!("../../migrations/V6__housekeeping.sql")),
    (7, "V7__sessions", include_str!("../../migrations/V7__sessions.sql")),
    (8, "V8__audit", include_str!("../../migrations/V8__audit.sql")),
    (9, "V9__nodes", include_str!("../../migrations/V9__nodes.sql")),
    (11, "V11__schema_compatibility", include_str!("../../migrations/V11__schema_compatibility.sql")),
    (12, "V12__sandbox_charges", include_str!("../../migrations/V12__sandbox_charges.sql")),
    (13, "V13__logs", include_str!("../../migrations/V13__logs.sql")),
    (14, "V14__audit_chain", include_str!("../../migrations/V14__audit_chain.sql")),
    (15, "V15__public_log", include_str!("../../migrations/V15__public_log.sql")),
];

/// A new database with the schema and the rows of an earlier version.
async fn database_of(earlier: &Earlier) -> Config {
    let applied = MIGRATIONS.iter().filter(|(version, ..)| *version <= earlier.schema);
    let migrations: Vec<Migration> =
        applied.map(|(_, name, sql)| Migration::unapplied(name, sql).unwrap()).collect();
    let database = server::empty_database().await;
    let mut db = connect(&database).await.unwrap();
    Runner::new(&migrations).run_async(&mut db).await.unwrap();
    // As pg_dump's own option --disable-triggers does: the rows have passed the triggers once, and stand in
    // another order now.
    let rows = earlier.rows;
    db.batch_execute(&format!(
        "BEGIN; SET LOCAL session_replication_role = replica; DELETE FROM accounts; {rows}; COMMIT"
    ))
    .await
    .unwrap();
    database
}

/// The file in which versions before V12 stored the charges of the sandbox that are under way.
async fn stored_charges(database: &Config) -> String {
    let processing = "SELECT id::text, updated_at FROM payments WHERE status = 'processing' AND method = 'card'";
    let rows = connect(database).await.unwrap().query(processing, &[]).await.unwrap();
    let line = |row: &tokio_postgres::Row| {
        format!("{}@{} processing\n", row.get::<_, String>(0), row.get::<_, Timestamp>(1))
    };
    rows.iter().map(line).collect()
}

/// The user's payment of this kind in this status.
async fn payment(user: &User, kind: &str, status: &str) -> Value {
    let payments = user.all("/payments").await;
    payments.into_iter().find(|payment| payment["kind"] == kind && payment["status"] == status).unwrap()
}

/// Before V4 no prize had a minimum, and the amounts did not scale with the price.
#[actix_web::test]
async fn a_database_of_schema_v1_is_upgraded_and_played_on() {
    let prizes = || json!([[null, null], [1_000_000, null], [100_000, null], [10_000, null]]);
    upgrade_and_play_on(Earlier {
        schema: 1,
        rows: include_str!("upgrade/V1.sql"),
        now: "2026-11-26T18:21:00Z",
        ann: 4_029_000,
        bob: 2_876_990,
        prizes: [prizes(), prizes()],
    })
    .await;
}

#[actix_web::test]
async fn a_database_of_schema_v6_is_upgraded_and_played_on() {
    upgrade_and_play_on(Earlier {
        schema: 6,
        rows: include_str!("upgrade/V6.sql"),
        now: "2026-11-26T21:34:10Z",
        ann: 3_929_000,
        bob: 2_886_990,
        prizes: [
            json!([[null, 100_000_000], [1_000_000, null], [100_000, null], [10_000, null]]),
            json!([[null, 10_000], [100, null], [10, null], [1, null]]),
        ],
    })
    .await;
}

/// Its service was active when the rows were dumped: its lease has run out by the clock of the database.
#[actix_web::test]
async fn a_database_of_schema_v12_is_upgraded_and_played_on() {
    upgrade_and_play_on(Earlier {
        schema: 12,
        rows: include_str!("upgrade/V12.sql"),
        now: "2026-11-27T00:44:50Z",
        ann: 4_019_000,
        bob: 2_896_990,
        prizes: [
            json!([[null, 100_000_000], [1_000_000, null], [100_000, null], [10_000, null]]),
            json!([[null, 10_000], [100, null], [10, null], [1, null]]),
        ],
    })
    .await;
}

/// Its draws can be verified: those that were on sale are sealed and conducted by this version.
#[actix_web::test]
async fn a_database_of_schema_v15_is_upgraded_and_played_on() {
    upgrade_and_play_on(Earlier {
        schema: 15,
        rows: include_str!("upgrade/V15.sql"),
        now: "2026-11-27T12:46:10Z",
        ann: 4_249_000,
        bob: 2_886_990,
        prizes: [
            json!([[null, 100_000_000], [1_000_000, null], [100_000, null], [10_000, null]]),
            json!([[null, 10_000], [100, null], [10, null], [1, null]]),
        ],
    })
    .await;
}

async fn upgrade_and_play_on(earlier: Earlier) {
    let now: Timestamp = earlier.now.parse().unwrap();
    let database = database_of(&earlier).await;
    let sandbox = (earlier.schema < 12).then_some(stored_charges(&database).await);
    let mut world = World::at(now, database, |config| {
        if let Some(sandbox) = sandbox {
            std::fs::write(config.data_dir.join("sandbox_charges"), sandbox).unwrap();
        }
    })
    .await;
    let boss = world.anonymous().log_in("boss", PASSWORD).await;
    let ann = world.anonymous().log_in("ann", PASSWORD).await;
    let bob = world.anonymous().log_in("bob", PASSWORD).await;
    world.check_invariants().await;
    assert_eq!((ann.balance().await, bob.balance().await), (earlier.ann, earlier.bob));
    assert_eq!(ann.all("/tickets?draw_id=1&status=won&status=lost").await.len(), 90);
    assert_eq!(ann.get("/draws/1/results").await.expect(200)["tickets_sold"], 100);
    assert_eq!(bob.all("/tickets?draw_id=2&status=refunded").await.len(), 6);

    // The session that had ended is gone; the others go on, used when they were last refreshed.
    let sessions = format!("SELECT count(*) FROM sessions WHERE created_at < '{now}'");
    assert_eq!(world.count(&sessions).await, 5);
    assert_eq!(world.count(&format!("{sessions} AND address IS NULL")).await, 5);
    let seen = ann.all("/me/sessions").await;
    assert!(
        seen.iter().all(|session| session["address"].is_null() != session["current"].as_bool().unwrap()),
        "{seen:?}"
    );
    if earlier.schema < 7 {
        assert_eq!(world.count(&format!("{sessions} AND used_at > created_at")).await, 1);
    }

    // Draws keep the prizes that they had.
    for (draw, expected) in [3, 6].into_iter().zip(&earlier.prizes) {
        let shown = ann.get(&format!("/draws/{draw}")).await.expect(200);
        let prizes = shown["prizes"].as_array().unwrap();
        let prizes: Value = prizes.iter().map(|prize| json!([prize["amount"], prize["minimum"]])).collect();
        assert_eq!(prizes, *expected);
    }

    // Entries of the audit log keep what they say; before V8 they did not know their requests.
    let log = boss.all("/admin/audit-log").await;
    let (new, old) = log.split_first().unwrap();
    assert_eq!((&new["action"], &new["address"]), (&json!("login"), &json!("127.0.0.1")));
    assert!(old.len() > 10, "the rows of before");
    let unknown = |row: &&Value| row["address"].is_null() && row["request_id"].is_null() && row["count"] == 1;
    let expected = if earlier.schema < 8 { old.len() } else { 2 };
    assert_eq!(old.iter().filter(unknown).count(), expected, "{old:#?}");

    // The books of draws that ended before.
    check_finance(&world, &boss).await;

    // A request that was answered before the upgrade has no second effect.
    let order = json!({"tickets": vec![quick_pick(); 20], "payment": "wallet"});
    let again = ann.post_keyed("/draws/3/tickets", "open-1", order).await;
    assert_eq!(again.headers["Idempotency-Replayed"], "true");
    assert_eq!(again.expect(201)["tickets"].as_array().unwrap().len(), 20);
    assert_eq!(ann.balance().await, earlier.ann);

    // It has the configuration of its first start.
    let recorded = "SELECT count(*) FROM installation WHERE (currency, provider) = ('RUB', 'sandbox')";
    assert_eq!(world.count(recorded).await, 1);

    // What was under way ends: a reservation is paid, charges succeed, a withdrawal is approved.
    let reserved = payment(&ann, "purchase", "pending").await;
    assert_eq!(ann.pay(id(&reserved), wallet()).await.expect(200)["status"], "paid");
    for (user, kind) in [(&ann, "deposit"), (&bob, "purchase")] {
        let charged = payment(user, kind, "processing").await;
        let notice = webhook::notice(&charged, "paid");
        let signature = webhook::signature(WEBHOOK_SECRET, now.as_second(), &notice);
        webhook::send("sandbox", Some(&signature), &notice, &world.anonymous()).await.expect(200);
        until("the charge ends", async || {
            user.get(&format!("/payments/{}", id(&charged))).await.body["status"] == "paid"
        })
        .await;
    }
    assert_eq!(ann.balance().await, earlier.ann - 20_000 + 4_242);
    let withdrawal = &boss.all("/admin/payments?kind=withdrawal&status=processing").await[0];
    boss.post(&format!("/admin/withdrawals/{}/approve", id(withdrawal)), json!({})).await.expect(200);

    // Draws of before are sold, conducted and cancelled; a new one is played from its beginning to its end.
    boss.step(4, "open").await.expect(200);
    ann.order(4, json!(vec![from_pool(); 10]), "wallet").await.expect(201);
    let was_logged = earlier.schema >= 15;
    let bought = ann.buy_quick(6, 10).await;
    assert_eq!(bought["receipt"].is_object(), was_logged);
    let proof = ann.get(&format!("/tickets/{}/proof", id(&bought["tickets"][0]))).await;
    match was_logged {
        true => drop(proof.expect(200)),
        false => drop(proof.refused(409, "draw_not_verifiable")),
    }
    boss.conduct(3).await;
    boss.step(5, "conduct").await.expect(200);
    boss.conduct(6).await;
    boss.cancel(4).await.expect(200);
    world.until_draw_is(4, "cancelled").await;
    let new = boss.open_draw(&world, 10).await;
    ann.buy_quick(new, 5).await;
    // Draws that were on sale without a ticket log went on without one; those that were opened now have one.
    let logged = "SELECT sum(draw_id) FILTER (WHERE edge IS NOT NULL)::bigint FROM draw_sales";
    let before = if was_logged { 1 + 2 + 3 + 5 + 6 } else { 0 };
    assert_eq!(world.count(logged).await, before + 4 + new);
    boss.conduct(new).await;
    for draw in [3, 5, 6, new] {
        world.until_draw_is(draw, "completed").await;
    }
    // What was logged before the upgrade has no MAC, and everything since then has one.
    let macs = "SELECT count(*) FROM log_entries, log_macs WHERE (mac IS NULL) <> (index < first_entry)";
    assert_eq!(world.count(macs).await, 0);
    assert_eq!(world.count("SELECT first_entry FROM log_macs").await > 0, was_logged);
    // Draws that were on sale before the upgrade draw their numbers as they did; those that are opened since are logged.
    let before = was_logged.then_some("commit_reveal");
    let since = Some("commit_reveal");
    for (draw, expected) in [(1, before), (3, before), (5, before), (6, before), (4, since), (new, since)] {
        let shown = ann.get(&format!("/draws/{draw}")).await.expect(200);
        assert_eq!(shown["fairness"], json!(expected), "{draw}");
        let proof = ann.get(&format!("/draws/{draw}/proof")).await;
        match expected {
            Some(_) => assert!(proof.expect(200)["entries"].as_array().unwrap().len() >= 2),
            None => drop(proof.refused(409, "draw_not_verifiable")),
        }
    }
    world.check_invariants().await;
    world.stop().await;
}
