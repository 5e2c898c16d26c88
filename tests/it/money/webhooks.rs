//! Webhooks and queries of a payment provider: accepted if they are signed, and applied once.

use lottery::domain::id::PaymentId;
use lottery::domain::money::Money;
use lottery::domain::record::{BeginDeposit, Record};

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

#[actix_web::test]
async fn a_charge_that_never_reached_its_provider_is_ended_after_a_while() {
    let (mut world, _, draw) = World::on_sale(10).await;
    let ann = world.player("ann").await;
    let (user, at) = (ann.id, world.clock.now());
    // The state that a crash between two writes would leave.
    let payment = PaymentId(world.clock.ids().next(at));
    let begin = BeginDeposit { user, payment, amount: Money::new(500), at, key: None };
    let state = &world.app().state;
    state.persistence.write(Record::BeginDeposit(begin), None).await.unwrap().unwrap();
    let invoice = ann.reserve(draw).await;
    let bill = PaymentId(id(&invoice["payment"]).parse().unwrap());
    let draw = lottery::domain::id::DrawId(draw);
    state.draws.begin_charge(draw, user, bill, None).await.unwrap();
    let slow = deposit_slowly(&ann, 70).await;
    let (deposit, bill) = (json!({"id": payment}), json!({"id": bill}));

    world.restart().await;
    let ann = world.reconnect(&ann);
    world.advance(SignedDuration::from_mins(9));
    assert_eq!(status(&ann, &deposit).await, "processing", "it may be on its way");
    world.advance(SignedDuration::from_mins(1));
    until("the deposit has failed", || async { status(&ann, &deposit).await == "failed" }).await;
    until("the invoice has expired", || async { status(&ann, &bill).await == "expired" }).await;
    assert_eq!(super::payment(&ann, id(&deposit)).await["failure_code"], "not_charged");
    assert_eq!(ticket(&ann, id(&invoice["tickets"][0])).await["status"], "expired");
    assert_eq!(status(&ann, &slow).await, "processing", "of this one the provider knows");
    assert_eq!(ann.balance().await, 0);
    world.check_invariants().await;
}
