//! Withdrawals: the money is held, and then paid out or given back as an admin decides.

use super::*;

async fn withdraw(who: &User, amount: i64) -> Answer {
    who.post("/wallet/withdrawals", json!({"amount": amount})).await
}

async fn end(admin: &User, withdrawal: &str, verdict: &str) -> Answer {
    let path = format!("/admin/withdrawals/{withdrawal}/{verdict}");
    admin.send(admin.request(reqwest::Method::POST, &path)).await
}

#[actix_web::test]
async fn an_admin_approves_or_rejects_a_withdrawal_once() {
    let mut world = World::new().await;
    let admin = world.admin().await;
    let ann = world.rich_player("ann", 1_000).await;
    world.advance(SignedDuration::from_secs(5));

    let (good, bad) = (withdraw(&ann, 300).await.expect(201), withdraw(&ann, 600).await.expect(201));
    assert_eq!(
        good,
        json!({
            "id": id(&good), "kind": "withdrawal", "status": "processing", "amount": 300, "currency": "RUB",
            "method": null, "ticket_ids": [], "failure_code": null,
            "created_at": "2030-05-01T12:00:05Z", "updated_at": "2030-05-01T12:00:05Z",
        })
    );
    assert_eq!(payment(&ann, id(&good)).await, good);
    assert_eq!(ann.balance().await, 100, "set aside in the same step");
    world.check_invariants().await;
    world.restart().await;
    let (admin, ann) = (world.reconnect(&admin), world.reconnect(&ann));
    world.advance(SignedDuration::from_secs(5));

    let approved = end(&admin, id(&good), "approve").await.expect(200);
    let rejected = end(&admin, id(&bad), "reject").await.expect(200);
    let told = |it: &Value| (it["status"].clone(), it["failure_code"].clone(), it["updated_at"].clone());
    let later = json!("2030-05-01T12:00:10Z");
    assert_eq!(told(&approved), (json!("paid"), Value::Null, later.clone()));
    assert_eq!(told(&rejected), (json!("failed"), json!("rejected"), later));
    world.advance(SignedDuration::from_secs(5));
    assert_eq!(end(&admin, id(&good), "approve").await.expect(200), approved, "a step already taken");
    assert_eq!(end(&admin, id(&bad), "reject").await.expect(200), rejected);
    end(&admin, id(&good), "reject").await.refused(409, "invalid_transition");
    end(&admin, id(&bad), "approve").await.refused(409, "invalid_transition");

    // An admin's decision under a key is stored like any other success; a refusal is not.
    let keyed = |withdrawal: &Value, verdict: &str, key: &'static str| {
        let path = format!("/admin/withdrawals/{}/{verdict}", id(withdrawal));
        admin.send(admin.request(reqwest::Method::POST, &path).header("Idempotency-Key", key))
    };
    keyed(&good, "reject", "word").await.refused(409, "invalid_transition");
    let first = keyed(&good, "approve", "word").await;
    assert!(!first.headers.contains_key("idempotency-replayed"));
    assert_eq!(first.expect(200), approved);
    let again = keyed(&good, "approve", "word").await;
    assert_eq!(again.headers["idempotency-replayed"], "true");
    assert_eq!(again.expect(200), approved);
    keyed(&bad, "reject", "word").await.refused(422, "idempotency_key_reused");
    keyed(&good, "reject", "word").await.refused(422, "idempotency_key_reused");

    assert_eq!(ann.balance().await, 700);
    assert_eq!(payment(&ann, id(&good)).await, approved);
    let transfers = ann.all("/wallet/transfers").await;
    let told = transfers.iter().map(|it| {
        let number = |name: &str| it[name].as_i64().unwrap();
        (it["kind"].as_str().unwrap(), number("amount"), number("balance_after"), &it["reference"])
    });
    let expected = [
        ("withdrawal", 600, 700, &bad["id"]),
        ("withdrawal", -600, 100, &bad["id"]),
        ("withdrawal", -300, 700, &good["id"]),
    ];
    assert_eq!(told.take(3).collect::<Vec<_>>(), expected);
    assert_eq!(world.count("SELECT balance FROM accounts WHERE kind = 'clearing'").await, -700, "300 went out");
    let of_all = admin.all("/admin/payments?kind=withdrawal").await;
    assert_eq!(of_all.len(), 2);
    assert_eq!(of_all[0]["user_id"], ann.id.0);
    world.check_invariants().await;
}

#[actix_web::test]
async fn a_withdrawal_takes_no_more_than_the_balance_and_takes_it_once() {
    let world = World::new().await;
    let ann = world.rich_player("ann", 1_000).await;

    for amount in [json!(0), json!(-1), json!(1_000_000_000_001_i64), json!(1.5), json!("5"), Value::Null] {
        let refusal = ann.post("/wallet/withdrawals", json!({"amount": amount})).await;
        assert_eq!(refusal.refused(422, "validation_failed")["errors"][0]["field"], "amount", "{amount}");
    }
    let to = json!({"amount": 1, "token": "tok_visa"});
    ann.post("/wallet/withdrawals", to).await.refused(422, "validation_failed");
    withdraw(&ann, 1_001).await.refused(402, "insufficient_funds");
    assert_eq!(ann.balance().await, 1_000, "a refusal takes nothing");

    let once = || ann.post_keyed("/wallet/withdrawals", "once", json!({"amount": 400}));
    let first = once().await.expect(201);
    let again = once().await;
    assert_eq!(again.headers["idempotency-replayed"], "true");
    assert_eq!(again.expect(201), first);
    let admin = world.admin().await;
    end(&admin, id(&first), "approve").await.expect(200);
    assert_eq!(once().await.expect(201), first, "as first answered, whatever has become of it");
    let other = ann.post_keyed("/wallet/withdrawals", "once", json!({"amount": 401})).await;
    other.refused(422, "idempotency_key_reused");
    assert_eq!(ann.balance().await, 600);

    let answers = join_all((0..6).map(|_| withdraw(&ann, 250))).await;
    assert_eq!(count(&answers, 201, None), 2, "exactly what the wallet can pay");
    assert_eq!(count(&answers, 402, Some("insufficient_funds")), 4);
    assert_eq!(ann.balance().await, 100);
    world.check_invariants().await;
}

#[actix_web::test]
async fn if_two_admins_disagree_on_a_withdrawal_one_decision_counts() {
    let world = World::new().await;
    let admin = world.admin().await;
    let ann = world.rich_player("ann", 1_000).await;
    let withdrawal = withdraw(&ann, 1_000).await.expect(201);
    let verdicts = ["approve", "reject"].into_iter().cycle().take(8);

    let answers = join_all(verdicts.map(|verdict| end(&admin, id(&withdrawal), verdict))).await;

    assert_eq!(count(&answers, 200, None), 4, "said by four");
    assert_eq!(count(&answers, 409, Some("invalid_transition")), 4);
    let paid = payment(&ann, id(&withdrawal)).await["status"] == "paid";
    assert_eq!(ann.balance().await, if paid { 0 } else { 1_000 });
    world.check_invariants().await;
}

#[actix_web::test]
async fn nobody_approves_their_own_withdrawal() {
    let world = World::new().await;
    let admin = world.admin().await;
    admin.deposit(1_000).await;
    let (one, other) = (withdraw(&admin, 300).await.expect(201), withdraw(&admin, 400).await.expect(201));
    // Not even of many tries at the same time, or under a key.
    for refusal in join_all((0..4).map(|_| end(&admin, id(&one), "approve"))).await {
        refusal.refused(409, "own_withdrawal");
    }
    let path = format!("/admin/withdrawals/{}/approve", id(&one));
    let keyed = || admin.send(admin.request(reqwest::Method::POST, &path).header("Idempotency-Key", "mine"));
    keyed().await.refused(409, "own_withdrawal");
    assert_eq!(payment(&admin, id(&one)).await["status"], "processing");

    end(&admin, id(&other), "reject").await.expect(200);
    assert_eq!(admin.balance().await, 700, "what is rejected goes back");
    let bob = world.player("bob").await;
    let promote = admin.request(reqwest::Method::PATCH, &format!("/admin/users/{}", bob.id));
    admin.send(promote.json(&json!({"role": "admin"}))).await.expect(200);
    end(&bob, id(&one), "approve").await.expect(200);
    keyed().await.refused(409, "own_withdrawal");
    assert_eq!(payment(&admin, id(&one)).await["status"], "paid");
    world.check_invariants().await;
}

#[actix_web::test]
async fn only_admins_decide_withdrawals_and_only_withdrawals_are_decided() {
    let world = World::new().await;
    let admin = world.admin().await;
    let ann = world.player("ann").await;
    let deposit = ann.deposit(500).await;
    let withdrawal = withdraw(&ann, 100).await.expect(201);
    for verdict in ["approve", "reject"] {
        end(&ann, id(&withdrawal), verdict).await.refused(403, "forbidden");
        end(&world.anonymous(), id(&withdrawal), verdict).await.refused(401, "unauthorized");
        end(&admin, id(&deposit), verdict).await.refused(404, "not_found");
        end(&admin, "0190e0a0-0000-7000-8000-000000000000", verdict).await.refused(404, "not_found");
        end(&admin, "nonsense", verdict).await.refused(404, "not_found");
    }
    world.anonymous().post("/wallet/withdrawals", json!({"amount": 1})).await.refused(401, "unauthorized");
    assert_eq!(payment(&ann, id(&withdrawal)).await["status"], "processing");
    world.check_invariants().await;
}

/// The minimum is no rate: `limits.enabled` is false here.
#[actix_web::test]
async fn a_withdrawal_below_the_configured_minimum_is_refused() {
    let mut world = World::new().await;
    let ann = world.rich_player("ann", 1_000).await;
    let (path, body) = ("/wallet/withdrawals", json!({"amount": 1}));
    let first = ann.post_keyed(path, "early", body.clone()).await.expect(201);
    world.stop().await;
    world.config.wallet.min_withdrawal = 300;
    world.start().await;
    let ann = world.reconnect(&ann);
    for amount in [0, 1, 299] {
        let problem = withdraw(&ann, amount).await.refused(422, "validation_failed");
        assert_eq!(problem["errors"][0]["field"], "amount");
        let message = problem["errors"][0]["message"].as_str().unwrap();
        assert!(amount == 0 || message.contains("must be 300 to"), "{message}");
    }
    assert_eq!(ann.balance().await, 999, "nothing was taken");
    assert_eq!(ann.post_keyed(path, "early", body).await.expect(201), first, "a replay is no new withdrawal");
    withdraw(&ann, 300).await.expect(201);
    assert_eq!(ann.balance().await, 699);
}
