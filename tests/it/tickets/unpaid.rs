//! Orders that ended unpaid long ago are deleted, and nothing else is.

use super::*;
use crate::common::postgres::service;

fn days(days: i64) -> SignedDuration {
    SignedDuration::from_hours(24 * days)
}

/// A world whose users stay logged in while the clock moves by days.
async fn world(change: impl FnOnce(&mut lottery::config::Config)) -> World {
    World::with(|config| {
        config.auth.refresh_token = std::time::Duration::from_secs(400 * 24 * 3600);
        config.auth.session_max_age = config.auth.refresh_token;
        change(config);
    })
    .await
}

async fn until_payments(world: &World, expected: i64) {
    let counted = || async { world.count("SELECT count(*) FROM payments").await == expected };
    until(&format!("{expected} payments are left"), counted).await;
}

#[actix_web::test]
async fn an_order_that_ended_unpaid_is_deleted_60_days_after_it_was_placed() {
    let mut world = world(|_| {}).await;
    let (admin, ann) = (world.admin().await, world.rich_player("ann", 10 * PRICE).await);
    let draw = admin.open_draw(&world, 20).await;
    ann.order(draw, any(3), "later").await.expect(201);
    let returned = ann.order(draw, json!([quick_pick(), from_pool()]), "later").await.expect(201);
    for ticket in returned["tickets"].as_array().unwrap() {
        return_ticket(&ann, ticket).await.expect(204);
    }
    let declined = ann.reserve(draw).await["payment"].clone();
    ann.pay(id(&declined), card("tok_declined")).await.expect(200);
    let bought = ann.order(draw, any(2), "wallet").await.expect(201);
    let paid = ann.order(draw, any(2), "later").await.expect(201);
    ann.pay(id(&paid["payment"]), wallet()).await.expect(200);
    world.advance(days(59));
    world.until_draw_is(draw, "completed").await;
    let ann = world.anonymous().log_in("ann", crate::common::PASSWORD).await;
    assert_eq!(ann.all("/payments").await.len(), 1 + 5, "the deposit and five orders");
    let young = world.anonymous().log_in("the.admin", crate::common::PASSWORD).await.open_draw(&world, 0).await;
    ann.order(young, json!([quick_pick()]), "later").await.expect(201);

    world.advance(days(2));
    until_payments(&world, 1 + 3 + 1).await;

    let ann = world.anonymous().log_in("ann", crate::common::PASSWORD).await;
    for kept in [&declined, &bought["payment"], &paid["payment"]] {
        payment(&ann, id(kept)).await;
    }
    ann.get(&format!("/payments/{}", id(&returned["payment"]))).await.refused(404, "not_found");
    ann.get(&format!("/tickets/{}", id(&returned["tickets"][0]))).await.refused(404, "not_found");
    assert_eq!(ann.all("/tickets?limit=2").await.len(), 1 + 2 + 2 + 1);
    assert_eq!(ann.all("/payments?limit=2").await.len(), 5);
    world.check_invariants().await;

    // After a restart the walk goes on where it was.
    world.restart().await;
    world.advance(days(61));
    until_payments(&world, 1 + 3).await;
    world.check_invariants().await;
}

#[actix_web::test]
async fn an_order_whose_key_is_stored_is_kept_as_long_as_the_key() {
    let world =
        world(|config| config.persistence.keys_kept = std::time::Duration::from_secs(90 * 24 * 3600)).await;
    let (admin, ann) = (world.admin().await, world.player("ann").await);
    let path = format!("/draws/{}/tickets", admin.open_draw(&world, 0).await);
    let body = json!({"tickets": [quick_pick()], "payment": "later"});
    let first = ann.post_keyed(&path, "key", body.clone()).await.expect(201);

    world.advance(days(80));
    let ann = world.anonymous().log_in("ann", crate::common::PASSWORD).await;
    until("the reservation has expired", || async {
        world.count("SELECT count(*) FROM payments WHERE status = 'expired'").await == 1
    })
    .await;
    let again = ann.post_keyed(&path, "key", body).await;
    assert_eq!(again.headers["idempotency-replayed"], "true");
    assert_eq!(again.expect(201), first);
    world.check_invariants().await;

    world.advance(days(11));
    until_payments(&world, 0).await;
    assert_eq!(world.count("SELECT count(*) FROM idempotency_keys").await, 0);
    world.check_invariants().await;
}

/// More tickets than one transaction deletes.
#[actix_web::test]
async fn many_unpaid_orders_are_deleted_in_several_steps() {
    let world = world(|_| {}).await;
    let (admin, ann) = (world.admin().await, world.player("ann").await);
    let draw = admin.open_draw(&world, 0).await;
    for _ in 0..6 {
        join_all((0..10).map(|_| ann.order(draw, json!(vec![quick_pick(); 100]), "later"))).await;
    }
    ann.order(draw, json!([quick_pick()]), "later").await.expect(201);
    world.advance(days(1));
    world.until_draw_is(draw, "completed").await;
    assert_eq!(world.count("SELECT count(*) FROM tickets WHERE status = 'expired'").await, 6_001);
    let note = "CREATE TABLE deletions (tickets bigint);
        CREATE FUNCTION note() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS $$ BEGIN
            INSERT INTO deletions SELECT count(*) FROM gone; RETURN NULL;
        END $$;
        CREATE TRIGGER note AFTER DELETE ON tickets REFERENCING OLD TABLE AS gone
            FOR EACH STATEMENT EXECUTE FUNCTION note()";
    world.sql().await.batch_execute(note).await.unwrap();

    world.advance(days(60));
    until_payments(&world, 0).await;

    assert_eq!(world.count("SELECT count(*) FROM tickets").await, 0);
    assert_eq!(world.count("SELECT max(tickets) FROM deletions").await, 5_000);
    world.drop_trigger("note").await;
    world.check_invariants().await;
}

#[actix_web::test]
async fn nothing_else_can_be_deleted_by_the_service_or_by_hand() {
    let (world, _, draw) = World::on_sale(0).await;
    let ann = world.rich_player("ann", 10 * PRICE).await;
    ann.buy_quick(draw, 1).await;
    let declined = ann.order(draw, json!([quick_pick()]), "later").await.expect(201);
    ann.pay(id(&declined["payment"]), card("tok_declined")).await.expect(200);
    ann.order(draw, json!([quick_pick()]), "later").await.expect(201);
    for login in [world.database.clone(), service(&world.database)] {
        let sql = lottery::db::connect(&login).await.unwrap();
        for kept in [
            "payments WHERE kind = 'deposit'",
            "payments WHERE status = 'paid'",
            "payments WHERE status = 'pending'",
            "tickets WHERE status = 'paid'",
            "tickets WHERE status = 'reserved'",
        ] {
            let refused = sql.batch_execute(&format!("DELETE FROM {kept}")).await.expect_err(kept);
            let message = refused.as_db_error().unwrap().message().to_owned();
            assert!(message.contains("is not allowed"), "{kept}: {message}");
        }
    }
    world.advance(SignedDuration::from_mins(5));
    let expired = "SELECT count(*) FROM payments WHERE status = 'expired'";
    until("the reservations expire", || async { world.count(expired).await == 2 }).await;
    let charged = "DELETE FROM payments WHERE status = 'expired' AND method = 'card'";
    world.sql().await.batch_execute(charged).await.expect_err("its money may still arrive");
}
