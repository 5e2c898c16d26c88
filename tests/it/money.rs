//! Wallets, payments, refunds: what must never happen to money.

use futures_util::future::join_all;
use jiff::SignedDuration;
use lottery::actors::draws::SaleError;
use lottery::config::{Config, LotteryConfig, PaysConfig, PrizeConfig};
use lottery::domain::id::DrawId;
use lottery::domain::payment::Payment;
use lottery::domain::record::Charge;
use serde_json::{Value, json};

use crate::world::{Answer, Person, World};

/// Of a ticket of 5 of 36.
const PRICE: i64 = 10_000;

fn id(thing: &Value) -> &str {
    thing["id"].as_str().unwrap()
}

fn wallet() -> Value {
    json!({"method": "wallet"})
}

fn card(token: &str) -> Value {
    json!({"method": "card", "token": token})
}

/// How many were answered so; no code is a success.
fn count(answers: &[Answer], status: u16, code: Option<&str>) -> usize {
    answers.iter().filter(|it| it.status == status && it.body["code"].as_str() == code).count()
}

/// The field names of an object, in alphabetical order.
fn fields(object: &Value) -> Vec<&str> {
    let mut names: Vec<&str> = object.as_object().unwrap().keys().map(String::as_str).collect();
    names.sort_unstable();
    names
}

/// A world with an open draw of 5 of 36 and ten tickets in its pool.
async fn on_sale() -> (World, Person, i64) {
    let world = World::new().await;
    let admin = world.admin().await;
    let draw = admin.open_draw(&world, 10).await;
    (world, admin, draw)
}

async fn payment(who: &Person, id: &str) -> Value {
    who.get(&format!("/payments/{id}")).await.expect(200)
}

async fn ticket(who: &Person, id: &str) -> Value {
    who.get(&format!("/tickets/{id}")).await.expect(200)
}

/// The provider tells the end of a charge that it has taken its time over.
async fn provider_tells(
    world: &World,
    draw: i64,
    who: &Person,
    payment: &str,
    charge: Charge,
) -> Result<Payment, SaleError> {
    world.app().state.draws.end_charge(DrawId(draw), who.id, payment.parse().unwrap(), charge, None).await
}

// Paying.

#[actix_web::test]
async fn one_invoice_paid_eight_times_at_once_is_charged_once() {
    let (world, _, draw) = on_sale().await;
    let ann = world.rich_player("ann", 20 * PRICE).await;
    let invoice = ann.reserve(draw).await;

    let pay = || ann.pay(id(&invoice["payment"]), wallet());
    let answers = join_all((0..8).map(|_| pay())).await;

    assert_eq!(count(&answers, 200, None), 1);
    assert_eq!(count(&answers, 409, Some("payment_not_payable")), 7);
    pay().await.refused(409, "payment_not_payable");
    assert_eq!(ann.balance().await, 19 * PRICE);
    assert_eq!(ticket(&ann, id(&invoice["tickets"][0])).await["number"], 1);
    world.check_books().await;
}

#[actix_web::test]
async fn parallel_purchases_never_drive_a_wallet_below_zero() {
    let (world, _, draw) = on_sale().await;
    let ann = world.rich_player("ann", 3 * PRICE + PRICE / 2).await;

    let order = || ann.order(draw, json!([{"quick_pick": true}]), "wallet");
    let answers = join_all((0..12).map(|_| order())).await;

    assert_eq!(count(&answers, 201, None), 3, "exactly what the wallet can pay");
    assert_eq!(count(&answers, 402, Some("insufficient_funds")), 9);
    assert_eq!(ann.balance().await, PRICE / 2);
    assert_eq!(ann.all("/tickets").await.len(), 3, "a refusal takes nothing and leaves nothing");
    assert_eq!(ann.all("/payments").await.len(), 3 + 1, "the purchases and the deposit");
    world.check_books().await;
}

#[actix_web::test]
async fn parallel_payments_never_drive_a_wallet_below_zero() {
    let (world, _, draw) = on_sale().await;
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
    world.check_books().await;
}

#[actix_web::test]
async fn a_wallet_that_pays_for_half_an_order_pays_for_nothing() {
    let (world, _, draw) = on_sale().await;
    let ann = world.rich_player("ann", 2 * PRICE).await;
    let three = json!([{"quick_pick": true}, {"from_pool": true}, {"numbers": [1, 2, 3, 4, 5]}]);
    let pool = ann.all(&format!("/draws/{draw}/pool")).await;

    ann.order(draw, three, "wallet").await.refused(402, "insufficient_funds");

    assert_eq!(ann.balance().await, 2 * PRICE);
    assert_eq!(ann.all("/tickets").await.len(), 0);
    assert_eq!(ann.all(&format!("/draws/{draw}/pool")).await, pool);
    let all = vec![json!({"from_pool": true}); pool.len()];
    ann.order(draw, json!(all), "later").await.expect(201);
    world.check_books().await;
}

#[actix_web::test]
async fn somebody_elses_invoice_is_not_there_to_be_paid_or_seen() {
    let (world, _, draw) = on_sale().await;
    let ann = world.rich_player("ann", PRICE).await;
    let bob = world.rich_player("bob", PRICE).await;
    let invoice = ann.reserve(draw).await;
    let payment = id(&invoice["payment"]);

    bob.pay(payment, wallet()).await.refused(404, "not_found");
    bob.pay(payment, card("tok_visa")).await.refused(404, "not_found");
    bob.get(&format!("/payments/{payment}")).await.refused(404, "not_found");
    bob.pay("0190e0a0-0000-7000-8000-000000000000", wallet()).await.refused(404, "not_found");
    bob.pay("nonsense", wallet()).await.refused(404, "not_found");

    assert_eq!((ann.balance().await, bob.balance().await), (PRICE, PRICE));
    assert_eq!(ann.pay(payment, wallet()).await.expect(200)["status"], "paid");
    world.check_books().await;
}

#[actix_web::test]
async fn a_payment_is_made_with_a_wallet_or_a_card_that_the_provider_knows() {
    let (world, _, draw) = on_sale().await;
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
    world.check_books().await;
}

// Cards.

#[actix_web::test]
async fn a_deposit_ends_as_its_card_says() {
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
    world.check_books().await;
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
    world.check_books().await;
}

#[actix_web::test]
async fn a_declined_card_leaves_the_invoice_to_be_paid_with_a_good_one() {
    let (world, _, draw) = on_sale().await;
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
    world.check_books().await;
}

#[actix_web::test]
async fn parallel_card_payments_of_one_invoice_charge_the_card_once() {
    let (world, _, draw) = on_sale().await;
    let ann = world.rich_player("ann", PRICE).await;
    let invoice = ann.reserve(draw).await;
    let payment = id(&invoice["payment"]);
    let bodies = [card("tok_visa"), wallet()].into_iter().cycle().take(8);

    let answers = join_all(bodies.map(|body| ann.pay(payment, body))).await;

    assert_eq!(count(&answers, 200, None), 1);
    assert_eq!(count(&answers, 409, Some("payment_not_payable")), 7);
    let taken = format!("SELECT count(*) FROM transfers WHERE reference = '{payment}'");
    assert_eq!(world.count(&taken).await, 1);
    let paid = answers.iter().find(|it| it.status == 200).unwrap();
    let left = if paid.body["method"] == "card" { PRICE } else { 0 };
    assert_eq!(ann.balance().await, left);
    world.check_books().await;
}

#[actix_web::test]
async fn a_slow_card_holds_its_tickets_until_the_cut_off_and_money_that_comes_later_goes_to_the_wallet() {
    let (world, admin, draw) = on_sale().await;
    let ann = world.rich_player("ann", PRICE).await;
    let slow = ann.reserve(draw).await;
    let (bill, seat) = (id(&slow["payment"]), id(&slow["tickets"][0]));

    let processing = ann.pay(bill, card("tok_async")).await.expect(200);
    assert_eq!((&processing["status"], &processing["method"]), (&json!("processing"), &json!("card")));
    ann.pay(bill, wallet()).await.refused(409, "payment_not_payable");
    ann.pay(bill, card("tok_visa")).await.refused(409, "payment_not_payable");
    ann.delete(&format!("/tickets/{seat}")).await.refused(409, "ticket_not_reserved");

    // Its own time runs out with the first of these; the second must still end on its own.
    for _ in 0..2 {
        let unpaid = ann.reserve(draw).await;
        world.advance(SignedDuration::from_mins(5));
        let gone = || async { ticket(&ann, id(&unpaid["tickets"][0])).await["status"] == "expired" };
        world.until("an unpaid reservation beside it expires", gone).await;
        assert_eq!(ticket(&ann, seat).await["status"], "reserved", "held while the card is charged");
        assert_eq!(payment(&ann, bill).await["status"], "processing");
    }

    world.advance(SignedDuration::from_mins(60));
    world.until_draw_is(draw, "closed").await;
    assert_eq!(ticket(&ann, seat).await["status"], "expired");
    assert_eq!(payment(&ann, bill).await["status"], "processing");

    let credited = provider_tells(&world, draw, &ann, bill, Charge::Paid).await.unwrap();
    assert_eq!(credited.status.as_str(), "refunded");
    assert_eq!(payment(&ann, bill).await["status"], "refunded");
    assert_eq!(ann.balance().await, 2 * PRICE);
    assert!(provider_tells(&world, draw, &ann, bill, Charge::Paid).await.is_err(), "told twice");
    assert_eq!(ann.balance().await, 2 * PRICE);
    admin.step(draw, "conduct").await.expect(200);
    assert!(provider_tells(&world, draw, &ann, bill, Charge::Paid).await.is_err(), "told of a draw that is over");
    assert_eq!(ann.balance().await, 2 * PRICE);
    world.check_books().await;
}

#[actix_web::test]
async fn a_slow_card_pays_before_the_cut_off_also_after_a_restart() {
    let (mut world, _, draw) = on_sale().await;
    let ann = world.player("ann").await;
    let (good, bad) = (ann.reserve(draw).await, ann.reserve(draw).await);
    for invoice in [&good, &bad] {
        ann.pay(id(&invoice["payment"]), card("tok_async")).await.expect(200);
    }
    world.advance(SignedDuration::from_mins(20));
    world.restart().await;
    let ann = world.again(&ann);

    let paid = provider_tells(&world, draw, &ann, id(&good["payment"]), Charge::Paid).await.unwrap();
    let declined = Charge::Declined("card_declined".to_owned());
    let back = provider_tells(&world, draw, &ann, id(&bad["payment"]), declined).await.unwrap();

    assert_eq!((paid.status.as_str(), back.status.as_str()), ("paid", "pending"));
    assert_eq!(ticket(&ann, id(&good["tickets"][0])).await["number"], 1);
    assert_eq!(ann.balance().await, 0, "the ticket is paid, the wallet is not");
    let gone = || async { ticket(&ann, id(&bad["tickets"][0])).await["status"] == "expired" };
    world.until("a declined reservation whose time is up expires", gone).await;
    let expired = payment(&ann, id(&bad["payment"])).await;
    assert_eq!((&expired["status"], &expired["failure_code"]), (&json!("expired"), &json!("card_declined")));
    world.check_books().await;
}

#[actix_web::test]
async fn money_for_a_draw_that_was_cancelled_meanwhile_goes_to_the_wallet() {
    let (world, admin, draw) = on_sale().await;
    let ann = world.player("ann").await;
    let (good, bad) = (ann.reserve(draw).await, ann.reserve(draw).await);
    for invoice in [&good, &bad] {
        ann.pay(id(&invoice["payment"]), card("tok_async")).await.expect(200);
    }
    admin.cancel(draw).await.expect(200);
    assert_eq!(ann.balance().await, 0, "nothing came in yet, so nothing goes back");

    let end = |invoice: &Value, charge| {
        let payment = id(&invoice["payment"]).to_owned();
        let (world, ann) = (&world, &ann);
        async move { provider_tells(world, draw, ann, &payment, charge).await }
    };
    let told = join_all((0..4).map(|_| end(&good, Charge::Paid))).await;
    end(&bad, Charge::Declined("card_declined".to_owned())).await.unwrap();

    assert_eq!(told.iter().filter(|it| it.is_ok()).count(), 1, "told four times, true once");
    assert_eq!(ann.balance().await, PRICE);
    assert_eq!(payment(&ann, id(&good["payment"])).await["status"], "refunded");
    assert_eq!(payment(&ann, id(&bad["payment"])).await["status"], "expired");
    world.check_books().await;
}

// Refunds.

#[actix_web::test]
async fn cancelling_refunds_every_payer_exactly_once_and_not_only_the_caller() {
    let (mut world, admin, draw) = on_sale().await;
    let two = json!([{"quick_pick": true}, {"from_pool": true}]);
    admin.deposit(PRICE).await;
    admin.buy_quick(draw, 1).await;
    let ann = world.rich_player("ann", 10 * PRICE).await;
    ann.buy_quick(draw, 3).await;
    ann.order(draw, two.clone(), "wallet").await.expect(201);
    let bob = world.player("bob").await;
    let by_card = bob.order(draw, two.clone(), "later").await.expect(201);
    bob.pay(id(&by_card["payment"]), card("tok_visa")).await.expect(200);
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
    world.again(&admin).cancel(draw).await.expect(200);
    for (who, balance, paid) in [(&admin, 1, 1), (&ann, 10, 2), (&bob, 2, 1), (&cid, 1, 1), (&dan, 1, 0)] {
        let who = world.again(who);
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
    let dan = world.again(&dan);
    assert_eq!(payment(&dan, id(&unpaid["payment"])).await["status"], "expired");
    dan.pay(id(&unpaid["payment"]), wallet()).await.refused(409, "payment_not_payable");
    world.check_books().await;
}

// What is shown.

#[actix_web::test]
async fn a_wallet_lists_its_transfers_newest_first_with_what_each_left() {
    let (world, admin, draw) = on_sale().await;
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
    world.check_books().await;
}

#[actix_web::test]
async fn a_payment_tells_its_life() {
    let (world, _, draw) = on_sale().await;
    let ann = world.rich_player("ann", 5 * PRICE).await;
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
            "created_at": "2030-05-01T12:00:00Z", "updated_at": "2030-05-01T12:00:00Z",
        })
    );
    assert_eq!(payment(&ann, id(pending)).await, *pending);

    world.advance(SignedDuration::from_secs(90));
    let paid = ann.pay(id(pending), wallet()).await.expect(200);
    let mut expected = pending.clone();
    expected["status"] = json!("paid");
    expected["method"] = json!("wallet");
    expected["updated_at"] = json!("2030-05-01T12:01:30Z");
    assert_eq!(paid, expected);
    assert_eq!(payment(&ann, id(pending)).await, paid);

    let at_once = ann.buy(draw, &[1, 2, 3, 4, 5]).await;
    assert_eq!((&at_once["payment"]["status"], &at_once["payment"]["method"]), (&json!("paid"), &json!("wallet")));
    let listed = ann.all("/payments?limit=2").await;
    assert_eq!(listed.len(), 3, "newest first, the deposit last");
    assert_eq!(listed[..2], [at_once["payment"].clone(), paid]);
    assert_eq!(listed[2]["kind"], "deposit");
    world.check_books().await;
}

// Prizes.

/// A lottery of few combinations, whose prizes can be worked out by hand.
fn with_lottery(
    config: &mut Config,
    (pick, of): (u8, u8),
    price: i64,
    fund_share: u16,
    prizes: &[(u8, PaysConfig)],
) {
    let prizes = prizes.iter().map(|&(matches, pays)| PrizeConfig { matches, pays }).collect();
    let (id, name) = ("tiny".to_owned(), "Tiny".to_owned());
    config.lotteries.push(LotteryConfig { id, name, pick, of, price, fund_share, prizes });
}

/// Three players with all six combinations of 2 of 4: whatever is drawn, one of them holds the ticket
/// with both numbers and the one with none, and each of the others two tickets with one.
async fn three_who_hold_everything(world: &World, draw: i64) -> [Person; 3] {
    let mut players = Vec::new();
    for (name, [one, other]) in [("ann", [[1, 2], [3, 4]]), ("bob", [[1, 3], [2, 4]]), ("cid", [[1, 4], [2, 3]])] {
        let player = world.rich_player(name, 1_000).await;
        player.buy(draw, &one).await;
        player.buy(draw, &other).await;
        players.push(player);
    }
    players.try_into().unwrap_or_else(|_| unreachable!())
}

fn hits(ticket: &Value, winning: &Value) -> usize {
    let winning = winning.as_array().unwrap();
    ticket["numbers"].as_array().unwrap().iter().filter(|number| winning.contains(number)).count()
}

#[actix_web::test]
async fn every_winner_is_credited_and_every_loser_knows() {
    let shares = [(2, PaysConfig::Share(6_000)), (1, PaysConfig::Share(4_000))];
    let world = World::with(|config| with_lottery(config, (2, 4), 101, 5_000, &shares)).await;
    let admin = world.admin().await;
    let draw = admin.open_draw_of(&world, "tiny").await;
    let players = three_who_hold_everything(&world, draw).await;

    let result = admin.conduct(draw).await;

    // Six tickets at 101 are 606, half of it the fund: 303. Of it 60 % are 181 (and 0.8) for one winner,
    // 40 % are 121 (and 0.2), which is 30 for each of four (and 1 over).
    assert_eq!((&result["tickets_sold"], &result["prize_fund"]), (&json!(6), &json!(303)));
    assert_eq!(
        result["tiers"],
        json!([
            {"matches": 2, "winners": 1, "prize": 181, "total": 181},
            {"matches": 1, "winners": 4, "prize": 30, "total": 120},
        ])
    );
    assert_eq!(result["rollover"], 2, "what does not divide rolls over");
    let mut seen = Vec::new();
    for player in &players {
        let mut won = 0;
        for ticket in player.all("/tickets").await {
            let hits = hits(&ticket, &result["winning_numbers"]);
            let prize = [0, 30, 181][hits];
            assert_eq!(ticket["matches"], hits, "{ticket}");
            assert_eq!(ticket["prize"], prize, "{ticket}");
            assert_eq!(ticket["status"], if hits == 0 { "lost" } else { "won" }, "no ticket stays paid: {ticket}");
            won += prize;
            seen.push(hits);
        }
        assert_eq!(player.balance().await, 1_000 - 2 * 101 + won, "{}", player.name);
        let transfers = player.all("/wallet/transfers").await;
        let prizes = transfers.iter().filter(|it| it["kind"] == "prize");
        assert_eq!(prizes.map(|it| it["amount"].as_i64().unwrap()).sum::<i64>(), won, "{}", player.name);
    }
    seen.sort_unstable();
    assert_eq!(seen, [0, 1, 1, 1, 1, 2]);
    assert_eq!(world.count("SELECT balance FROM accounts WHERE kind = 'revenue'").await, 303);
    let next = admin.open_draw_of(&world, "tiny").await;
    assert_eq!(admin.get(&format!("/draws/{next}")).await.expect(200)["prize_fund"], 2);
    world.check_books().await;
}

#[actix_web::test]
async fn fixed_prizes_that_exceed_the_fund_are_paid_from_the_reserve() {
    let prizes = [(2, PaysConfig::Share(10_000)), (1, PaysConfig::Fixed(100))];
    let world = World::with(|config| with_lottery(config, (2, 4), 10, 1_000, &prizes)).await;
    let admin = world.admin().await;
    let draw = admin.open_draw_of(&world, "tiny").await;
    let players = three_who_hold_everything(&world, draw).await;

    let result = admin.conduct(draw).await;

    // Sales of 60 make a fund of 6; four fixed prizes of 100 want 394 more, and nothing is left to share.
    assert_eq!((&result["prize_fund"], &result["rollover"]), (&json!(6), &json!(0)));
    assert_eq!(
        result["tiers"],
        json!([
            {"matches": 2, "winners": 1, "prize": 0, "total": 0},
            {"matches": 1, "winners": 4, "prize": 100, "total": 400},
        ])
    );
    let mut balances = join_all(players.iter().map(Person::balance)).await;
    balances.sort_unstable();
    assert_eq!(balances, [1_000 - 20, 1_000 - 20 + 200, 1_000 - 20 + 200]);
    assert_eq!(world.count("SELECT balance FROM accounts WHERE kind = 'reserve'").await, -394);
    assert_eq!(world.count("SELECT balance FROM accounts WHERE kind = 'revenue'").await, 54);
    world.check_books().await;
}

#[actix_web::test]
async fn a_jackpot_nobody_won_rolls_over_to_whichever_draw_is_conducted_next() {
    // Ten numbers of 63: nobody will see it won.
    let prizes = [(10, PaysConfig::Share(10_000))];
    let mut world = World::with(|config| with_lottery(config, (10, 63), 100, 5_000, &prizes)).await;
    let admin = world.admin().await;
    let ann = world.rich_player("ann", 10_000).await;
    let mut draws = Vec::new();
    for _ in 0..4 {
        draws.push(admin.open_draw_of(&world, "tiny").await);
    }
    let [first, second, called_off, last] = draws[..] else { unreachable!() };
    for (draw, tickets) in [(first, 3), (second, 2), (called_off, 5)] {
        ann.buy_quick(draw, tickets).await;
    }
    let fund_is = async |admin: &Person, draw: i64, fund: i64| {
        let path = format!("/draws/{draw}");
        let shown = || async { admin.get(&path).await.expect(200)["prize_fund"] == fund };
        world.until(&format!("the fund of draw {draw} is {fund}"), shown).await;
    };
    for (draw, fund) in [(first, 150), (second, 100), (last, 0)] {
        fund_is(&admin, draw, fund).await;
    }

    let lost = admin.conduct(second).await;
    assert_eq!((&lost["prize_fund"], &lost["rollover"]), (&json!(100), &json!(100)));
    for (draw, fund) in [(second, 100), (first, 250), (called_off, 350), (last, 100)] {
        fund_is(&admin, draw, fund).await;
    }
    admin.cancel(called_off).await.expect(200);
    for (draw, fund) in [(called_off, 0), (first, 250), (last, 100)] {
        fund_is(&admin, draw, fund).await;
    }
    let lost = admin.conduct(first).await;
    assert_eq!((&lost["prize_fund"], &lost["rollover"]), (&json!(250), &json!(250)));
    fund_is(&admin, last, 250).await;

    world.restart().await;
    let (admin, ann) = (world.again(&admin), world.again(&ann));
    assert_eq!(admin.get(&format!("/draws/{last}")).await.expect(200)["prize_fund"], 250);
    assert_eq!(admin.conduct(last).await["rollover"], 250, "a draw without a ticket passes it on");
    assert_eq!(ann.balance().await, 10_000 - 500);
    world.check_books().await;
}
