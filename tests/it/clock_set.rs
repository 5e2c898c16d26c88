//! The machine's clock is set while the service runs: draws do nothing by it until it returns or an admin confirms it.

use std::num::NonZeroU32;

use jiff::SignedDuration;
use reqwest::Method;
use serde_json::json;

use crate::logs::transcript;
use crate::webhook::{notice, send, signature};
use crate::world::*;

async fn metrics(world: &World) -> String {
    let url = format!("http://{}/metrics", world.app().address);
    http_client().get(url).send().await.unwrap().text().await.unwrap()
}

async fn is_paused(world: &World) -> bool {
    let ready = world.anonymous().without_base_path().get("/health/ready").await.expect(200);
    ready["clock_paused"] == true
}

const HOURS: SignedDuration = SignedDuration::from_hours(3);

#[actix_web::test]
async fn a_clock_that_was_set_forward_closes_no_sale_until_it_returns() {
    let (world, admin, draw) = World::on_sale(3).await;
    let ann = world.rich_player("ann", 30_000).await;
    let (unpaid, slow) = (ann.reserve(draw).await, ann.reserve(draw).await);
    let bill = ann.pay(id(&slow["payment"]), card(SLOW_CARD)).await.expect(200);
    assert!(!is_paused(&world).await);

    world.clock.set_wall(HOURS);
    assert!(is_paused(&world).await, "requests are served all the same");
    let text = metrics(&world).await;
    assert!(
        text.contains("lottery_clock_paused 1") && text.contains("lottery_clock_offset_seconds 10800"),
        "{text}"
    );
    let clock = admin.get("/admin/clock").await.expect(200);
    assert_eq!(clock, json!({"wall": world.clock.now(), "offset_ms": 10_800_000, "paused": true}));
    // A card that was charged before gets its ticket, although the clock shows a time after the cut-off.
    let body = notice(&bill, "paid");
    let signature = signature(WEBHOOK_SECRET, world.clock.now().as_second(), &body);
    send("sandbox", Some(&signature), &body, &world.anonymous()).await.expect(200);
    let seat = format!("/tickets/{}", id(&slow["tickets"][0]));
    assert_eq!(ann.get(&seat).await.expect(200)["status"], "paid");
    // By hand everything works meanwhile.
    let other = admin.create_draw(json!({"lottery": "5of36", "sales_close_at": world.minutes(60)})).await;
    admin.step(other, "open").await.expect(200);
    ann.buy_quick(other, 1).await;
    admin.step(other, "close").await.expect(200);
    admin.conduct(other).await;

    world.clock.set_wall(-HOURS);
    assert!(!is_paused(&world).await);
    assert!(metrics(&world).await.contains("lottery_clock_paused 0"));
    assert_eq!(ann.get(&format!("/draws/{draw}")).await.expect(200)["status"], "open");
    ann.pay(id(&unpaid["payment"]), wallet()).await.expect(200);
    ann.reserve(draw).await;
    world.advance(HOURS);
    world.until_draw_is(draw, "completed").await;
    world.check_invariants().await;
}

#[actix_web::test]
async fn draws_go_on_when_an_admin_confirms_the_clock() {
    let (world, admin, draw) = World::on_sale(0).await;
    let ann = world.player("ann").await;
    admin.post("/admin/clock/confirm", json!({})).await.expect(200);
    world.clock.set_wall(HOURS);
    assert_eq!(admin.get("/admin/clock").await.expect(200)["paused"], true);
    ann.post("/admin/clock/confirm", json!({})).await.refused(403, "forbidden");
    assert_eq!(ann.get(&format!("/draws/{draw}")).await.expect(200)["status"], "open");

    let confirmed = admin.post("/admin/clock/confirm", json!({})).await.expect(200);
    assert_eq!(confirmed, json!({"wall": world.clock.now(), "offset_ms": 0, "paused": false}));
    world.until_draw_is(draw, "completed").await;
    let log = admin.all("/admin/audit-log").await;
    let entries: Vec<_> = log.iter().filter(|entry| entry["action"] == "clock.confirm").collect();
    assert_eq!(entries.len(), 1, "a confirmation that changes nothing is not logged");
    assert_eq!(
        (&entries[0]["subject"], &entries[0]["detail"]),
        (&json!("clock"), &json!({"offset_ms": 10_800_000}))
    );
}

#[actix_web::test]
async fn nothing_is_deleted_by_a_wrong_clock() {
    let (world, _, draw) = World::on_sale(0).await;
    let ann = world.rich_player("ann", 30_000).await;
    let path = format!("/draws/{draw}/tickets");
    let order = order(json!([quick_pick()]), "wallet");
    let first = ann.post_keyed(&path, "once", order.clone()).await.expect(201);

    let month = SignedDuration::from_hours(30 * 24);
    world.clock.set_wall(month);
    world.advance(SignedDuration::from_mins(11));
    assert!(is_paused(&world).await);
    world.clock.set_wall(-month);
    // Once a key that is really old is deleted, a round has been made.
    let old = "INSERT INTO idempotency_keys (id, request, status, created_at)
        VALUES (gen_random_uuid(), gen_random_uuid(), 201, '2020-01-01')";
    world.sql().await.execute(old, &[]).await.unwrap();
    let old = "SELECT count(*) FROM idempotency_keys WHERE created_at < '2021-01-01'";
    let is_deleted = || async {
        world.advance(SignedDuration::from_mins(1));
        world.count(old).await == 0
    };
    until("a round of housekeeping is over", is_deleted).await;
    assert_eq!(ann.post_keyed(&path, "once", order).await.expect(201), without_receipt(first));
    assert_eq!(ann.balance().await, 20_000);
}

#[actix_web::test]
async fn setting_the_clock_does_not_move_a_rate_limit() {
    let world = World::with(|config| {
        config.limits.enabled = true;
        config.limits.registrations_per_hour = NonZeroU32::MIN;
    })
    .await;
    let register = async |name| world.anonymous().post("/auth/register", registration(name)).await;
    register("ann").await.expect(201);
    world.clock.set_wall(HOURS);
    register("bob").await.refused(429, "rate_limited");
    world.clock.set_wall(-HOURS - HOURS);
    world.advance(SignedDuration::from_mins(61));
    register("bob").await.expect(201);
}

/// A draw that was opened by hand before the clock was set right. A verifier refuses entries whose times go back.
#[actix_web::test]
async fn the_published_times_of_a_draw_do_not_go_back_with_the_clock() {
    let world = World::new().await;
    let admin = world.admin().await;
    let new = json!({"lottery": "5of36", "sales_close_at": world.minutes(600)});
    let (drawn, cancelled) = (admin.create_draw(new.clone()).await, admin.create_draw(new).await);
    world.clock.set_wall(HOURS);
    for draw in [drawn, cancelled] {
        admin.step(draw, "open").await.expect(200);
    }
    world.clock.set_wall(-HOURS);
    let times = json!({"sales_close_at": world.minutes(660), "draw_at": world.minutes(720)});
    for draw in [drawn, cancelled] {
        let path = format!("/admin/draws/{draw}");
        admin.send(admin.request(Method::PATCH, &path).json(&times)).await.expect(200);
    }
    admin.cancel(cancelled).await.expect(200);
    admin.conduct(drawn).await;
    for draw in [drawn, cancelled] {
        let times: Vec<u64> = transcript(&world, draw).await.iter().map(|(_, _, event)| event.at()).collect();
        assert!(times.len() > 2 && times.is_sorted(), "{times:?}");
    }
    world.check_invariants().await;
}
