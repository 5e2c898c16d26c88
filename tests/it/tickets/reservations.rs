//! Reservations: paid in time, expired, or returned.

use std::cell::Cell;
use std::time::Duration;

use super::*;

#[actix_web::test]
async fn a_reservation_expires_and_its_ticket_is_sold_to_another_user() {
    let (world, _, draw) = World::on_sale(1).await;
    let (ann, bob) = (world.player("ann").await, world.rich_player("bob", PRICE).await);
    let reserved = ann.reserve(draw).await;
    let premade = &reserved["tickets"][0]["pool_ticket_id"];
    bob.order(draw, any(1), "wallet").await.refused(409, "pool_empty");

    world.advance(SignedDuration::from_mins(5) - SignedDuration::from_millis(1));
    bob.order(draw, any(1), "wallet").await.refused(409, "pool_empty");
    assert_eq!(ticket(&ann, id(&reserved["tickets"][0])).await["status"], "reserved");
    world.advance(SignedDuration::from_millis(1));
    until_expired(&ann, &reserved).await;

    assert_eq!(payment(&ann, id(&reserved["payment"])).await["status"], "expired");
    assert_eq!(pool(&world, draw).await[0]["id"], *premade);
    until_available(&world, draw, 1).await;
    let bought = bob.order(draw, json!([{"pool_ticket_id": premade}]), "wallet").await.expect(201);
    assert_eq!(bought["tickets"][0]["numbers"], reserved["tickets"][0]["numbers"]);
    ann.pay(id(&reserved["payment"]), wallet()).await.refused(409, "payment_not_payable");
    world.check_invariants().await;
}

#[actix_web::test]
async fn a_reservation_never_outlasts_the_sale() {
    let (world, _, draw) = World::on_sale(2).await;
    let ann = world.player("ann").await;
    world.advance(SignedDuration::from_mins(57));

    let reserved = ann.reserve(draw).await;

    assert_eq!(reserved["tickets"][0]["reserved_until"], "2030-05-01T13:00:00Z");
    world.advance(SignedDuration::from_mins(3));
    world.until_draw_is(draw, "closed").await;
    assert_eq!(ticket(&ann, id(&reserved["tickets"][0])).await["status"], "expired");
    assert_eq!(payment(&ann, id(&reserved["payment"])).await["status"], "expired");
    world.check_invariants().await;
}

#[actix_web::test]
async fn an_expired_reservation_cannot_be_paid_even_before_its_expiry_is_written() {
    let (world, _, draw) = World::on_sale(2).await;
    let ann = world.rich_player("ann", PRICE).await;
    let reserved = ann.reserve(draw).await;
    let bill = id(&reserved["payment"]);
    let lock = world.lock_draw(draw).await;

    world.advance(SignedDuration::from_mins(5));
    ann.pay(bill, wallet()).await.refused(409, "payment_not_payable");
    ann.pay(bill, card(GOOD_CARD)).await.refused(409, "payment_not_payable");
    assert_eq!(payment(&ann, bill).await["status"], "pending", "the expiry is not written yet");

    lock.release().await;
    until_expired(&ann, &reserved).await;
    ann.pay(bill, wallet()).await.refused(409, "payment_not_payable");
    assert_eq!(ann.balance().await, PRICE);
    world.check_invariants().await;
}

#[actix_web::test]
async fn a_payment_begun_in_time_succeeds_though_the_reservation_expires_before_it_is_written() {
    let (world, _, draw) = World::on_sale(2).await;
    let (ann, bob) = (world.rich_player("ann", PRICE).await, world.player("bob").await);
    let (paying, waiting) = (ann.reserve(draw).await, bob.reserve(draw).await);
    let lock = world.lock_draw(draw).await;

    let pay = ann.pay(id(&paying["payment"]), wallet());
    let then = async {
        world.until_writer_waits().await;
        world.advance(SignedDuration::from_mins(5));
        lock.release().await;
        until_expired(&bob, &waiting).await;
    };
    let (paid, ()) = tokio::join!(pay, then);

    assert_eq!(paid.expect(200)["status"], "paid");
    assert_eq!(ticket(&ann, id(&paying["tickets"][0])).await["status"], "paid");
    world.check_invariants().await;
}

#[actix_web::test]
async fn of_expiry_and_payment_of_a_reservation_exactly_one_wins() {
    const EACH: usize = 6;
    let world = World::with(|config| config.tickets.reservation = Duration::from_secs(60)).await;
    let admin = world.admin().await;
    let draw = admin.open_draw(&world, EACH).await;
    let ann = world.rich_player("ann", 1_000 * PRICE).await;
    let mut paid = 0;
    for round in 0..2 * (EACH + 1) {
        let reserved = join_all((0..EACH).map(|_| ann.reserve(draw))).await;
        // The reservations expire before the first payment is answered, or after this many.
        let in_time = round % (EACH + 1);
        let answered = Cell::new(0);
        let pay = join_all(reserved.iter().map(async |it| {
            let answer = ann.pay(id(&it["payment"]), wallet()).await;
            answered.set(answered.get() + 1);
            answer
        }));
        let time_is_up = async {
            while answered.get() < in_time {
                tokio::task::yield_now().await;
            }
            world.advance(SignedDuration::from_secs(60));
        };

        let (answers, ()) = tokio::join!(pay, time_is_up);

        let decided = || async { ann.all("/tickets?status=reserved").await.is_empty() };
        until("each is paid or expired", decided).await;
        let free = pool_ids(&world, draw).await;
        let mut won = 0;
        for (answer, reserved) in answers.iter().zip(&reserved) {
            let wins = answer.status == 200;
            assert!(wins || answer.is(409, "payment_not_payable"), "{}", answer.text);
            let ticket = ticket(&ann, id(&reserved["tickets"][0])).await;
            assert_eq!(ticket["status"], if wins { "paid" } else { "expired" });
            let is_free = free.contains(ticket["pool_ticket_id"].as_str().unwrap());
            assert_eq!(is_free, !wins, "for sale again, or sold");
            won += usize::from(wins);
        }
        assert!(won >= in_time, "what was answered in time stays");
        paid += won as i64;
        assert_eq!(ann.balance().await, (1_000 - paid) * PRICE, "charged for what was paid and no more");
        // Sold tickets are replaced, so that each round starts with the same number.
        until_available(&world, draw, (EACH - won) as i64).await;
        if won > 0 {
            admin.pool(draw, won).await.expect(201);
        }
    }
    world.check_invariants().await;
}

// Returning tickets.

#[actix_web::test]
async fn a_reserved_ticket_can_be_returned_once() {
    let (world, _, draw) = World::on_sale(3).await;
    let (ann, bob) = (world.rich_player("ann", 5 * PRICE).await, world.player("bob").await);
    let ordered = ann.order(draw, any(3), "later").await.expect(201);
    let [first, second, third] = &ordered["tickets"].as_array().unwrap()[..] else { panic!("{ordered}") };
    let bill = id(&ordered["payment"]);
    bob.order(draw, any(1), "later").await.refused(409, "pool_empty");

    return_ticket(&bob, first).await.refused(404, "not_found");
    let given = return_ticket(&ann, first).await;
    assert_eq!((given.status, given.text.as_str()), (204, ""));

    return_ticket(&ann, first).await.refused(409, "ticket_not_reserved");
    assert_eq!(ticket(&ann, id(first)).await["status"], "expired");
    let lowered = payment(&ann, bill).await;
    assert_eq!((&lowered["status"], &lowered["amount"]), (&json!("pending"), &json!(2 * PRICE)));
    assert_eq!(lowered["ticket_ids"], json!([second["id"], third["id"]]));
    assert_eq!(pool_ids(&world, draw).await, [first["pool_ticket_id"].as_str().unwrap().to_owned()].into());
    bob.order(draw, any(1), "later").await.expect(201);

    return_ticket(&ann, second).await.expect(204);
    return_ticket(&ann, third).await.expect(204);
    assert_eq!(payment(&ann, bill).await["status"], "expired", "the last one expires it");
    ann.pay(bill, wallet()).await.refused(409, "payment_not_payable");
    assert_eq!(pool(&world, draw).await.len(), 2);
    assert_eq!(ann.balance().await, 5 * PRICE);
    world.check_invariants().await;
}

#[actix_web::test]
async fn a_payment_lowered_by_a_returned_ticket_takes_only_the_rest() {
    let (world, _, draw) = World::on_sale(0).await;
    let ann = world.rich_player("ann", 5 * PRICE).await;
    let quick = quick_pick();
    let ordered = ann.order(draw, json!([quick, quick, quick]), "later").await.expect(201);
    return_ticket(&ann, &ordered["tickets"][0]).await.expect(204);

    let paid = ann.pay(id(&ordered["payment"]), wallet()).await.expect(200);

    assert_eq!(paid["amount"], 2 * PRICE);
    let left = [&ordered["tickets"][1], &ordered["tickets"][2]];
    assert_eq!(paid["ticket_ids"], json!(left.map(|it| &it["id"])), "in the order of the lines");
    assert_eq!(payment(&ann, id(&paid)).await, paid);
    for (number, left) in (1..).zip(left) {
        assert_eq!(ticket(&ann, id(left)).await["number"], number);
    }
    assert_eq!(ann.balance().await, 3 * PRICE);
    return_ticket(&ann, left[0]).await.refused(409, "ticket_not_reserved");
    assert_eq!(ann.all("/tickets?status=paid").await.len(), 2);
    world.check_invariants().await;
}

#[actix_web::test]
async fn tickets_returned_while_they_are_paid_are_either_paid_or_returned() {
    let (world, _, draw) = World::on_sale(15).await;
    let ann = world.rich_player("ann", 100 * PRICE).await;
    for _ in 0..5 {
        let ordered = ann.order(draw, any(3), "later").await.expect(201);
        let tickets = ordered["tickets"].as_array().unwrap();
        let backs = join_all(tickets.iter().chain([&tickets[0]]).map(|ticket| return_ticket(&ann, ticket)));
        let pay = ann.pay(id(&ordered["payment"]), wallet());

        let (backs, paid) = tokio::join!(backs, pay);

        let given = count(&backs, 204, None);
        assert_eq!(given + count(&backs, 409, Some("ticket_not_reserved")), 4);
        let bill = payment(&ann, id(&ordered["payment"])).await;
        if paid.status == 200 {
            assert_eq!(bill["amount"], (3 - given as i64) * PRICE);
            assert_eq!(bill, paid.body);
        } else {
            paid.refused(409, "payment_not_payable");
        }
        // Return what a concurrent payment has left reserved.
        for ticket in ann.all("/tickets?status=reserved").await {
            return_ticket(&ann, &ticket).await.expect(204);
        }
        world.check_invariants().await;
    }
}
