//! Draws with a beacon take their lottery's jackpot in the order of their times.

use super::*;

/// A draw of this lottery that closes at a minute and is drawn 20 minutes later.
async fn draw_at(world: &World, admin: &User, lottery: &str, close: i64) -> i64 {
    let times = json!({
        "lottery": lottery, "sales_close_at": world.minutes(close), "draw_at": world.minutes(close + 20)
    });
    let draw = admin.create_draw(times).await;
    admin.step(draw, "open").await.expect(200);
    draw
}

/// Closes these draws, the sale of each of which ends 30 minutes after that of the one before, and before its round.
async fn close_in_turn(world: &World, draws: &[i64]) {
    for (n, draw) in draws.iter().enumerate() {
        world.advance(SignedDuration::from_mins(if n == 0 { 31 } else { 30 }));
        world.until_draw_is(*draw, "closed").await;
    }
}

/// What came into a completed draw from the entry at which index, its rollover, and the index of its own entry.
async fn jackpot(world: &World, draw: i64) -> (u64, Option<u64>, u64, u64) {
    let all = entries(world, draw).await;
    let Event::DrawCompleted { jackpot, after, rollover, .. } = &all.last().unwrap().1 else { panic!("{all:?}") };
    let index = world.count(&format!("SELECT max(index) FROM log_entries WHERE draw_id = {draw}")).await;
    (*jackpot, *after, *rollover, index as u64)
}

/// No prizes can be fixed until the trigger `hold` is dropped. Returns the session that has made it.
async fn hold_prizes(world: &World) -> tokio_postgres::Client {
    let sql = world.sql().await;
    sql.batch_execute(
        "CREATE FUNCTION hold() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE 'not yet'; END $$;
         CREATE TRIGGER hold BEFORE UPDATE OF prize_fund ON draw_results FOR EACH ROW EXECUTE FUNCTION hold()",
    )
    .await
    .unwrap();
    sql
}

#[actix_web::test]
async fn a_draw_waits_until_all_earlier_ones_have_ended() {
    let server = Drand::start(Manner::Good).await;
    let world = World::with(with_beacon(&[&server])).await;
    let admin = world.admin().await;
    // The later one was made first.
    let last = draw_at(&world, &admin, "5of36", 60).await;
    let first = draw_at(&world, &admin, "5of36", 30).await;
    let other = draw_at(&world, &admin, "6of45", 31).await;
    let ann = world.rich_player("ann", 10_000_000).await;
    for draw in [first, last, other] {
        ann.buy_quick(draw, 4).await;
    }
    // The prizes of the first draw cannot be fixed yet.
    let sql = hold_prizes(&world).await;
    close_in_turn(&world, &[first, last]).await;
    world.until_draw_is(first, "settling").await;
    world.advance(SignedDuration::from_mins(19));
    let round = announced_round(&entries(&world, last).await[0].1);
    until("the round of the last draw is there", async || server.asked().contains(&round)).await;
    let waits = admin.step(last, "conduct").await;
    let waits = if waits.is(409, "beacon_not_ready") {
        // The answer of the beacon was on its way.
        until("the last draw waits", async || admin.step(last, "conduct").await.is(409, "draw_waits")).await;
        admin.step(last, "conduct").await
    } else {
        waits
    };
    let waits = waits.refused(409, "draw_waits");
    let detail = waits["detail"].as_str().unwrap();
    assert!(detail.starts_with(&format!("draw {first} takes the jackpot first, and has not ended")), "{detail}");
    assert_eq!(shown(&world, last).await["status"], "closed");

    sql.batch_execute("DROP TRIGGER hold ON draw_results; DROP FUNCTION hold").await.unwrap();
    for draw in [first, other, last] {
        world.until_draw_is(draw, "completed").await;
    }
    let (_, after, rollover, index) = jackpot(&world, first).await;
    assert_eq!(after, None);
    let (received, after, ..) = jackpot(&world, last).await;
    assert_eq!((received, after), (rollover, Some(index)));
    assert_eq!(jackpot(&world, other).await.1, None);
    world.check_invariants().await;
}

#[actix_web::test]
async fn a_void_draw_lets_the_later_ones_go_on() {
    let server = Drand::start(Manner::Good).await;
    let world = World::with(with_beacon(&[&server])).await;
    let admin = world.admin().await;
    let first = draw_at(&world, &admin, "5of36", 30).await;
    let second = draw_at(&world, &admin, "5of36", 60).await;
    let third = draw_at(&world, &admin, "5of36", 90).await;
    server.set(Manner::Without(announced_round(&entries(&world, first).await[0].1)));
    close_in_turn(&world, &[first, second, third]).await;
    world.advance(SignedDuration::from_mins(20));
    for draw in [second, third] {
        until("a draw waits", async || admin.step(draw, "conduct").await.is(409, "draw_waits")).await;
    }
    admin.step(first, "conduct").await.refused(409, "beacon_not_ready");
    world.advance(SignedDuration::from_hours(23));
    world.until_draw_is(first, "cancelled").await;
    assert_eq!(shown(&world, first).await["cancel_reason"], "no_round");
    for draw in [second, third] {
        world.until_draw_is(draw, "completed").await;
    }
    assert!(jackpot(&world, second).await.3 < jackpot(&world, third).await.3);
    world.check_invariants().await;
}

/// The database fails when the draw looks whose turn it is.
#[actix_web::test]
async fn a_draw_that_waits_looks_again_soon_after_the_database_failed() {
    let server = Drand::start(Manner::Good).await;
    let world = World::with(with_beacon(&[&server])).await;
    let admin = world.admin().await;
    let first = draw_at(&world, &admin, "5of36", 30).await;
    let last = draw_at(&world, &admin, "5of36", 60).await;
    let other = draw_at(&world, &admin, "6of45", 200).await;
    // The prizes of the first draw cannot be fixed, and the last one waits for it.
    let sql = hold_prizes(&world).await;
    close_in_turn(&world, &[first, last]).await;
    world.until_draw_is(first, "settling").await;
    world.advance(SignedDuration::from_mins(19));
    until("the last draw waits", async || admin.step(last, "conduct").await.is(409, "draw_waits")).await;
    // A step of any draw makes it look again, and then it cannot read.
    let failed = "SELECT xact_rollback FROM pg_stat_database WHERE datname = current_database()";
    let before = world.count(failed).await;
    sql.batch_execute("REVOKE SELECT ON rolled_back_draws FROM lottery_service").await.unwrap();
    admin.step(other, "close").await.expect(200);
    until("the reads fail", async || world.count(failed).await > before).await;

    sql.batch_execute(
        "DROP TRIGGER hold ON draw_results; DROP FUNCTION hold; GRANT SELECT ON rolled_back_draws TO lottery_service",
    )
    .await
    .unwrap();
    world.until_draw_is(first, "completed").await;
    let drawn = tokio::time::timeout(std::time::Duration::from_secs(20), world.until_draw_is(last, "completed"));
    assert!(drawn.await.is_ok(), "it does not wait for half a minute");
}

/// Without a beacon, too, the jackpot is the rollover of the draw at `after`: an admin may draw a draw out of turn, but nobody
/// draws one while the prizes of another are not fixed.
#[actix_web::test]
async fn draws_without_a_beacon_take_their_turn_and_wait_for_one_that_an_admin_draws_before_them() {
    let world = World::new().await;
    let admin = world.admin().await;
    let [first, second, ahead] = [
        draw_at(&world, &admin, "5of36", 30).await,
        draw_at(&world, &admin, "5of36", 30).await,
        draw_at(&world, &admin, "5of36", 40).await,
    ];
    let ann = world.rich_player("ann", 10_000_000).await;
    for draw in [first, second, ahead] {
        ann.buy_quick(draw, 4).await;
    }
    let sql = hold_prizes(&world).await;
    world.advance(SignedDuration::from_mins(41));
    for draw in [first, second, ahead] {
        world.until_draw_is(draw, "closed").await;
    }
    // Its numbers are drawn, and its prizes cannot be fixed.
    admin.step(ahead, "conduct").await.refused(500, "internal_error");
    world.until_draw_is(ahead, "settling").await;
    let refused = admin.step(second, "conduct").await.refused(409, "draw_waits");
    assert!(refused["detail"].as_str().unwrap().starts_with(&format!("draw {ahead} takes the jackpot first")));
    world.advance(SignedDuration::from_mins(9));
    until("the first draw waits", async || admin.step(first, "conduct").await.is(409, "draw_waits")).await;
    sql.batch_execute("DROP TRIGGER hold ON draw_results; DROP FUNCTION hold").await.unwrap();
    for draw in [ahead, first, second] {
        world.until_draw_is(draw, "completed").await;
    }
    let mut before = jackpot(&world, ahead).await;
    assert_eq!(before.1, None);
    for draw in [first, second] {
        let now = jackpot(&world, draw).await;
        assert_eq!((now.0, now.1), (before.2, Some(before.3)));
        before = now;
    }
    world.check_invariants().await;
}
