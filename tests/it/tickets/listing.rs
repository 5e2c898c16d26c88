//! The lists of a user's tickets: invisible to others, numbered without a gap, and the same after a restart.

use super::*;

#[actix_web::test]
async fn the_ticket_of_another_user_cannot_be_seen() {
    let (world, admin, draw) = World::on_sale(1).await;
    let (ann, bob) = (world.rich_player("ann", PRICE).await, world.player("bob").await);
    let bought = ann.buy_quick(draw, 1).await;
    let reserved = ann.reserve(draw).await;
    for stranger in [&bob, &admin] {
        for it in [&bought, &reserved] {
            let ticket = &it["tickets"][0];
            stranger.get(&format!("/tickets/{}", id(ticket))).await.refused(404, "not_found");
            stranger.get(&format!("/payments/{}", id(&it["payment"]))).await.refused(404, "not_found");
            return_ticket(stranger, ticket).await.refused(404, "not_found");
        }
        for list in ["/tickets", "/payments", "/wallet/transfers"] {
            assert_eq!(stranger.all(list).await.len(), 0);
        }
    }
    let path = format!("/tickets/{}", id(&bought["tickets"][0]));
    world.anonymous().get(&path).await.refused(401, "unauthorized");
    world.anonymous().delete(&path).await.refused(401, "unauthorized");
    for nothing in ["nonsense", "0190e0a0-0000-7000-8000-000000000000", "1"] {
        ann.get(&format!("/tickets/{nothing}")).await.refused(404, "not_found");
        ann.delete(&format!("/tickets/{nothing}")).await.refused(404, "not_found");
    }
    return_ticket(&ann, &bought["tickets"][0]).await.refused(409, "ticket_not_reserved");
    return_ticket(&ann, &reserved["tickets"][0]).await.expect(204);
}

#[actix_web::test]
async fn ticket_numbers_have_no_gap_under_concurrent_orders() {
    let (world, _, draw) = World::on_sale(0).await;
    let mut buyers = Vec::new();
    for (name, tickets) in [("ann", 100), ("bob", 100), ("cid", 7)] {
        buyers.push(world.rich_player(name, tickets * PRICE).await);
    }
    let reserved = join_all((0..5).map(|_| buyers[0].order(draw, json!([{"quick_pick": true}]), "later"))).await;
    let order = |turn: usize| {
        let lines = json!(vec![quick_pick(); 1 + turn % 4]);
        buyers[turn % 3].order(draw, lines, "wallet")
    };
    let orders = join_all((0..30).map(order));
    let pays = join_all(reserved.iter().map(|it| buyers[0].pay(id(&it.body["payment"]), wallet())));

    let (orders, pays) = tokio::join!(orders, pays);

    assert_eq!(count(&pays, 200, None), 5);
    assert!(count(&orders, 402, Some("insufficient_funds")) > 0, "some could not pay, and left no gap");
    let mut given: Vec<i64> = Vec::new();
    for buyer in &buyers {
        given.extend(buyer.all("/tickets?limit=200").await.iter().map(|it| it["number"].as_i64().unwrap()));
    }
    given.sort_unstable();
    assert_eq!(given, (1..=given.len() as i64).collect::<Vec<_>>());
    for order in orders.iter().filter(|it| it.status == 201) {
        let tickets = order.body["tickets"].as_array().unwrap();
        let row: Vec<i64> = tickets.iter().map(|it| it["number"].as_i64().unwrap()).collect();
        assert!(row.windows(2).all(|pair| pair[1] == pair[0] + 1), "one order, numbers in a row: {row:?}");
    }
    world.check_invariants().await;
}

#[actix_web::test]
async fn the_tickets_of_a_user_are_listed_newest_first_by_draw_and_status() {
    let (world, admin, first) = World::on_sale(2).await;
    let second = admin.open_draw(&world, 0).await;
    let (ann, bob) = (world.rich_player("ann", 50 * PRICE).await, world.rich_player("bob", 5 * PRICE).await);
    bob.buy_quick(first, 2).await;
    let mut newest_first = Vec::new();
    for (draw, payment) in [(first, "wallet"), (second, "wallet"), (first, "later"), (second, "later")] {
        let lines = json!([{"quick_pick": true}, {"quick_pick": true}]);
        let order = ann.order(draw, lines, payment).await.expect(201);
        newest_first.extend(order["tickets"].as_array().unwrap().iter().map(|it| id(it).to_owned()));
        world.advance(SignedDuration::from_millis(1));
    }
    newest_first.reverse();
    return_ticket(&ann, &json!({"id": newest_first[0]})).await.expect(204);
    let listed = async |query: &str| -> Vec<String> {
        let tickets = ann.all(&format!("/tickets?limit=3{query}")).await;
        tickets.iter().map(|it| id(it).to_owned()).collect()
    };
    let chosen = |of: &[usize]| -> Vec<String> { of.iter().map(|index| newest_first[*index].clone()).collect() };

    assert_eq!(listed("").await, newest_first);
    assert_eq!(listed(&format!("&draw_id={first}")).await, chosen(&[2, 3, 6, 7]));
    assert_eq!(listed("&status=reserved").await, chosen(&[1, 2, 3]));
    assert_eq!(listed("&status=expired").await, chosen(&[0]));
    assert_eq!(listed("&status=expired&status=reserved").await, chosen(&[0, 1, 2, 3]));
    assert_eq!(listed(&format!("&draw_id={second}&status=paid")).await, chosen(&[4, 5]));
    assert_eq!(listed(&format!("&draw_id={first}&draw_id={second}")).await, newest_first);
    assert!(listed("&draw_id=999999").await.is_empty() && listed("&status=won").await.is_empty());
    for wrong in ["status=sold", "draw_id=x", "limit=0", "limit=201", "cursor=x", "colour=red"] {
        ann.get(&format!("/tickets?{wrong}")).await.refused(422, "validation_failed");
    }

    // New rows never shift or repeat a page.
    let page = ann.get("/tickets?limit=3").await.expect(200);
    ann.buy_quick(second, 1).await;
    let next = format!("/tickets?limit=3&cursor={}", page["next_cursor"].as_str().unwrap());
    let next = ann.get(&next).await.expect(200);
    assert_eq!(next["items"][0]["id"], newest_first[3]);
}

// Restarts.

#[actix_web::test]
async fn a_restart_rebuilds_the_same_draw() {
    let (mut world, admin, draw) = World::on_sale(6).await;
    let ann = world.rich_player("ann", 50 * PRICE).await;
    let sold = ann.order(draw, any(1), "wallet").await.expect(201);
    let to_pay = ann.order(draw, any(1), "later").await.expect(201);
    let to_return = ann.order(draw, any(2), "later").await.expect(201);
    let to_expire = ann.reserve(draw).await;
    return_ticket(&ann, &to_return["tickets"][0]).await.expect(204);
    let paths = ["/tickets", "/payments", "/wallet/transfers"];
    let everything = async |world: &World| {
        let ann = world.reconnect(&ann);
        let mut seen = vec![json!(pool(world, draw).await)];
        for path in paths {
            seen.push(json!(ann.all(path).await));
        }
        seen.push(ann.get(&format!("/draws/{draw}")).await.expect(200));
        seen
    };
    until_available(&world, draw, 2).await;
    let before = everything(&world).await;

    world.restart().await;

    assert_eq!(everything(&world).await, before);
    let (ann, admin) = (world.reconnect(&ann), world.reconnect(&admin));
    for taken in [&sold, &to_pay, &to_expire] {
        let line = json!([{"pool_ticket_id": taken["tickets"][0]["pool_ticket_id"]}]);
        ann.order(draw, line, "later").await.refused(409, "ticket_unavailable");
    }
    let paid = ann.pay(id(&to_pay["payment"]), wallet()).await.expect(200);
    assert_eq!(ticket(&ann, id(&to_pay["tickets"][0])).await["number"], 2, "{paid}");
    return_ticket(&ann, &to_return["tickets"][1]).await.expect(204);
    assert_eq!(payment(&ann, id(&to_return["payment"])).await["status"], "expired");
    world.advance(SignedDuration::from_mins(5));
    until_expired(&ann, &to_expire).await;
    until_available(&world, draw, 4).await;
    ann.order(draw, any(5), "later").await.refused(409, "pool_empty");
    ann.order(draw, any(4), "wallet").await.expect(201);
    assert_eq!(admin.conduct(draw).await["tickets_sold"], 6);
    world.check_invariants().await;
}

#[actix_web::test]
async fn a_reservation_that_expired_while_the_service_was_down_cannot_be_paid_and_is_sold_again() {
    let (mut world, _, draw) = World::on_sale(1).await;
    let ann = world.rich_player("ann", PRICE).await;
    let reserved = ann.reserve(draw).await;
    world.stop().await;
    world.advance(SignedDuration::from_mins(5));
    world.start().await;
    let ann = world.reconnect(&ann);

    ann.pay(id(&reserved["payment"]), wallet()).await.refused(409, "payment_not_payable");

    until_expired(&ann, &reserved).await;
    until_available(&world, draw, 1).await;
    ann.order(draw, any(1), "wallet").await.expect(201);
    world.check_invariants().await;
}
