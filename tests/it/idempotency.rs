//! Idempotency keys over HTTP.

mod age;
mod concurrency;

use futures_util::future::join_all;
use jiff::SignedDuration;
use reqwest::Method;
use reqwest::header::HeaderValue;
use serde_json::{Value, json};

use crate::world::*;

fn quick(payment: &str) -> Value {
    json!({"tickets": [{"quick_pick": true}], "payment": payment})
}

fn tickets(draw: i64) -> String {
    format!("/draws/{draw}/tickets")
}

fn pay(ordered: &Value) -> String {
    format!("/payments/{}/pay", id(&ordered["payment"]))
}

/// A request with a key, and its first answer.
struct Asked {
    path: String,
    key: String,
    body: Value,
    first: Answer,
}

/// Sends a request with a key, which must succeed and not be a replay.
async fn ask(who: &User, path: &str, key: &str, body: Value) -> Asked {
    let first = who.post_keyed(path, key, body.clone()).await;
    assert!(first.status < 300, "{}", first.text);
    assert!(!first.headers.contains_key("idempotency-replayed"), "the first answer is no replay");
    Asked { path: path.to_owned(), key: key.to_owned(), body, first }
}

/// The text of an answer without its receipt, which is the last field.
fn without_receipt(text: &str) -> String {
    let receipt = text.find(",\"receipt\":{");
    receipt.map_or_else(|| text.to_owned(), |at| text[..at].to_owned() + "}")
}

/// A replay is the same answer byte for byte but for the receipt, and marked as a replay.
#[track_caller]
fn is_replay(replay: &Answer, first: &Answer) {
    assert_eq!((replay.status, &replay.text), (first.status, &without_receipt(&first.text)));
    assert_eq!(replay.headers["content-type"], first.headers["content-type"]);
    assert_eq!(replay.headers["idempotency-replayed"], "true");
}

impl Asked {
    async fn is_replayed(&self, who: &User) {
        is_replay(&who.post_keyed(&self.path, &self.key, self.body.clone()).await, &self.first);
    }
}

/// All tickets, payments and transfers of a user.
async fn all_lists(who: &User) -> Vec<Value> {
    let mut all = Vec::new();
    for path in ["/tickets", "/payments", "/wallet/transfers"] {
        all.push(json!(who.all(path).await));
    }
    all
}

/// A raw body with a key.
async fn post_raw(who: &User, path: &str, key: HeaderValue, body: &str) -> Answer {
    let request = who.request(Method::POST, path).header("Idempotency-Key", key);
    who.send(request.header("content-type", "application/json").body(body.to_owned())).await
}

// Replays.

#[actix_web::test]
async fn a_replay_has_the_first_answer_and_no_second_effect() {
    let (mut world, _, draw) = World::on_sale(20).await;
    let ann = world.rich_player("ann", 100 * PRICE).await;
    let sell = tickets(draw);
    let premade = ann.all(&format!("/draws/{draw}/pool")).await.remove(0);
    let mix = json!({"payment": "wallet", "tickets": [
        {"numbers": [9, 8, 7, 6, 5]}, {"quick_pick": true}, {"pool_ticket_id": premade["id"]}, {"from_pool": true},
    ]});
    let later = json!({"tickets": [{"from_pool": true}, {"numbers": [1, 2, 3, 4, 5]}]});
    let mut asked = vec![
        ask(&ann, &sell, "buy", mix).await,
        ask(&ann, &sell, "reserve", later).await,
        ask(&ann, "/wallet/deposits", "fund", json!({"amount": 77, "token": "tok_visa"})).await,
        ask(&ann, "/wallet/deposits", "fund-declined", json!({"amount": 78, "token": "tok_declined"})).await,
        ask(&ann, "/wallet/deposits", "fund-slowly", json!({"amount": 79, "token": "tok_async"})).await,
    ];
    for (key, body) in [("pay", wallet()), ("pay-card", card(GOOD_CARD)), ("pay-slowly", card(SLOW_CARD))] {
        let ordered = ask(&ann, &sell, &format!("order-to-{key}"), quick("later")).await;
        asked.push(ask(&ann, &pay(&ordered.first.body), key, body).await);
        asked.push(ordered);
    }
    let before = all_lists(&ann).await;

    for first in asked.iter().chain(&asked) {
        world.advance(SignedDuration::from_secs(1));
        first.is_replayed(&ann).await;
    }
    assert_eq!(all_lists(&ann).await, before, "one effect");

    world.restart().await;
    let ann = world.reconnect(&ann);
    for first in &asked {
        first.is_replayed(&ann).await;
    }
    assert_eq!(all_lists(&ann).await, before, "one effect, also across a restart");
    world.check_invariants().await;
}

#[actix_web::test]
async fn a_declined_card_is_replayed_as_declined_and_a_new_key_may_pay() {
    let (world, _, draw) = World::on_sale(20).await;
    let ann = world.player("ann").await;
    let ordered = ask(&ann, &tickets(draw), "order", quick("later")).await;
    let bill = pay(&ordered.first.body);
    let declined = ask(&ann, &bill, "first-try", card(DECLINED_CARD)).await;
    assert_eq!(declined.first.body["failure_code"], "card_declined");

    declined.is_replayed(&ann).await;
    let paid = ask(&ann, &bill, "second-try", card(GOOD_CARD)).await;

    assert_eq!(paid.first.body["status"], "paid");
    for first in [&ordered, &declined, &paid] {
        first.is_replayed(&ann).await;
    }
    world.check_invariants().await;
}

#[actix_web::test]
async fn an_order_is_replayed_as_first_answered_after_its_tickets_changed() {
    let (mut world, _, draw) = World::on_sale(20).await;
    let ann = world.rich_player("ann", 100 * PRICE).await;
    let three = json!({"tickets": [{"from_pool": true}, {"quick_pick": true}, {"from_pool": true}]});
    let order = async |key: &'static str| ask(&ann, &tickets(draw), key, three.clone()).await;
    let (paid, smaller) = (order("paid").await, order("smaller").await);
    let (returned, expired) = (order("given-back").await, order("expired").await);
    let return_ticket = async |asked: &Asked, line: usize| {
        ann.delete(&format!("/tickets/{}", id(&asked.first.body["tickets"][line]))).await.expect(204);
    };

    ann.pay(id(&paid.first.body["payment"]), wallet()).await.expect(200);
    return_ticket(&smaller, 0).await;
    ann.pay(id(&smaller.first.body["payment"]), wallet()).await.expect(200);
    for line in [2, 0, 1] {
        return_ticket(&returned, line).await;
        returned.is_replayed(&ann).await;
    }
    world.advance(SignedDuration::from_mins(5));
    let bill = format!("/payments/{}", id(&expired.first.body["payment"]));
    let is_expired = || async { ann.get(&bill).await.expect(200)["status"] == "expired" };
    until("the last one expires", is_expired).await;

    let before = all_lists(&ann).await;
    for first in [&paid, &smaller, &returned, &expired] {
        first.is_replayed(&ann).await;
    }
    world.restart().await;
    let ann = world.reconnect(&ann);
    for first in [&paid, &smaller, &returned, &expired] {
        first.is_replayed(&ann).await;
    }
    assert_eq!(all_lists(&ann).await, before);
    world.check_invariants().await;
}

#[actix_web::test]
async fn a_key_outlives_the_sale_the_draw_and_the_service() {
    let (mut world, admin, drawn) = World::on_sale(20).await;
    let cancelled = admin.open_draw(&world, 3).await;
    let ann = world.rich_player("ann", 100 * PRICE).await;
    let mut asked = Vec::new();
    for draw in [drawn, cancelled] {
        let name = |what: &str| format!("{what}-{draw}");
        let mut lines = vec![quick_pick(); 30];
        lines.push(from_pool());
        let many = json!({"tickets": lines, "payment": "wallet"});
        asked.push(ask(&ann, &tickets(draw), &name("buy"), many).await);
        asked.push(ask(&ann, &tickets(draw), &name("unpaid"), quick("later")).await);
        for (what, body) in [("pay", wallet()), ("pay-card", card(GOOD_CARD)), ("pay-slow", card(SLOW_CARD))] {
            let ordered = ask(&ann, &tickets(draw), &name(&format!("order-{what}")), quick("later")).await;
            asked.push(ask(&ann, &pay(&ordered.first.body), &name(what), body).await);
            asked.push(ordered);
        }
    }
    let all_replayed = async |ann: &User| {
        for first in &asked {
            first.is_replayed(ann).await;
        }
    };

    world.advance(SignedDuration::from_mins(60));
    for draw in [drawn, cancelled] {
        world.until_draw_is(draw, "closed").await;
    }
    all_replayed(&ann).await;
    admin.step(drawn, "conduct").await.expect(200);
    admin.cancel(cancelled).await.expect(200);
    let before = all_lists(&ann).await;
    all_replayed(&ann).await;
    world.restart().await;
    world.advance(SignedDuration::from_hours(22));
    let ann = world.reconnect(&ann);
    all_replayed(&ann).await;

    assert_eq!(all_lists(&ann).await, before);
    let (path, body) = (tickets(drawn), quick("wallet"));
    ann.post_keyed(&path, "new", body.clone()).await.refused(409, "draw_not_open");
    let used = format!("buy-{drawn}");
    ann.post_keyed(&path, &used, body).await.refused(422, "idempotency_key_reused");
    world.check_invariants().await;
}

// One key, one request.

#[actix_web::test]
async fn a_key_is_valid_for_one_path_and_one_body() {
    let (world, admin, draw) = World::on_sale(20).await;
    let elsewhere = admin.open_draw(&world, 0).await;
    let ann = world.rich_player("ann", 100 * PRICE).await;
    let ordered = ask(&ann, &tickets(draw), "order", quick("later")).await;
    let open = ask(&ann, &tickets(draw), "open", quick("later")).await;
    let paid = ask(&ann, &pay(&ordered.first.body), "pay", wallet()).await;
    let fund = ask(&ann, "/wallet/deposits", "fund", json!({"amount": 5, "token": "tok_visa"})).await;
    let before = all_lists(&ann).await;

    for (path, key, body) in [
        (tickets(draw), "order", quick("wallet")),
        (tickets(draw), "order", json!({"tickets": [{"from_pool": true}]})),
        (tickets(draw), "order", json!({"tickets": [{"quick_pick": true}, {"quick_pick": true}]})),
        (tickets(elsewhere), "order", quick("later")),
        (tickets(draw), "pay", quick("later")),
        (tickets(draw), "fund", quick("wallet")),
        (pay(&open.first.body), "pay", wallet()),
        (pay(&open.first.body), "order", card(GOOD_CARD)),
        (pay(&open.first.body), "fund", card(GOOD_CARD)),
        (pay(&ordered.first.body), "pay", card(GOOD_CARD)),
        ("/wallet/deposits".to_owned(), "fund", json!({"amount": 6, "token": "tok_visa"})),
        ("/wallet/deposits".to_owned(), "fund", json!({"amount": 5, "token": "tok_async"})),
        ("/wallet/deposits".to_owned(), "order", json!({"amount": 5, "token": "tok_visa"})),
    ] {
        let answer = ann.post_keyed(&path, key, body.clone()).await;
        assert!(answer.is(422, "idempotency_key_reused"), "{path} {key} {body}: {}", answer.text);
    }

    assert_eq!(all_lists(&ann).await, before, "a refusal has no effect");
    for first in [ordered, open, paid, fund] {
        first.is_replayed(&ann).await;
    }
    world.check_invariants().await;
}

#[actix_web::test]
async fn the_key_of_an_order_cannot_pay_for_anything_else() {
    let (world, _, draw) = World::on_sale(20).await;
    let ann = world.rich_player("ann", 10 * PRICE).await;
    ask(&ann, &tickets(draw), "used", quick("wallet")).await;
    let ordered = ann.post(&tickets(draw), quick("later")).await.expect(201);
    for body in [wallet(), card(GOOD_CARD)] {
        ann.post_keyed(&pay(&ordered), "used", body).await.refused(422, "idempotency_key_reused");
    }
    let payment = ann.get(&format!("/payments/{}", id(&ordered["payment"]))).await.expect(200);
    assert_eq!(payment["status"], "pending");
    assert_eq!(ann.balance().await, 9 * PRICE);
    world.check_invariants().await;
}

#[actix_web::test]
async fn field_order_and_white_space_of_a_body_do_not_matter() {
    let (world, _, draw) = World::on_sale(20).await;
    let ann = world.rich_player("ann", 100 * PRICE).await;
    let key = HeaderValue::from_static("same");
    let path = tickets(draw);
    let body = r#"{"tickets":[{"numbers":[1,2,3,4,5]}],"payment":"wallet"}"#;
    let first = post_raw(&ann, &path, key.clone(), body).await;
    assert_eq!(first.status, 201);

    for same in [
        body,
        r#"{"payment": "wallet", "tickets": [{"numbers": [1, 2, 3, 4, 5]}]}"#,
        "\n{\t\"payment\" :\"wallet\",\r\n\"tickets\":[ { \"numbers\":[1,2,3,4,5] } ] }\n",
        r#"{"p\u0061yment":"wallet","tickets":[{"numbers":[1,2,3,4,5]}]}"#,
    ] {
        is_replay(&post_raw(&ann, &path, key.clone(), same).await, &first);
    }
    let other = r#"{"tickets":[{"numbers":[1,2,3,4,6]}],"payment":"wallet"}"#;
    post_raw(&ann, &path, key, other).await.refused(422, "idempotency_key_reused");
    assert_eq!(ann.balance().await, 99 * PRICE);

    let short = ask(&ann, &path, "short", json!({"tickets": [{"quick_pick": true}]})).await;
    let spelt_out = ann.post_keyed(&path, "short", quick("later")).await;
    is_replay(&spelt_out, &short.first);
    world.check_invariants().await;
}

#[actix_web::test]
async fn two_users_may_choose_the_same_key() {
    let (world, _, draw) = World::on_sale(20).await;
    let ann = world.rich_player("ann", 2 * PRICE).await;
    let bob = world.rich_player("bob", 2 * PRICE).await;

    let hers = ask(&ann, &tickets(draw), "one", quick("wallet")).await;
    let his = ask(&bob, &tickets(draw), "one", quick("wallet")).await;

    assert_ne!(hers.first.body["payment"]["id"], his.first.body["payment"]["id"]);
    hers.is_replayed(&ann).await;
    his.is_replayed(&bob).await;
    assert_eq!((ann.balance().await, bob.balance().await), (PRICE, PRICE));
    world.check_invariants().await;
}

#[actix_web::test]
async fn a_key_is_1_to_255_visible_ascii_characters() {
    let (world, _, draw) = World::on_sale(20).await;
    let ann = world.rich_player("ann", 9 * PRICE).await;
    let ordered = ann.order(draw, json!([{"quick_pick": true}]), "later").await.expect(201);
    let before = all_lists(&ann).await;
    let (long, longest) = ("k".repeat(256), "k".repeat(255));
    for key in ["", " ", "a b", "a\tb", "ключ", "clé", "\u{fffd}", &long] {
        let header = HeaderValue::from_bytes(key.as_bytes()).unwrap();
        for (path, body) in [
            (tickets(draw), quick("wallet")),
            (pay(&ordered), wallet()),
            (pay(&ordered), card(GOOD_CARD)),
            ("/wallet/deposits".to_owned(), json!({"amount": 5, "token": "tok_visa"})),
        ] {
            let answer = post_raw(&ann, &path, header.clone(), &body.to_string()).await;
            assert!(answer.is(422, "validation_failed"), "{key:?} {path}: {}", answer.text);
            assert_eq!(answer.body["errors"][0]["field"], "Idempotency-Key");
        }
    }
    assert_eq!(all_lists(&ann).await, before, "a refusal has no effect");
    for key in ["!", "~", "8b0c2f6e-7f4f-4a8e-9a67-4a3c8f0f5e11", "\"quoted\"", "';--", &longest] {
        ask(&ann, &tickets(draw), key, quick("wallet")).await.is_replayed(&ann).await;
    }
    assert_eq!(ann.balance().await, 3 * PRICE);
    world.check_invariants().await;
}

// What is not stored.

#[actix_web::test]
async fn a_refused_request_is_decided_again_under_the_same_key() {
    let (world, admin, _) = World::on_sale(20).await;
    let draw = admin.schedule(&world).await;
    admin.pool(draw, 1).await.expect(201);
    let (ann, bob) = (world.player("ann").await, world.player("bob").await);
    let premade = ann.all(&format!("/draws/{draw}/pool")).await.remove(0);
    let body = json!({"tickets": [{"pool_ticket_id": premade["id"]}], "payment": "wallet"});
    let path = tickets(draw);
    let buy = || ann.post_keyed(&path, "stubborn", body.clone());

    buy().await.refused(409, "draw_not_open");
    admin.step(draw, "open").await.expect(200);
    buy().await.refused(402, "insufficient_funds");
    let held = bob.reserve(draw).await;
    buy().await.refused(409, "ticket_unavailable");
    bob.delete(&format!("/tickets/{}", id(&held["tickets"][0]))).await.expect(204);
    buy().await.refused(402, "insufficient_funds");
    ann.deposit(PRICE).await;
    ask(&ann, &path, "stubborn", body.clone()).await.is_replayed(&ann).await;
    assert_eq!(ann.balance().await, 0);

    let ordered = ann.order(draw, json!([{"quick_pick": true}]), "later").await.expect(201);
    ann.post_keyed(&pay(&ordered), "bill", wallet()).await.refused(402, "insufficient_funds");
    ann.deposit(PRICE).await;
    ask(&ann, &pay(&ordered), "bill", wallet()).await.is_replayed(&ann).await;
    ann.post_keyed(&pay(&ordered), "late", wallet()).await.refused(409, "payment_not_payable");
    ann.post_keyed(&pay(&ordered), "late", card(GOOD_CARD)).await.refused(409, "payment_not_payable");
    assert_eq!(ann.balance().await, 0);
    world.check_invariants().await;
}

#[actix_web::test]
async fn a_refused_request_leaves_its_key_free_for_another_request() {
    let (world, _, draw) = World::on_sale(20).await;
    let ann = world.player("ann").await;
    ann.post_keyed(&tickets(draw), "free", quick("wallet")).await.refused(402, "insufficient_funds");
    let fund = json!({"amount": 5, "token": "tok_visa"});
    ask(&ann, "/wallet/deposits", "free", fund).await.is_replayed(&ann).await;
}
