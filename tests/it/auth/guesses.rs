//! Limits of wrong passwords: for an account and a network, and for an account from everywhere. Who guesses locks out
//! only his own network, and learns nothing about accounts.

use lottery::auth::PasswordUse;
use lottery::http::GuessedAccount;

use super::*;

const WRONG: &str = "wrong horse battery";

/// Logs in from this address, as a trusted proxy reports it.
async fn log_in_from(world: &World, address: &str, login: &str, password: &str) -> Answer {
    let anonymous = world.anonymous();
    let request = anonymous.request(Method::POST, "/auth/login").header("X-Forwarded-For", address);
    anonymous.send(request.json(&json!({"login": login, "password": password}))).await
}

/// Guesses wrong so often, each time from another network.
async fn guess_from_everywhere(world: &World, login: &str, times: u8) {
    for network in 0..times {
        let answer = log_in_from(world, &format!("203.0.113.{network}"), login, WRONG).await;
        answer.refused(401, "invalid_credentials");
    }
}

#[actix_web::test]
async fn wrong_passwords_lock_out_only_the_network_that_they_come_from() {
    let world = limited(|config| config.limits.login_failures = times(3)).await;
    register(&world, "ann").await;
    register(&world, "bob").await;
    for address in ["2001:db8::1", "2001:db8::2", "2001:db8::3"] {
        log_in_from(&world, address, "ann", WRONG).await.refused(401, "invalid_credentials");
    }
    // From now on the right password is refused as well, there.
    for password in [WRONG, PASSWORD] {
        let refused = log_in_from(&world, "2001:db8::4", "ANN", password).await;
        assert_says(&refused.body, &["wrong passwords", "from your network", "limits.login_failures"]);
        retry_after(refused);
    }
    log_in_from(&world, "2001:db8::4", "bob", PASSWORD).await.expect(200);
    for address in ["2001:db8:0:1::1", "192.0.2.1"] {
        log_in_from(&world, address, "ann", PASSWORD).await.expect(200);
    }
    let wait = retry_after(log_in_from(&world, "2001:db8::1", "ann", PASSWORD).await);
    assert!(wait <= SignedDuration::from_secs(901), "{wait}");
    world.advance(wait);
    log_in_from(&world, "2001:db8::1", "ann", PASSWORD).await.expect(200);
}

#[actix_web::test]
async fn after_wrong_passwords_from_everywhere_the_owners_networks_are_let_in() {
    let mut world = limited(|config| config.limits.login_failures_everywhere = times(5)).await;
    register(&world, "ann").await;
    for known in ["192.0.2.1", "2001:db8::1"] {
        log_in_from(&world, known, "ann", PASSWORD).await.expect(200);
    }
    guess_from_everywhere(&world, "ann", 5).await;
    for stranger in ["203.0.113.1", "203.0.113.77", "2001:db8:0:1::1"] {
        let refused = log_in_from(&world, stranger, "ann", PASSWORD).await;
        assert_says(&refused.body, &["wrong passwords", "only networks", "limits.login_failures_everywhere"]);
        retry_after(refused);
    }
    for known in ["192.0.2.1", "2001:db8::99"] {
        log_in_from(&world, known, "ann", WRONG).await.refused(401, "invalid_credentials");
        log_in_from(&world, known, "ann", PASSWORD).await.expect(200);
    }
    let wait = retry_after(log_in_from(&world, "203.0.113.77", "ann", PASSWORD).await);
    world.advance(wait);
    let pair = log_in_from(&world, "203.0.113.77", "ann", PASSWORD).await.expect(200);

    // After a restart, the networks in which clients are logged in become known when they refresh their tokens.
    world.restart().await;
    let anonymous = world.anonymous();
    let refresh = json!({"refresh_token": pair["refresh_token"]});
    let request = anonymous.request(Method::POST, "/auth/refresh").header("X-Forwarded-For", "192.0.2.9");
    anonymous.send(request.json(&refresh)).await.expect(200);
    guess_from_everywhere(&world, "ann", 5).await;
    retry_after(log_in_from(&world, "192.0.2.1", "ann", PASSWORD).await);
    log_in_from(&world, "192.0.2.9", "ann", PASSWORD).await.expect(200);
}

#[actix_web::test]
async fn a_locked_out_owner_gets_in_with_a_reset_token() {
    let world = limited(|config| config.limits.login_failures_everywhere = times(3)).await;
    let (admin, ann) = (world.admin().await, register(&world, "ann").await);
    guess_from_everywhere(&world, "ann", 3).await;
    retry_after(log_in_from(&world, "192.0.2.1", "ann", PASSWORD).await);
    let path = format!("/admin/users/{}/password-reset", ann["id"]);
    let token = admin.post(&path, json!({})).await.expect(200)["token"].clone();
    let anonymous = world.anonymous();
    let request = anonymous.request(Method::POST, "/auth/password-reset").header("X-Forwarded-For", "192.0.2.1");
    let body = json!({"token": token, "new_password": "battery staple"});
    assert_eq!(anonymous.send(request.json(&body)).await.status, 204);
    log_in_from(&world, "192.0.2.1", "ann", "battery staple").await.expect(200);
    retry_after(log_in_from(&world, "192.0.2.2", "ann", "battery staple").await);
}

#[actix_web::test]
async fn the_refusal_of_one_name_does_not_tell_whose_other_name_it_is() {
    let world = limited(|config| {
        (config.limits.login_failures, config.limits.login_failures_everywhere) = (times(2), times(4));
    })
    .await;
    register(&world, "ann").await;
    for _ in 0..2 {
        log_in(&world, "Ann@example.com", WRONG).await.refused(401, "invalid_credentials");
    }
    retry_after(log_in(&world, "ann@example.com", WRONG).await);
    log_in(&world, "ann", WRONG).await.refused(401, "invalid_credentials");
    guess_from_everywhere(&world, "ann@example.com", 2).await;
    retry_after(log_in_from(&world, "203.0.113.9", "ann@example.com", WRONG).await);
    log_in_from(&world, "203.0.113.9", "ann", WRONG).await.refused(401, "invalid_credentials");
    // The owner may use both, from where he registered or logged in.
    log_in(&world, "ann", PASSWORD).await.expect(200);
}

#[actix_web::test]
async fn unknown_accounts_are_limited_like_known_ones() {
    let world = limited(|config| {
        (config.limits.login_failures, config.limits.login_failures_everywhere) = (times(2), times(4));
    })
    .await;
    register(&world, "ann").await;
    let mut answers = Vec::new();
    for login in ["ann", "nobody", "ann@example.com", "nobody@example.com"] {
        let (mut of_login, upper) = (Vec::new(), login.to_uppercase());
        for address in ["192.0.2.1", "192.0.2.1", "192.0.2.1", "192.0.2.2", "192.0.2.2", "192.0.2.3"] {
            for login in [login, &upper] {
                let answer = log_in_from(&world, address, login, WRONG).await;
                of_login.push((answer.status, answer.headers.get("retry-after").cloned(), answer.text));
            }
        }
        let statuses: Vec<u16> = of_login.iter().map(|answer| answer.0).collect();
        assert_eq!(statuses, [401, 401, 429, 429, 429, 429, 401, 401, 429, 429, 429, 429], "{login}");
        answers.push(of_login);
    }
    assert!(answers.iter().all(|of_login| *of_login == answers[0]), "{answers:?}");
}

#[actix_web::test]
async fn wrong_current_passwords_are_limited_and_no_stranger_uses_up_the_tries() {
    let world = limited(|config| config.limits.login_failures = times(2)).await;
    let ann = bearer(&world, &session(&world, "ann").await);
    for _ in 0..2 {
        log_in(&world, "ann", WRONG).await.refused(401, "invalid_credentials");
    }
    retry_after(log_in(&world, "ann", PASSWORD).await);
    let change = |current: &str| json!({"current_password": current, "new_password": "battery staple"});
    for _ in 0..2 {
        ann.post("/me/password", change(WRONG)).await.refused(401, "invalid_credentials");
    }
    let refused = ann.post("/me/password", change(PASSWORD)).await;
    assert_says(&refused.body, &["wrong passwords", "limits.login_failures"]);
    world.advance(retry_after(refused));
    ann.post("/me/password", change(PASSWORD)).await.expect(204);
}

/// The failures are counted while the right password waits for its turn to be hashed.
#[actix_web::test]
async fn a_right_guess_after_too_many_wrong_ones_has_no_effect() {
    let world = limited(|config| {
        config.limits.login_failures = times(2);
        config.auth.hash_threads = 4;
    })
    .await;
    let pair = session(&world, "ann").await;
    let ann = bearer(&world, &pair);
    let id = lottery::domain::id::UserId(ann.get("/me").await.expect(200)["id"].as_i64().unwrap());
    let state = &world.app().state;
    let change = json!({"current_password": PASSWORD, "new_password": "battery staple"});
    for (turn, account, read, right) in [
        (
            PasswordUse::Change(id),
            GuessedAccount::LoggedIn(id),
            "users::password_hash()",
            ann.post("/me/password", change).boxed_local(),
        ),
        (
            PasswordUse::LogIn("ann".to_owned()),
            GuessedAccount::named("ann"),
            "users::by_login()",
            log_in(&world, "ann", PASSWORD).boxed_local(),
        ),
    ] {
        // The first runs; the second gets its turn when the first has ended, and keeps it without running.
        let [first, mut next] = [(); 2].map(|()| Box::pin(state.hasher.verify(turn.clone(), "x".into(), None)));
        let mut first = pin!(first);
        assert!(first.as_mut().now_or_never().is_none() && next.as_mut().now_or_never().is_none());
        first.await.unwrap();

        let now = world.count("SELECT (extract(epoch FROM clock_timestamp()) * 1e6)::bigint").await;
        let reads = format!(
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND query LIKE '-- {read}%'
             AND extract(epoch FROM query_start) * 1e6 > {now}"
        );
        let meanwhile = async {
            until("the account is read", async || world.count(&reads).await > 0).await;
            let guess = state.limits.guess(account, Some(id), [127, 0, 0, 1].into());
            for _ in 0..2 {
                guess.failed(state.clock.since_boot()).unwrap();
            }
            drop(next);
        };
        let (right, ()) = join(right, meanwhile).await;
        assert_says(&right.body, &["wrong passwords", "limits.login_failures"]);
        retry_after(right);
    }
    assert_eq!(world.count("SELECT count(*) FROM sessions").await, 1, "none was begun");
    world.advance(SignedDuration::from_mins(15));
    log_in(&world, "ann", PASSWORD).await.expect(200);
}

#[actix_web::test]
async fn concurrent_guesses_of_a_password_are_all_counted() {
    let world = limited(|config| config.limits.login_failures = times(5)).await;
    register(&world, "ann").await;
    let answers = join_all((0..20).map(|_| log_in(&world, "ann", "wrong horse battery"))).await;
    assert_eq!(answers.iter().filter(|answer| answer.is(401, "invalid_credentials")).count(), 5);
    assert_eq!(answers.iter().filter(|answer| answer.is(429, "rate_limited")).count(), 15);
}

#[actix_web::test]
async fn concurrent_log_ins_with_the_right_password_are_not_limited() {
    let world = limited(|config| config.limits.login_failures = times(2)).await;
    register(&world, "ann").await;
    let answers = join_all((0..8).map(|_| log_in(&world, "ann", PASSWORD))).await;
    assert!(answers.iter().all(|answer| answer.status == 200));
}
