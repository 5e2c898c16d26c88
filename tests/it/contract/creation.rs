//! Draws and pools that admins create, and the requests that are refused.

use super::shapes::whole;
use super::*;

/// A lottery so small that its pool can hold every combination.
fn small() -> LotteryConfig {
    let prizes = vec![PrizeConfig { matches: 2, pays: PaysConfig::Share { share: 10_000, minimum: None } }];
    let (id, name) = ("2of5".to_owned(), "2 of 5".to_owned());
    LotteryConfig { id, name, pick: 2, of: 5, price: 100, fund_share: 5_000, allow_loss: false, prizes }
}

/// Asks for this many pool tickets; the answer must come at once.
async fn pool(admin: &User, draw: i64, count: &str) -> Answer {
    let body = format!("{{\"count\": {count}}}");
    let path = format!("/admin/draws/{draw}/pool");
    tokio::time::timeout(AT_ONCE, send_json(admin, &path, body)).await.expect("an answer at once")
}

#[actix_web::test]
async fn a_pool_of_a_negative_or_huge_size_is_refused_at_once() {
    let world = World::with(|config| config.lotteries.push(small())).await;
    let admin = world.admin().await;
    let draw = admin.open_draw(&world, 0).await;
    for count in [
        "0",
        "-1",
        "-9223372036854775808",
        "9223372036854775807",
        "9223372036854775808",
        "18446744073709551616",
        "1e3",
        "1e400",
        "1.5",
        "\"5\"",
        "null",
        "true",
        "[1]",
        "1000001",
        "376993",
    ] {
        let answer = pool(&admin, draw, count).await;
        assert_eq!(answer.status, 422, "{count}: {}", answer.text);
        names_only(answer, "count");
    }
    assert_eq!(admin.get(&format!("/draws/{draw}")).await.expect(200)["tickets_available"], 0);

    let body = json!({"lottery": "2of5", "sales_close_at": world.minutes(60)});
    let tiny = admin.post("/admin/draws", body).await.expect(201)["id"].as_i64().unwrap();
    names_only(pool(&admin, tiny, "11").await, "count");
    assert_eq!(pool(&admin, tiny, "4").await.expect(201), json!({"created": 4, "tickets_available": 4}));
    names_only(pool(&admin, tiny, "7").await, "count");
    assert_eq!(pool(&admin, tiny, "6").await.expect(201), json!({"created": 6, "tickets_available": 10}));
    names_only(pool(&admin, tiny, "1").await, "count");
    // Every combination, each once.
    let all = admin.get(&format!("/draws/{tiny}/pool")).await.expect(200);
    let numbers: BTreeSet<String> =
        all["items"].as_array().unwrap().iter().map(|ticket| ticket["numbers"].to_string()).collect();
    assert_eq!(numbers.len(), 10);
}

#[actix_web::test]
async fn inconsistent_times_and_prices_of_a_draw_are_refused() {
    let world = World::new().await;
    let admin = world.admin().await;
    let (past, now, soon, late) = (world.minutes(-1), world.minutes(0), world.minutes(30), world.minutes(60));
    for (change, field) in [
        (json!({"lottery": "7of77"}), "lottery"),
        (json!({"lottery": 5}), "lottery"),
        (json!({"lottery": null}), "lottery"),
        (json!({"price": 0}), "price"),
        (json!({"price": -10_000}), "price"),
        (json!({"price": 1_000_000_000_001_i64}), "price"),
        (json!({"price": 99.9}), "price"),
        (json!({"price": "10000"}), "price"),
        (json!({"sales_close_at": past}), "sales_close_at"),
        (json!({"sales_close_at": now}), "sales_close_at"),
        (json!({"sales_close_at": null}), "sales_close_at"),
        (json!({"sales_close_at": "tomorrow"}), "sales_close_at"),
        (json!({"sales_close_at": "2030-06-01"}), "sales_close_at"),
        (json!({"sales_close_at": "2030-06-01T12:00:00"}), "sales_close_at"),
        (json!({"sales_close_at": 1_906_545_600}), "sales_close_at"),
        (json!({"sales_open_at": late}), "sales_open_at"),
        (json!({"sales_open_at": "-009998-01-01T00:00:00Z"}), "sales_open_at"),
        (json!({"draw_at": soon}), "draw_at"),
        (json!({"draw_at": "+012000-01-01T00:00:00Z"}), "draw_at"),
        (json!({"status": "open"}), "status"),
    ] {
        let mut body = json!({"lottery": "5of36", "sales_close_at": late});
        body.as_object_mut().unwrap().extend(change.as_object().unwrap().clone());
        let answer = admin.post("/admin/draws", body).await;
        assert_eq!(answer.status, 422, "{change}: {}", answer.text);
        names_only(answer, field);
    }
    let all_wrong = json!({"lottery": "7of77", "price": 0, "sales_open_at": now, "sales_close_at": past});
    let problem = admin.post("/admin/draws", all_wrong).await.refused(422, "validation_failed");
    assert_eq!(fields(&problem), ["lottery", "price", "sales_close_at", "sales_open_at"]);
    assert_eq!(world.count("SELECT count(*) FROM draws").await, 0);
}

#[actix_web::test]
async fn a_draw_is_created_as_requested() {
    let world = World::new().await;
    let admin = world.admin().await;
    let body = json!({
        "lottery": "6of45", "price": 1, "sales_open_at": "2030-05-01T12:30:00.5Z",
        "sales_close_at": "2030-05-01T16:00:00+03:00", "draw_at": "2030-05-01T13:30:00.123999Z",
    });
    let draw = admin.post("/admin/draws", body).await.expect(201);
    assert_eq!((&draw["number"], &draw["price"]), (&json!(1), &json!(1)));
    let time = |name: &str| draw[name].as_str().unwrap().parse::<Timestamp>().unwrap();
    assert_eq!(time("sales_open_at"), world.minutes(30) + SignedDuration::from_millis(500));
    assert_eq!(time("sales_close_at"), world.minutes(60));
    assert_eq!(time("draw_at").subsec_millisecond(), 124, "whole milliseconds");
    whole(&draw);
    let path = format!("/draws/{}", draw["id"]);
    assert_eq!(admin.get(&path).await.expect(200), draw);
    let nulls = json!({
        "lottery": "6of45", "price": null, "sales_open_at": null, "sales_close_at": world.minutes(60), "draw_at": null,
    });
    let second = admin.post("/admin/draws", nulls).await.expect(201);
    assert_eq!((&second["number"], &second["price"]), (&json!(2), &json!(10_000)), "each lottery counts its own");
    let dearest = json!({"lottery": "5of36", "price": 100_000_000, "sales_close_at": world.minutes(1)});
    assert_eq!(admin.post("/admin/draws", dearest).await.expect(201)["number"], 1);
}

#[actix_web::test]
async fn a_draw_with_another_price_scales_what_its_lottery_guarantees() {
    let world = World::new().await;
    let admin = world.admin().await;
    let create = async |price: i64| {
        admin
            .post("/admin/draws", json!({"lottery": "5of36", "price": price, "sales_close_at": world.minutes(60)}))
            .await
    };
    let prizes = |draw: &Value| {
        let prizes = draw["prizes"].as_array().unwrap().iter();
        let guaranteed = |prize: &Value| {
            if prize["kind"] == "fixed" { prize["amount"].clone() } else { prize["minimum"].clone() }
        };
        prizes.map(|prize| guaranteed(prize).as_i64().unwrap()).collect::<Vec<_>>()
    };
    // The lottery's own price is 10,000.
    for (price, expected) in [
        (1, [10_000, 100, 10, 1]),
        (9_999, [99_990_000, 999_900, 99_990, 9_999]),
        (10_000, [100_000_000, 1_000_000, 100_000, 10_000]),
        (30_001, [300_010_000, 3_000_100, 300_010, 30_001]),
        (100_000_000, [1_000_000_000_000, 10_000_000_000, 1_000_000_000, 100_000_000]),
    ] {
        let draw = create(price).await.expect(201);
        assert_eq!(prizes(&draw), expected, "at a price of {price}");
        assert_eq!(draw["prizes"][0]["share"], 10_000);
        assert_eq!(admin.get(&format!("/draws/{}", draw["id"])).await.expect(200), draw);
    }
    let stored = "SELECT minimum FROM draw_tiers WHERE draw_id = 1 AND matches = 5";
    assert_eq!(world.count(stored).await, 10_000);
    let stored = "SELECT amount FROM draw_tiers WHERE draw_id = 1 AND matches = 4";
    assert_eq!(world.count(stored).await, 100);

    for price in [100_000_001, 1_000_000_000_000] {
        let problem = create(price).await.refused(422, "validation_failed");
        assert_eq!(fields(&problem), ["price"]);
        let message = problem["errors"][0]["message"].as_str().unwrap();
        assert!(message.starts_with("must be at most 100000000: "), "{message}");
    }
    assert_eq!(world.count("SELECT count(*) FROM draws").await, 5);
}
