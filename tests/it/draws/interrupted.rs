//! Settlements and refunds that a stop interrupts.

use std::time::Duration;

use lottery::db::read::payout::end_of_payment;
use lottery::domain::id::DrawId;

use super::*;
use crate::money::finance::check_finance;

/// Sells more than the first step of a settlement or refund pays (200 credits, by their owners), the last of
/// it to bob; returns the draw, closed.
async fn sold_to_ann_and_then_to_bob(world: &World, admin: &User) -> (i64, [User; 2]) {
    let people = [world.rich_player("ann", 100_000_000).await, world.rich_player("bob", 100_000_000).await];
    let id = admin.open_draw(world, 0).await;
    buy_many(&people[0], id, 22, 100).await;
    buy_many(&people[0], id, 200, 1).await;
    buy_many(&people[1], id, 6, 100).await;
    admin.step(id, "close").await.expect(200);
    (id, people)
}

fn soon(config: &mut lottery::config::Config) {
    config.server.shutdown_timeout = Duration::from_secs(1);
}

#[actix_web::test]
async fn an_interrupted_settlement_goes_on_and_pays_nobody_twice() {
    let mut world = World::with(soon).await;
    let admin = world.admin().await;
    let (id, [ann, bob]) = sold_to_ann_and_then_to_bob(&world, &admin).await;
    // A step that pays bob waits for his wallet; those before it have paid ann.
    let held = lock(&world, &format!("SELECT FROM accounts WHERE id = {} * 8 + 1 FOR UPDATE", bob.id)).await;
    world.advance(minutes(120));
    world.until_draw_is(id, "settling").await;
    let prizes = "SELECT count(*) FROM transfers WHERE kind = 'prize'";
    until("ann is paid", async || world.count(prizes).await > 0).await;

    let settling = draw(&ann, id).await;
    assert_eq!(settling["winning_numbers"].as_array().unwrap().len(), 5, "they show from settling on");
    results(&ann, id).await.refused(409, "draw_not_completed");
    check_finance(&world, &admin).await;
    ann.order(id, json!([{"quick_pick": true}]), "wallet").await.refused(409, "draw_not_open");
    for name in ["open", "close", "cancel"] {
        step(&admin, id, name).await.refused(409, "invalid_transition");
    }
    world.stop().await;
    // The first step pays 200 prizes. How many the next ones pay depends on how long it took.
    assert!(world.count(prizes).await >= 200);
    let to_bob = format!("SELECT count(*) FROM transfers WHERE kind = 'prize' AND user_id = {}", bob.id);
    assert_eq!(world.count(&to_bob).await, 0);
    let part =
        format!("SELECT window_end - cursor FROM draw_results WHERE draw_id = {id} AND paid_user = {}", ann.id);
    assert_eq!(world.count(&part).await, 3_000);
    drop(held);
    world.start().await;

    world.until_draw_is(id, "completed").await;
    check_finance(&world, &world.reconnect(&admin)).await;
    let result = results(&world.reconnect(&ann), id).await.expect(200);
    assert_eq!(result["winning_numbers"], settling["winning_numbers"]);
    let winners: i64 =
        result["tiers"].as_array().unwrap().iter().map(|tier| tier["winners"].as_i64().unwrap()).sum();
    assert_eq!(world.count(prizes).await, winners);
    world.check_invariants().await;
}

#[actix_web::test]
async fn an_interrupted_cancellation_goes_on_and_refunds_nobody_twice() {
    let mut world = World::with(soon).await;
    let admin = world.admin().await;
    let (id, [ann, bob]) = sold_to_ann_and_then_to_bob(&world, &admin).await;
    let held = lock(&world, &format!("SELECT FROM accounts WHERE id = {} * 8 + 1 FOR UPDATE", bob.id)).await;
    let asking = admin.clone();
    let asked = actix_web::rt::spawn(async move {
        asking
            .request(reqwest::Method::POST, &format!("/admin/draws/{id}/cancel"))
            .json(&json!({"reason": "rain"}))
            .send()
            .await
    });
    world.until_draw_is(id, "cancelling").await;
    let refunds = "SELECT count(*) FROM transfers WHERE kind = 'refund'";
    until("ann has it back", async || world.count(refunds).await > 0).await;
    step(&admin, id, "conduct").await.refused(409, "invalid_transition");
    asked.abort();
    world.stop().await;
    assert_eq!(world.count(refunds).await, 200);
    let seen = "SELECT count(*) FROM payment_states WHERE status = 'refunded'";
    assert_eq!(world.count(seen).await, 200, "it is seen at once");
    let seen = "SELECT count(*) * 10000 FROM ticket_states WHERE status = 'refunded'";
    let paid = "SELECT sum(amount)::bigint FROM transfers WHERE kind = 'refund'";
    assert_eq!(world.count(seen).await, world.count(paid).await);
    drop(held);
    world.start().await;

    world.until_draw_is(id, "cancelled").await;
    assert_eq!(world.count(refunds).await, 228);
    let (ann, bob) = (world.reconnect(&ann), world.reconnect(&bob));
    assert_eq!((ann.balance().await, bob.balance().await), (100_000_000, 100_000_000));
    assert_eq!(draw(&ann, id).await["cancel_reason"], "rain");
    world.check_invariants().await;
}

#[actix_web::test]
async fn a_settlement_has_the_same_result_wherever_the_service_stops() {
    let mut world = World::new().await;
    let admin = world.admin().await;
    let ann = world.rich_player("ann", 1_000_000_000).await;
    let id = admin.open_draw(&world, 0).await;
    buy_many(&ann, id, 60, 100).await;
    admin.step(id, "close").await.expect(200);
    world.advance(minutes(120));
    let mut drawn = Value::Null;
    for pause in [1, 5, 10, 20, 40] {
        tokio::time::sleep(Duration::from_millis(pause)).await;
        world.restart().await;
        let now = draw(&world.anonymous(), id).await["winning_numbers"].clone();
        assert!(drawn.is_null() || now == drawn, "the numbers stay");
        drawn = now;
    }
    world.until_draw_is(id, "completed").await;
    world.check_invariants().await;
}

#[actix_web::test]
async fn a_step_of_refunds_never_ends_in_the_middle_of_a_payment() {
    let world = World::new().await;
    let admin = world.admin().await;
    let ann = world.rich_player("ann", 100_000_000).await;
    let id = admin.open_draw(&world, 0).await;
    for lines in [1, 100, 2] {
        ann.buy_quick(id, lines).await;
    }
    let db = &world.app().state.db;
    for (ticket, last) in [(1, 1), (2, 101), (50, 101), (101, 101), (102, 103), (103, 103)] {
        assert_eq!(end_of_payment(db, DrawId(id), ticket).await.unwrap(), last, "of ticket {ticket}");
    }
}
