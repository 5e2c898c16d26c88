//! The audit log: every admin action writes its entry in its own transaction, and no entry can be deleted.

mod access;

use reqwest::Method;
use serde_json::{Value, json};

use crate::common::PASSWORD;
use crate::world::*;

/// The actions of this admin, oldest first: action, subject and detail.
async fn actions(admin: &User) -> Vec<(String, String, Value)> {
    let mut rows = admin.all("/admin/audit-log").await;
    rows.reverse();
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let actions = rows.iter().filter(|row| row["actor_id"] == admin.id.0);
    actions.map(|row| (text(&row["action"]), text(&row["subject"]), row["detail"].clone())).collect()
}

async fn patch(who: &User, path: &str, body: Value) -> Answer {
    who.send(who.request(Method::PATCH, path).json(&body)).await
}

#[actix_web::test]
async fn every_admin_action_is_logged_once() {
    let world = World::new().await;
    let (admin, ann) = (world.admin().await, world.player("ann").await);
    let draw = admin.open_draw(&world, 3).await;
    let path = format!("/admin/draws/{draw}");
    let close = world.minutes(30);
    patch(&admin, &path, json!({"sales_close_at": close})).await.expect(200);
    // Repeated, refused, or of an unknown draw: these change nothing.
    admin.step(draw, "open").await.expect(200);
    admin.step(draw, "conduct").await.refused(409, "invalid_transition");
    admin.step(999, "open").await.refused(404, "not_found");
    admin.pool(draw, 0).await.refused(422, "validation_failed");
    ann.step(draw, "close").await.refused(403, "forbidden");
    admin.conduct(draw).await;
    admin.step(draw, "conduct").await.expect(200);
    let other = admin.schedule(&world).await;
    admin.cancel(other).await.expect(200);
    admin.cancel(other).await.expect(200);
    let user = format!("/admin/users/{}", ann.id);
    patch(&admin, &user, json!({"status": "blocked"})).await.expect(200);
    patch(&admin, &user, json!({"status": "blocked"})).await.expect(200);
    admin.post(&format!("{user}/password-reset"), json!({})).await.expect(200);

    let bob = world.rich_player("bob", 1_000).await;
    let aside = bob.post("/wallet/withdrawals", json!({"amount": 300})).await.expect(201);
    let withdrawal = aside["id"].as_str().unwrap();
    for _ in 0..2 {
        admin.post(&format!("/admin/withdrawals/{withdrawal}/approve"), json!({})).await.expect(200);
    }
    admin.get("/admin/export/winners?format=ndjson").await;

    let (draw, other) = (format!("draw:{draw}"), format!("draw:{other}"));
    let done = actions(&admin).await;
    let names: Vec<(&str, &str)> = done.iter().map(|(action, subject, _)| (&**action, &**subject)).collect();
    let user = format!("user:{}", ann.id);
    assert_eq!(
        names,
        [
            ("login", &*format!("user:{}", admin.id)),
            ("draw.create", &*draw),
            ("draw.pool", &draw),
            ("draw.open", &draw),
            ("draw.reschedule", &draw),
            ("draw.close", &draw),
            ("draw.conduct", &draw),
            ("draw.create", &other),
            ("draw.cancel", &other),
            ("user.change", &user),
            ("user.password_reset", &user),
            ("withdrawal.approve", &format!("payment:{withdrawal}")),
            ("export", "table:winners"),
        ]
    );
    assert_eq!((&done[2].2, &done[4].2["sales_close_at"]), (&json!({"count": 3}), &json!(close)));
    assert_eq!(done[8].2, json!({"reason": "the drum is broken"}));
    assert_eq!(done[11].2, json!({"user_id": bob.id, "amount": 300}));
    assert_eq!((&done[9].2["from"]["status"], &done[9].2["to"]["status"]), (&json!("active"), &json!("blocked")));

    // Steps of the clock are not logged, and entries of the command line have no actor.
    let draw = admin.open_draw(&world, 0).await;
    world.advance(jiff::SignedDuration::from_hours(3));
    world.until_draw_is(draw, "completed").await;
    assert_eq!(actions(&admin).await.len(), done.len() + 2);
    let first = admin.all("/admin/audit-log?limit=3").await.pop().unwrap();
    assert_eq!((&first["action"], &first["actor_id"]), (&json!("admin.create"), &Value::Null));
    assert_eq!(first["at"], "2030-05-01T12:00:00Z");
    ann.get("/admin/audit-log").await.refused(403, "account_blocked");
    admin.get("/admin/audit-log?actor=1").await.refused(422, "validation_failed");
}

#[actix_web::test]
async fn an_admin_action_fails_if_its_audit_entry_cannot_be_written() {
    let mut world = World::new().await;
    let (admin, ann) = (world.admin().await, world.player("ann").await);
    let (scheduled, open) = (admin.schedule(&world).await, admin.open_draw(&world, 2).await);
    let closed = admin.open_draw(&world, 0).await;
    admin.step(closed, "close").await.expect(200);
    let before = admin.get("/draws").await.expect(200);
    let sql = world.sql().await;
    sql.batch_execute("ALTER TABLE audit_log ADD CONSTRAINT full_up CHECK (action = '') NOT VALID").await.unwrap();

    let user = format!("/admin/users/{}", ann.id);
    let later = json!({"draw_at": world.minutes(500)});
    for answer in [
        admin.post("/admin/draws", json!({"lottery": "5of36", "sales_close_at": world.minutes(60)})).await,
        admin.pool(open, 5).await,
        admin.step(scheduled, "open").await,
        admin.step(open, "close").await,
        admin.step(closed, "conduct").await,
        patch(&admin, &user, json!({"status": "blocked"})).await,
        admin.post(&format!("{user}/password-reset"), json!({})).await,
    ] {
        answer.refused(500, "internal_error");
    }
    // The draws whose write failed are loaded again.
    until("it is rescheduled or refused", async || {
        patch(&admin, &format!("/admin/draws/{scheduled}"), later.clone()).await.is(500, "internal_error")
    })
    .await;
    until("it is cancelled or refused", async || admin.cancel(open).await.is(500, "internal_error")).await;
    ann.get("/me").await.expect(200);
    assert_eq!(world.count("SELECT count(*) FROM password_resets").await, 0);
    assert_eq!(world.count("SELECT count(*) FROM draw_results").await, 0);

    sql.batch_execute("ALTER TABLE audit_log DROP CONSTRAINT full_up").await.unwrap();
    world.restart().await;
    let admin = world.reconnect(&admin);
    assert_eq!(admin.get("/draws").await.expect(200), before);
    admin.step(closed, "conduct").await.expect(200);
}

#[actix_web::test]
async fn the_audit_log_can_be_neither_changed_nor_deleted() {
    let world = World::new().await;
    let admin = world.admin().await;
    admin.schedule(&world).await;
    let sql = world.sql().await;
    for attempt in ["UPDATE audit_log SET action = 'nothing'", "DELETE FROM audit_log", "TRUNCATE audit_log"] {
        let error = sql.batch_execute(attempt).await.unwrap_err();
        assert_eq!(error.code(), Some(&tokio_postgres::error::SqlState::RESTRICT_VIOLATION), "{attempt}");
    }
    assert_eq!(actions(&admin).await.len(), 2);
}
