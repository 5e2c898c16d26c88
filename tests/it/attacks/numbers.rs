//! The numbers are to be chosen: by trying until some suit, by the moment, by a cancellation, by another log.

use jiff::SignedDuration;
use verifiable_draw::event::Event;
use verifiable_draw::merkle::Head;
use verifiable_draw::merkle::verify::{MerkleError, verify_consistency};
use verifiable_draw::numbers::{Entropy, draw_numbers};

use super::*;
use crate::logs::{head, log_key, transcript};
use crate::server;

#[actix_web::test]
async fn a_trigger_that_raises_until_a_result_suits_gets_the_same_one_each_time() {
    let (world, admin, draw) = World::on_sale(0).await;
    world.rich_player("ann", 10_000_000).await.buy_quick(draw, 5).await;
    admin.step(draw, "close").await.expect(200);
    let sql = world.sql().await;
    // What a transaction did to a sequence stays when it is rolled back.
    sql.batch_execute("CREATE SEQUENCE tries; CREATE SEQUENCE tried_1; CREATE SEQUENCE tried_2").await.unwrap();
    plant(
        &world,
        "BEFORE INSERT ON draw_results FOR EACH ROW",
        "PERFORM setval('tried_' || least(nextval('tries'), 2), NEW.pick); RAISE EXCEPTION 'it does not suit';",
    )
    .await;
    for tries in 1..=2 {
        until("the draw is loaded again, and tried", async || {
            admin.step(draw, "conduct").await;
            world.count("SELECT last_value FROM tries WHERE is_called UNION ALL SELECT 0 LIMIT 1").await >= tries
        })
        .await;
    }
    let tried =
        [world.count("SELECT last_value FROM tried_1").await, world.count("SELECT last_value FROM tried_2").await];
    uproot(&world, "draw_results").await;
    sql.batch_execute("DROP SEQUENCE tries; DROP SEQUENCE tried_1; DROP SEQUENCE tried_2").await.unwrap();
    until("it is conducted", async || admin.step(draw, "conduct").await.status == 200).await;
    world.until_draw_is(draw, "completed").await;
    assert_eq!(tried, [world.count("SELECT pick FROM draw_results").await; 2]);
    world.check_invariants().await;
}

/// The numbers of a completed draw, and whether an admin chose the moment.
async fn drawn(world: &World, draw: i64) -> (Vec<u8>, bool) {
    world.until_draw_is(draw, "completed").await;
    let transcript = transcript(world, draw).await;
    let Some((_, _, Event::DrawCompleted { winning_numbers, by_hand, .. })) = transcript.last() else { panic!() };
    (winning_numbers.clone(), *by_hand)
}

/// One sealed list, in three places: drawn early by an admin, drawn at its time, and cancelled.
#[actix_web::test]
async fn neither_the_moment_nor_a_cancellation_nor_another_log_changes_or_hides_the_numbers() {
    let (mut world, admin, draw) = World::on_sale(0).await;
    let ann = world.rich_player("ann", 10_000_000).await;
    for _ in 0..5 {
        ann.buy_quick(draw, 3).await;
    }
    world.advance(SignedDuration::from_mins(61));
    world.until_draw_is(draw, "closed").await;
    world.stop().await;
    let [second, third] = [server::copy(&world.database).await, server::copy(&world.database).await];
    let now = world.clock.now();
    let (second, third) = (World::at(now, second, |_| {}).await, World::at(now, third, |_| {}).await);
    world.start().await;

    world.reconnect(&admin).step(draw, "conduct").await.expect(200);
    let (numbers, by_hand) = drawn(&world, draw).await;
    assert!(by_hand, "everybody sees that an admin chose the moment");
    second.advance(SignedDuration::from_mins(120));
    assert_eq!(drawn(&second, draw).await, (numbers.clone(), false));

    // The cancelled draw shows what would have been drawn.
    third.reconnect(&admin).cancel(draw).await.expect(200);
    third.until_draw_is(draw, "cancelled").await;
    let transcript = transcript(&third, draw).await;
    let [(_, announcement, announced), (_, _, sealed), (_, _, voided)] = &transcript[..] else { panic!() };
    let (
        Event::DrawAnnounced { rules, .. },
        Event::DrawSealed { orders, root, .. },
        Event::DrawVoided { seed, .. },
    ) = (announced, sealed, voided)
    else {
        panic!("{transcript:?}")
    };
    let (seed, list) = (seed.unwrap(), Head { size: *orders, root: *root });
    let entropy = Entropy::CommitReveal { seed: &seed, sealed: &list };
    let mut would_be = draw_numbers(entropy, announcement, rules.pick, rules.of).unwrap();
    would_be.sort_unstable();
    assert_eq!(would_be, numbers);

    // Three logs of one name are signed with one key. Any two of their checkpoints convict the operator.
    let key = log_key(&world).await;
    let mut heads = Vec::new();
    for world in [&world, &second, &third] {
        heads.push(head(world, "/log", &key).await);
        world.check_invariants().await;
    }
    for (one, other) in [(0, 1), (0, 2), (1, 2)] {
        assert_eq!(heads[one].size, heads[other].size);
        assert_eq!(verify_consistency(&heads[one], &heads[other], &[]), Err(MerkleError::RootMismatch));
    }
}

/// A draw that was announced is never drawn as one that was not: with numbers that nobody can compute, so that they are tried
/// until some suit.
#[actix_web::test]
async fn an_announced_draw_whose_row_denies_it_draws_nothing() {
    let (mut world, admin, draw) = World::on_sale(0).await;
    world.rich_player("ann", 10_000_000).await.buy_quick(draw, 5).await;
    admin.step(draw, "close").await.expect(200);
    tamper(&world, "UPDATE draws SET fairness = NULL").await;
    admin.step(draw, "conduct").await.refused(409, "list_mismatch");
    world.restart().await;
    world.reconnect(&admin).step(draw, "conduct").await.refused(409, "list_mismatch");
    assert_eq!(world.count("SELECT count(*) FROM draw_results").await, 0);
    tamper(&world, "UPDATE draws SET fairness = 'commit_reveal'").await;
    world.reconnect(&admin).step(draw, "conduct").await.expect(200);
    world.until_draw_is(draw, "completed").await;
    world.check_invariants().await;
}
