//! What admins see and change of draws, tickets and payments; and a player's own password.

use jiff::SignedDuration;
use reqwest::Method;
use serde_json::json;

use crate::world::*;

#[actix_web::test]
async fn a_draw_is_rescheduled_before_its_cut_off_and_follows_the_new_times() {
    let mut world = World::new().await;
    let admin = world.admin().await;
    let ann = world.rich_player("ann", 100_000).await;
    let draw = admin.open_draw(&world, 5).await;
    let path = format!("/admin/draws/{draw}");
    let patch = async |body| admin.send(admin.request(Method::PATCH, &path).json(&body)).await;

    let changed =
        patch(json!({"sales_close_at": world.minutes(10), "draw_at": world.minutes(30)})).await.expect(200);
    assert_eq!(changed["sales_close_at"], json!(world.minutes(10)));
    patch(json!({"sales_close_at": world.minutes(40)})).await.refused(422, "validation_failed");
    patch(json!({"price": 5})).await.refused(422, "validation_failed");
    ann.send(ann.request(Method::PATCH, &path).json(&json!({}))).await.refused(403, "forbidden");
    ann.buy_quick(draw, 1).await;
    world.restart().await;
    let (admin, ann) = (world.reconnect(&admin), world.reconnect(&ann));

    world.advance(SignedDuration::from_mins(10));
    world.until_draw_is(draw, "closed").await;
    ann.order(draw, json!([{"quick_pick": true}]), "wallet").await.refused(409, "draw_not_open");
    let late = admin.request(Method::PATCH, &path).json(&json!({"draw_at": world.minutes(99)}));
    admin.send(late).await.refused(409, "invalid_transition");
    world.advance(SignedDuration::from_mins(20));
    world.until_draw_is(draw, "completed").await;
    let over = admin.request(Method::PATCH, &path).json(&json!({"draw_at": world.minutes(99)}));
    admin.send(over).await.refused(409, "invalid_transition");
    let unknown = admin.request(Method::PATCH, "/admin/draws/999").json(&json!({}));
    admin.send(unknown).await.refused(404, "not_found");
    world.check_invariants().await;
}

#[actix_web::test]
async fn an_admin_sees_every_ticket_and_every_payment_with_its_owner() {
    let world = World::new().await;
    let admin = world.admin().await;
    let (ann, bob) = (world.rich_player("ann", 100_000).await, world.rich_player("bob", 100_000).await);
    let draw = admin.open_draw(&world, 5).await;
    ann.buy_quick(draw, 2).await;
    world.advance(SignedDuration::from_secs(1));
    bob.reserve(draw).await;

    let tickets = admin.get(&format!("/admin/draws/{draw}/tickets")).await.expect(200);
    let owners: Vec<_> = tickets["items"].as_array().unwrap().iter().map(|ticket| &ticket["user_id"]).collect();
    assert_eq!(owners, [bob.id.0, ann.id.0, ann.id.0], "newest first");
    let reserved = admin.get(&format!("/admin/draws/{draw}/tickets?status=reserved")).await.expect(200);
    assert_eq!(reserved["items"].as_array().unwrap().len(), 1);
    let first = admin.get(&format!("/admin/draws/{draw}/tickets?limit=2")).await.expect(200);
    let cursor = first["next_cursor"].as_str().unwrap();
    let rest = admin.get(&format!("/admin/draws/{draw}/tickets?limit=2&cursor={cursor}")).await.expect(200);
    assert_eq!(rest["items"].as_array().unwrap().len(), 1);
    admin.get("/admin/draws/999/tickets").await.refused(404, "not_found");

    let all = admin.get("/admin/payments").await.expect(200);
    assert_eq!(all["items"].as_array().unwrap().len(), 4, "two deposits, two purchases");
    let anns = format!("/admin/payments?user_id={}&kind=purchase&status=paid", ann.id);
    let anns = admin.get(&anns).await.expect(200);
    assert_eq!((anns["items"].as_array().unwrap().len(), &anns["items"][0]["user_id"]), (1, &json!(ann.id.0)));
    admin.get("/admin/payments?kind=gift").await.refused(422, "validation_failed");
    ann.get("/admin/payments").await.refused(403, "forbidden");
}

#[actix_web::test]
async fn a_changed_password_ends_every_other_session() {
    let world = World::new().await;
    let anonymous = world.anonymous();
    let (old, new) = ("correct horse", "battery staple");
    let body = json!({"username": "ann", "email": "ann@example.com", "password": old});
    anonymous.post("/auth/register", body).await.expect(201);
    let login =
        async |password| anonymous.post("/auth/login", json!({"login": "ann", "password": password})).await;
    let (here, there) = (login(old).await.expect(200), login(old).await.expect(200));
    let mut ann = world.anonymous();
    ann.token = here["access_token"].as_str().map(str::to_owned);
    let change = async |current, new| {
        ann.post("/me/password", json!({"current_password": current, "new_password": new})).await
    };

    change("wrong horse", new).await.refused(401, "invalid_credentials");
    change(old, "short").await.refused(422, "validation_failed");
    change(old, new).await.expect(204);

    login(old).await.refused(401, "invalid_credentials");
    login(new).await.expect(200);
    let refresh = async |pair: &serde_json::Value| {
        anonymous.post("/auth/refresh", json!({"refresh_token": pair["refresh_token"]})).await
    };
    refresh(&there).await.refused(401, "unauthorized");
    anonymous.with_token(there["access_token"].as_str().unwrap()).get("/me").await.refused(401, "unauthorized");
    refresh(&here).await.expect(200);
    ann.get("/me").await.expect(200);
}
