//! The contract of the REST interface: errors, bodies, shapes, pages.

mod creation;
mod lists;
mod shapes;

use std::collections::BTreeSet;
use std::num::NonZeroU32;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use lottery::config::{LotteryConfig, PaysConfig, PrizeConfig};
use reqwest::Method;
use serde_json::{Value, json};

use crate::world::*;

/// The limit of a request that must be refused at once.
const AT_ONCE: Duration = Duration::from_secs(30);

/// The fields that a refusal names.
fn fields(problem: &Value) -> Vec<&str> {
    problem["errors"].as_array().unwrap().iter().map(|error| error["field"].as_str().unwrap()).collect()
}

/// This answer names this field alone, and says why.
#[track_caller]
fn names_only(answer: Answer, field: &str) {
    let text = answer.text.clone();
    let problem = answer.refused(422, "validation_failed");
    assert_eq!(fields(&problem), [field], "{text}");
    assert!(!problem["errors"][0]["message"].as_str().unwrap().is_empty(), "{text}");
}

/// Posts this text as the body, with this content type or none.
async fn send(who: &User, path: &str, content_type: Option<&str>, body: impl Into<Vec<u8>>) -> Answer {
    let request = who.request(Method::POST, path).body(body.into());
    who.send(match content_type {
        Some(content_type) => request.header("content-type", content_type),
        None => request,
    })
    .await
}

async fn send_json(who: &User, path: &str, body: impl Into<Vec<u8>>) -> Answer {
    send(who, path, Some("application/json"), body).await
}

// Bodies.

#[actix_web::test]
async fn a_body_that_is_not_json_is_400() {
    let world = World::new().await;
    let ann = world.player("ann").await;
    for body in [
        "",
        " ",
        "{",
        "nonsense",
        "{'amount': 1}",
        "{\"amount\": 1,}",
        "{\"amount\": NaN, \"token\": \"tok_visa\"}",
        "{\"amount\": 1, \"token\": \"tok_visa\"} and more",
        "{\"amount\": 1, \"token\": \"tok_visa\"",
        // The type of the field is wrong too, but invalid JSON is reported first.
        "{\"amount\": \"1\", \"token\": ",
        "amount=1&token=tok_visa",
    ] {
        let answer = send_json(&ann, "/wallet/deposits", body).await;
        assert!(answer.is(400, "malformed_json"), "{body}: {}", answer.text);
        answer.refused(400, "malformed_json");
    }
    let not_utf_8 = b"{\"amount\": 1, \"token\": \"tok_\xff\"}";
    send_json(&ann, "/wallet/deposits", not_utf_8).await.refused(400, "malformed_json");
    assert_eq!(world.count("SELECT count(*) FROM payments").await, 0);
}

#[actix_web::test]
async fn json_of_another_shape_is_422_and_names_the_field() {
    let world = World::new().await;
    let ann = world.player("ann").await;
    for (body, field) in [
        ("null", "body"),
        ("5", "body"),
        ("\"text\"", "body"),
        ("[]", "body"),
        ("[100, \"tok_visa\"]", "body"),
        ("{}", "amount"),
        ("{\"amount\": 1}", "token"),
        ("{\"amount\": \"1\", \"token\": \"tok_visa\"}", "amount"),
        ("{\"amount\": true, \"token\": \"tok_visa\"}", "amount"),
        ("{\"amount\": null, \"token\": \"tok_visa\"}", "amount"),
        ("{\"amount\": [1], \"token\": \"tok_visa\"}", "amount"),
        ("{\"amount\": 1.5, \"token\": \"tok_visa\"}", "amount"),
        ("{\"amount\": 1.0, \"token\": \"tok_visa\"}", "amount"),
        ("{\"amount\": 1e2, \"token\": \"tok_visa\"}", "amount"),
        ("{\"amount\": 1e400, \"token\": \"tok_visa\"}", "amount"),
        ("{\"amount\": 99999999999999999999, \"token\": \"tok_visa\"}", "amount"),
        ("{\"amount\": 0, \"token\": \"tok_visa\"}", "amount"),
        ("{\"amount\": -1, \"token\": \"tok_visa\"}", "amount"),
        ("{\"amount\": 1000000000001, \"token\": \"tok_visa\"}", "amount"),
        ("{\"amount\": 1, \"token\": 1}", "token"),
        ("{\"amount\": 1, \"token\": \"\"}", "token"),
        ("{\"amount\": 1, \"token\": \"tok_of_nobody\"}", "token"),
        ("{\"amount\": 1, \"token\": \"tok_visa\", \"currency\": \"USD\"}", "currency"),
        ("{\"amount\": 1, \"amount\": 2, \"token\": \"tok_visa\"}", "amount"),
    ] {
        let answer = send_json(&ann, "/wallet/deposits", body).await;
        assert_eq!(answer.status, 422, "{body}: {}", answer.text);
        names_only(answer, field);
    }
    assert_eq!(ann.balance().await, 0);
    assert_eq!(world.count("SELECT count(*) FROM payments").await, 0);
}

#[actix_web::test]
async fn nested_fields_are_named_by_their_path() {
    let world = World::new().await;
    let (admin, ann) = (world.admin().await, world.rich_player("ann", 1_000_000).await);
    let draw = admin.open_draw(&world, 1).await;
    let (order, pay) = (format!("/draws/{draw}/tickets"), format!("/payments/{}/pay", uuid::Uuid::nil()));
    let lines = |count| json!({"tickets": vec![quick_pick(); count]});
    for (path, body, field) in [
        (&order, json!({}), "tickets"),
        (&order, json!({"tickets": {}}), "tickets"),
        (&order, json!({"tickets": []}), "tickets"),
        (&order, lines(101), "tickets"),
        (&order, json!({"tickets": [{"quick_pick": true}], "payment": "cash"}), "payment"),
        (&order, json!({"tickets": [{"quick_pick": true}], "price": 1}), "price"),
        (&order, json!({"tickets": [{}]}), "tickets[0]"),
        (&order, json!({"tickets": [{"quick_pick": false}]}), "tickets[0]"),
        (
            &order,
            json!({"tickets": [{"quick_pick": true}, {"quick_pick": true, "from_pool": true}]}),
            "tickets[1]",
        ),
        (&order, json!({"tickets": [{"lucky": true}]}), "tickets[0].lucky"),
        (&order, json!({"tickets": [{"pool_ticket_id": "7"}]}), "tickets[0].pool_ticket_id"),
        (&order, json!({"tickets": [{"quick_pick": true}, {"numbers": [1, 2, 3, 4]}]}), "tickets[1].numbers"),
        (&order, json!({"tickets": [{"numbers": [1, 2, 3, 4, 37]}]}), "tickets[0].numbers"),
        (&order, json!({"tickets": [{"numbers": [1, 2, 3, 4, "5"]}]}), "tickets[0].numbers[4]"),
        (&pay, json!({}), "method"),
        (&pay, json!({"method": "gold"}), "method"),
    ] {
        let answer = ann.post(path, body.clone()).await;
        assert_eq!(answer.status, 422, "{body}: {}", answer.text);
        names_only(answer, field);
    }
    let cancel = format!("/admin/draws/{draw}/cancel");
    for reason in [json!(""), json!("  "), json!("a\0b"), json!("x".repeat(501)), json!(null)] {
        names_only(admin.post(&cancel, json!({"reason": reason})).await, "reason");
    }
    assert_eq!(world.count("SELECT count(*) FROM tickets").await, 0);
}

#[actix_web::test]
async fn a_body_over_64_kib_is_413() {
    let world = World::new().await;
    let ann = world.player("ann").await;
    let deposit = json!({"amount": 100, "token": "tok_visa"}).to_string();
    let padded = |size: usize| format!("{deposit}{}", " ".repeat(size - deposit.len()));
    send_json(&ann, "/wallet/deposits", padded(64 * 1024)).await.expect(201);
    send_json(&ann, "/wallet/deposits", padded(64 * 1024 + 1)).await.refused(413, "payload_too_large");
    send_json(&world.anonymous(), "/auth/login", "[".repeat(64 * 1024 + 1))
        .await
        .refused(413, "payload_too_large");
    assert_eq!(ann.balance().await, 100);
}

#[actix_web::test]
async fn a_body_of_another_type_is_415() {
    let world = World::new().await;
    let ann = world.player("ann").await;
    let deposit = json!({"amount": 100, "token": "tok_visa"}).to_string();
    for other in
        [None, Some("text/plain"), Some("application/x-www-form-urlencoded"), Some("application/jsonp"), Some("")]
    {
        let answer = send(&ann, "/wallet/deposits", other, deposit.clone()).await;
        answer.refused(415, "unsupported_media_type");
    }
    for json in ["application/json; charset=utf-8", "Application/JSON", "application/vnd.lottery+json"] {
        send(&ann, "/wallet/deposits", Some(json), deposit.clone()).await.expect(201);
    }
    assert_eq!(ann.balance().await, 300);
}

// Addresses and methods.

#[actix_web::test]
async fn unknown_ids_and_paths_are_404() {
    let world = World::new().await;
    let (admin, ann) = (world.admin().await, world.rich_player("ann", 1_000_000).await);
    let nil = uuid::Uuid::nil();
    let mut paths: Vec<String> =
        ["", "/", "/nothing", "/draws/1/nothing", "/lotteries/7of77", "/lotteries/", "/auth", "/wallet/nothing"]
            .map(str::to_owned)
            .to_vec();
    for id in ["1", "-1", "x", "1.5", "99999999999999999999", "0x1", "%00", &nil.to_string()] {
        paths.extend(["", "/pool", "/results"].map(|rest| format!("/draws/{id}{rest}")));
        paths.push(format!("/tickets/{id}"));
        paths.push(format!("/payments/{id}"));
    }
    for path in paths {
        let answer = ann.get(&path).await;
        assert!(answer.is(404, "not_found"), "{path}: {}", answer.text);
        answer.refused(404, "not_found");
    }
    for id in ["1", "-1", "x", "99999999999999999999"] {
        let lines = json!({"tickets": [{"quick_pick": true}]});
        ann.post(&format!("/draws/{id}/tickets"), lines).await.refused(404, "not_found");
        ann.pay(id, wallet()).await.refused(404, "not_found");
        ann.delete(&format!("/tickets/{id}")).await.refused(404, "not_found");
        for step in ["open", "close", "conduct"] {
            admin
                .send(admin.request(Method::POST, &format!("/admin/draws/{id}/{step}")))
                .await
                .refused(404, "not_found");
        }
        admin.post(&format!("/admin/draws/{id}/cancel"), json!({"reason": "why"})).await.refused(404, "not_found");
        admin.post(&format!("/admin/draws/{id}/pool"), json!({"count": 1})).await.refused(404, "not_found");
    }
    ann.pay(&nil.to_string(), wallet()).await.refused(404, "not_found");
    ann.delete(&format!("/tickets/{nil}")).await.refused(404, "not_found");
}

#[actix_web::test]
async fn a_method_that_a_path_does_not_have_is_405() {
    let world = World::new().await;
    let admin = world.admin().await;
    for (method, path) in [
        (Method::GET, "/auth/register"),
        (Method::GET, "/auth/login"),
        (Method::PUT, "/me"),
        (Method::POST, "/lotteries"),
        (Method::POST, "/lotteries/5of36"),
        (Method::DELETE, "/draws"),
        (Method::PATCH, "/draws/1"),
        (Method::GET, "/draws/1/tickets"),
        (Method::POST, "/tickets"),
        (Method::PUT, "/tickets/1"),
        (Method::GET, "/payments/1/pay"),
        (Method::DELETE, "/wallet"),
        (Method::GET, "/wallet/deposits"),
        (Method::GET, "/admin/draws/1/open"),
    ] {
        let answer = admin.send(admin.request(method.clone(), path)).await;
        assert!(answer.is(405, "method_not_allowed"), "{method} {path}: {}", answer.text);
        let allowed: Vec<_> =
            answer.headers.get_all("allow").iter().map(|value| value.to_str().unwrap()).collect();
        let allowed = allowed.join(", ");
        assert!(["GET, HEAD", "POST", "GET, DELETE, HEAD"].contains(&allowed.as_str()), "{path}: {allowed}");
        answer.refused(405, "method_not_allowed");
    }
}

#[actix_web::test]
async fn every_answer_has_a_request_id_and_every_refusal_is_a_problem() {
    let world = World::new().await;
    let (admin, ann, anonymous) = (world.admin().await, world.player("ann").await, world.anonymous());
    let outside = |path: &str| anonymous.send(http_client().get(format!("http://{}{path}", world.app().address)));
    let answers = [
        ann.get("/me").await,
        ann.get("/draws").await,
        ann.delete("/tickets/1").await,
        anonymous.get("/wallet").await,
        anonymous.get("/admin/nothing").await,
        ann.get("/admin/nothing").await,
        admin.get("/admin/nothing").await,
        admin.get("/admin/draws").await,
        send_json(&ann, "/wallet/deposits", "{").await,
        send(&ann, "/wallet/deposits", None, "{}").await,
        outside("/nothing").await,
        outside("/api").await,
        outside("/api/v2/draws").await,
    ];
    let ids: BTreeSet<&[u8]> = answers.iter().map(|answer| answer.headers["x-request-id"].as_bytes()).collect();
    assert_eq!(ids.len(), answers.len(), "each has an id of its own");
    for answer in answers.into_iter().filter(|answer| answer.status >= 400) {
        let (status, code) = (answer.status, answer.body["code"].as_str().unwrap().to_owned());
        answer.refused(status, &code);
    }
}

#[actix_web::test]
async fn an_internal_error_shows_no_details() {
    let world = World::new().await;
    let ann = world.player("ann").await;
    world.sql().await.batch_execute("ALTER TABLE accounts RENAME TO gone").await.unwrap();
    let answer = ann.get("/wallet").await;
    for inner in ["accounts", "SELECT", "relation", "src/", "db error", "42P01"] {
        assert!(!answer.text.contains(inner), "{}", answer.text);
    }
    answer.refused(500, "internal_error");
}

// Codes.

#[actix_web::test]
async fn each_conflict_has_its_own_code() {
    let world = World::new().await;
    let (admin, ann, poor) =
        (world.admin().await, world.rich_player("ann", 1_000_000).await, world.player("poor").await);
    let draw = admin.open_draw(&world, 1).await;
    let any = json!([{"from_pool": true}]);
    poor.order(draw, any.clone(), "wallet").await.refused(402, "insufficient_funds");

    let reserved = ann.reserve(draw).await;
    let (ticket, payment) = (&reserved["tickets"][0], reserved["payment"]["id"].as_str().unwrap());
    poor.order(draw, any, "later").await.refused(409, "pool_empty");
    let this = json!([{"pool_ticket_id": ticket["pool_ticket_id"]}]);
    poor.order(draw, this, "later").await.refused(409, "ticket_unavailable");

    ann.pay(payment, wallet()).await.expect(200);
    ann.pay(payment, wallet()).await.refused(409, "payment_not_payable");
    ann.delete(&format!("/tickets/{}", ticket["id"].as_str().unwrap())).await.refused(409, "ticket_not_reserved");
    ann.get(&format!("/draws/{draw}/results")).await.refused(409, "draw_not_completed");

    admin.conduct(draw).await;
    ann.order(draw, json!([{"quick_pick": true}]), "wallet").await.refused(409, "draw_not_open");
    for refused in [admin.cancel(draw).await, admin.step(draw, "open").await, admin.pool(draw, 1).await] {
        refused.refused(409, "invalid_transition");
    }
    world.check_invariants().await;
}

#[actix_web::test]
async fn purchases_are_limited_for_each_account_and_second() {
    let world = World::with(|config| {
        config.limits.enabled = true;
        config.limits.purchases_per_second = NonZeroU32::new(2).unwrap();
    })
    .await;
    let (admin, ann, bob) =
        (world.admin().await, world.rich_player("ann", 100_000).await, world.rich_player("bob", 100_000).await);
    let draw = admin.open_draw(&world, 0).await;
    ann.buy(draw, &[1, 2, 3, 4, 5]).await;
    ann.buy(draw, &[1, 2, 3, 4, 5]).await;
    let refused = ann.order(draw, json!([{"quick_pick": true}]), "wallet").await;
    let wait: i64 = refused.headers["retry-after"].to_str().unwrap().parse().unwrap();
    refused.refused(429, "rate_limited");
    bob.buy(draw, &[1, 2, 3, 4, 5]).await;
    assert_eq!(ann.balance().await, 80_000);
    world.advance(SignedDuration::from_secs(wait));
    ann.buy(draw, &[1, 2, 3, 4, 5]).await;
}
