//! Cards: deposits and payments of reservations, and late answers of a provider.

use lottery::actors::messages::SaleError;
use lottery::domain::charge::ChargeName;
use lottery::domain::id::{DrawId, PaymentId};
use lottery::domain::payment::Payment;
use lottery::domain::record::Charge;

use super::*;

/// The provider ends the charge of a payment that was processing then.
async fn provider_tells(
    world: &World,
    draw: i64,
    who: &User,
    processing: &Value,
    charge: Charge,
) -> Result<Payment, SaleError> {
    let payment = PaymentId(id(processing).parse().unwrap());
    let name = ChargeName { payment, begun: processing["updated_at"].as_str().unwrap().parse().unwrap() };
    world.app().state.charges.end_charge(Some(DrawId(draw)), who.id, name, charge, None, None).await
}

#[actix_web::test]
async fn a_deposit_succeeds_fails_or_waits_as_its_card_says() {
    let world = World::new().await;
    let ann = world.player("ann").await;
    for (token, status, failure, balance) in [
        ("tok_visa", "paid", Value::Null, 500),
        ("tok_declined", "failed", json!("card_declined"), 500),
        ("tok_insufficient", "failed", json!("insufficient_funds"), 500),
        ("tok_async", "processing", Value::Null, 500),
        ("tok_visa", "paid", Value::Null, 1_000),
    ] {
        let made = ann.post("/wallet/deposits", json!({"amount": 500, "token": token})).await.expect(201);
        assert_eq!((&made["status"], &made["failure_code"]), (&json!(status), &failure), "{token}");
        assert_eq!((&made["kind"], &made["method"]), (&json!("deposit"), &json!("card")));
        assert_eq!((&made["amount"], &made["ticket_ids"]), (&json!(500), &json!([])));
        assert_eq!(payment(&ann, id(&made)).await, made);
        assert_eq!(ann.balance().await, balance, "{token}");
    }
    world.check_invariants().await;
}

#[actix_web::test]
async fn a_deposit_is_a_whole_amount_within_bounds() {
    let world = World::new().await;
    let ann = world.player("ann").await;
    let most = 1_000_000_000_000_i64;
    for amount in ["0", "-1", "1000000000001", "99999999999999999999", "1.5", "1.0", "1e2", "\"5\"", "null", "[1]"]
    {
        let body = format!("{{\"amount\": {amount}, \"token\": \"tok_visa\"}}");
        let post = ann.request(reqwest::Method::POST, "/wallet/deposits").body(body);
        let answer = ann.send(post.header("content-type", "application/json")).await;
        assert!(answer.is(422, "validation_failed"), "{amount}: {}", answer.text);
        assert_eq!(answer.body["errors"][0]["field"], "amount", "money is never a float: {amount}");
    }
    for (body, field) in [
        (json!({"amount": 1, "token": "tok_nobody"}), "token"),
        (json!({"amount": 1}), "token"),
        (json!({"amount": 1, "token": "tok_visa", "currency": "USD"}), "currency"),
    ] {
        let refusal = ann.post("/wallet/deposits", body).await.refused(422, "validation_failed");
        assert_eq!(refusal["errors"][0]["field"], field);
    }
    assert_eq!((ann.balance().await, ann.all("/payments").await.len()), (0, 0), "a refusal leaves nothing");
    ann.deposit(1).await;
    ann.deposit(most).await;
    assert_eq!(ann.balance().await, most + 1);
    world.check_invariants().await;
}

#[actix_web::test]
async fn after_a_declined_card_the_payment_can_be_paid_with_a_good_one() {
    let (world, _, draw) = World::on_sale(10).await;
    let ann = world.player("ann").await;
    let invoice = ann.reserve(draw).await;
    let pay = |token| ann.pay(id(&invoice["payment"]), card(token));

    for (token, failure) in [("tok_declined", "card_declined"), ("tok_insufficient", "insufficient_funds")] {
        let declined = pay(token).await.expect(200);
        assert_eq!((&declined["status"], &declined["failure_code"]), (&json!("pending"), &json!(failure)));
        assert_eq!(payment(&ann, id(&declined)).await, declined);
        assert_eq!(ticket(&ann, id(&invoice["tickets"][0])).await["status"], "reserved");
    }
    let paid = pay("tok_visa").await.expect(200);

    assert_eq!((&paid["status"], &paid["method"]), (&json!("paid"), &json!("card")));
    assert_eq!(paid["failure_code"], Value::Null);
    assert_eq!(payment(&ann, id(&paid)).await, paid);
    assert_eq!(ticket(&ann, id(&invoice["tickets"][0])).await["status"], "paid");
    assert_eq!(ann.balance().await, 0, "a card is not the wallet");
    world.check_invariants().await;
}

#[actix_web::test]
async fn parallel_card_payments_of_one_reservation_charge_the_card_once() {
    let (world, _, draw) = World::on_sale(10).await;
    let ann = world.rich_player("ann", PRICE).await;
    let invoice = ann.reserve(draw).await;
    let payment = id(&invoice["payment"]);
    let bodies = [card(GOOD_CARD), wallet()].into_iter().cycle().take(8);

    let answers = join_all(bodies.map(|body| ann.pay(payment, body))).await;

    assert_eq!(count(&answers, 200, None), 1);
    assert_eq!(count(&answers, 409, Some("payment_not_payable")), 7);
    let taken = format!("SELECT count(*) FROM transfers WHERE reference = '{payment}'");
    assert_eq!(world.count(&taken).await, 1);
    let paid = answers.iter().find(|it| it.status == 200).unwrap();
    let left = if paid.body["method"] == "card" { PRICE } else { 0 };
    assert_eq!(ann.balance().await, left);
    world.check_invariants().await;
}

#[actix_web::test]
async fn a_slow_card_holds_its_tickets_until_the_cut_off_and_money_that_comes_later_goes_to_the_wallet() {
    let (world, admin, draw) = World::on_sale(10).await;
    let ann = world.rich_player("ann", PRICE).await;
    let slow = ann.reserve(draw).await;
    let (bill, seat) = (id(&slow["payment"]), id(&slow["tickets"][0]));

    let processing = ann.pay(bill, card(SLOW_CARD)).await.expect(200);
    assert_eq!((&processing["status"], &processing["method"]), (&json!("processing"), &json!("card")));
    ann.pay(bill, wallet()).await.refused(409, "payment_not_payable");
    ann.pay(bill, card(GOOD_CARD)).await.refused(409, "payment_not_payable");
    ann.delete(&format!("/tickets/{seat}")).await.refused(409, "ticket_not_reserved");

    // The reservation's time ends with the first of these; the second must still be decided by the card.
    for _ in 0..2 {
        let unpaid = ann.reserve(draw).await;
        world.advance(SignedDuration::from_mins(5));
        let gone = || async { ticket(&ann, id(&unpaid["tickets"][0])).await["status"] == "expired" };
        until("an unpaid reservation beside it expires", gone).await;
        assert_eq!(ticket(&ann, seat).await["status"], "reserved", "held while the card is charged");
        assert_eq!(payment(&ann, bill).await["status"], "processing");
    }

    world.advance(SignedDuration::from_mins(60));
    world.until_draw_is(draw, "closed").await;
    assert_eq!(ticket(&ann, seat).await["status"], "expired");
    assert_eq!(payment(&ann, bill).await["status"], "processing");

    let credited = provider_tells(&world, draw, &ann, &processing, Charge::Paid).await.unwrap();
    assert_eq!(credited.status.as_str(), "refunded");
    assert_eq!(payment(&ann, bill).await["status"], "refunded");
    assert_eq!(ann.balance().await, 2 * PRICE);
    assert!(provider_tells(&world, draw, &ann, &processing, Charge::Paid).await.is_err(), "told twice");
    assert_eq!(ann.balance().await, 2 * PRICE);
    admin.step(draw, "conduct").await.expect(200);
    assert!(
        provider_tells(&world, draw, &ann, &processing, Charge::Paid).await.is_err(),
        "told of a draw that is over"
    );
    assert_eq!(ann.balance().await, 2 * PRICE);
    world.check_invariants().await;
}

#[actix_web::test]
async fn a_slow_card_pays_before_the_cut_off_also_after_a_restart() {
    let (mut world, _, draw) = World::on_sale(10).await;
    let ann = world.player("ann").await;
    let (good, bad) = (ann.reserve(draw).await, ann.reserve(draw).await);
    let paying = async |invoice: &Value| ann.pay(id(&invoice["payment"]), card(SLOW_CARD)).await.expect(200);
    let (paid, declined) = (paying(&good).await, paying(&bad).await);
    world.advance(SignedDuration::from_mins(20));
    world.restart().await;
    let ann = world.reconnect(&ann);

    let paid = provider_tells(&world, draw, &ann, &paid, Charge::Paid).await.unwrap();
    let verdict = Charge::Declined("card_declined".to_owned());
    let back = provider_tells(&world, draw, &ann, &declined, verdict).await.unwrap();

    assert_eq!((paid.status.as_str(), back.status.as_str()), ("paid", "pending"));
    assert_eq!(ticket(&ann, id(&good["tickets"][0])).await["number"], 1);
    assert_eq!(ann.balance().await, 0, "the ticket is paid, the wallet is not");
    let gone = || async { ticket(&ann, id(&bad["tickets"][0])).await["status"] == "expired" };
    until("a declined reservation whose time is up expires", gone).await;
    let expired = payment(&ann, id(&bad["payment"])).await;
    assert_eq!((&expired["status"], &expired["failure_code"]), (&json!("expired"), &json!("card_declined")));
    world.check_invariants().await;
}

#[actix_web::test]
async fn money_for_a_draw_that_was_cancelled_meanwhile_goes_to_the_wallet() {
    let (world, admin, draw) = World::on_sale(10).await;
    let ann = world.player("ann").await;
    let (good, bad) = (ann.reserve(draw).await, ann.reserve(draw).await);
    let paying = async |invoice: &Value| ann.pay(id(&invoice["payment"]), card(SLOW_CARD)).await.expect(200);
    let (paid, declined) = (paying(&good).await, paying(&bad).await);
    admin.cancel(draw).await.expect(200);
    assert_eq!(ann.balance().await, 0, "nothing came in yet, so nothing goes back");

    let end = |processing: &Value, charge| {
        let (world, ann, processing) = (&world, &ann, processing.clone());
        async move { provider_tells(world, draw, ann, &processing, charge).await }
    };
    let told = join_all((0..4).map(|_| end(&paid, Charge::Paid))).await;
    end(&declined, Charge::Declined("card_declined".to_owned())).await.unwrap();

    assert_eq!(told.iter().filter(|it| it.is_ok()).count(), 1, "told four times, true once");
    assert_eq!(ann.balance().await, PRICE);
    assert_eq!(payment(&ann, id(&good["payment"])).await["status"], "refunded");
    assert_eq!(payment(&ann, id(&bad["payment"])).await["status"], "expired");
    world.check_invariants().await;
}
