//! What the audit log tells beside changes: log-ins of admins, refused calls, and reads of one user's data, with the
//! request; and the filters of the list.

use std::collections::BTreeSet;

use futures_util::future::join_all;
use jiff::SignedDuration;
use lottery::domain::id::UserId;

use super::*;

/// The entries of these actions, oldest first.
async fn entries(admin: &User, actions: &[&str]) -> Vec<Value> {
    let filter: Vec<String> = actions.iter().map(|action| format!("action={action}")).collect();
    let mut rows = admin.all(&format!("/admin/audit-log?{}", filter.join("&"))).await;
    rows.reverse();
    rows
}

/// Lets a minute pass, after which what was counted is written.
async fn after_a_minute(world: &World, admin: &User, actions: &[&str], entries_then: usize) -> Vec<Value> {
    world.advance(SignedDuration::from_mins(1));
    until("the counts are written", async || entries(admin, actions).await.len() >= entries_then).await;
    let rows = entries(admin, actions).await;
    assert_eq!(rows.len(), entries_then, "{rows:#?}");
    rows
}

/// Who, what for, how often.
fn told(row: &Value) -> (&Value, &str, i64) {
    (&row["actor_id"], row["subject"].as_str().unwrap(), row["count"].as_i64().unwrap())
}

fn request_id(answer: &Answer) -> &str {
    answer.headers["x-request-id"].to_str().unwrap()
}

async fn log_in(world: &World, login: &str, password: &str) -> Answer {
    world.anonymous().post("/auth/login", crate::common::body::login(login, password)).await
}

#[actix_web::test]
async fn log_ins_of_admins_are_in_the_audit_log() {
    let world = World::new().await;
    let (admin, ann) = (world.admin().await, world.player("ann").await);
    let answer = log_in(&world, "the.admin@example.com", PASSWORD).await;
    let good = entries(&admin, &["login"]).await;
    let subject = format!("user:{}", admin.id);
    let expected = (&json!(admin.id.0), &*subject, 1);
    assert_eq!(good.iter().map(told).collect::<Vec<_>>(), [expected; 2], "each, at once; players have none");
    let told_of = ["address", "request_id", "at", "detail"].map(|field| good[1][field].clone());
    let at = json!("2030-05-01T12:00:00Z");
    assert_eq!(told_of, [json!("127.0.0.1"), json!(request_id(&answer)), at.clone(), json!({})]);

    // Many failures at the same time, and by both names, are one entry. Those of others are none.
    let wrong = "wrong horse battery";
    let logins = ["the.admin", "The.Admin", "the.admin@example.com", "the.admin"];
    let answers = join_all(logins.map(|login| log_in(&world, login, wrong))).await;
    for login in ["ann", "nobody", wrong, &"x".repeat(60_000), "a\0b"] {
        log_in(&world, login, wrong).await.refused(401, "invalid_credentials");
    }
    assert_eq!(entries(&admin, &["login.failed"]).await, [] as [Value; 0], "no answer waits for the entry");
    let failed = after_a_minute(&world, &admin, &["login.failed"], 1).await;
    assert_eq!(told(&failed[0]), (&json!(admin.id.0), &*subject, 4));
    assert_eq!((&failed[0]["at"], &failed[0]["detail"]), (&at, &json!({})));
    let ids: BTreeSet<&str> = answers.iter().map(request_id).collect();
    assert!(ids.contains(failed[0]["request_id"].as_str().unwrap()) && ids.len() == 4);
    log_in(&world, "the.admin", wrong).await.refused(401, "invalid_credentials");
    let failed = after_a_minute(&world, &admin, &["login.failed"], 2).await;
    assert_eq!((failed[1]["count"].as_i64(), &failed[1]["at"]), (Some(1), &json!("2030-05-01T12:01:00Z")));

    // A blocked admin.
    let user = format!("/admin/users/{}", ann.id);
    patch(&admin, &user, json!({"role": "admin", "status": "blocked"})).await.expect(200);
    for _ in 0..2 {
        log_in(&world, "ann", PASSWORD).await.refused(403, "account_blocked");
    }
    let blocked = after_a_minute(&world, &admin, &["login.blocked"], 1).await;
    assert_eq!(told(&blocked[0]), (&json!(ann.id.0), &*format!("user:{}", ann.id), 2));
    let texts =
        "SELECT count(*) FROM audit_log WHERE audit_log::text LIKE '%horse%' OR length(audit_log::text) > 1000";
    assert_eq!(world.count(texts).await, 0, "what was typed is not stored");
}

#[actix_web::test]
async fn an_admin_is_not_logged_in_without_the_entry() {
    let world = World::new().await;
    let (admin, _ann) = (world.admin().await, world.player("ann").await);
    let sql = world.sql().await;
    sql.batch_execute("ALTER TABLE audit_log ADD CONSTRAINT full_up CHECK (action <> 'login') NOT VALID")
        .await
        .unwrap();
    let sessions = world.count("SELECT count(*) FROM sessions").await;
    log_in(&world, "the.admin", PASSWORD).await.refused(500, "internal_error");
    assert_eq!(world.count("SELECT count(*) FROM sessions").await, sessions);
    log_in(&world, "ann", PASSWORD).await.expect(200);
    sql.batch_execute("ALTER TABLE audit_log DROP CONSTRAINT full_up").await.unwrap();
    assert_eq!(entries(&admin, &["login"]).await.len(), 1);
}

#[actix_web::test]
async fn refused_calls_are_counted_by_the_minute() {
    let mut world = World::new().await;
    let (admin, ann, eve) = (world.admin().await, world.player("ann").await, world.player("eve").await);
    patch(&admin, &format!("/admin/users/{}", eve.id), json!({"status": "blocked"})).await.expect(200);
    let first = ann.get("/admin/users/1").await;
    let paths =
        ["/admin/users", "/admin/nothing/here", "/%61dmin/users", &format!("/admin/{}", "x".repeat(5_000))];
    let calls = paths.iter().cycle().take(40).map(|path| ann.request(Method::GET, path).send());
    for answer in join_all(calls).await {
        assert_eq!(answer.unwrap().status(), 403);
    }
    let odd = Method::from_bytes(&[b'X'; 2_000]).unwrap();
    assert_eq!(eve.request(odd, "/admin/users").send().await.unwrap().status(), 403);
    eve.post("/admin/draws", json!({})).await.refused(403, "account_blocked");
    // Nobody knows who calls without a token, and what else players are refused is not admins' business.
    world.anonymous().get("/admin/users").await.refused(401, "unauthorized");
    ann.with_token("forged").get("/admin/users").await.refused(401, "unauthorized");
    ann.get("/tickets/nonsense").await.refused(404, "not_found");
    assert_eq!(entries(&admin, &["admin.refused"]).await, [] as [Value; 0]);

    let rows = after_a_minute(&world, &admin, &["admin.refused"], 2).await;
    let (by_ann, by_eve) = (format!("user:{}", ann.id), format!("user:{}", eve.id));
    assert_eq!(
        rows.iter().map(told).collect::<Vec<_>>(),
        [(&json!(ann.id.0), &*by_ann, 41), (&json!(eve.id.0), &*by_eve, 2)]
    );
    assert_eq!(rows[0]["detail"], json!({"method": "GET", "route": "/api/v1/admin/users/{id}"}));
    assert_eq!(rows[1]["detail"], json!({"method": null, "route": "/api/v1/admin/users"}));
    assert_eq!((&rows[0]["address"], &rows[0]["request_id"]), (&json!("127.0.0.1"), &json!(request_id(&first))));
    assert_eq!(admin.request(Method::GET, "/%61dmin/users").send().await.unwrap().status(), 200);

    // While the log cannot be written they are counted on, and a stop writes them.
    let sql = world.sql().await;
    sql.batch_execute("ALTER TABLE audit_log ADD CONSTRAINT full_up CHECK (action = '') NOT VALID").await.unwrap();
    ann.get("/admin/users").await.refused(403, "forbidden");
    world.advance(SignedDuration::from_mins(1));
    ann.get("/admin/clock").await.refused(403, "forbidden");
    sql.batch_execute("ALTER TABLE audit_log DROP CONSTRAINT full_up").await.unwrap();
    world.restart().await;
    let admin = world.reconnect(&admin);
    let rows = entries(&admin, &["admin.refused"]).await;
    let later: i64 = rows[2..].iter().map(|row| told(row).2).sum();
    assert_eq!(later, 2, "{rows:#?}");
}

#[actix_web::test]
async fn a_read_of_one_users_data_is_recorded_before_it_is_answered() {
    let world = World::new().await;
    let (admin, ann) = (world.admin().await, world.rich_player("ann", 1_000).await);
    let reads = ["user.read", "payment.read", "charge.read", "export"];
    let (user, nobody) = (format!("user:{}", ann.id), "user:999".to_owned());
    let path = format!("/admin/users/{}", ann.id);
    let answer = admin.get(&path).await;
    let payments = format!("/admin/payments?user_id={}&user_id=999&user_id={}", ann.id, ann.id);
    admin.get(&payments).await.expect(200);
    let charges = format!("/admin/charges?user_id={}", ann.id);
    admin.get(&charges).await.expect(200);
    // These show no user's data, or everybody's.
    admin.get("/admin/users/999").await.refused(404, "not_found");
    for path in ["/admin/users", "/admin/payments", "/admin/charges", "/admin/audit-log"] {
        admin.get(path).await.expect(200);
    }
    ann.get("/payments").await.expect(200);
    let export = "/admin/export/users?format=ndjson";
    assert_eq!(admin.request(Method::GET, export).send().await.unwrap().status(), 200);

    let rows = entries(&admin, &reads).await;
    let found: Vec<(&str, &str)> =
        rows.iter().map(|row| (row["action"].as_str().unwrap(), row["subject"].as_str().unwrap())).collect();
    assert_eq!(
        found,
        [
            ("user.read", &*user),
            ("payment.read", &user),
            ("payment.read", &nobody),
            ("charge.read", &user),
            ("export", "table:users"),
        ]
    );
    assert_eq!(rows[0]["request_id"], request_id(&answer));
    for row in &rows {
        assert_eq!((&row["actor_id"], &row["address"]), (&json!(admin.id.0), &json!("127.0.0.1")), "{row}");
        assert!(row["request_id"].is_string() && row["count"] == 1, "{row}");
    }

    // Changes have the request, too; those of the command line have none.
    let created = admin.schedule(&world).await;
    let row = &entries(&admin, &["draw.create"]).await[0];
    assert_eq!((&row["subject"], &row["address"]), (&json!(format!("draw:{created}")), &json!("127.0.0.1")));
    assert!(row["request_id"].is_string());
    let row = &entries(&admin, &["admin.create"]).await[0];
    assert_eq!((&row["address"], &row["request_id"], &row["count"]), (&Value::Null, &Value::Null, &json!(1)));

    // What cannot be recorded is not shown.
    let sql = world.sql().await;
    sql.batch_execute("ALTER TABLE audit_log ADD CONSTRAINT full_up CHECK (action = '') NOT VALID").await.unwrap();
    for path in [&*path, &*payments, &*charges, "/admin/export/users?format=ndjson"] {
        let refused = admin.get(path).await;
        assert!(refused.headers.contains_key("retry-after"), "{path}");
        let detail = refused.refused(503, "overloaded");
        assert!(detail["detail"].as_str().unwrap().contains("audit log"), "{detail}");
    }
    admin.get("/admin/users").await.expect(200);
}

#[actix_web::test]
async fn the_audit_log_is_filtered_by_actions_and_actors() {
    let world = World::new().await;
    let (admin, ann) = (world.admin().await, world.player("ann").await);
    patch(&admin, &format!("/admin/users/{}", ann.id), json!({"role": "admin"})).await.expect(200);
    for who in [&admin, &ann, &admin] {
        who.schedule(&world).await;
        who.get(&format!("/admin/users/{}", ann.id)).await.expect(200);
    }
    let all = admin.all("/admin/audit-log").await;
    assert_eq!(all.len(), 9);
    let kept = |actions: &[&str], actors: &[UserId]| -> Vec<Value> {
        let kept = all.iter().filter(|row| {
            let actor = actors.is_empty() || actors.iter().any(|actor| row["actor_id"] == actor.0);
            actor && (actions.is_empty() || actions.iter().any(|action| row["action"] == *action))
        });
        kept.cloned().collect()
    };
    let (admin_id, ann_id) = (admin.id, ann.id);
    let (by_admin, by_ann) = (format!("actor_id={admin_id}"), format!("actor_id={ann_id}"));
    for (query, expected, count) in [
        ("action=draw.create".to_owned(), kept(&["draw.create"], &[]), 3),
        ("action=login&action=user.read&action=login".to_owned(), kept(&["login", "user.read"], &[]), 4),
        (by_ann.clone(), kept(&[], &[ann_id]), 2),
        (format!("{by_ann}&{by_admin}&{by_ann}"), kept(&[], &[ann_id, admin_id]), 8),
        (format!("{by_admin}&action=user.read"), kept(&["user.read"], &[admin_id]), 2),
        ("action=draw.cancel".to_owned(), Vec::new(), 0),
        ("actor_id=999".to_owned(), Vec::new(), 0),
    ] {
        assert_eq!(expected.len(), count, "{query}");
        for limit in [1, 2, 200] {
            let found = admin.all(&format!("/admin/audit-log?{query}&limit={limit}")).await;
            assert_eq!(found, expected, "{query} {limit}");
        }
    }
    // New entries shift no page.
    let page = admin.get("/admin/audit-log?action=draw.create&limit=2").await.expect(200);
    admin.schedule(&world).await;
    let cursor = page["next_cursor"].as_str().unwrap();
    let next =
        admin.get(&format!("/admin/audit-log?action=draw.create&limit=2&cursor={cursor}")).await.expect(200);
    assert_eq!(next["items"].as_array().unwrap()[..], kept(&["draw.create"], &[])[2..]);
    for bad in ["action=nothing", "action=", "actor_id=boss", "actor_id="] {
        admin.get(&format!("/admin/audit-log?{bad}")).await.refused(422, "validation_failed");
    }
}
