//! How much one account may reserve without paying, and how many tickets it may order in a second.

use super::*;

/// The shipped limits, but for log-ins, for which the clock of the tests stands still.
async fn limited(change: impl FnOnce(&mut lottery::config::Config)) -> World {
    World::with(|config| {
        config.limits.enabled = true;
        config.limits.logins_per_minute = 1_000.try_into().unwrap();
        change(config);
    })
    .await
}

fn quick(count: usize) -> Value {
    json!(vec![quick_pick(); count])
}

/// A world with this limit of reserved tickets, and with others that the test does not reach.
async fn with_reservations(limit: usize) -> World {
    limited(|config| {
        config.limits.open_reservations = limit;
        config.limits.tickets_per_second = 1_000_000;
        config.limits.purchases_per_second = 1_000.try_into().unwrap();
    })
    .await
}

/// Holds that the account can reserve this many tickets and not one more. Leaves nothing reserved by this.
async fn assert_room(who: &User, draw: i64, room: usize) {
    let fits = who.order(draw, quick(room), "later").await.expect(201);
    who.order(draw, quick(1), "later").await.refused(409, "too_many_reservations");
    let returned =
        join_all(fits["tickets"].as_array().unwrap().iter().map(|ticket| return_ticket(who, ticket))).await;
    assert_eq!(count(&returned, 204, None), room);
}

#[actix_web::test]
async fn an_empty_wallet_reserves_200_tickets_over_all_draws_and_not_more() {
    let world = with_reservations(200).await;
    let (admin, ann) = (world.admin().await, world.player("ann").await);
    let (one, other) = (admin.open_draw(&world, 300).await, admin.open_draw(&world, 0).await);
    ann.order(one, any(100), "later").await.expect(201);
    ann.order(other, quick(99), "later").await.expect(201);

    let refused = ann.order(one, any(2), "later").await;
    let detail = refused.body["detail"].as_str().unwrap().to_owned();
    refused.refused(409, "too_many_reservations");
    for said in ["199 of your tickets", "at most 200", "pay for some", "give some back", "wait"] {
        assert!(detail.contains(said), "{said}: {detail}");
    }
    until_available(&world, one, 200).await;
    ann.order(one, any(1), "later").await.expect(201);
    ann.order(one, any(1), "later").await.refused(409, "too_many_reservations");
    ann.order(other, quick(1), "later").await.refused(409, "too_many_reservations");
    // Another account and the wallet are not concerned.
    world.player("bob").await.order(one, any(100), "later").await.expect(201);
    ann.deposit(100 * PRICE).await;
    ann.order(other, quick(100), "wallet").await.expect(201);
    world.check_invariants().await;
}

#[actix_web::test]
async fn orders_at_the_same_time_do_not_exceed_the_limit_together() {
    let world = with_reservations(200).await;
    let (admin, ann) = (world.admin().await, world.player("ann").await);
    let draws = [admin.open_draw(&world, 0).await, admin.open_draw(&world, 0).await];
    let answers = join_all((0..12).map(|n| ann.order(draws[n % 2], quick(40), "later"))).await;
    assert_eq!(count(&answers, 201, None), 5);
    assert_eq!(count(&answers, 409, Some("too_many_reservations")), 7);
}

#[actix_web::test]
async fn what_is_paid_returned_expired_or_cancelled_is_not_counted_any_more() {
    let mut world = with_reservations(100).await;
    let (admin, ann) = (world.admin().await, world.rich_player("ann", 1_000 * PRICE).await);
    let (one, other) = (admin.open_draw(&world, 0).await, admin.open_draw(&world, 0).await);
    let wallet_bill = ann.order(one, quick(30), "later").await.expect(201);
    let card_bill = ann.order(one, quick(25), "later").await.expect(201);
    let slow_bill = ann.order(one, quick(15), "later").await.expect(201);
    let kept = ann.order(one, quick(5), "later").await.expect(201);
    ann.order(other, quick(10), "later").await.expect(201);
    assert_room(&ann, one, 15).await;

    ann.pay(id(&wallet_bill["payment"]), wallet()).await.expect(200);
    assert_room(&ann, other, 45).await;
    ann.pay(id(&card_bill["payment"]), card("tok_declined")).await.expect(200);
    assert_room(&ann, other, 45).await;
    ann.pay(id(&card_bill["payment"]), card(GOOD_CARD)).await.expect(200);
    ann.pay(id(&slow_bill["payment"]), card("tok_async")).await.expect(200);
    return_ticket(&ann, &kept["tickets"][0]).await.expect(204);
    assert_room(&ann, one, 71).await;

    // A restart counts what is reserved, also while a card is being charged.
    world.restart().await;
    let (ann, admin) = (world.reconnect(&ann), world.reconnect(&admin));
    assert_room(&ann, one, 71).await;

    admin.cancel(other).await.expect(200);
    assert_room(&ann, one, 81).await;
    world.advance(SignedDuration::from_mins(5));
    until_expired(&ann, &json!({"tickets": [kept["tickets"][1]]})).await;
    assert_room(&ann, one, 85).await;
    let next = admin.open_draw(&world, 0).await;
    admin.step(one, "close").await.expect(200);
    assert_room(&ann, next, 100).await;
    world.check_invariants().await;
}

#[actix_web::test]
async fn an_order_that_is_not_written_is_not_counted() {
    let mut world = limited(|config| {
        config.limits.open_reservations = 100;
        config.persistence.deadline = std::time::Duration::from_millis(200);
    })
    .await;
    let (admin, ann) = (world.admin().await, world.player("ann").await);
    let draw = admin.open_draw(&world, 0).await;
    let lock = world.lock_draw(draw).await;
    let first = ann.order(draw, quick(1), "later");
    let late = async {
        world.until_writer_waits().await;
        ann.order(draw, quick(99), "later").await.refused(503, "overloaded");
        lock.release().await;
    };
    let (first, ()) = tokio::join!(first, late);
    first.expect(201);
    assert_room(&ann, draw, 99).await;
    world.restart().await;
    assert_room(&world.reconnect(&ann), draw, 99).await;
}

#[actix_web::test]
async fn a_replay_at_the_limit_gets_the_first_answer_again() {
    let world = with_reservations(200).await;
    let (admin, ann) = (world.admin().await, world.player("ann").await);
    let path = format!("/draws/{}/tickets", admin.open_draw(&world, 0).await);
    let lines = json!({"tickets": quick(100), "payment": "later"});
    let first = ann.post_keyed(&path, "first", lines.clone()).await.expect(201);
    ann.post_keyed(&path, "second", lines.clone()).await.expect(201);
    ann.post_keyed(&path, "third", lines.clone()).await.refused(409, "too_many_reservations");

    let again = ann.post_keyed(&path, "first", lines.clone()).await;
    assert_eq!(again.headers["idempotency-replayed"], "true");
    assert_eq!(again.expect(201), first);
    // A refusal is not kept: the key works once there is room.
    for ticket in first["tickets"].as_array().unwrap() {
        return_ticket(&ann, ticket).await.expect(204);
    }
    ann.post_keyed(&path, "third", lines).await.expect(201);
}

#[actix_web::test]
async fn an_account_orders_so_many_tickets_in_a_second() {
    let world = limited(|config| {
        config.limits.tickets_per_second = 250;
        config.limits.open_reservations = 1_000;
    })
    .await;
    let (admin, ann) = (world.admin().await, world.rich_player("ann", 1_000 * PRICE).await);
    let draw = admin.open_draw(&world, 0).await;
    for payment in ["later", "wallet"] {
        ann.order(draw, quick(100), payment).await.expect(201);
    }
    let refused = ann.order(draw, quick(51), "wallet").await;
    assert!(refused.headers["retry-after"].to_str().unwrap().parse::<u64>().unwrap() > 0);
    refused.refused(429, "rate_limited");
    ann.order(draw, quick(50), "later").await.expect(201);
    ann.order(draw, quick(1), "later").await.refused(429, "rate_limited");
    world.player("bob").await.order(draw, quick(100), "later").await.expect(201);
    world.advance(SignedDuration::from_secs(1));
    ann.order(draw, quick(100), "later").await.expect(201);
}

#[actix_web::test]
async fn without_limits_nothing_is_too_much() {
    let (world, _, draw) = World::on_sale(0).await;
    let ann = world.player("ann").await;
    for _ in 0..12 {
        ann.order(draw, quick(100), "later").await.expect(201);
    }
}
