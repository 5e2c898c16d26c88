//! Disputes and refunds that Stripe reports of charges.

use super::*;

#[actix_web::test]
async fn disputes_and_refunds_are_recorded_and_move_no_money() {
    let (world, stripe) = world().await;
    let admin = world.admin().await;
    let ann = world.player("ann").await;
    let (disputed, refunded) = (deposit(&ann, 500, "pm_visa").await, deposit(&ann, 70, "pm_visa").await);
    let (first, second) = (stripe.intent(&disputed), stripe.intent(&refunded));
    let dispute =
        |status: &str| json!({"id": "du_1", "status": status, "payment_intent": first["id"], "metadata": {}});
    let now = world.clock.now().as_second();
    let charge = async |of: &Value| {
        let all = admin.all(&format!("/admin/charges?user_id={}", ann.id)).await;
        all.into_iter().find(|charge| charge["payment_id"] == of["id"]).unwrap()
    };
    event_at(&world, "charge.dispute.created", &dispute("needs_response"), now).await.expect(200);
    assert_eq!(charge(&disputed).await["dispute"], "needs_response");
    event_at(&world, "charge.dispute.closed", &dispute("lost"), now + 9).await.expect(200);
    event_at(&world, "charge.dispute.updated", &dispute("under_review"), now + 5).await.expect(200);
    assert_eq!(charge(&disputed).await["dispute"], "lost", "an older report came later");

    for (kind, total) in [("charge.refunded", 30), ("refund.created", 70), ("refund.failed", 40)] {
        stripe.with(|books| books.intents[1]["latest_charge"] = json!({"id": "ch_1", "amount_refunded": total}));
        let object = json!({"id": "re_1", "amount": 5, "payment_intent": second["id"]});
        event(&world, kind, &object).await.expect(200);
        assert_eq!(charge(&refunded).await["refunded"], total, "{kind}");
    }
    let listed = async |status: &str| admin.all(&format!("/admin/charges?status={status}")).await.len();
    assert_eq!((listed("disputed").await, listed("refunded").await, listed("paid").await), (1, 1, 2));

    // What belongs to other programs of the same account, and what cannot be looked up now.
    for object in [json!({"payment_intent": null}), json!({"payment_intent": "../x"}), json!({})] {
        event(&world, "charge.refunded", &object).await.expect(200);
    }
    stripe.with(|books| books.broken = true);
    event(&world, "charge.dispute.created", &dispute("lost")).await.refused(503, "overloaded");
    assert_eq!(ann.balance().await, 570, "the wallet stays as it is");
    world.check_invariants().await;
}
