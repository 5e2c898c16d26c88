//! Charges as admins see them: late successes, the end by an admin, and the charges of a database that had no rows for
//! them.

use super::*;
use crate::webhook::tell;
use crate::world::*;

/// The migration that makes the table of charges.
const MIGRATION: &str = include_str!("../../../migrations/V2__charges.sql");

/// Charges a card for this payment, and has the provider decline it later; returns the payment as it was while it was
/// processing.
async fn declined_slowly(world: &World, who: &User, payment: &str) -> Value {
    let processing = who.pay(payment, card(SLOW_CARD)).await.expect(200);
    assert_eq!(processing["status"], "processing");
    tell(world, &processing, "failed").await;
    processing
}

async fn charges(admin: &User, query: &str) -> Vec<Value> {
    admin.all(&format!("/admin/charges?{query}")).await
}

#[actix_web::test]
async fn a_late_success_is_credited_once_whatever_happened_to_its_payment() {
    let (world, admin, draw) = World::on_sale(20).await;
    let ann = world.rich_player("ann", 2 * PRICE).await;
    let mut late = Vec::new();
    for meanwhile in ["pending", "card", "wallet", "processing", "ended by an admin", "expired"] {
        let invoice = ann.reserve(draw).await;
        let bill = id(&invoice["payment"]).to_owned();
        let first = if meanwhile == "ended by an admin" {
            let first = ann.pay(&bill, card(SLOW_CARD)).await.expect(200);
            let ended = admin.end(&bill, json!({"outcome": "failed", "note": "given up"})).await.expect(200);
            assert_eq!((&ended["status"], &ended["failure_code"]), (&json!("pending"), &json!("ended_by_admin")));
            first
        } else {
            declined_slowly(&world, &ann, &bill).await
        };
        let status = match meanwhile {
            "card" => ann.pay(&bill, card(GOOD_CARD)).await.expect(200)["status"].clone(),
            "wallet" => ann.pay(&bill, wallet()).await.expect(200)["status"].clone(),
            "processing" => ann.pay(&bill, card(SLOW_CARD)).await.expect(200)["status"].clone(),
            "expired" => {
                world.advance(SignedDuration::from_mins(16));
                let gone = || async { payment(&ann, &bill).await["status"] == "expired" };
                until("the reservation expires", gone).await;
                json!("expired")
            }
            _ => json!("pending"),
        };
        late.push((first, status));
    }
    let deposit = ann.post("/wallet/deposits", json!({"amount": 70, "token": SLOW_CARD})).await.expect(201);
    tell(&world, &deposit, "failed").await;
    late.push((deposit, json!("failed")));

    let before = ann.balance().await;
    for _ in 0..3 {
        join_all(late.iter().map(|(first, _)| tell(&world, first, "paid"))).await;
        join_all(late.iter().map(|(first, _)| tell(&world, first, "failed"))).await;
    }
    assert_eq!(ann.balance().await, before + 6 * PRICE + 70);
    for (first, status) in &late {
        // Time has passed, and the reservations that were pending have expired since.
        let now = payment(&ann, id(first)).await["status"].clone();
        assert!(now == *status || *status == "pending" && now == "expired", "{status}: {now}");
    }
    let credited = charges(&admin, "status=late&limit=3").await;
    assert_eq!(credited.len(), late.len());
    for (first, _) in &late {
        let row = credited.iter().find(|row| row["payment_id"] == first["id"]).unwrap();
        assert_eq!(row["begun_at"], first["updated_at"]);
        assert_eq!((&row["outcome"], &row["late"], &row["dispute"]), (&json!("paid"), &json!(true), &Value::Null));
        assert!(row["ended_at"].is_string() && row["user_id"] == ann.id.0, "{row}");
    }
    assert!(world.metrics().await.contains("lottery_late_charges_total 7"));
    world.check_invariants().await;
}

#[actix_web::test]
async fn money_that_comes_after_the_sale_is_a_late_charge() {
    let (world, admin, draw) = World::on_sale(5).await;
    let ann = world.player("ann").await;
    let invoice = ann.reserve(draw).await;
    let processing = ann.pay(id(&invoice["payment"]), card(SLOW_CARD)).await.expect(200);
    let open = charges(&admin, "status=open").await;
    assert_eq!(open.len(), 1);
    assert_eq!(
        open[0],
        json!({
            "payment_id": processing["id"], "user_id": ann.id.0, "kind": "purchase", "amount": PRICE,
            "currency": "RUB", "begun_at": processing["updated_at"], "ended_at": null, "outcome": null,
            "late": false, "failure_code": null, "issue": null, "dispute": null, "refunded": 0,
        })
    );
    admin.cancel(draw).await.expect(200);
    for _ in 0..2 {
        tell(&world, &processing, "paid").await;
    }
    assert_eq!(payment(&ann, id(&processing)).await["status"], "refunded");
    assert_eq!(charges(&admin, "status=late").await.len(), 1);
    assert!(world.metrics().await.contains("lottery_late_charges_total 1"));
    assert_eq!(ann.balance().await, PRICE);
    world.check_invariants().await;
}

#[actix_web::test]
async fn the_charges_of_all_users_are_listed_page_by_page() {
    let (world, admin, draw) = World::on_sale(5).await;
    let (ann, bob) = (world.player("ann").await, world.player("bob").await);
    let invoice = ann.reserve(draw).await;
    let bill = id(&invoice["payment"]);
    for token in ["tok_declined", "tok_insufficient", GOOD_CARD] {
        ann.pay(bill, card(token)).await.expect(200);
    }
    bob.deposit(5).await;
    let all = charges(&admin, "limit=1").await;
    let told: Vec<_> = all.iter().map(|it| (it["user_id"].clone(), it["failure_code"].clone())).collect();
    let [of_ann, of_bob] = [&ann, &bob].map(|who| json!(who.id.0));
    assert_eq!(
        told,
        [
            (of_bob, Value::Null),
            (of_ann.clone(), Value::Null),
            (of_ann.clone(), json!("insufficient_funds")),
            (of_ann, json!("card_declined")),
        ]
    );
    assert_eq!(charges(&admin, &format!("user_id={}&status=failed", ann.id)).await.len(), 2);
    assert_eq!(charges(&admin, &format!("user_id={}&status=paid&status=failed", ann.id)).await.len(), 3);
    assert_eq!(charges(&admin, "status=waiting").await.len(), 0);
    for (query, field) in [("status=stuck", "status"), ("user_id=ann", "user_id"), ("cursor=7", "cursor")] {
        let refusal = admin.get(&format!("/admin/charges?{query}")).await.refused(422, "validation_failed");
        assert_eq!(refusal["errors"][0]["field"], field);
    }
}

#[actix_web::test]
async fn an_admin_ends_a_charge_once() {
    let (mut world, admin, draw) = World::on_sale(5).await;
    let ann = world.player("ann").await;
    let invoice = ann.reserve(draw).await;
    let bill = id(&invoice["payment"]).to_owned();
    let end = |outcome: &str| json!({"outcome": outcome, "note": " Stripe's dashboard shows it "});
    admin.end(&bill, end("paid")).await.refused(409, "invalid_transition");
    ann.pay(&bill, card(SLOW_CARD)).await.expect(200);

    for (body, field) in [
        (json!({"outcome": "paid"}), "note"),
        (json!({"outcome": "paid", "note": " "}), "note"),
        (json!({"outcome": "paid", "note": "x".repeat(501)}), "note"),
        (json!({"outcome": "refunded", "note": "x"}), "outcome"),
        (json!({"note": "x"}), "outcome"),
        (json!({"outcome": "paid", "note": "x", "amount": 1}), "amount"),
    ] {
        let refusal = admin.end(&bill, body).await.refused(422, "validation_failed");
        assert_eq!(refusal["errors"][0]["field"], field);
    }
    admin.end("0190e0a0-0000-7000-8000-000000000000", end("paid")).await.refused(404, "not_found");
    let path = format!("/admin/payments/{bill}/end");
    let first = admin.post_keyed(&path, "word", end("paid")).await.expect(200);
    assert_eq!((&first["status"], &first["id"]), (&json!("paid"), &json!(bill)));
    assert_eq!(ticket(&ann, id(&invoice["tickets"][0])).await["status"], "paid", "the draw held it");
    let again = admin.post_keyed(&path, "word", end("paid")).await;
    assert_eq!(again.headers["idempotency-replayed"], "true");
    assert_eq!(again.expect(200), first);
    admin.post_keyed(&path, "word", end("failed")).await.refused(422, "idempotency_key_reused");
    assert_eq!(admin.end(&bill, end("paid")).await.expect(200)["status"], "paid", "a step already taken");
    admin.end(&bill, end("failed")).await.refused(409, "invalid_transition");

    let withdrawal = world.rich_player("bob", 9).await.post("/wallet/withdrawals", json!({"amount": 9})).await;
    admin.end(id(&withdrawal.expect(201)), end("paid")).await.refused(409, "invalid_transition");
    let audit = admin.all("/admin/audit-log").await;
    let told: Vec<&Value> = audit.iter().filter(|entry| entry["action"] == "charge.end").collect();
    assert_eq!(told.len(), 1);
    let (subject, detail) = (format!("payment:{bill}"), &told[0]["detail"]);
    assert_eq!((&told[0]["subject"], &told[0]["actor_id"]), (&json!(subject), &json!(admin.id.0)));
    assert_eq!((&detail["outcome"], &detail["note"]), (&json!("paid"), &json!("Stripe's dashboard shows it")));

    // Two charges of one payment: the body says which.
    let invoice = ann.reserve(draw).await;
    let bill = id(&invoice["payment"]).to_owned();
    let first = declined_slowly(&world, &ann, &bill).await;
    let second = ann.pay(&bill, card(SLOW_CARD)).await.expect(200);
    let which = |of: &Value, outcome: &str| json!({"outcome": outcome, "note": "x", "begun_at": of["updated_at"]});
    admin.end(&bill, which(&first, "paid")).await.refused(409, "invalid_transition");
    admin.end(&bill, which(&first, "failed")).await.expect(200);
    admin
        .end(&bill, json!({"outcome": "paid", "note": "x", "begun_at": world.minutes(5)}))
        .await
        .refused(409, "invalid_transition");
    assert_eq!(payment(&ann, &bill).await["status"], "processing");
    world.restart().await;
    let admin = world.reconnect(&admin);
    assert_eq!(admin.end(&bill, which(&second, "failed")).await.expect(200)["status"], "pending");
    world.check_invariants().await;
}

/// `paid` would credit the admin's own wallet.
#[actix_web::test]
async fn nobody_ends_a_charge_of_their_own_payment() {
    let (world, admin, draw) = World::on_sale(5).await;
    let deposit = admin.post("/wallet/deposits", json!({"amount": 70, "token": SLOW_CARD})).await.expect(201);
    let bill = id(&admin.reserve(draw).await["payment"]).to_owned();
    admin.pay(&bill, card(SLOW_CARD)).await.expect(200);
    let end = |outcome: &str| json!({"outcome": outcome, "note": "I saw it"});
    for of in [id(&deposit), &bill] {
        for outcome in ["paid", "failed"] {
            let refusal = admin.end(of, end(outcome)).await.refused(409, "own_payment");
            assert_eq!(refusal["detail"], "ask another admin to end its charge");
            let path = format!("/admin/payments/{of}/end");
            admin.post_keyed(&path, outcome, end(outcome)).await.refused(409, "own_payment");
        }
        assert_eq!(payment(&admin, of).await["status"], "processing");
    }
    assert_eq!(admin.balance().await, 0);
    assert!(admin.all("/admin/audit-log?action=charge.end").await.is_empty());

    let bob = world.player("bob").await;
    let promote = admin.request(reqwest::Method::PATCH, &format!("/admin/users/{}", bob.id));
    admin.send(promote.json(&json!({"role": "admin"}))).await.expect(200);
    bob.end(id(&deposit), end("paid")).await.expect(200);
    assert_eq!(bob.end(&bill, end("paid")).await.expect(200)["status"], "paid", "the draw still holds its ticket");
    assert_eq!(admin.balance().await, 70);
    admin.end(&bill, end("paid")).await.refused(409, "own_payment");
    world.check_invariants().await;
}

#[actix_web::test]
async fn a_database_without_rows_for_charges_gets_them_and_late_successes_are_credited_once() {
    let (mut world, admin, draw) = World::on_sale(20).await;
    let ann = world.player("ann").await;
    let reserve = async || id(&ann.reserve(draw).await["payment"]).to_owned();
    let deposit =
        async |token: &str| ann.post("/wallet/deposits", json!({"amount": 70, "token": token})).await.expect(201);
    let by_wallet = deposit(GOOD_CARD).await;
    let (open, failed) = (deposit(SLOW_CARD).await, deposit(SLOW_CARD).await);
    tell(&world, &failed, "failed").await;
    // Reservations: being charged, declined and pending, declined and then paid by another card, paid by card.
    let charging = ann.pay(&reserve().await, card(SLOW_CARD)).await.expect(200);
    let declined = declined_slowly(&world, &ann, &reserve().await).await;
    let twice = declined_slowly(&world, &ann, &reserve().await).await;
    ann.pay(id(&twice), card(GOOD_CARD)).await.expect(200);
    let paid = ann.pay(&reserve().await, card(SLOW_CARD)).await.expect(200);
    world.advance(SignedDuration::from_secs(1));
    tell(&world, &paid, "paid").await;
    assert_eq!((ann.balance().await, &by_wallet["status"]), (70, &json!("paid")));

    // The database as the service had it before it knew charges; then the migration.
    world.sql().await.batch_execute(&format!("DROP TABLE charges; {MIGRATION}")).await.unwrap();
    world.check_invariants().await;
    world.restart().await;
    let (admin, ann) = (world.reconnect(&admin), world.reconnect(&ann));
    assert_eq!(charges(&admin, "status=open").await.len(), 2);

    for _ in 0..2 {
        for of in [&open, &failed, &charging, &declined] {
            tell(&world, of, "paid").await;
        }
    }
    assert_eq!(ann.balance().await, 3 * 70 + PRICE, "the tickets of one are paid, the other's card was late");
    assert_eq!(payment(&ann, id(&charging)).await["status"], "paid");
    assert_eq!(charges(&admin, "status=late").await.len(), 2);

    // It is not known which charge paid these, so an admin decides.
    for _ in 0..2 {
        tell(&world, &twice, "paid").await;
        tell(&world, &paid, "paid").await;
    }
    let waiting = charges(&admin, "status=waiting").await;
    assert!(waiting.len() == 2 && waiting.iter().all(|charge| charge["issue"] == "unclear"), "{waiting:?}");
    assert_eq!(ann.balance().await, 3 * 70 + PRICE);
    world.check_invariants().await;
    admin.end(id(&twice), json!({"outcome": "paid", "note": "Stripe took it twice"})).await.expect(200);
    admin.end(id(&paid), json!({"outcome": "failed", "note": "it paid the ticket"})).await.expect(200);
    assert_eq!(ann.balance().await, 3 * 70 + 2 * PRICE);
    assert_eq!(charges(&admin, "status=waiting").await.len(), 0);
    world.check_invariants().await;
}
