//! Limits of log-ins, registrations and the calls with tokens, and the effect of many concurrent log-ins on other
//! requests. The limits of wrong passwords are in `guesses`.

use lottery::auth::PasswordUse;

use super::*;

#[actix_web::test]
async fn log_ins_are_limited_for_each_address_and_minute() {
    let world = limited(|config| config.limits.logins_per_minute = times(3)).await;
    register(&world, "ann").await;
    for login in ["nobody", "ann", "bob"] {
        log_in(&world, login, "wrong horse battery").await.refused(401, "invalid_credentials");
    }
    let wait = retry_after(log_in(&world, "ann", PASSWORD).await);
    world.advance(SignedDuration::from_secs(30));
    let less = retry_after(log_in(&world, "ann", PASSWORD).await);
    assert!(less < wait && wait <= SignedDuration::from_secs(61), "{less} after {wait}");
    world.advance(less);
    log_in(&world, "ann", PASSWORD).await.expect(200);
}

#[actix_web::test]
async fn registrations_are_limited_for_each_address_and_hour() {
    let world = limited(|config| config.limits.registrations_per_hour = times(2)).await;
    // An invalid registration does not count.
    world.anonymous().post("/auth/register", json!({})).await.refused(422, "validation_failed");
    register(&world, "ann").await;
    register(&world, "bob").await;
    let wait = retry_after(world.anonymous().post("/auth/register", registration("eve")).await);
    assert!(wait <= SignedDuration::from_secs(3601), "{wait}");
    assert_eq!(world.count("SELECT count(*) FROM users").await, 2);
    world.advance(wait);
    register(&world, "eve").await;
}

#[actix_web::test]
async fn an_ipv6_network_counts_as_one_address_and_its_flood_locks_nobody_out() {
    let world = limited(|config| config.limits.registrations_per_hour = times(2)).await;
    let register = async |name: &str, address: &str| {
        let anonymous = world.anonymous();
        let request = anonymous.request(Method::POST, "/auth/register").json(&registration(name));
        anonymous.send(request.header("X-Forwarded-For", address)).await
    };
    register("ann", "2001:db8::1").await.expect(201);
    register("bob", "2001:db8::2:3:4:5").await.expect(201);
    for host in 0..20 {
        register("eve", &format!("2001:db8::{host:x}")).await.refused(429, "rate_limited");
    }
    register("eve", "2001:db8:0:1::1").await.expect(201);
    // An IPv4 client is the same one however a proxy writes its address.
    register("dan", "192.0.2.7").await.expect(201);
    register("ian", "::ffff:192.0.2.7").await.expect(201);
    register("joe", "192.0.2.7").await.refused(429, "rate_limited");
    register("joe", "192.0.2.8").await.expect(201);
}

#[actix_web::test]
async fn refreshes_and_log_outs_are_limited_for_each_address_and_minute() {
    let world = limited(|config| config.limits.refreshes_per_minute = times(3)).await;
    let first = session(&world, "ann").await;
    let second = refresh(&world, &first).await.expect(200);
    let unknown = json!({"refresh_token": "A".repeat(43)});
    world.anonymous().post("/auth/refresh", unknown).await.refused(401, "unauthorized");
    // What has not the form of a token costs nothing and is not counted.
    world.anonymous().post("/auth/refresh", json!({"refresh_token": "x"})).await.refused(401, "unauthorized");
    assert_eq!(log_out(&world, &json!({"refresh_token": "x"})).await.status, 204);
    let third = refresh(&world, &second).await.expect(200);
    let wait = retry_after(refresh(&world, &third).await);
    let problem = log_out(&world, &third).await.refused(429, "rate_limited");
    assert_says(&problem, &["refreshes and log-outs from your network", "limits.refreshes_per_minute"]);
    assert!(wait <= SignedDuration::from_secs(61), "{wait}");
    world.advance(wait);
    // The refused calls had no effect: the token is still good.
    let fourth = refresh(&world, &third).await.expect(200);
    assert_eq!(log_out(&world, &fourth).await.status, 204);
}

#[actix_web::test]
async fn tries_of_reset_tokens_are_limited_for_each_address_and_minute() {
    let world = limited(|config| config.limits.password_resets_per_minute = times(3)).await;
    let (admin, ann) = (world.admin().await, world.player("ann").await);
    let path = format!("/admin/users/{}/password-reset", ann.id);
    let token = admin.post(&path, json!({})).await.expect(200)["token"].clone();
    let reset = async |token: &Value| {
        let body = json!({"token": token, "new_password": "battery staple"});
        world.anonymous().post("/auth/password-reset", body).await
    };
    for letter in ["A", "B", "C"] {
        reset(&json!(format!("{letter}{}", "A".repeat(42)))).await.refused(401, "unauthorized");
    }
    let refused = reset(&token).await;
    assert_says(&refused.body, &["password resets from your network", "limits.password_resets_per_minute"]);
    world.advance(retry_after(refused));
    assert_eq!(reset(&token).await.status, 204);
}

#[actix_web::test]
async fn a_hundred_concurrent_log_ins_do_not_stop_the_sale() {
    let world = World::with(|config| config.auth.hash_threads = 1).await;
    let (admin, bob) = (world.admin().await, world.rich_player("bob", 100_000_000).await);
    let draw = admin.open_draw(&world, 0).await;
    // Of users who do not exist, which takes as long as of others.
    let names: Vec<String> = (0..100).map(|i| format!("nobody{i}")).collect();
    let logins = join_all(names.iter().map(|name| log_in(&world, name, PASSWORD)));
    let mut logins = pin!(logins.fuse());
    let mut sold = 0;
    let answers = loop {
        let buying = pin!(bob.buy(draw, &[1, 7, 13, 22, 36]));
        tokio::select! {
            biased;
            answers = &mut logins => break answers,
            _ = buying => sold += 1,
        }
    };
    assert!(answers.iter().all(|answer| answer.is(401, "invalid_credentials")), "each waits for its turn");
    assert!(sold > 20, "only {sold} tickets were sold while a hundred passwords were hashed");
}

#[actix_web::test]
async fn log_ins_beyond_the_hash_queue_are_refused_and_nothing_else_is() {
    let world = World::with(|config| (config.auth.hash_threads, config.auth.hash_queue) = (1, 1)).await;
    register(&world, "ann").await;
    let (bob, hasher) = (world.rich_player("bob", 100).await, &world.app().state.hasher);
    // One job holds the thread without running, another waits behind it: no place for a log-in is left.
    let [first, mut next, mut behind] = ["one", "two", "three"]
        .map(|login| Box::pin(hasher.verify(PasswordUse::LogIn(login.to_owned()), "x".into(), None)));
    let mut first = pin!(first);
    assert!(first.as_mut().now_or_never().is_none() && next.as_mut().now_or_never().is_none());
    first.await.unwrap();
    assert!(behind.as_mut().now_or_never().is_none());

    // A registration has a place of its own, and waits for the thread.
    let anonymous = world.anonymous();
    let eve = anonymous.post("/auth/register", registration("eve"));
    let log_ins = async {
        for _ in 0..3 {
            let answer = log_in(&world, "ann", PASSWORD).await;
            assert_eq!(answer.headers["retry-after"], "1");
            answer.refused(503, "overloaded");
        }
        assert_eq!(bob.balance().await, 100);
        drop((next, behind));
        log_in(&world, "ann", PASSWORD).await.expect(200);
    };
    join(eve, log_ins).await.0.expect(201);
    assert_eq!(world.count("SELECT count(*) FROM users").await, 3);
}
