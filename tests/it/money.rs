//! Wallets, payments, refunds: money is never lost, created or paid twice.

mod cards;
mod charges;
mod declined_cards;
pub mod finance;
pub mod prizes;
mod stripe;
mod webhooks;
mod withdrawals;

use futures_util::future::join_all;
use jiff::SignedDuration;
use serde_json::{Value, json};

use crate::world::*;

/// The field names of an object, in alphabetical order.
fn fields(object: &Value) -> Vec<&str> {
    let mut names: Vec<&str> = object.as_object().unwrap().keys().map(String::as_str).collect();
    names.sort_unstable();
    names
}

async fn payment(who: &User, id: &str) -> Value {
    who.get(&format!("/payments/{id}")).await.expect(200)
}

async fn ticket(who: &User, id: &str) -> Value {
    who.get(&format!("/tickets/{id}")).await.expect(200)
}

#[actix_web::test]
async fn eight_concurrent_payments_of_one_reservation_charge_once() {
    let (world, _, draw) = World::on_sale(10).await;
    let ann = world.rich_player("ann", 20 * PRICE).await;
    let invoice = ann.reserve(draw).await;

    let pay = || ann.pay(id(&invoice["payment"]), wallet());
    let answers = join_all((0..8).map(|_| pay())).await;

    assert_eq!(count(&answers, 200, None), 1);
    assert_eq!(count(&answers, 409, Some("payment_not_payable")), 7);
    pay().await.refused(409, "payment_not_payable");
    assert_eq!(ann.balance().await, 19 * PRICE);
    assert_eq!(ticket(&ann, id(&invoice["tickets"][0])).await["number"], 1);
    world.check_invariants().await;
}

#[actix_web::test]
async fn parallel_purchases_never_drive_a_wallet_below_zero() {
    let (world, _, draw) = World::on_sale(10).await;
    let ann = world.rich_player("ann", 3 * PRICE + PRICE / 2).await;

    let order = || ann.order(draw, json!([{"quick_pick": true}]), "wallet");
    let answers = join_all((0..12).map(|_| order())).await;

    assert_eq!(count(&answers, 201, None), 3, "exactly what the wallet can pay");
    assert_eq!(count(&answers, 402, Some("insufficient_funds")), 9);
    assert_eq!(ann.balance().await, PRICE / 2);
    assert_eq!(ann.all("/tickets").await.len(), 3, "a refusal takes nothing and leaves nothing");
    assert_eq!(ann.all("/payments").await.len(), 3 + 1, "the purchases and the deposit");
    world.check_invariants().await;
}

#[actix_web::test]
async fn parallel_payments_never_drive_a_wallet_below_zero() {
    let (world, _, draw) = World::on_sale(10).await;
    let ann = world.rich_player("ann", 4 * PRICE - 1).await;
    let invoices = join_all((0..10).map(|_| ann.reserve(draw))).await;

    let answers = join_all(invoices.iter().map(|it| ann.pay(id(&it["payment"]), wallet()))).await;

    assert_eq!(count(&answers, 200, None), 3, "exactly what the wallet can pay");
    assert_eq!(count(&answers, 402, Some("insufficient_funds")), 7);
    assert_eq!(ann.balance().await, PRICE - 1);
    let unpaid = answers.iter().position(|it| it.status == 402).unwrap();
    let unpaid = id(&invoices[unpaid]["payment"]);
    assert_eq!(payment(&ann, unpaid).await["status"], "pending");
    ann.deposit(1).await;
    assert_eq!(ann.pay(unpaid, wallet()).await.expect(200)["status"], "paid");
    assert_eq!(ann.balance().await, 0);
    world.check_invariants().await;
}

#[actix_web::test]
async fn a_wallet_that_covers_half_an_order_pays_for_nothing() {
    let (world, _, draw) = World::on_sale(10).await;
    let ann = world.rich_player("ann", 2 * PRICE).await;
    let three = json!([{"quick_pick": true}, {"from_pool": true}, {"numbers": [1, 2, 3, 4, 5]}]);
    let pool = ann.all(&format!("/draws/{draw}/pool")).await;

    ann.order(draw, three, "wallet").await.refused(402, "insufficient_funds");

    assert_eq!(ann.balance().await, 2 * PRICE);
    assert_eq!(ann.all("/tickets").await.len(), 0);
    assert_eq!(ann.all(&format!("/draws/{draw}/pool")).await, pool);
    let all = vec![from_pool(); pool.len()];
    ann.order(draw, json!(all), "later").await.expect(201);
    world.check_invariants().await;
}

#[actix_web::test]
async fn the_payment_of_another_user_can_be_neither_paid_nor_seen() {
    let (world, _, draw) = World::on_sale(10).await;
    let ann = world.rich_player("ann", PRICE).await;
    let bob = world.rich_player("bob", PRICE).await;
    let invoice = ann.reserve(draw).await;
    let payment = id(&invoice["payment"]);

    bob.pay(payment, wallet()).await.refused(404, "not_found");
    bob.pay(payment, card(GOOD_CARD)).await.refused(404, "not_found");
    bob.get(&format!("/payments/{payment}")).await.refused(404, "not_found");
    bob.pay("0190e0a0-0000-7000-8000-000000000000", wallet()).await.refused(404, "not_found");
    bob.pay("nonsense", wallet()).await.refused(404, "not_found");

    assert_eq!((ann.balance().await, bob.balance().await), (PRICE, PRICE));
    assert_eq!(ann.pay(payment, wallet()).await.expect(200)["status"], "paid");
    world.check_invariants().await;
}

#[actix_web::test]
async fn only_the_wallet_or_a_known_card_token_can_pay() {
    let (world, _, draw) = World::on_sale(10).await;
    let ann = world.rich_player("ann", PRICE).await;
    let invoice = ann.reserve(draw).await;
    for body in [
        json!({}),
        json!({"method": "cash"}),
        json!({"method": "card"}),
        json!({"method": "card", "token": "tok_unknown"}),
        json!({"method": "card", "token": ""}),
        json!({"method": "card", "token": 7}),
        json!({"method": "wallet", "amount": 1}),
    ] {
        let answer = ann.pay(id(&invoice["payment"]), body.clone()).await;
        assert!(answer.is(422, "validation_failed"), "{body}: {}", answer.text);
    }
    let deposit = ann.deposit(5).await;
    ann.pay(id(&deposit), wallet()).await.refused(409, "payment_not_payable");
    assert_eq!(payment(&ann, id(&invoice["payment"])).await["status"], "pending");
    world.check_invariants().await;
}

// Refunds.

#[actix_web::test]
async fn cancelling_refunds_every_payer_exactly_once() {
    let (mut world, admin, draw) = World::on_sale(10).await;
    let two = json!([{"quick_pick": true}, {"from_pool": true}]);
    admin.deposit(PRICE).await;
    admin.buy_quick(draw, 1).await;
    let ann = world.rich_player("ann", 10 * PRICE).await;
    ann.buy_quick(draw, 3).await;
    ann.order(draw, two.clone(), "wallet").await.expect(201);
    let bob = world.player("bob").await;
    let by_card = bob.order(draw, two.clone(), "later").await.expect(201);
    bob.pay(id(&by_card["payment"]), card(GOOD_CARD)).await.expect(200);
    let cid = world.rich_player("cid", PRICE).await;
    let smaller = cid.order(draw, two, "later").await.expect(201);
    cid.delete(&format!("/tickets/{}", id(&smaller["tickets"][0]))).await.expect(204);
    cid.pay(id(&smaller["payment"]), wallet()).await.expect(200);
    let dan = world.rich_player("dan", PRICE).await;
    let unpaid = dan.reserve(draw).await;

    let answers = join_all((0..4).map(|_| admin.cancel(draw))).await;

    assert_eq!(count(&answers, 200, None), 4, "a step already taken is 200 again");
    world.until_draw_is(draw, "cancelled").await;
    admin.cancel(draw).await.expect(200);
    world.restart().await;
    world.reconnect(&admin).cancel(draw).await.expect(200);
    for (who, balance, paid) in [(&admin, 1, 1), (&ann, 10, 2), (&bob, 2, 1), (&cid, 1, 1), (&dan, 1, 0)] {
        let who = world.reconnect(who);
        assert_eq!(who.balance().await, balance * PRICE, "{}", who.name);
        let transfers = who.all("/wallet/transfers").await;
        assert_eq!(transfers.iter().filter(|it| it["kind"] == "refund").count(), paid, "{}", who.name);
        let payments = who.all("/payments").await;
        let purchases = payments.iter().filter(|it| it["kind"] == "purchase" && it["status"] == "refunded");
        assert_eq!(purchases.count(), paid, "{}", who.name);
        for ticket in who.all("/tickets").await {
            let status = if ticket["number"].is_null() { "expired" } else { "refunded" };
            assert_eq!(ticket["status"], status, "{}: {ticket}", who.name);
        }
    }
    let dan = world.reconnect(&dan);
    assert_eq!(payment(&dan, id(&unpaid["payment"])).await["status"], "expired");
    dan.pay(id(&unpaid["payment"]), wallet()).await.refused(409, "payment_not_payable");
    world.check_invariants().await;
}

// Lists and details.

#[actix_web::test]
async fn a_wallet_lists_its_transfers_newest_first_with_the_balance_after_each() {
    let (world, admin, draw) = World::on_sale(10).await;
    let ann = world.player("ann").await;
    assert_eq!(ann.all("/wallet/transfers").await.len(), 0);
    let first = ann.deposit(3 * PRICE).await;
    world.advance(SignedDuration::from_secs(1));
    let bought = ann.buy_quick(draw, 2).await;
    let second = ann.deposit(7).await;
    admin.cancel(draw).await.expect(200);

    let transfers = ann.all("/wallet/transfers?limit=1").await;

    let expected = [
        ("refund", 2 * PRICE, 3 * PRICE + 7, id(&bought["payment"])),
        ("deposit", 7, PRICE + 7, id(&second)),
        ("purchase", -2 * PRICE, PRICE, id(&bought["payment"])),
        ("deposit", 3 * PRICE, 3 * PRICE, id(&first)),
    ];
    assert_eq!(transfers.len(), expected.len());
    for (transfer, (kind, amount, after, reference)) in transfers.iter().zip(expected) {
        let names = ["amount", "balance_after", "created_at", "id", "kind", "reference"];
        assert_eq!(fields(transfer), names);
        assert_eq!((transfer["kind"].as_str(), transfer["amount"].as_i64()), (Some(kind), Some(amount)));
        assert_eq!(transfer["balance_after"], after, "{transfer}");
        assert_eq!(transfer["reference"], reference, "{transfer}");
    }
    assert_eq!(transfers[3]["created_at"], "2030-05-01T12:00:00Z");
    assert_eq!(ann.get("/wallet").await.expect(200), json!({"balance": 3 * PRICE + 7, "currency": "RUB"}));
    let bob = world.player("bob").await;
    assert_eq!(bob.all("/wallet/transfers").await.len(), 0, "one's own only");
    world.check_invariants().await;
}

#[actix_web::test]
async fn a_payment_shows_each_of_its_states() {
    let (world, _, draw) = World::on_sale(10).await;
    let ann = world.rich_player("ann", 5 * PRICE).await;
    world.advance(SignedDuration::from_secs(10));
    let lines = json!([{"quick_pick": true}, {"quick_pick": true}]);

    let ordered = ann.order(draw, lines, "later").await.expect(201);
    let pending = &ordered["payment"];
    let names = [
        "amount",
        "created_at",
        "currency",
        "failure_code",
        "id",
        "kind",
        "method",
        "status",
        "ticket_ids",
        "updated_at",
    ];
    assert_eq!(fields(pending), names);
    let tickets: Vec<&str> = ordered["tickets"].as_array().unwrap().iter().map(id).collect();
    assert_eq!(
        *pending,
        json!({
            "id": id(pending), "kind": "purchase", "status": "pending", "amount": 2 * PRICE, "currency": "RUB",
            "method": null, "ticket_ids": tickets, "failure_code": null,
            "created_at": "2030-05-01T12:00:10Z", "updated_at": "2030-05-01T12:00:10Z",
        })
    );
    assert_eq!(payment(&ann, id(pending)).await, *pending);

    world.advance(SignedDuration::from_secs(90));
    let paid = ann.pay(id(pending), wallet()).await.expect(200);
    let mut expected = pending.clone();
    expected["status"] = json!("paid");
    expected["method"] = json!("wallet");
    expected["updated_at"] = json!("2030-05-01T12:01:40Z");
    assert_eq!(paid, expected);
    assert_eq!(payment(&ann, id(pending)).await, paid);

    let at_once = ann.buy(draw, &[1, 2, 3, 4, 5]).await;
    assert_eq!((&at_once["payment"]["status"], &at_once["payment"]["method"]), (&json!("paid"), &json!("wallet")));
    let listed = ann.all("/payments?limit=2").await;
    assert_eq!(listed.len(), 3, "newest first, the deposit last");
    assert_eq!(listed[..2], [at_once["payment"].clone(), paid]);
    assert_eq!(listed[2]["kind"], "deposit");
    world.check_invariants().await;
}

/// The ids of older payments and tickets are not consecutive: a deposit can be between them.
#[actix_web::test]
async fn a_page_that_begins_between_a_payment_and_its_tickets_lists_the_payment() {
    let world = World::new().await;
    let draw = world.admin().await.open_draw(&world, 0).await;
    let ann = world.rich_player("ann", 10 * PRICE).await;
    ann.buy_quick(draw, 1).await;
    let bought = ann.buy_quick(draw, 2).await;
    ann.buy_quick(draw, 1).await;
    let first: uuid::Uuid = id(&bought["tickets"][0]).parse().unwrap();
    let moved = world.sql().await.execute("UPDATE payments SET id = $1 WHERE kind = 'deposit'", &[&first]).await;
    assert_eq!(moved.unwrap(), 1);

    let whole = ann.get("/payments").await.expect(200)["items"].clone();
    let kinds: Vec<_> = whole.as_array().unwrap().iter().map(|payment| payment["kind"].clone()).collect();
    assert_eq!(kinds, ["purchase", "deposit", "purchase", "purchase"]);
    for size in [1, 2, 3] {
        assert_eq!(json!(ann.all(&format!("/payments?limit={size}")).await), whole, "{size} a page");
    }
}
