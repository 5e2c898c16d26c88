//! The database is unavailable for a while: it accepts no connections, or it is frozen. No client waits for longer
//! than the contract says, and the service recovers by itself.

use super::*;
use crate::common::PASSWORD;

#[actix_web::test]
async fn orders_are_refused_while_the_database_is_unavailable_and_succeed_afterwards() {
    let world = World::with(short_deadline).await;
    let admin = world.admin().await;
    let ann = world.rich_player("ann", 1_000_000).await;
    let draw = admin.open_draw(&world, 2).await;
    let reserved = ann.reserve(draw).await;
    let mut elsewhere = world.database.clone();
    elsewhere.dbname("lottery");
    let elsewhere = connect(&elsewhere).await.unwrap();
    let name = world.database.get_dbname().unwrap();
    let allow = async |yes: bool| {
        elsewhere.batch_execute(&format!("ALTER DATABASE {name} ALLOW_CONNECTIONS {yes}")).await.unwrap();
    };
    allow(false).await;
    let end = format!("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}'");
    elsewhere.batch_execute(&end).await.unwrap();
    let sessions = format!("SELECT count(*) FROM pg_stat_activity WHERE datname = '{name}'");
    until("its sessions have ended", async || {
        elsewhere.query_one(&sessions, &[]).await.unwrap().get::<_, i64>(0) == 0
    })
    .await;
    // The outcome of an order is unknown if it was sent to a session that had ended.
    until("the service has noticed it", async || {
        let answer = ann.order(draw, json!([quick_pick()]), "wallet").await;
        assert_eq!(answer.status, 503, "{}", answer.text);
        answer.is(503, "overloaded")
    })
    .await;
    for _ in 0..2 {
        ann.order(draw, json!([{"from_pool": true}]), "wallet").await.refused(503, "overloaded");
    }
    assert_eq!(ann.get("/wallet").await.status, 503);
    // An admin can neither log in nor read without an entry in the audit log; what is refused is counted meanwhile.
    let login = world.anonymous().post("/auth/login", json!({"login": "the.admin", "password": PASSWORD})).await;
    assert!(login.headers.contains_key("retry-after"), "{}", login.text);
    login.refused(503, "overloaded");
    admin.get(&format!("/admin/users/{}", ann.id)).await.refused(503, "overloaded");
    ann.get("/admin/users").await.refused(403, "forbidden");
    world.anonymous().without_base_path().get("/health/ready").await.refused(503, "overloaded");
    world.anonymous().without_base_path().get("/health/live").await.expect(200);
    // What is due meanwhile waits.
    world.advance(jiff::SignedDuration::from_mins(6));
    allow(true).await;
    let path = format!("/tickets/{}", reserved["tickets"][0]["id"].as_str().unwrap());
    until("the reservation ran out", async || ann.get(&path).await.body["status"] == "expired").await;
    for n in 0..2 {
        order_until_done(&ann, draw, from_pool(), &format!("order-{n}")).await;
    }
    let operator = world.anonymous().without_base_path();
    until("the service is ready", async || operator.get("/health/ready").await.status == 200).await;
    assert_eq!((paid(&world, draw).await, ann.balance().await), (2, 1_000_000 - 2 * PRICE));
    world.check_invariants().await;
    until("what was refused meanwhile is written", async || {
        world.advance(jiff::SignedDuration::from_mins(1));
        world.count("SELECT count(*) FROM audit_log WHERE action = 'admin.refused' AND count = 1").await == 1
    })
    .await;
}

/// No connection is closed, and nothing answers.
#[actix_web::test]
async fn no_request_waits_for_ever_while_the_database_is_frozen() {
    let (_directory, server) = own_server(LATE_WAL.0, LATE_WAL.1).await;
    let mut world = World::on(server.connection(), short_deadline).await;
    let admin = world.admin().await;
    let (ann, bob) = (world.rich_player("ann", 1_000_000).await, world.rich_player("bob", 1_000_000).await);
    let draw = admin.open_draw(&world, 2).await;
    let reserved = bob.reserve(draw).await;
    let sql = world.sql().await;

    // The transaction of this order has begun; the others wait behind it.
    let lock = world.lock_draw(draw).await;
    let begun = order_that_waits(&world, &ann, draw, from_pool(), "begun").await;
    let frozen = Frozen::of(&sql).await;
    let queued = order(&bob, draw, quick_pick(), "queued");
    let deposit = json!({"amount": 700, "token": "tok_visa"});
    let deposit = bob.post_keyed("/wallet/deposits", "deposit", deposit);
    let payment = reserved["payment"]["id"].as_str().unwrap();
    let person = json!({"username": "eve", "email": "eve@example.com", "password": "correct horse battery"});
    let anonymous = world.anonymous();
    let meanwhile = async {
        tokio::join!(
            queued,
            deposit,
            ann.get("/wallet"),
            bob.pay(payment, card(GOOD_CARD)),
            anonymous.post("/auth/register", person),
        )
    };
    let waiting = tokio::time::timeout(Duration::from_secs(30), meanwhile);
    let (queued, deposit, read, paid_by_card, registered) = waiting.await.expect("nobody waits for so long");
    queued.unwrap().refused(503, "overloaded");
    deposit.refused(503, "overloaded");
    read.refused(503, "overloaded");
    paid_by_card.refused(503, "overloaded");
    assert!(registered.is(503, "outcome_unknown") || registered.is(503, "overloaded"), "{}", registered.text);
    begun.await.unwrap().refused(503, "outcome_unknown");
    drop(frozen);
    lock.release().await;

    order_until_done(&ann, draw, from_pool(), "begun").await;
    order_until_done(&bob, draw, quick_pick(), "queued").await;
    bob.pay(payment, card(GOOD_CARD)).await.expect(200);
    assert_eq!((ann.balance().await, bob.balance().await), (1_000_000 - PRICE, 1_000_000 - PRICE));
    assert_eq!(admin.conduct(draw).await["tickets_sold"], 3);
    world.check_invariants().await;
    world.stop().await;
    server.stop().await.unwrap();
}

/// A charge may take longer than its client waits: it goes on without the client until it is completed.
#[actix_web::test]
async fn a_charge_is_completed_after_its_client_stopped_waiting() {
    let world = World::with(short_deadline).await;
    let admin = world.admin().await;
    let (ann, bob) = (world.rich_player("ann", 1_000_000).await, world.player("bob").await);
    let draw = admin.open_draw(&world, 2).await;
    let reserved = ann.reserve(draw).await;
    let pay = format!("/payments/{}/pay", reserved["payment"]["id"].as_str().unwrap());
    let card = card(GOOD_CARD);
    let deposit = json!({"amount": 700, "token": "tok_visa"});

    let lock = world.lock_draw(draw).await;
    let unknown = ann.post_keyed(&pay, "pay", card.clone()).await;
    unknown.refused(503, "outcome_unknown");
    ann.post_keyed(&pay, "pay", card.clone()).await.refused(409, "idempotency_in_progress");
    lock.release().await;
    until("it is paid", async || paid(&world, draw).await == 1).await;

    let sql = world.sql().await;
    sql.batch_execute("BEGIN; LOCK TABLE payments IN SHARE MODE").await.unwrap();
    bob.post_keyed("/wallet/deposits", "deposit", deposit.clone()).await.refused(503, "outcome_unknown");
    let again = bob.post_keyed("/wallet/deposits", "deposit", deposit.clone()).await;
    again.refused(409, "idempotency_in_progress");
    sql.batch_execute("ROLLBACK").await.unwrap();
    until("it is there", async || bob.balance().await == 700).await;

    for (who, path, key, body) in
        [(&ann, pay.as_str(), "pay", card), (&bob, "/wallet/deposits", "deposit", deposit)]
    {
        until("its key is free", async || {
            let answer = who.post_keyed(path, key, body.clone()).await;
            assert!(answer.status < 300 || answer.is(409, "idempotency_in_progress"), "{}", answer.text);
            answer.body["status"] == "paid" && answer.headers.contains_key("idempotency-replayed")
        })
        .await;
    }
    assert_eq!((ann.balance().await, bob.balance().await), (1_000_000, 700));
    world.check_invariants().await;
}

/// A machine that stood still for some seconds renews its lease late. The client and the card are still there, so the card is
/// charged then, and not a minute later by the reconciliation.
#[actix_web::test]
async fn a_charge_waits_for_a_lease_that_is_renewed_late() {
    let world = World::with(short_deadline).await;
    let admin = world.admin().await;
    let ann = world.rich_player("ann", 1_000_000).await;
    let draw = admin.open_draw(&world, 1).await;
    let reserved = ann.reserve(draw).await;
    let payment = reserved["payment"]["id"].as_str().unwrap().to_owned();

    // The beginning of the charge is on its way into the database when the lease runs out.
    let lock = world.lock_draw(draw).await;
    let paying = actix_web::rt::spawn({
        let ann = ann.clone();
        async move { ann.pay(&payment, card(GOOD_CARD)).await }
    });
    world.until_writer_waits().await;
    let renewals = world.sql().await;
    renewals.batch_execute("BEGIN; SELECT FROM nodes FOR NO KEY UPDATE").await.unwrap();
    until("the lease has run out", async || !world.app().state.lease.is_held()).await;
    let operator = world.anonymous().without_base_path();
    for path in ["/api/v1/draws", "/%61pi/v1/draws"] {
        operator.get(path).await.refused(503, "overloaded");
    }
    lock.release().await;
    let begun = "SELECT count(*) FROM payments WHERE status = 'processing'";
    until("the charge has begun", async || world.count(begun).await == 1).await;
    assert!(!world.app().state.lease.is_held());
    renewals.batch_execute("ROLLBACK").await.unwrap();
    until("it is paid", async || paid(&world, draw).await == 1).await;
    drop(paying.await);
    world.check_invariants().await;
}
