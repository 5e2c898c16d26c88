//! Charges that Stripe cannot tell of, and money that is not the payment's: they wait for an admin.

use lottery::domain::id::PaymentId;
use lottery::domain::money::Money;
use lottery::domain::record::{BeginDeposit, Record};

use super::*;

#[actix_web::test]
async fn a_charge_that_stripe_has_seen_and_does_not_list_after_a_day_waits_for_an_admin() {
    let (world, stripe) = world().await;
    let admin = world.admin().await;
    let ann = world.player("ann").await;
    // The state that a crash after the call of Stripe leaves, if Stripe failed in the middle of it.
    let (crashed, lost) = (begun(&world, &ann).await, begun(&world, &ann).await);
    for charged in [&crashed, &lost] {
        let key = key(&payment(&ann, charged).await);
        stripe.with(|books| books.answers.insert(key, (HashMap::new(), 500, json!({}))));
    }

    // A later payment is found in the same round, after the crashed ones were asked for.
    for minutes in [11, 24 * 60 - 31] {
        let later = deposit(&ann, 70, "pm_async").await;
        stripe.with(|books| books.intents.iter_mut().for_each(|intent| *intent = succeeded(intent)));
        world.advance(SignedDuration::from_mins(minutes));
        let is_paid = || async {
            world.advance(SignedDuration::from_secs(1));
            payment(&ann, id(&later)).await["status"] == "paid"
        };
        until("the round is over", is_paid).await;
        assert_eq!(admin.all("/admin/charges?status=waiting").await, [] as [Value; 0], "they may be on their way");
    }
    let waiting = async || admin.all("/admin/charges?status=waiting").await;
    until("they wait", async || {
        world.advance(SignedDuration::from_mins(1));
        waiting().await.len() == 2
    })
    .await;
    for charge in waiting().await {
        let told = (&charge["issue"], &charge["outcome"], &charge["ended_at"]);
        assert_eq!(told, (&json!("not_found"), &Value::Null, &Value::Null));
    }
    let metric = async |line: &str| world.metrics().await.contains(line);
    until("it is counted", async || {
        world.advance(SignedDuration::from_mins(1));
        metric("lottery_charges_waiting 2").await
    })
    .await;
    assert_eq!(payment(&ann, &crashed).await["status"], "processing");

    // Stripe has one of them after all, and an admin ends the other.
    let found = json!({
        "id": "pi_found", "status": "succeeded", "amount": 500, "amount_received": 500, "currency": "rub",
        "livemode": false, "metadata": {"payment": lost, "begun": payment(&ann, &lost).await["updated_at"]},
    });
    event(&world, "payment_intent.succeeded", &found).await.expect(200);
    assert_eq!(payment(&ann, &lost).await["status"], "paid");
    let ended = admin.end(&crashed, json!({"outcome": "failed", "note": "Stripe has no such charge"})).await;
    assert_eq!(ended.expect(200)["status"], "failed");
    assert_eq!(payment(&ann, &crashed).await["failure_code"], "ended_by_admin");
    until("none waits", async || {
        world.advance(SignedDuration::from_mins(1));
        metric("lottery_charges_waiting 0").await
    })
    .await;
    assert_eq!((ann.balance().await, stripe.taken()), (640, 140));
    world.check_invariants().await;
}

/// Begins a deposit of 500 that is never sent to Stripe; returns the payment's id.
pub async fn begun(world: &World, who: &User) -> String {
    let at = world.clock.now();
    let payment = PaymentId(world.clock.ids().next(at));
    let begin = BeginDeposit { user: who.id, payment, amount: Money::new(500), at, key: None };
    world.app().state.persistence.write(Record::BeginDeposit(begin), None).await.unwrap().unwrap();
    payment.to_string()
}

#[actix_web::test]
async fn other_money_waits_for_an_admin_also_when_its_charge_was_called_failed() {
    let (world, stripe) = world().await;
    let admin = world.admin().await;
    let ann = world.player("ann").await;
    stripe.with(|books| books.wrong = Some(("currency", json!("usd"))));
    let (good, bad) = (deposit(&ann, 500, "pm_visa").await, deposit(&ann, 70, "pm_visa").await);
    stripe.with(|books| books.wrong = None);
    let declined = deposit(&ann, 9, "pm_declined").await;
    let mut late = succeeded(&stripe.intent(&declined));
    late["amount_received"] = json!(8);
    event(&world, "payment_intent.succeeded", &late).await.expect(200);

    let waiting = async || admin.all("/admin/charges?status=waiting").await;
    let told: Vec<_> = waiting().await.iter().map(|it| (it["payment_id"].clone(), it["issue"].clone())).collect();
    let expected = [&declined, &bad, &good].map(|payment| (payment["id"].clone(), json!("other_money")));
    assert_eq!(told, expected);
    assert_eq!(ann.balance().await, 0);
    world.check_invariants().await;

    let end = async |payment: &Value, outcome: &str| {
        admin.end(id(payment), json!({"outcome": outcome, "note": "compared with Stripe"})).await.expect(200)
    };
    assert_eq!(end(&good, "paid").await["status"], "paid");
    assert_eq!(end(&bad, "failed").await["status"], "failed");
    assert_eq!(end(&declined, "paid").await["status"], "failed", "the payment stays as it is");
    assert_eq!(ann.balance().await, 509);
    assert_eq!(waiting().await, [] as [Value; 0]);
    let late = admin.all("/admin/charges?status=late").await;
    assert_eq!((late.len(), &late[0]["payment_id"]), (1, &declined["id"]));
    world.check_invariants().await;
}
