//! A login of the database is to choose the numbers: with a round that is known already.

use lottery::db;
use verifiable_draw::merkle::edge::Edge;

use super::*;
use crate::common::postgres::service;
use crate::logs::{add_row, append, head, log_key};

/// As the superuser with all triggers off.
async fn tamper(world: &World, sql: &str) {
    let sql = format!("BEGIN; SET LOCAL session_replication_role = replica; {sql}; COMMIT");
    world.sql().await.batch_execute(&sql).await.unwrap();
}

/// The draw comes to its time and stops: no numbers, nothing is paid, and an admin can cancel it.
async fn assert_stops(world: &mut World, admin: &User, draw: i64) {
    world.advance(SignedDuration::from_mins(60));
    world.until_draw_is(draw, "closed").await;
    // What the service reads then is what the attacker has written.
    world.restart().await;
    world.advance(SignedDuration::from_mins(60));
    let admin = world.reconnect(admin);
    until("the draw stops", async || admin.step(draw, "conduct").await.is(409, "list_mismatch")).await;
    assert_eq!(world.count("SELECT count(*) FROM draw_results").await, 0);
    assert!(world.metrics().await.contains("lottery_draws_stopped 1"));
    admin.cancel(draw).await.expect(200);
    world.until_draw_is(draw, "cancelled").await;
    assert_eq!(shown(world, draw).await["cancel_reason"], "list_mismatch");
}

#[actix_web::test]
async fn a_round_that_was_known_before_the_seal_draws_nothing() {
    let server = Drand::start(Manner::Good).await;
    let (mut world, admin, draw) = on_sale(&server).await;
    let all = entries(&world, draw).await;
    let Event::DrawAnnounced { at, sales_close_at, draw_at, .. } = all[0].1 else { panic!("{all:?}") };
    // Everybody knows this round, and so eve its numbers.
    let known = chain().round_at(at) - 1;
    let eve = world.rich_player("eve", 10_000_000).await;
    eve.buy(draw, &numbers(&all[0].0, known)).await;
    let forged = Event::DrawRescheduled { draw: draw as u64, at, sales_close_at, draw_at, round: Some(known) };
    append(&world, &forged).await;
    // Its triggers allow that, as for new times.
    world.sql().await.execute("UPDATE draws SET round = $1", &[&(known as i64)]).await.unwrap();
    assert_stops(&mut world, &admin, draw).await;
}

#[actix_web::test]
async fn the_announcement_of_another_draw_draws_nothing() {
    let server = Drand::start(Manner::Good).await;
    let (mut world, admin, older) = on_sale(&server).await;
    admin.cancel(older).await.expect(200);
    world.until_draw_is(older, "cancelled").await;
    world.advance(SignedDuration::from_mins(130));
    let draw = admin.open_draw(&world, 0).await;
    let sql = format!(
        "UPDATE log_entries SET draw_id = NULL WHERE draw_id = {draw};
         UPDATE log_entries SET draw_id = {draw} WHERE index = 0;
         UPDATE draws SET round = (SELECT round FROM draws WHERE id = {older}) WHERE id = {draw}"
    );
    tamper(&world, &sql).await;
    let admin = admin.log_in("the.admin", PASSWORD).await;
    assert_stops(&mut world, &admin, draw).await;
}

/// The attacker needs no more rights than the service has: new times with a round that everybody knows, a seal from before it,
/// and a ticket with its numbers.
#[actix_web::test]
async fn a_login_with_the_rights_of_the_service_cannot_have_a_known_round_drawn() {
    let server = Drand::start(Manner::Good).await;
    let (world, admin, draw) = on_sale(&server).await;
    world.advance(SignedDuration::from_mins(30));
    let all = entries(&world, draw).await;
    let Event::DrawAnnounced { sales_close_at, draw_at, .. } = all[0].1 else { panic!("{all:?}") };
    let known = chain().round_at(world.clock.now().as_second() as u64) - 1;
    let eve = world.rich_player("eve", 10_000_000).await;
    eve.buy(draw, &numbers(&all[0].0, known)).await;
    // The heads of what is sold are logged each minute.
    world.advance(SignedDuration::from_secs(60));
    let key = log_key(&world).await;
    until("the head is logged", async || head(&world, "/log", &key).await.size == 2).await;

    let login = db::connect(&service(&world.database)).await.unwrap();
    let row = login.query_one("SELECT edge, mac FROM draw_sales, log_entries WHERE index = 0", &[]).await.unwrap();
    let (list, mac) = (Edge::from_bytes(row.get(0)).unwrap().head(), row.get::<_, Vec<u8>>(1));
    let (of, at) = (draw as u64, chain().time_of(known).unwrap() - 1);
    let times = Event::DrawRescheduled { draw: of, at, sales_close_at, draw_at, round: Some(known) };
    let seal = Event::DrawSealed { draw: of, at, orders: 1, tickets: 1, root: list.root, by_hand: true };
    for forged in [times, seal] {
        add_row(&login, &forged.to_bytes().unwrap(), Some(of), Some(&mac)).await.unwrap();
    }
    login.execute("UPDATE draws SET round = $1", &[&(known as i64)]).await.unwrap();
    let signed = head(&world, "/log", &key).await;
    world.advance(SignedDuration::from_mins(30));
    world.until_draw_is(draw, "closed").await;
    assert_eq!(head(&world, "/log", &key).await, signed, "what was forged is not signed");
    assert!(world.metrics().await.contains("lottery_public_log_contradicted 1"));
    assert_eq!(world.count("SELECT count(*) FROM draw_seals s JOIN draws d ON d.id = s.draw_id AND s.sealed_at < d.sales_close_at").await, 0);

    world.advance(SignedDuration::from_mins(60));
    until("the draw stops", async || world.metrics().await.contains("lottery_draws_stopped 1")).await;
    assert_eq!(world.count("SELECT count(*) FROM draw_results").await, 0);
    let before = eve.balance().await;
    admin.cancel(draw).await.expect(200);
    world.until_draw_is(draw, "cancelled").await;
    assert!(eve.balance().await > before, "the ticket is refunded");
}
