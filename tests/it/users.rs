//! What admins see and change of users: the list and its search, blocking, roles, password resets.

use futures_util::future::join_all;
use jiff::SignedDuration;
use reqwest::Method;
use serde_json::{Value, json};

use crate::common::postgres::SESSIONS_WAITING_FOR_LOCKS;
use crate::world::*;

async fn patch(who: &User, user: &User, body: Value) -> Answer {
    who.send(who.request(Method::PATCH, &format!("/admin/users/{}", user.id)).json(&body)).await
}

#[actix_web::test]
async fn users_are_found_by_any_part_of_their_names() {
    let world = World::new().await;
    let admin = world.admin().await;
    for name in ["ann", "Joanna", "bob", "under_score", "underXscore"] {
        world.player(name).await;
    }
    let found = async |query: &str| {
        let users = admin.all(&format!("/admin/users?{query}")).await;
        users.iter().map(|user| user["username"].as_str().unwrap().to_owned()).collect::<Vec<_>>().join(" ")
    };
    assert_eq!(found("").await, "underXscore under_score bob Joanna ann the.admin", "newest first");
    for (query, names) in [
        ("query=ann", "Joanna ann"),
        ("query=JOA", "Joanna"),
        ("query=an", "Joanna ann"),
        ("query=bob%40example.com", "bob"),
        ("query=EXAMPLE.COM&limit=2", "underXscore under_score bob Joanna ann the.admin"),
        ("query=r_s", "under_score"),
        ("query=%25", ""),
        ("query=nobody", ""),
        ("query=", "underXscore under_score bob Joanna ann the.admin"),
        ("role=admin", "the.admin"),
        ("role=admin&role=player&query=n.n", ""),
        ("status=blocked", ""),
        ("status=active&query=bob", "bob"),
    ] {
        assert_eq!(found(query).await, names, "{query}");
    }
    for bad in ["status=asleep", "role=king", "query=a%00b", "name=ann"] {
        admin.get(&format!("/admin/users?{bad}")).await.refused(422, "validation_failed");
    }
}

#[actix_web::test]
async fn a_user_is_shown_with_the_balance_of_the_wallet() {
    let world = World::new().await;
    let (admin, ann) = (world.admin().await, world.rich_player("ann", 12_300).await);
    let mut shown = admin.get(&format!("/admin/users/{}", ann.id)).await.expect(200);
    assert_eq!((shown["balance"].take(), shown["currency"].take()), (json!(12_300), json!("RUB")));
    let shown = shown.as_object_mut().unwrap();
    shown.retain(|_, value| !value.is_null() || *value == ann.name.as_str());
    for (field, value) in ann.get("/me").await.expect(200).as_object().unwrap() {
        assert!(value.is_null() || shown[field] == *value, "{field}");
    }
    for id in ["999", "x", "-1"] {
        admin.get(&format!("/admin/users/{id}")).await.refused(404, "not_found");
    }
}

#[actix_web::test]
async fn a_new_status_or_role_applies_to_the_next_request() {
    let world = World::new().await;
    let (admin, ann) = (world.admin().await, world.rich_player("ann", 100_000).await);
    let draw = admin.open_draw(&world, 0).await;
    ann.buy_quick(draw, 1).await;

    let blocked = patch(&admin, &ann, json!({"status": "blocked"})).await.expect(200);
    assert_eq!((&blocked["id"], &blocked["status"]), (&json!(ann.id.0), &json!("blocked")));
    ann.order(draw, json!([{"quick_pick": true}]), "wallet").await.refused(403, "account_blocked");
    patch(&admin, &ann, json!({"status": "active"})).await.expect(200);
    ann.buy_quick(draw, 1).await;

    ann.get("/admin/users").await.refused(403, "forbidden");
    assert_eq!(patch(&admin, &ann, json!({"role": "admin"})).await.expect(200)["role"], "admin");
    ann.get("/admin/users").await.expect(200);
    patch(&ann, &admin, json!({"role": "player"})).await.expect(200);
    admin.get("/admin/users").await.refused(403, "forbidden");
    assert_eq!(admin.get("/me").await.expect(200)["role"], "player");

    for body in [json!({"role": "king"}), json!({"email": "x@example.com"}), json!({"status": true})] {
        patch(&ann, &admin, body).await.refused(422, "validation_failed");
    }
    let mut nobody = ann.clone();
    nobody.id.0 = 999;
    patch(&ann, &nobody, json!({"status": "blocked"})).await.refused(404, "not_found");
    assert_eq!(patch(&ann, &admin, json!({})).await.expect(200)["role"], "player");
}

#[actix_web::test]
async fn admins_do_not_play_where_the_operator_says_so() {
    let world = World::with(|config| config.security.admins_play = false).await;
    let (admin, ann) = (world.admin().await, world.rich_player("ann", 100_000).await);
    admin.deposit(100_000).await;
    let draw = admin.open_draw(&world, 5).await;
    for payment in ["wallet", "later"] {
        let refused = admin.order(draw, json!([{"quick_pick": true}]), payment).await;
        refused.refused(403, "admins_do_not_play");
    }
    admin.order(draw, json!([]), "wallet").await.refused(422, "validation_failed");

    // What a player ordered before the role came: the paid tickets stay, a reservation cannot be paid any more.
    let path = format!("/draws/{draw}/tickets");
    let order = order(json!([quick_pick()]), "wallet");
    let bought = ann.post_keyed(&path, "bought", order.clone()).await.expect(201);
    let reserved = ann.reserve(draw).await;
    let payment = reserved["payment"]["id"].as_str().unwrap();
    patch(&admin, &ann, json!({"role": "admin"})).await.expect(200);
    for body in [wallet(), card(GOOD_CARD)] {
        ann.pay(payment, body).await.refused(403, "admins_do_not_play");
    }
    let again = ann.post_keyed(&path, "bought", order.clone()).await;
    assert_eq!(again.headers["idempotency-replayed"], "true");
    assert_eq!(again.expect(201), without_receipt(bought), "the key has an answer already");
    ann.post_keyed(&path, "new", order.clone()).await.refused(403, "admins_do_not_play");
    ann.delete(&format!("/tickets/{}", reserved["tickets"][0]["id"].as_str().unwrap())).await.expect(204);
    assert_eq!(ann.balance().await, 100_000 - 10_000);

    patch(&admin, &ann, json!({"role": "player"})).await.expect(200);
    ann.post_keyed(&path, "new", order).await.expect(201);
    assert_eq!(admin.conduct(draw).await["tickets_sold"], 2);
    world.check_invariants().await;
}

#[actix_web::test]
async fn the_last_active_admin_can_be_neither_blocked_nor_demoted() {
    let world = World::new().await;
    let (admin, ann) = (world.admin().await, world.player("ann").await);
    for body in [json!({"role": "player"}), json!({"status": "blocked"})] {
        patch(&admin, &admin, body).await.refused(409, "last_admin");
    }
    // A blocked admin does not count as one.
    patch(&admin, &ann, json!({"role": "admin", "status": "blocked"})).await.expect(200);
    patch(&admin, &admin, json!({"role": "player"})).await.refused(409, "last_admin");
    patch(&admin, &ann, json!({"status": "active"})).await.expect(200);
    for round in 0..10 {
        // Each demotes the other at the same time. The admin who is demoted first is refused.
        let (one, two) = tokio::join!(
            patch(&admin, &ann, json!({"role": "player"})),
            patch(&ann, &admin, json!({"status": "blocked"})),
        );
        let refused = [&one, &two].into_iter().filter(|answer| answer.status != 200).count();
        assert_eq!(refused, 1, "round {round}: {} {}", one.text, two.text);
        let active = "SELECT count(*) FROM users WHERE role = 'admin' AND status = 'active'";
        assert_eq!(world.count(active).await, 1);
        let left = if one.status == 200 { &admin } else { &ann };
        for fallen in [&admin, &ann] {
            patch(left, fallen, json!({"role": "admin", "status": "active"})).await.expect(200);
        }
    }
    // The same when both requests wait for the same rows.
    let sql = world.sql().await;
    sql.batch_execute("BEGIN; UPDATE users SET name = 'x' WHERE role = 'admin'").await.unwrap();
    let (one, two, ()) = tokio::join!(
        patch(&admin, &ann, json!({"role": "player"})),
        patch(&admin, &admin, json!({"role": "player"})),
        async {
            until("both wait", async || world.count(SESSIONS_WAITING_FOR_LOCKS).await == 2).await;
            sql.batch_execute("COMMIT").await.unwrap();
        },
    );
    let (winner, loser) = if one.status == 200 { (one, two) } else { (two, one) };
    winner.expect(200);
    loser.refused(409, "last_admin");
}

#[actix_web::test]
async fn a_password_reset_works_once_and_ends_every_session() {
    let world = World::new().await;
    let (admin, anonymous) = (world.admin().await, world.anonymous());
    let (old, new) = ("correct horse", "battery staple");
    let body = json!({"username": "ann", "email": "ann@example.com", "password": old});
    let ann = anonymous.post("/auth/register", body).await.expect(201)["id"].as_i64().unwrap();
    let login =
        async |password| anonymous.post("/auth/login", json!({"login": "ann", "password": password})).await;
    let sessions = [login(old).await.expect(200), login(old).await.expect(200)];
    let path = format!("/admin/users/{ann}/password-reset");
    let token = async || {
        let answer = admin.send(admin.request(Method::POST, &path)).await.expect(200);
        answer["token"].as_str().unwrap().to_owned()
    };
    let reset = async |token: &str, password: &str| {
        anonymous.post("/auth/password-reset", json!({"token": token, "new_password": password})).await
    };

    let (first, second) = (token().await, token().await);
    let stored = "SELECT count(*) FROM password_resets WHERE encode(hash, 'escape') LIKE '%' || $1 || '%'";
    let plain: i64 = world.sql().await.query_one(stored, &[&second]).await.unwrap().get(0);
    assert_eq!((plain, world.count("SELECT count(*) FROM password_resets").await), (0, 1));
    reset(&first, new).await.refused(401, "unauthorized");
    reset(&second, "short").await.refused(422, "validation_failed");
    reset("nonsense", new).await.refused(401, "unauthorized");
    login(old).await.expect(200);
    let answers = join_all((0..4).map(|_| reset(&second, new))).await;
    assert_eq!(answers.iter().filter(|answer| answer.status == 204).count(), 1);
    assert_eq!(answers.iter().filter(|answer| answer.is(401, "unauthorized")).count(), 3);
    login(old).await.refused(401, "invalid_credentials");
    login(new).await.expect(200);
    for session in sessions {
        let body = json!({"refresh_token": session["refresh_token"]});
        anonymous.post("/auth/refresh", body).await.refused(401, "unauthorized");
        anonymous
            .with_token(session["access_token"].as_str().unwrap())
            .get("/me")
            .await
            .refused(401, "unauthorized");
    }

    let late = token().await;
    world.advance(SignedDuration::from_hours(1));
    reset(&late, old).await.refused(401, "unauthorized");
    login(new).await.expect(200);
    admin.send(admin.request(Method::POST, "/admin/users/999/password-reset")).await.refused(404, "not_found");
}
