//! Which passwords may be set, and whose log-ins wait when many passwords are hashed.

use lottery::auth::PasswordUse;
use lottery::auth::hasher::MAX_WAITING;

use super::*;
use crate::common::wait::TIMEOUT;

#[actix_web::test]
async fn a_weak_password_is_refused_wherever_one_is_set() {
    let world = World::new().await;
    let (admin, anonymous) = (world.admin().await, world.anonymous());
    let person = json!({"username": "Ann.of.Kyiv", "email": "ann_1990@example.com", "password": PASSWORD});
    let id = anonymous.post("/auth/register", person.clone()).await.expect(201)["id"].clone();
    let ann = bearer(&world, &log_in(&world, "ann.of.kyiv", PASSWORD).await.expect(200));
    let reset = admin.post(&format!("/admin/users/{id}/password-reset"), json!({})).await.expect(200);
    for weak in [
        "password",
        "PassWord1",
        "12345678",
        "87654321",
        "aaaaaaaa",
        "ann.of.kyiv",
        "ANN.OF.KYIV",
        "ann_1990@example.com",
        "Ann_1990",
    ] {
        let mut registration = person.clone();
        registration["password"] = json!(weak);
        let change = json!({"current_password": PASSWORD, "new_password": weak});
        let with_token = json!({"token": reset["token"], "new_password": weak});
        for (field, answer) in [
            ("password", anonymous.post("/auth/register", registration).await),
            ("new_password", ann.post("/me/password", change).await),
            ("new_password", anonymous.post("/auth/password-reset", with_token).await),
        ] {
            let problem = answer.refused(422, "validation_failed");
            assert_eq!(fields(&problem), [field], "{weak}");
            let message = problem["errors"][0]["message"].as_str().unwrap();
            assert!(message.contains("take a few words"), "it says what to do: {message}");
        }
    }
    // The password and the token are as before.
    log_in(&world, "ann.of.kyiv", PASSWORD).await.expect(200);
    let with_token = json!({"token": reset["token"], "new_password": "battery staple"});
    anonymous.post("/auth/password-reset", with_token).await.expect(204);
    log_in(&world, "ann.of.kyiv", "battery staple").await.expect(200);
}

#[actix_web::test]
async fn weak_passwords_are_accepted_if_the_configuration_allows_them() {
    let world = World::with(|config| config.auth.refuse_weak_passwords = false).await;
    let body = json!({"username": "password", "email": "password@example.com", "password": "password"});
    world.anonymous().post("/auth/register", body).await.expect(201);
    let ann = bearer(&world, &log_in(&world, "password", "password").await.expect(200));
    let change = json!({"current_password": "password", "new_password": "1234567"});
    ann.post("/me/password", change).await.refused(422, "validation_failed");
    let change = json!({"current_password": "password", "new_password": "12345678"});
    ann.post("/me/password", change).await.expect(204);
}

/// Logs in as this user again and again until the other requests are answered. Returns their answers; each log-in
/// must succeed.
async fn log_in_beside(world: &World, login: &str, others: impl Future<Output = Vec<Answer>>) -> Vec<Answer> {
    let mut others = pin!(others.fuse());
    let mut logins = 0;
    loop {
        tokio::select! {
            answers = &mut others => {
                assert!(logins > 0, "no log-in was tried");
                return answers;
            }
            answer = log_in(world, login, PASSWORD) => {
                answer.expect(200);
                logins += 1;
            }
        }
    }
}

fn small_queue(config: &mut Config) {
    (config.auth.hash_threads, config.auth.hash_queue) = (1, 4);
}

#[actix_web::test]
async fn an_account_that_changes_its_password_many_times_at_once_keeps_nobody_from_logging_in() {
    let world = World::with(small_queue).await;
    let (ann, eve) = (bearer(&world, &session(&world, "ann").await), session(&world, "eve").await);
    register(&world, "bob").await;
    let change =
        |_| ann.post("/me/password", json!({"current_password": PASSWORD, "new_password": "battery staple"}));
    let answers = log_in_beside(&world, "bob", join_all((0..60).map(change))).await;
    assert_eq!(answers.iter().filter(|answer| answer.status == 204).count(), 1);
    let refused = answers.iter().filter(|answer| answer.is(429, "rate_limited")).count();
    assert!(refused > 0 && refused < 60 - MAX_WAITING, "{refused} of 60 were refused");
    let late =
        answers.iter().filter(|answer| answer.is(401, "invalid_credentials") || answer.is(401, "unauthorized"));
    assert_eq!(late.count() + refused, 59, "the others wait for their turn");
    // Another account changes its password meanwhile.
    let change = json!({"current_password": PASSWORD, "new_password": "battery staple"});
    bearer(&world, &eve).post("/me/password", change).await.expect(204);
}

#[actix_web::test]
async fn many_registrations_at_once_keep_nobody_from_logging_in() {
    let world = World::with(small_queue).await;
    register(&world, "bob").await;
    let anonymous = world.anonymous();
    let names = (0..40).map(|i| anonymous.post("/auth/register", registration(&format!("player{i}"))));
    let answers = log_in_beside(&world, "bob", join_all(names)).await;
    let registered = answers.iter().filter(|answer| answer.status == 201).count();
    assert!(registered >= 3, "{registered}: as many as have a place in the queue");
    assert_eq!(answers.iter().filter(|answer| answer.is(503, "overloaded")).count(), 40 - registered);
    assert!(registered < 40, "the queue was full");
}

/// The answers do not tell whether the account exists.
#[actix_web::test]
async fn log_ins_of_one_account_wait_for_each_other_whether_it_exists_or_not() {
    let world = World::with(|config| config.auth.hash_threads = 4).await;
    for name in ["ann", "bob"] {
        register(&world, name).await;
    }
    let hasher = &world.app().state.hasher;
    for login in ["ann", "nobody"] {
        let mut hashes: Vec<_> = (0..MAX_WAITING + 2)
            .map(|_| Box::pin(hasher.verify(PasswordUse::LogIn(login.to_owned()), "x".into(), None)))
            .collect();
        // The first runs; the second gets its turn when the first has ended, and keeps it without running.
        let mut first = hashes.remove(0);
        assert!(first.as_mut().now_or_never().is_none() && hashes[0].as_mut().now_or_never().is_none());
        first.await.unwrap();
        for hash in &mut hashes[1..] {
            assert!(hash.as_mut().now_or_never().is_none());
        }
        // A log-in that is not refused waits for ever.
        let soon = async |login: &str| {
            let answer = tokio::time::timeout(TIMEOUT, log_in(&world, login, PASSWORD)).await;
            answer.unwrap_or_else(|_| panic!("{login} waits"))
        };
        for login in [login, &login.to_uppercase()] {
            let answer = soon(login).await;
            assert_eq!(answer.headers["retry-after"], "1");
            let problem = answer.refused(429, "rate_limited");
            assert!(problem["detail"].as_str().unwrap().contains("this account"), "{problem}");
        }
        soon("bob").await.expect(200);
        soon("stranger").await.refused(401, "invalid_credentials");
        drop(hashes);
        let status = if login == "ann" { 200 } else { 401 };
        assert_eq!(soon(login).await.status, status);
    }
}
