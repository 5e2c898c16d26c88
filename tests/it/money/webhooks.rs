//! Webhooks and queries of a payment provider: accepted if they are signed, and applied once.

use std::sync::Arc;

use lottery::app::StoredCharges;
use lottery::domain::charge::ChargeName;
use lottery::domain::id::{DrawId, PaymentId};
use lottery::domain::money::Money;
use lottery::domain::record::{BeginDeposit, Charge, Record};
use lottery::payment::{CardToken, ChargeOrder, Provider, Sandbox, Signing};

use super::*;
use crate::webhook::{notice, send, signature, tell as told};
use crate::world::*;

/// Sends a signed webhook of the sandbox.
async fn tells(world: &World, body: &str) -> Answer {
    let signature = signature(WEBHOOK_SECRET, world.clock.now().as_second(), body);
    send("sandbox", Some(&signature), body, &world.anonymous()).await
}

async fn deposit_slowly(who: &User, amount: i64) -> Value {
    let made = who.post("/wallet/deposits", json!({"amount": amount, "token": "tok_async"})).await.expect(201);
    assert_eq!(made["status"], "processing");
    made
}

async fn status(who: &User, of: &Value) -> Value {
    payment(who, id(of)).await["status"].clone()
}

#[actix_web::test]
async fn a_webhook_settles_a_processing_payment_once() {
    let (world, _, draw) = World::on_sale(10).await;
    let ann = world.player("ann").await;
    let (good, bad) = (deposit_slowly(&ann, 500).await, deposit_slowly(&ann, 70).await);
    let invoice = ann.reserve(draw).await;
    let bill = ann.pay(id(&invoice["payment"]), card(SLOW_CARD)).await.expect(200);

    for _ in 0..2 {
        told(&world, &good, "paid").await;
        told(&world, &bad, "failed").await;
        told(&world, &bill, "paid").await;
        world.advance(SignedDuration::from_secs(1));
    }
    for contradicted in [(&good, "failed"), (&bad, "paid"), (&bill, "failed"), (&bad, "paid"), (&bad, "failed")] {
        told(&world, contradicted.0, contradicted.1).await;
    }

    assert_eq!((status(&ann, &good).await, status(&ann, &bill).await), (json!("paid"), json!("paid")));
    let failed = payment(&ann, id(&bad)).await;
    assert_eq!((&failed["status"], &failed["failure_code"]), (&json!("failed"), &json!("card_declined")));
    assert_eq!(ann.balance().await, 570, "the card was charged after all, once");
    assert_eq!(ticket(&ann, id(&invoice["tickets"][0])).await["number"], 1);
    world.check_invariants().await;
}

#[actix_web::test]
async fn concurrent_webhooks_pay_once() {
    let (world, _, draw) = World::on_sale(10).await;
    let ann = world.player("ann").await;
    let deposit = deposit_slowly(&ann, 500).await;
    let invoice = ann.reserve(draw).await;
    let bill = ann.pay(id(&invoice["payment"]), card(SLOW_CARD)).await.expect(200);
    join_all((0..12).map(|n| told(&world, if n % 2 == 0 { &deposit } else { &bill }, "paid"))).await;
    assert_eq!((status(&ann, &deposit).await, status(&ann, &bill).await), (json!("paid"), json!("paid")));
    assert_eq!(ann.balance().await, 500);
    world.check_invariants().await;
}

#[actix_web::test]
async fn only_signed_webhooks_are_accepted() {
    let world = World::new().await;
    let ann = world.player("ann").await;
    let deposit = deposit_slowly(&ann, 500).await;
    let (body, now, anonymous) = (notice(&deposit, "paid"), world.clock.now().as_second(), world.anonymous());
    let good = signature(WEBHOOK_SECRET, now, &body);
    for forged in [
        None,
        Some("nonsense".to_owned()),
        Some(signature("a secret of somebody else, who guesses", now, &body)),
        Some(signature(WEBHOOK_SECRET, now, &format!("{body} "))),
        Some(signature(WEBHOOK_SECRET, now - 301, &body)),
        Some(good.replace("v1", "v0")),
    ] {
        send("sandbox", forged.as_deref(), &body, &anonymous).await.refused(401, "unauthorized");
    }
    for other in ["stripe", "nobody", "Sandbox"] {
        send(other, Some(&good), &body, &anonymous).await.refused(404, "not_found");
    }
    anonymous.get("/webhooks/payments/sandbox").await.refused(405, "method_not_allowed");
    let long = " ".repeat(65 * 1024);
    tells(&world, &long).await.refused(413, "payload_too_large");
    tells(&world, "{").await.refused(400, "malformed_json");
    tells(&world, "{}").await.refused(422, "validation_failed");
    tells(&world, &body.replace("paid", "lost")).await.refused(422, "validation_failed");
    assert_eq!(status(&ann, &deposit).await, "processing");
    send("sandbox", Some(&good), &body, &anonymous).await.expect(200);
    assert_eq!(status(&ann, &deposit).await, "paid");
    world.check_invariants().await;
}

#[actix_web::test]
async fn a_webhook_must_name_a_charge_that_is_processing() {
    let world = World::new().await;
    let ann = world.rich_player("ann", 500).await;
    let withdrawal = ann.post("/wallet/withdrawals", json!({"amount": 200})).await.expect(201);
    let nobodys = json!({"id": "0190e0a0-0000-7000-8000-000000000000", "updated_at": "2030-05-01T12:00:00Z"});
    let deposit = deposit_slowly(&ann, 70).await;
    let mut other = deposit.clone();
    other["updated_at"] = json!("2030-05-01T12:00:00.001Z");
    for payment in [&withdrawal, &nobodys, &other] {
        told(&world, payment, "paid").await;
        told(&world, payment, "failed").await;
    }
    assert_eq!(status(&ann, &withdrawal).await, "processing");
    assert_eq!(status(&ann, &deposit).await, "processing");
    assert_eq!(ann.balance().await, 300);
    world.check_invariants().await;
}

#[actix_web::test]
async fn a_late_webhook_of_one_charge_does_not_end_the_next() {
    let (world, _, draw) = World::on_sale(10).await;
    let ann = world.player("ann").await;
    let invoice = ann.reserve(draw).await;
    let pay = || async { ann.pay(id(&invoice["payment"]), card(SLOW_CARD)).await.expect(200) };
    let first = pay().await;
    told(&world, &first, "failed").await;
    assert_eq!(status(&ann, &first).await, "pending");
    let second = pay().await;
    assert_ne!(first["updated_at"], second["updated_at"], "the clock stands, and they are two");

    told(&world, &first, "paid").await;
    told(&world, &first, "failed").await;
    assert_eq!(status(&ann, &first).await, "processing", "the second is under way");
    assert_eq!(ann.balance().await, PRICE, "the first was paid too late for the ticket");
    told(&world, &second, "paid").await;
    told(&world, &first, "paid").await;
    assert_eq!(status(&ann, &first).await, "paid");
    assert_eq!(ann.balance().await, PRICE);
    world.check_invariants().await;
}

#[actix_web::test]
async fn money_that_arrives_after_the_cut_off_is_credited_to_the_wallet() {
    let (mut world, admin, draw) = World::on_sale(10).await;
    let ann = world.player("ann").await;
    let (good, bad) = (ann.reserve(draw).await, ann.reserve(draw).await);
    let pay = |invoice: Value| {
        let ann = &ann;
        async move { ann.pay(id(&invoice["payment"]), card(SLOW_CARD)).await.expect(200) }
    };
    let (good, bad) = (pay(good).await, pay(bad).await);
    admin.conduct(draw).await;
    world.restart().await;

    for _ in 0..2 {
        told(&world, &good, "paid").await;
        told(&world, &bad, "failed").await;
    }

    let ann = world.reconnect(&ann);
    assert_eq!(ann.balance().await, PRICE);
    assert_eq!((status(&ann, &good).await, status(&ann, &bad).await), (json!("refunded"), json!("expired")));
    world.check_invariants().await;
}

/// Begins a deposit of 500 and a charge of a reservation that never reach the provider: what a crash between two steps
/// leaves. Returns the payments.
async fn begun(world: &World, who: &User, draw: i64) -> [Value; 2] {
    let (state, at) = (&world.app().state, world.clock.now());
    let deposit = PaymentId(world.clock.ids().next(at));
    let begin = BeginDeposit { user: who.id, payment: deposit, amount: Money::new(500), at, key: None };
    state.persistence.write(Record::BeginDeposit(begin), None).await.unwrap().unwrap();
    let invoice = who.reserve(draw).await;
    let bill = PaymentId(id(&invoice["payment"]).parse().unwrap());
    state.draws.begin_charge(DrawId(draw), who.id, bill, None).await.unwrap();
    [payment(who, &deposit.to_string()).await, payment(who, &bill.to_string()).await]
}

#[actix_web::test]
async fn a_charge_that_never_reached_its_provider_is_ended_at_the_next_start_and_cannot_be_made_later() {
    let (mut world, _, draw) = World::on_sale(10).await;
    let ann = world.player("ann").await;
    let [deposit, bill] = begun(&world, &ann, draw).await;
    let slow = deposit_slowly(&ann, 70).await;

    world.restart().await;
    let ann = world.reconnect(&ann);
    until("the deposit has failed", || async { status(&ann, &deposit).await == "failed" }).await;
    until("the invoice can be paid again", || async { status(&ann, &bill).await == "pending" }).await;
    for charged in [&deposit, &bill] {
        assert_eq!(payment(&ann, id(charged)).await["failure_code"], "not_charged");
        // The service that was to charge the card was only stopped, and goes on.
        let name = ChargeName {
            payment: PaymentId(id(charged).parse().unwrap()),
            begun: charged["updated_at"].as_str().unwrap().parse().unwrap(),
        };
        let (card, amount) = (CardToken::parse(GOOD_CARD).unwrap(), Money::new(500));
        let sandbox = Sandbox::new(StoredCharges(world.app().state.persistence.clone()), Signing::new("".into()));
        let (currency, may_act) = ("RUB".parse().unwrap(), Arc::new(|| true));
        let order = ChargeOrder { name, amount, currency, card, may_act };
        assert_eq!(sandbox.charge(order).await.charge, Charge::Declined("not_charged".to_owned()));
    }
    assert_eq!(status(&ann, &slow).await, "processing", "of this one the provider knows");
    assert_eq!(ann.pay(id(&bill), card(GOOD_CARD)).await.expect(200)["status"], "paid");
    assert_eq!(ann.balance().await, 0);
    world.check_invariants().await;
}

#[actix_web::test]
async fn charges_that_an_earlier_version_stored_in_files_are_found() {
    let (mut world, _, draw) = World::on_sale(10).await;
    let ann = world.player("ann").await;
    let [deposit, bill] = begun(&world, &ann, draw).await;
    let [lost, _] = begun(&world, &ann, draw).await;
    world.stop().await;
    let line = |payment: &Value, outcome: &str| {
        format!("{}@{} {outcome}\n", id(payment), payment["updated_at"].as_str().unwrap())
    };
    let data_dir = world.config.data_dir.clone();
    let file = |name: &str| data_dir.join(name);
    std::fs::write(file("sandbox_charges.old"), line(&deposit, "paid") + "no charge\n").unwrap();
    std::fs::write(file("sandbox_charges"), line(&bill, "paid")).unwrap();
    world.start().await;
    assert!(!file("sandbox_charges").exists() && !file("sandbox_charges.old").exists());
    let ann = world.reconnect(&ann);
    for (payment, end) in [(&deposit, "paid"), (&bill, "paid"), (&lost, "failed")] {
        until("the charge has ended", || async { status(&ann, payment).await == end }).await;
    }
    assert_eq!(ann.balance().await, 500);
    world.check_invariants().await;
}

#[actix_web::test]
async fn old_charges_of_the_sandbox_are_deleted_unless_they_are_unfinished() {
    let world = World::new().await;
    let ann = world.player("ann").await;
    ann.deposit(500).await;
    let slow = deposit_slowly(&ann, 70).await;
    let days = |days: i64| SignedDuration::from_hours(24 * days);
    let stored = async || world.count("SELECT count(*) FROM sandbox_charges").await;
    for (days, left) in [(days(50), 2), (days(11), 1)] {
        world.advance(days);
        let round = "INSERT INTO idempotency_keys (id, request, status, created_at)
            VALUES (gen_random_uuid(), gen_random_uuid(), 201, '2020-01-01')";
        world.sql().await.execute(round, &[]).await.unwrap();
        until("two rounds of housekeeping are over", async || {
            world.advance(SignedDuration::from_mins(1));
            world.count("SELECT count(*) FROM idempotency_keys WHERE created_at < '2021-01-01'").await == 0
        })
        .await;
        until(&format!("{left} are left"), async || {
            world.advance(SignedDuration::from_mins(1));
            stored().await == left
        })
        .await;
    }
    let name = world.sql().await.query_one("SELECT payment_id::text FROM sandbox_charges", &[]).await.unwrap();
    assert_eq!(name.get::<_, String>(0), id(&slow));
}
