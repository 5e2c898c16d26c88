//! Registration, log-in, refresh and log-out over HTTP; who may do what.

mod guesses;
mod passwords;
mod rate_limits;
mod sessions;

use std::num::NonZeroU32;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use futures_util::future::{FutureExt, join, join_all};
use hmac::{Hmac, KeyInit, Mac};
use jiff::SignedDuration;
use lottery::config::Config;
use reqwest::Method;
use serde_json::{Value, json};
use sha2::{Sha256, Sha512};
use std::pin::pin;

use crate::common::PASSWORD;
use crate::world::*;

async fn register(world: &World, name: &str) -> Value {
    world.anonymous().post("/auth/register", registration(name)).await.expect(201)
}

async fn log_in(world: &World, login: &str, password: &str) -> Answer {
    world.anonymous().post("/auth/login", json!({"login": login, "password": password})).await
}

/// Registers a user and logs in; returns the pair of tokens.
async fn session(world: &World, name: &str) -> Value {
    register(world, name).await;
    log_in(world, name, PASSWORD).await.expect(200)
}

async fn refresh(world: &World, pair: &Value) -> Answer {
    world.anonymous().post("/auth/refresh", json!({"refresh_token": pair["refresh_token"]})).await
}

async fn log_out(world: &World, pair: &Value) -> Answer {
    world.anonymous().post("/auth/logout", json!({"refresh_token": pair["refresh_token"]})).await
}

fn bearer(world: &World, pair: &Value) -> User {
    world.anonymous().with_token(pair["access_token"].as_str().unwrap())
}

/// The fields that a refusal names.
fn fields(problem: &Value) -> Vec<&str> {
    problem["errors"].as_array().unwrap().iter().map(|error| error["field"].as_str().unwrap()).collect()
}

/// A world with rate limits, all of them high except those that the test sets. It believes the header of a proxy on
/// this machine, so that a test can come from many addresses.
async fn limited(change: impl FnOnce(&mut Config)) -> World {
    World::with(|config| {
        let limits = &mut config.limits;
        limits.enabled = true;
        limits.logins_per_minute = times(1000);
        limits.login_failures = times(1000);
        limits.login_failures_everywhere = times(1000);
        limits.registrations_per_hour = times(1000);
        limits.refreshes_per_minute = times(1000);
        limits.password_resets_per_minute = times(1000);
        config.server.trusted_proxies = vec!["127.0.0.0/8".to_owned().try_into().unwrap()];
        change(config);
    })
    .await
}

fn times(count: u32) -> NonZeroU32 {
    NonZeroU32::new(count).unwrap()
}

/// How long a refused client is told to wait.
fn retry_after(answer: Answer) -> SignedDuration {
    let seconds = answer.headers["retry-after"].to_str().unwrap().parse().unwrap();
    answer.refused(429, "rate_limited");
    assert!(seconds > 0);
    SignedDuration::from_secs(seconds)
}

/// Holds that the text of a problem contains all of this.
fn assert_says(problem: &Value, words: &[&str]) {
    let detail = problem["detail"].as_str().unwrap();
    assert!(words.iter().all(|word| detail.contains(word)), "{words:?}: {detail}");
}

// Registration.

#[actix_web::test]
async fn a_registered_user_is_a_player_with_an_empty_wallet() {
    let world = World::new().await;
    let mut body = registration("Ann_b.c-9");
    body["name"] = json!("  Ann  ");
    let user = world.anonymous().post("/auth/register", body).await.expect(201);
    assert_eq!(
        user,
        json!({
            "id": user["id"].as_i64().unwrap(), "username": "Ann_b.c-9", "email": "Ann_b.c-9@example.com",
            "name": "Ann", "role": "player", "status": "active", "created_at": world.clock.now(),
        })
    );
    let pair = log_in(&world, "Ann_b.c-9", PASSWORD).await.expect(200);
    let ann = bearer(&world, &pair);
    assert_eq!(ann.get("/me").await.expect(200), user);
    assert_eq!(ann.balance().await, 0);
    assert_eq!(register(&world, "bob").await["name"], Value::Null);
}

#[actix_web::test]
async fn nobody_can_register_as_an_admin() {
    let world = World::new().await;
    for (field, value) in [
        ("role", json!("admin")),
        ("role", json!("player")),
        ("is_admin", json!(true)),
        ("status", json!("active")),
    ] {
        let mut body = registration("mallory");
        body[field] = value;
        let problem = world.anonymous().post("/auth/register", body).await.refused(422, "validation_failed");
        assert_eq!(fields(&problem), [field]);
    }
    assert_eq!(world.count("SELECT count(*) FROM users").await, 0);
    // The name does not matter: the account is a player's.
    assert_eq!(register(&world, "admin").await["role"], "player");
    let pair = log_in(&world, "admin", PASSWORD).await.expect(200);
    bearer(&world, &pair).post("/admin/draws", json!({})).await.refused(403, "forbidden");
}

#[actix_web::test]
async fn a_refused_registration_names_each_invalid_field() {
    let world = World::new().await;
    let long = "x".repeat(129);
    for (field, value) in [
        ("username", json!("an")),
        ("username", json!("a".repeat(33))),
        ("username", json!("ann b")),
        ("username", json!("анна")),
        ("username", json!("ann\0")),
        ("username", json!(7)),
        ("email", json!("ann")),
        ("email", json!("ann@example.com\0")),
        ("email", json!(null)),
        ("password", json!("1234567")),
        ("password", json!(long)),
        ("password", json!(12_345_678)),
        ("name", json!("")),
        ("name", json!("a\0")),
    ] {
        let mut body = registration("ann");
        body[field] = value;
        let problem =
            world.anonymous().post("/auth/register", body.clone()).await.refused(422, "validation_failed");
        assert_eq!(fields(&problem), [field], "{body}");
    }
    for field in ["username", "email", "password"] {
        let mut body = registration("ann");
        body.as_object_mut().unwrap().remove(field);
        let problem = world.anonymous().post("/auth/register", body).await.refused(422, "validation_failed");
        assert_eq!(fields(&problem), [field]);
    }
    let all_wrong = json!({"username": "a", "email": "b", "password": "c", "name": ""});
    let problem = world.anonymous().post("/auth/register", all_wrong).await.refused(422, "validation_failed");
    assert_eq!(fields(&problem), ["username", "email", "password", "name"]);
    assert_eq!(world.count("SELECT count(*) FROM users").await, 0);
}

#[actix_web::test]
async fn usernames_and_email_addresses_are_unique_whatever_their_case() {
    let world = World::new().await;
    let anonymous = world.anonymous();
    register(&world, "ann").await;
    let as_who = |username: &str, email: &str| {
        let body = json!({"username": username, "email": email, "password": PASSWORD});
        anonymous.post("/auth/register", body)
    };
    as_who("ANN", "other@example.com").await.refused(409, "username_taken");
    as_who("ann", "ann@example.com").await.refused(409, "username_taken");
    as_who("other", "Ann@EXAMPLE.com").await.refused(409, "email_taken");
    as_who("other", "other@example.com").await.expect(201);
}

#[actix_web::test]
async fn of_concurrent_registrations_of_one_name_one_succeeds() {
    let world = World::new().await;
    let anonymous = world.anonymous();
    let racers = (0..8).map(|i| {
        let username = if i % 2 == 0 { "ann" } else { "ANN" };
        let body = json!({"username": username, "email": format!("{i}@example.com"), "password": PASSWORD});
        anonymous.post("/auth/register", body)
    });
    let answers = join_all(racers).await;
    assert_eq!(answers.iter().filter(|answer| answer.status == 201).count(), 1);
    assert_eq!(answers.iter().filter(|answer| answer.is(409, "username_taken")).count(), 7);
    assert_eq!(world.count("SELECT count(*) FROM users").await, 1);
}

// Log-in.

#[actix_web::test]
async fn users_log_in_by_username_or_email_address() {
    let world = World::new().await;
    let user = register(&world, "ann").await;
    for login in ["ann", "ANN", "ann@example.com", "Ann@Example.COM"] {
        let pair = log_in(&world, login, PASSWORD).await.expect(200);
        assert_eq!(pair.as_object().unwrap().len(), 4, "{pair}");
        assert_eq!((&pair["token_type"], &pair["expires_in"]), (&json!("Bearer"), &json!(24 * 3600)));
        assert_eq!(bearer(&world, &pair).get("/me").await.expect(200), user);
    }
}

#[actix_web::test]
async fn only_the_right_password_logs_in() {
    let world = World::new().await;
    register(&world, "ann").await;
    let bobs = json!({"username": "bob", "email": "bob@example.com", "password": "bob's own password"});
    world.anonymous().post("/auth/register", bobs).await.expect(201);
    let long = PASSWORD.repeat(100);
    for wrong in ["", "wrong horse battery", "bob's own password", "Correct horse battery", &PASSWORD[1..], &long]
    {
        log_in(&world, "ann", wrong).await.refused(401, "invalid_credentials");
    }
    log_in(&world, "ann", &format!("{PASSWORD}\0")).await.refused(401, "invalid_credentials");
    let hash: String =
        world.sql().await.query_one("SELECT password_hash FROM users LIMIT 1", &[]).await.unwrap().get(0);
    log_in(&world, "ann", &hash).await.refused(401, "invalid_credentials");
    log_in(&world, "ann", PASSWORD).await.expect(200);
}

#[actix_web::test]
async fn an_unknown_user_is_answered_like_a_wrong_password() {
    let world = World::new().await;
    register(&world, "ann").await;
    let wrong = log_in(&world, "ann", "wrong horse battery").await;
    let long = "x".repeat(10_000);
    for unknown in ["nobody", "nobody@example.com", "", "ann\0", "' OR true --", &long] {
        let answer = log_in(&world, unknown, "wrong horse battery").await;
        assert_eq!((answer.status, &answer.text), (401, &wrong.text), "{unknown}");
    }
    wrong.refused(401, "invalid_credentials");
}

// Access tokens.

#[actix_web::test]
async fn an_access_token_expires() {
    let world = World::with(|config| config.auth.access_token = Duration::from_secs(900)).await;
    let pair = session(&world, "ann").await;
    assert_eq!(pair["expires_in"], 900);
    let ann = bearer(&world, &pair);
    world.advance(SignedDuration::from_secs(899));
    ann.get("/me").await.expect(200);
    world.advance(SignedDuration::from_secs(1));
    ann.get("/me").await.refused(401, "unauthorized");
    ann.order(1, json!([{"quick_pick": true}]), "wallet").await.refused(401, "unauthorized");
    let renewed = refresh(&world, &pair).await.expect(200);
    bearer(&world, &renewed).get("/me").await.expect(200);
}

/// Claims for a token of the user's session.
fn claims(world: &World, user: &User) -> Value {
    let now = world.clock.now().as_second();
    json!({"sub": user.id.0.to_string(), "sid": part_of(user, 1)["sid"], "iat": now, "exp": now + 900})
}

/// The header (0) or the claims (1) of the user's access token.
fn part_of(user: &User, part: usize) -> Value {
    let encoded = user.token.as_ref().unwrap().split('.').nth(part).unwrap();
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(encoded).unwrap()).unwrap()
}

/// A token signed with an algorithm of the HMAC family. `M` must be what the name says.
fn signed_with<M: Mac + KeyInit>(algorithm: &str, claims: &Value, secret: &str) -> String {
    with_header::<M>(&format!(r#"{{"typ":"JWT","alg":"{algorithm}"}}"#), claims, secret)
}

fn with_header<M: Mac + KeyInit>(header: &str, claims: &Value, secret: &str) -> String {
    let header = URL_SAFE_NO_PAD.encode(header);
    let signed = format!("{header}.{}", URL_SAFE_NO_PAD.encode(claims.to_string()));
    let mac = <M as KeyInit>::new_from_slice(secret.as_bytes()).unwrap().chain_update(&signed);
    format!("{signed}.{}", URL_SAFE_NO_PAD.encode(mac.finalize().into_bytes()))
}

fn signed(claims: &Value, secret: &str) -> String {
    signed_with::<Hmac<Sha256>>("HS256", claims, secret)
}

/// The signing secret of this world.
fn own_secret(world: &World) -> String {
    use secrecy::ExposeSecret;
    world.config.auth.jwt_secret.as_ref().unwrap().expose_secret().to_owned()
}

#[actix_web::test]
async fn only_tokens_that_the_service_signed_are_accepted() {
    let world = World::new().await;
    let (ann, admin) = (world.player("ann").await, world.admin().await);
    let own = own_secret(&world);
    let (as_ann, as_admin) = (claims(&world, &ann), claims(&world, &admin));
    // The test signs correctly: the tokens below are refused only because of their flaws.
    ann.with_token(&signed(&as_ann, &own)).get("/me").await.expect(200);

    let token = ann.token.clone().unwrap();
    let [header, payload, signature] = token.split('.').collect::<Vec<_>>()[..] else { panic!("{token}") };
    let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let none = part(&json!({"alg": "none", "typ": "JWT"}));
    let mut without_end = as_admin.clone();
    without_end.as_object_mut().unwrap().remove("exp");
    let changed = |claim: &str, value: Value| {
        let mut claims = as_ann.clone();
        claims[claim] = value;
        claims
    };
    let unknown = changed("sub", json!("4711"));
    let of_another = changed("sid", as_admin["sid"].clone());
    let of_none = changed("sid", json!(uuid::Uuid::from_u128(7)));
    // An extension that must be understood (RFC 7515, section 4.1.11).
    let mut critical = part_of(&ann, 0);
    critical["crit"] = json!(["https://example.com/ext"]);
    critical["https://example.com/ext"] = json!(true);
    let critical = critical.to_string();
    let plain = r#"{"typ":"JWT","alg":"HS256","crit":["exp"]}"#;
    for (what, forged) in [
        ("alg none", format!("{none}.{}.", part(&as_admin))),
        ("alg none, with a signature", format!("{none}.{}.{signature}", part(&as_admin))),
        ("another's name", format!("{header}.{}.{signature}", part(&as_admin))),
        ("no signature", format!("{header}.{payload}.")),
        ("another secret", signed(&as_admin, "the secret of somebody else, as long")),
        ("another algorithm", signed_with::<Hmac<Sha512>>("HS512", &as_admin, &own)),
        ("no end", signed(&without_end, &own)),
        ("nobody known", signed(&unknown, &own)),
        ("another's session", signed(&of_another, &own)),
        ("no session", signed(&of_none, &own)),
        ("a critical extension", with_header::<Hmac<Sha256>>(&critical, &as_ann, &own)),
        ("a critical extension, without a key's id", with_header::<Hmac<Sha256>>(plain, &as_ann, &own)),
        ("no token", "nonsense".to_owned()),
        ("nothing", String::new()),
        ("a long one", "a".repeat(5_000)),
    ] {
        let answer = ann.with_token(&forged).get("/me").await;
        assert!(answer.is(401, "unauthorized"), "{what}: {}", answer.text);
        assert_eq!(answer.headers["www-authenticate"], "Bearer", "{what}");
    }
    world.anonymous().get("/me").await.refused(401, "unauthorized");
    let basic = world.anonymous();
    basic
        .send(basic.request(Method::GET, "/me").basic_auth("ann", Some(PASSWORD)))
        .await
        .refused(401, "unauthorized");
}

/// The secret that the service creates when none is configured is tested in `command`.
#[actix_web::test]
async fn tokens_are_not_signed_with_a_hard_coded_secret() {
    let world = World::new().await;
    let other = World::with(|config| {
        config.auth.jwt_secret = Some("what the other service signs with, nobody knows".into());
    })
    .await;
    let (here, there) = (world.player("ann").await, other.player("ann").await);
    assert_eq!(here.id, there.id, "the same claims");
    there.get("/me").await.expect(200);
    there.with_token(here.token.as_ref().unwrap()).get("/me").await.refused(401, "unauthorized");
    here.with_token(there.token.as_ref().unwrap()).get("/me").await.refused(401, "unauthorized");
    for known in
        ["", "secret", "changeme", "lottery", "your-256-bit-secret", &"\0".repeat(32), &own_secret(&world)]
    {
        let forged = signed(&claims(&other, &there), known);
        there.with_token(&forged).get("/me").await.refused(401, "unauthorized");
    }
}

// Refresh tokens.

#[actix_web::test]
async fn a_refresh_token_is_replaced_by_its_use() {
    let world = World::new().await;
    let first = session(&world, "ann").await;
    let second = refresh(&world, &first).await.expect(200);
    assert_eq!(second.as_object().unwrap().len(), 4);
    assert_ne!(first["refresh_token"], second["refresh_token"]);
    bearer(&world, &second).get("/me").await.expect(200);
    let third = refresh(&world, &second).await.expect(200);
    refresh(&world, &third).await.expect(200);
}

#[actix_web::test]
async fn a_refresh_token_that_is_used_twice_ends_its_session() {
    let world = World::new().await;
    let first = session(&world, "ann").await;
    let elsewhere = log_in(&world, "ann", PASSWORD).await.expect(200);
    let second = refresh(&world, &first).await.expect(200);
    let newest = refresh(&world, &second).await.expect(200);

    refresh(&world, &first).await.refused(401, "unauthorized");

    for pair in [&newest, &second, &first] {
        refresh(&world, pair).await.refused(401, "unauthorized");
        bearer(&world, pair).get("/me").await.refused(401, "unauthorized");
    }
    refresh(&world, &elsewhere).await.expect(200);
}

#[actix_web::test]
async fn of_concurrent_refreshes_at_most_one_succeeds() {
    let world = World::new().await;
    let pair = session(&world, "ann").await;
    let answers = join_all((0..6).map(|_| refresh(&world, &pair))).await;
    let winners: Vec<&Answer> = answers.iter().filter(|answer| answer.status == 200).collect();
    assert!(winners.len() <= 1, "{} pairs of one token", winners.len());
    assert_eq!(answers.iter().filter(|answer| answer.is(401, "unauthorized")).count(), 6 - winners.len());
    // One of the two clients stole the token: neither keeps the session.
    for winner in winners {
        refresh(&world, &winner.body).await.refused(401, "unauthorized");
    }
}

#[actix_web::test]
async fn log_out_ends_this_session_and_no_other() {
    let mut world = World::new().await;
    let here = session(&world, "ann").await;
    let there = log_in(&world, "ann", PASSWORD).await.expect(200);
    let answer = log_out(&world, &here).await;
    assert_eq!((answer.status, answer.text.as_str()), (204, ""));
    refresh(&world, &here).await.refused(401, "unauthorized");
    refresh(&world, &there).await.expect(200);
    assert_eq!(log_out(&world, &here).await.status, 204, "as often as one likes");

    // The session's access token is refused too, before and after a restart.
    bearer(&world, &here).get("/me").await.refused(401, "unauthorized");
    bearer(&world, &there).get("/me").await.expect(200);
    world.restart().await;
    bearer(&world, &here).get("/me").await.refused(401, "unauthorized");
    bearer(&world, &there).get("/me").await.expect(200);
}

#[actix_web::test]
async fn a_refresh_token_expires() {
    let world = World::with(|config| config.auth.refresh_token = Duration::from_secs(48 * 3600)).await;
    let (early, late) = (session(&world, "ann").await, session(&world, "bob").await);
    world.advance(SignedDuration::from_secs(48 * 3600 - 1));
    let renewed = refresh(&world, &early).await.expect(200);
    world.advance(SignedDuration::from_secs(1));
    refresh(&world, &late).await.refused(401, "unauthorized");
    refresh(&world, &renewed).await.expect(200);
}

#[actix_web::test]
async fn a_log_in_is_refused_if_the_password_is_changed_meanwhile() {
    let world = World::new().await;
    let ann = bearer(&world, &session(&world, "ann").await);
    let change = json!({"current_password": PASSWORD, "new_password": "battery staple"});
    for late in [log_in(&world, "ann", PASSWORD).boxed_local(), ann.post("/me/password", change).boxed_local()] {
        // A concurrent change is written and not committed yet: the old password is still read.
        let other = world.sql().await;
        other.batch_execute("BEGIN; UPDATE users SET password_hash = password_hash || 'x'").await.unwrap();
        let commit = async {
            world.until_writer_waits().await;
            other.batch_execute("COMMIT").await.unwrap();
        };
        let (late, ()) = join(late, commit).await;
        late.refused(401, "invalid_credentials");
        other.batch_execute("UPDATE users SET password_hash = rtrim(password_hash, 'x')").await.unwrap();
    }
    assert_eq!(world.count("SELECT count(*) FROM sessions").await, 1, "none was begun");
    log_in(&world, "ann", PASSWORD).await.expect(200);
}

#[actix_web::test]
async fn expired_sessions_are_deleted() {
    let world = World::with(|config| config.auth.refresh_token = Duration::from_secs(10 * 3600)).await;
    let over = session(&world, "ann").await;
    let (sessions, tokens) = ("SELECT count(*) FROM sessions", "SELECT count(*) FROM refresh_tokens");
    world.advance(SignedDuration::from_hours(5));
    let mut used = log_in(&world, "ann", PASSWORD).await.expect(200);
    for _ in 0..5 {
        world.advance(SignedDuration::from_hours(8));
        used = refresh(&world, &used).await.expect(200);
    }
    until("one expired a day ago", async || world.count(sessions).await == 1).await;
    assert_eq!(world.count(tokens).await, 1, "the one that is used");
    refresh(&world, &over).await.refused(401, "unauthorized");
    refresh(&world, &used).await.expect(200);
}

#[actix_web::test]
async fn invalid_refresh_tokens_are_refused() {
    let world = World::new().await;
    let pair = session(&world, "ann").await;
    for token in [json!(""), json!("nonsense"), json!("A".repeat(43)), pair["access_token"].clone()] {
        let body = json!({"refresh_token": token});
        world.anonymous().post("/auth/refresh", body).await.refused(401, "unauthorized");
    }
    // A refresh token is not an access token.
    let confused = world.anonymous().with_token(pair["refresh_token"].as_str().unwrap());
    confused.get("/me").await.refused(401, "unauthorized");
    let hashes = world.sql().await.query("SELECT encode(hash, 'escape') FROM refresh_tokens", &[]).await.unwrap();
    assert!(hashes.iter().all(|row| row.get::<_, String>(0) != pair["refresh_token"]), "stored as it is");
}

#[actix_web::test]
async fn a_blocked_account_can_do_nothing() {
    let world = World::new().await;
    let pair = session(&world, "ann").await;
    world.sql().await.execute("UPDATE users SET status = 'blocked'", &[]).await.unwrap();
    log_in(&world, "ann", PASSWORD).await.refused(403, "account_blocked");
    // Only a client with the right password learns that the account is blocked.
    log_in(&world, "ann", "wrong horse battery").await.refused(401, "invalid_credentials");
    let ann = bearer(&world, &pair);
    ann.get("/me").await.refused(403, "account_blocked");
    let deposit = json!({"amount": 100, "token": "tok_visa"});
    ann.post("/wallet/deposits", deposit).await.refused(403, "account_blocked");
    refresh(&world, &pair).await.refused(403, "account_blocked");
    assert_eq!(world.count("SELECT count(*) FROM payments").await, 0);
}

// Access.

/// Every admin action, requested by a user who may not.
async fn try_all(world: &World, who: &User, [scheduled, open, closed]: [i64; 3], status: u16, code: &str) {
    let new = json!({"lottery": "5of36", "sales_close_at": world.minutes(60)});
    who.post("/admin/draws", new).await.refused(status, code);
    who.pool(open, 3).await.refused(status, code);
    who.step(scheduled, "open").await.refused(status, code);
    who.step(open, "close").await.refused(status, code);
    who.step(closed, "conduct").await.refused(status, code);
    for draw in [scheduled, open, closed] {
        who.cancel(draw).await.refused(status, code);
    }
}

#[actix_web::test]
async fn a_forbidden_admin_action_has_no_effect() {
    let world = World::new().await;
    let admin = world.admin().await;
    let draws = [admin.schedule(&world).await, admin.open_draw(&world, 5).await, admin.open_draw(&world, 0).await];
    admin.step(draws[2], "close").await.expect(200);
    let before = admin.get("/draws").await.expect(200);

    try_all(&world, &world.player("ann").await, draws, 403, "forbidden").await;
    try_all(&world, &world.anonymous(), draws, 401, "unauthorized").await;

    // Each draw handles messages in order: the forbidden actions would have happened before these.
    admin.pool(draws[0], 1).await.expect(201);
    admin.step(draws[1], "open").await.expect(200);
    admin.step(draws[2], "close").await.expect(200);
    let mut after = admin.get("/draws").await.expect(200);
    assert_eq!(after["items"][2]["tickets_available"].take(), 1);
    after["items"][2]["tickets_available"] = json!(0);
    assert_eq!(after, before);
}

#[actix_web::test]
async fn below_admin_401_and_403_come_before_404() {
    let world = World::new().await;
    let (anonymous, ann, admin) = (world.anonymous(), world.player("ann").await, world.admin().await);
    for path in [
        "/admin",
        "/admin/",
        "/admin/nothing",
        "/admin/users/999",
        "/admin/draws/1/explode",
        "/admin/draws/x/open",
    ] {
        for method in [Method::GET, Method::POST, Method::DELETE] {
            let ask = async |who: &User| who.send(who.request(method.clone(), path)).await;
            ask(&anonymous).await.refused(401, "unauthorized");
            ask(&ann).await.refused(403, "forbidden");
            let answer = ask(&admin).await;
            assert!(answer.is(404, "not_found") || answer.is(405, "method_not_allowed"), "{}", answer.text);
        }
    }
    // An invalid body does not change these answers.
    ann.post("/admin/draws", json!({"nonsense": 1})).await.refused(403, "forbidden");
    anonymous.post("/admin/draws/9/pool", json!({"count": -1})).await.refused(401, "unauthorized");
}

#[actix_web::test]
async fn a_users_own_data_needs_a_log_in() {
    let world = World::new().await;
    let anonymous = world.anonymous();
    for path in ["/me", "/tickets", "/tickets/1", "/payments", "/payments/1", "/wallet", "/wallet/transfers"] {
        anonymous.get(path).await.refused(401, "unauthorized");
    }
    anonymous.order(1, json!([{"quick_pick": true}]), "later").await.refused(401, "unauthorized");
    anonymous.pay("1", wallet()).await.refused(401, "unauthorized");
    anonymous.delete("/tickets/1").await.refused(401, "unauthorized");
    let deposit = json!({"amount": 1, "token": "tok_visa"});
    anonymous.post("/wallet/deposits", deposit).await.refused(401, "unauthorized");
}
