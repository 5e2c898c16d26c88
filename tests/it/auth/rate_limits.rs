//! Limits of log-ins and registrations, and the effect of many concurrent log-ins on other requests.

use lottery::auth::PasswordUse;

use super::*;

/// A world with rate limits, all of them high except those that the test sets.
async fn limited(change: impl FnOnce(&mut Config)) -> World {
    World::with(|config| {
        config.limits.enabled = true;
        config.limits.logins_per_minute = times(1000);
        config.limits.login_failures = times(1000);
        config.limits.registrations_per_hour = times(1000);
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
async fn failed_log_ins_are_limited_for_each_account_under_all_its_names() {
    let world = limited(|config| config.limits.login_failures = times(3)).await;
    register(&world, "ann").await;
    register(&world, "bob").await;
    for login in ["ann", "Ann@example.com", "ANN"] {
        log_in(&world, login, "wrong horse battery").await.refused(401, "invalid_credentials");
    }
    // From now on the right password is refused as well.
    for (login, password) in [("ann", "wrong horse battery"), ("ann", PASSWORD), ("ann@example.com", PASSWORD)] {
        retry_after(log_in(&world, login, password).await);
    }
    log_in(&world, "bob", PASSWORD).await.expect(200);
    let wait = retry_after(log_in(&world, "ann", PASSWORD).await);
    assert!(wait <= SignedDuration::from_secs(901), "{wait}");
    world.advance(wait);
    log_in(&world, "ann", PASSWORD).await.expect(200);
}

#[actix_web::test]
async fn failed_log_ins_of_an_unknown_account_are_limited_too() {
    let world = limited(|config| config.limits.login_failures = times(2)).await;
    for _ in 0..2 {
        log_in(&world, "nobody", PASSWORD).await.refused(401, "invalid_credentials");
    }
    retry_after(log_in(&world, "nobody", PASSWORD).await);
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
