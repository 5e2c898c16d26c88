//! Idempotency keys over HTTP.

mod age;
mod at_once;

use futures_util::future::join_all;
use jiff::SignedDuration;
use reqwest::Method;
use reqwest::header::HeaderValue;
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

fn quick(payment: &str) -> Value {
    json!({"tickets": [{"quick_pick": true}], "payment": payment})
}

fn tickets(draw: i64) -> String {
    format!("/draws/{draw}/tickets")
}

fn pay(ordered: &Value) -> String {
    format!("/payments/{}/pay", id(&ordered["payment"]))
}

/// A world with an open draw of 5 of 36 and twenty tickets in its pool.
async fn on_sale() -> (World, Person, i64) {
    let world = World::new().await;
    let admin = world.admin().await;
    let draw = admin.open_draw(&world, 20).await;
    (world, admin, draw)
}

/// A request with a key, and what was first answered.
struct Asked {
    path: String,
    key: String,
    body: Value,
    first: Answer,
}

/// Asks with a key; it must succeed, and be no replay.
async fn ask(who: &Person, path: &str, key: &str, body: Value) -> Asked {
    let first = who.post_keyed(path, key, body.clone()).await;
    assert!(first.status < 300, "{}", first.text);
    assert!(!first.headers.contains_key("idempotency-replayed"), "the first answer is no replay");
    Asked { path: path.to_owned(), key: key.to_owned(), body, first }
}

/// To the byte the same answer, and marked.
#[track_caller]
fn is_replay(replay: &Answer, first: &Answer) {
    assert_eq!((replay.status, &replay.text), (first.status, &first.text));
    assert_eq!(replay.headers["content-type"], first.headers["content-type"]);
    assert_eq!(replay.headers["idempotency-replayed"], "true");
}

impl Asked {
    async fn is_replayed(&self, who: &Person) {
        is_replay(&who.post_keyed(&self.path, &self.key, self.body.clone()).await, &self.first);
    }
}

/// All that belongs to somebody.
async fn belongings(who: &Person) -> Vec<Value> {
    let mut all = Vec::new();
    for path in ["/tickets", "/payments", "/wallet/transfers"] {
        all.push(json!(who.all(path).await));
    }
    all
}

/// A raw body with a key.
async fn post_raw(who: &Person, path: &str, key: HeaderValue, body: &str) -> Answer {
    let request = who.request(Method::POST, path).header("Idempotency-Key", key);
    who.send(request.header("content-type", "application/json").body(body.to_owned())).await
}

// One effect.

#[actix_web::test]
async fn a_replay_has_the_first_answer_and_no_second_effect() {
    let (mut world, _, draw) = on_sale().await;
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
    for (key, body) in [("pay", wallet()), ("pay-card", card("tok_visa")), ("pay-slowly", card("tok_async"))] {
        let ordered = ask(&ann, &sell, &format!("order-to-{key}"), quick("later")).await;
        asked.push(ask(&ann, &pay(&ordered.first.body), key, body).await);
        asked.push(ordered);
    }
    let before = belongings(&ann).await;

    for first in asked.iter().chain(&asked) {
        world.advance(SignedDuration::from_secs(1));
        first.is_replayed(&ann).await;
    }
    assert_eq!(belongings(&ann).await, before, "one effect");

    world.restart().await;
    let ann = world.again(&ann);
    for first in &asked {
        first.is_replayed(&ann).await;
    }
    assert_eq!(belongings(&ann).await, before, "one effect, also across a restart");
    world.check_books().await;
}

#[actix_web::test]
async fn a_declined_card_is_replayed_as_declined_and_a_new_key_may_pay() {
    let (world, _, draw) = on_sale().await;
    let ann = world.player("ann").await;
    let ordered = ask(&ann, &tickets(draw), "order", quick("later")).await;
    let bill = pay(&ordered.first.body);
    let declined = ask(&ann, &bill, "first-try", card("tok_declined")).await;
    assert_eq!(declined.first.body["failure_code"], "card_declined");

    declined.is_replayed(&ann).await;
    let paid = ask(&ann, &bill, "second-try", card("tok_visa")).await;

    assert_eq!(paid.first.body["status"], "paid");
    for first in [&ordered, &declined, &paid] {
        first.is_replayed(&ann).await;
    }
    world.check_books().await;
}

#[actix_web::test]
async fn an_order_is_replayed_as_first_answered_whatever_became_of_it() {
    let (mut world, _, draw) = on_sale().await;
    let ann = world.rich_player("ann", 100 * PRICE).await;
    let three = json!({"tickets": [{"from_pool": true}, {"quick_pick": true}, {"from_pool": true}]});
    let order = async |key: &'static str| ask(&ann, &tickets(draw), key, three.clone()).await;
    let (paid, smaller) = (order("paid").await, order("smaller").await);
    let (given_back, expired) = (order("given-back").await, order("expired").await);
    let give_back = async |asked: &Asked, line: usize| {
        ann.delete(&format!("/tickets/{}", id(&asked.first.body["tickets"][line]))).await.expect(204);
    };

    ann.pay(id(&paid.first.body["payment"]), wallet()).await.expect(200);
    give_back(&smaller, 0).await;
    ann.pay(id(&smaller.first.body["payment"]), wallet()).await.expect(200);
    for line in [2, 0, 1] {
        give_back(&given_back, line).await;
        given_back.is_replayed(&ann).await;
    }
    world.advance(SignedDuration::from_mins(5));
    let bill = format!("/payments/{}", id(&expired.first.body["payment"]));
    let is_expired = || async { ann.get(&bill).await.expect(200)["status"] == "expired" };
    world.until("the last one expires", is_expired).await;

    let before = belongings(&ann).await;
    for first in [&paid, &smaller, &given_back, &expired] {
        first.is_replayed(&ann).await;
    }
    world.restart().await;
    let ann = world.again(&ann);
    for first in [&paid, &smaller, &given_back, &expired] {
        first.is_replayed(&ann).await;
    }
    assert_eq!(belongings(&ann).await, before);
    world.check_books().await;
}

#[actix_web::test]
async fn a_key_outlives_the_sale_the_draw_and_the_service() {
    let (mut world, admin, drawn) = on_sale().await;
    let cancelled = admin.open_draw(&world, 3).await;
    let ann = world.rich_player("ann", 100 * PRICE).await;
    let mut asked = Vec::new();
    for draw in [drawn, cancelled] {
        let name = |what: &str| format!("{what}-{draw}");
        let mut lines = vec![json!({"quick_pick": true}); 30];
        lines.push(json!({"from_pool": true}));
        let many = json!({"tickets": lines, "payment": "wallet"});
        asked.push(ask(&ann, &tickets(draw), &name("buy"), many).await);
        asked.push(ask(&ann, &tickets(draw), &name("unpaid"), quick("later")).await);
        for (what, body) in [("pay", wallet()), ("pay-card", card("tok_visa")), ("pay-slow", card("tok_async"))] {
            let ordered = ask(&ann, &tickets(draw), &name(&format!("order-{what}")), quick("later")).await;
            asked.push(ask(&ann, &pay(&ordered.first.body), &name(what), body).await);
            asked.push(ordered);
        }
    }
    let all_replayed = async |ann: &Person| {
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
    let before = belongings(&ann).await;
    all_replayed(&ann).await;
    world.restart().await;
    world.advance(SignedDuration::from_hours(22));
    let ann = world.again(&ann);
    all_replayed(&ann).await;

    assert_eq!(belongings(&ann).await, before);
    let (path, body) = (tickets(drawn), quick("wallet"));
    ann.post_keyed(&path, "new", body.clone()).await.refused(409, "draw_not_open");
    let used = format!("buy-{drawn}");
    ann.post_keyed(&path, &used, body).await.refused(422, "idempotency_key_reused");
    world.check_books().await;
}

// One request.

#[actix_web::test]
async fn a_key_stands_for_one_path_and_one_body() {
    let (world, admin, draw) = on_sale().await;
    let elsewhere = admin.open_draw(&world, 0).await;
    let ann = world.rich_player("ann", 100 * PRICE).await;
    let ordered = ask(&ann, &tickets(draw), "order", quick("later")).await;
    let open = ask(&ann, &tickets(draw), "open", quick("later")).await;
    let paid = ask(&ann, &pay(&ordered.first.body), "pay", wallet()).await;
    let fund = ask(&ann, "/wallet/deposits", "fund", json!({"amount": 5, "token": "tok_visa"})).await;
    let before = belongings(&ann).await;

    for (path, key, body) in [
        (tickets(draw), "order", quick("wallet")),
        (tickets(draw), "order", json!({"tickets": [{"from_pool": true}]})),
        (tickets(draw), "order", json!({"tickets": [{"quick_pick": true}, {"quick_pick": true}]})),
        (tickets(elsewhere), "order", quick("later")),
        (tickets(draw), "pay", quick("later")),
        (tickets(draw), "fund", quick("wallet")),
        (pay(&open.first.body), "pay", wallet()),
        (pay(&open.first.body), "order", card("tok_visa")),
        (pay(&open.first.body), "fund", card("tok_visa")),
        (pay(&ordered.first.body), "pay", card("tok_visa")),
        ("/wallet/deposits".to_owned(), "fund", json!({"amount": 6, "token": "tok_visa"})),
        ("/wallet/deposits".to_owned(), "fund", json!({"amount": 5, "token": "tok_async"})),
        ("/wallet/deposits".to_owned(), "order", json!({"amount": 5, "token": "tok_visa"})),
    ] {
        let answer = ann.post_keyed(&path, key, body.clone()).await;
        assert!(answer.is(422, "idempotency_key_reused"), "{path} {key} {body}: {}", answer.text);
    }

    assert_eq!(belongings(&ann).await, before, "a refusal has no effect");
    for first in [ordered, open, paid, fund] {
        first.is_replayed(&ann).await;
    }
    world.check_books().await;
}

#[actix_web::test]
async fn an_order_s_key_pays_for_nothing_else() {
    let (world, _, draw) = on_sale().await;
    let ann = world.rich_player("ann", 10 * PRICE).await;
    ask(&ann, &tickets(draw), "used", quick("wallet")).await;
    let ordered = ann.post(&tickets(draw), quick("later")).await.expect(201);
    for body in [wallet(), card("tok_visa")] {
        ann.post_keyed(&pay(&ordered), "used", body).await.refused(422, "idempotency_key_reused");
    }
    let payment = ann.get(&format!("/payments/{}", id(&ordered["payment"]))).await.expect(200);
    assert_eq!(payment["status"], "pending");
    assert_eq!(ann.balance().await, 9 * PRICE);
    world.check_books().await;
}

#[actix_web::test]
async fn the_order_of_the_fields_and_white_space_do_not_matter() {
    let (world, _, draw) = on_sale().await;
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
    world.check_books().await;
}

#[actix_web::test]
async fn two_people_may_choose_the_same_key() {
    let (world, _, draw) = on_sale().await;
    let ann = world.rich_player("ann", 2 * PRICE).await;
    let bob = world.rich_player("bob", 2 * PRICE).await;

    let hers = ask(&ann, &tickets(draw), "one", quick("wallet")).await;
    let his = ask(&bob, &tickets(draw), "one", quick("wallet")).await;

    assert_ne!(hers.first.body["payment"]["id"], his.first.body["payment"]["id"]);
    hers.is_replayed(&ann).await;
    his.is_replayed(&bob).await;
    assert_eq!((ann.balance().await, bob.balance().await), (PRICE, PRICE));
    world.check_books().await;
}

#[actix_web::test]
async fn a_key_is_1_to_255_visible_ascii_characters() {
    let (world, _, draw) = on_sale().await;
    let ann = world.rich_player("ann", 9 * PRICE).await;
    let ordered = ann.order(draw, json!([{"quick_pick": true}]), "later").await.expect(201);
    let before = belongings(&ann).await;
    let (long, longest) = ("k".repeat(256), "k".repeat(255));
    for key in ["", " ", "a b", "a\tb", "ключ", "clé", "\u{fffd}", &long] {
        let header = HeaderValue::from_bytes(key.as_bytes()).unwrap();
        for (path, body) in [
            (tickets(draw), quick("wallet")),
            (pay(&ordered), wallet()),
            (pay(&ordered), card("tok_visa")),
            ("/wallet/deposits".to_owned(), json!({"amount": 5, "token": "tok_visa"})),
        ] {
            let answer = post_raw(&ann, &path, header.clone(), &body.to_string()).await;
            assert!(answer.is(422, "validation_failed"), "{key:?} {path}: {}", answer.text);
            assert_eq!(answer.body["errors"][0]["field"], "Idempotency-Key");
        }
    }
    assert_eq!(belongings(&ann).await, before, "a refusal has no effect");
    for key in ["!", "~", "8b0c2f6e-7f4f-4a8e-9a67-4a3c8f0f5e11", "\"quoted\"", "';--", &longest] {
        ask(&ann, &tickets(draw), key, quick("wallet")).await.is_replayed(&ann).await;
    }
    assert_eq!(ann.balance().await, 3 * PRICE);
    world.check_books().await;
}

// What is not kept.

#[actix_web::test]
async fn a_refusal_is_judged_anew_under_the_same_key() {
    let (world, admin, _) = on_sale().await;
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
    ann.post_keyed(&pay(&ordered), "late", card("tok_visa")).await.refused(409, "payment_not_payable");
    assert_eq!(ann.balance().await, 0);
    world.check_books().await;
}

#[actix_web::test]
async fn a_refused_request_leaves_its_key_free_for_another() {
    let (world, _, draw) = on_sale().await;
    let ann = world.player("ann").await;
    ann.post_keyed(&tickets(draw), "free", quick("wallet")).await.refused(402, "insufficient_funds");
    let fund = json!({"amount": 5, "token": "tok_visa"});
    ask(&ann, "/wallet/deposits", "free", fund).await.is_replayed(&ann).await;
}
