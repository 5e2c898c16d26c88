//! Crashes and faults between the round and the end of the draw: the numbers are the same.

use super::*;

/// The numbers that everybody can compute once the round is there.
async fn expected(world: &World, draw: i64) -> Vec<u8> {
    let (announcement, event) = entries(world, draw).await.remove(0);
    numbers(&announcement, announced_round(&event))
}

/// Lets each write of this kind to the results fail.
async fn break_results(world: &World, when: &str) {
    let sql = format!(
        "CREATE FUNCTION broken() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE 'broken'; END $$;
         CREATE TRIGGER broken BEFORE {when} ON draw_results FOR EACH ROW EXECUTE FUNCTION broken()"
    );
    world.sql().await.batch_execute(&sql).await.unwrap();
}

async fn mend_results(world: &World) {
    let sql = "DROP TRIGGER broken ON draw_results; DROP FUNCTION broken";
    world.sql().await.batch_execute(sql).await.unwrap();
}

/// Closes the draw and lets the time of its round come.
async fn until_round(world: &World, draw: i64) {
    world.advance(SignedDuration::from_mins(61));
    world.until_draw_is(draw, "closed").await;
    world.advance(SignedDuration::from_mins(60));
}

#[actix_web::test]
async fn however_often_the_result_is_discarded_the_numbers_are_the_same() {
    let server = Drand::start(Manner::Good).await;
    let (mut world, _, draw) = on_sale(&server).await;
    let ann = world.rich_player("ann", 10_000_000).await;
    ann.buy_quick(draw, 5).await;
    let expected = expected(&world, draw).await;
    break_results(&world, "INSERT").await;
    until_round(&world, draw).await;
    // After each failure the draw is loaded anew and asks again.
    until("the result was discarded twice", async || server.asked().len() > 2).await;
    world.stop().await;
    mend_results(&world).await;
    world.start().await;
    world.until_draw_is(draw, "completed").await;
    assert_eq!(shown(&world, draw).await["winning_numbers"], json!(expected));
    world.check_invariants().await;
}

#[actix_web::test]
async fn once_the_numbers_are_drawn_the_beacon_is_not_needed_any_more() {
    let server = Drand::start(Manner::Good).await;
    let (mut world, _, draw) = on_sale(&server).await;
    let expected = expected(&world, draw).await;
    break_results(&world, "UPDATE OF prize_fund").await;
    until_round(&world, draw).await;
    world.until_draw_is(draw, "settling").await;
    assert_eq!(shown(&world, draw).await["winning_numbers"], json!(expected));
    world.stop().await;
    server.set(Manner::Status(500));
    mend_results(&world).await;
    world.start().await;
    world.until_draw_is(draw, "completed").await;
    let all = entries(&world, draw).await;
    let Event::DrawCompleted { winning_numbers, signature, .. } = &all[2].1 else { panic!("{all:?}") };
    assert_eq!((winning_numbers, signature), (&expected, &Some(sign(announced_round(&all[0].1)))));
    world.check_invariants().await;
}

#[actix_web::test]
async fn a_restart_while_the_round_is_awaited_asks_again() {
    let server = Drand::start(Manner::Status(404)).await;
    let (mut world, _, draw) = on_sale(&server).await;
    let expected = expected(&world, draw).await;
    until_round(&world, draw).await;
    until("the round is asked for", async || !server.asked().is_empty()).await;
    world.restart().await;
    server.set(Manner::Good);
    world.until_draw_is(draw, "completed").await;
    assert_eq!(shown(&world, draw).await["winning_numbers"], json!(expected));
    world.check_invariants().await;
}

#[actix_web::test]
async fn a_draw_whose_entry_says_another_round_draws_nothing() {
    let server = Drand::start(Manner::Good).await;
    let (mut world, _, draw) = on_sale(&server).await;
    world.advance(SignedDuration::from_mins(61));
    world.until_draw_is(draw, "closed").await;
    world.stop().await;
    let sql = world.sql().await;
    let move_round = |by: i64| {
        format!(
            "BEGIN; SET LOCAL session_replication_role = replica; UPDATE draws SET round = round + {by}; COMMIT"
        )
    };
    sql.batch_execute(&move_round(1)).await.unwrap();
    world.advance(SignedDuration::from_mins(60));
    world.start().await;
    world.advance(SignedDuration::from_secs(3));
    until("the draw stops", async || world.metrics().await.contains("lottery_draws_stopped 1")).await;
    assert_eq!(shown(&world, draw).await["status"], "closed");
    world.stop().await;
    sql.batch_execute(&move_round(-1)).await.unwrap();
    world.start().await;
    world.until_draw_is(draw, "completed").await;
    world.check_invariants().await;
}
