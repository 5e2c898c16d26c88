//! The rules of a draw, with its prizes, are changed in the database between its sale and its prizes.

use super::list::{PRIZES, assert_stopped, closed};
use super::*;

const KEEP: &str = "CREATE TABLE kept AS SELECT * FROM draws; CREATE TABLE kept_tiers AS SELECT * FROM draw_tiers";
const BACK: &str = "UPDATE draws d SET lottery = k.lottery, price = k.price, fund_share = k.fund_share, of = k.of
     FROM kept k WHERE d.id = k.id;
     UPDATE draw_tiers t SET amount = k.amount, share = k.share FROM kept_tiers k
     WHERE t.draw_id = k.draw_id AND t.matches = k.matches; DROP TABLE kept; DROP TABLE kept_tiers";
const CHANGES: [&str; 6] = [
    "UPDATE draw_tiers SET amount = amount * 50 WHERE draw_id = 1 AND matches = 2",
    "UPDATE draw_tiers SET share = share / 2 WHERE draw_id = 1 AND share IS NOT NULL",
    "UPDATE draws SET fund_share = fund_share + 1 WHERE id = 1",
    "UPDATE draws SET price = price + 1 WHERE id = 1",
    "UPDATE draws SET of = of + 1 WHERE id = 1",
    "UPDATE draws SET lottery = '6of45' WHERE id = 1",
];

/// Changes the rules, and starts the service again: it has read them before.
async fn change(world: &mut World, sql: &str) {
    world.sql().await.batch_execute(KEEP).await.unwrap();
    tamper(world, sql).await;
    world.restart().await;
}

#[actix_web::test]
async fn a_draw_is_not_drawn_with_other_rules_than_it_was_announced_with() {
    for sql in CHANGES {
        let (mut world, admin, draw) = closed().await;
        change(&mut world, sql).await;
        let admin = world.reconnect(&admin);
        for _ in 0..2 {
            admin.step(draw, "conduct").await.refused(409, "list_mismatch");
        }
        assert_eq!(world.count("SELECT count(*) FROM draw_results").await, 0, "{sql}");
        assert_stopped(&world, &admin, draw, "closed").await;
        tamper(&world, BACK).await;
        world.restart().await;
        world.reconnect(&admin).step(draw, "conduct").await.expect(200);
        world.until_draw_is(draw, "completed").await;
        world.check_invariants().await;
    }
}

#[actix_web::test]
async fn a_draw_whose_numbers_are_drawn_is_not_settled_with_other_rules() {
    for sql in [CHANGES[0], CHANGES[2]] {
        let (mut world, admin, draw) = closed().await;
        plant(&world, "BEFORE UPDATE OF prize_fund ON draw_results FOR EACH ROW", "RAISE 'not yet';").await;
        assert!(admin.step(draw, "conduct").await.status >= 500);
        world.until_draw_is(draw, "settling").await;
        change(&mut world, sql).await;
        uproot(&world, "draw_results").await;
        let admin = world.reconnect(&admin);
        admin.step(draw, "conduct").await.refused(409, "list_mismatch");
        assert_stopped(&world, &admin, draw, "settling").await;
        tamper(&world, BACK).await;
        world.restart().await;
        world.until_draw_is(draw, "completed").await;
        assert!(world.count(PRIZES).await > 0);
        world.check_invariants().await;
    }
}
