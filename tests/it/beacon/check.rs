//! `lottery check` compares the draws with a beacon with what was announced, and verifies the signatures of their rounds.

use lottery::db::read::check::check;

use super::*;
use crate::command::check::assert_finds;

const LAW: &str = "the public log is one tree of entries, and they say of each draw what its rows say";

/// Draw 1 is completed, draw 2 is on sale.
const PLANTED: &[(&str, &str)] = &[
    (LAW, "UPDATE draw_results SET signature = sha384('')"),
    (LAW, "UPDATE draw_results SET signature = NULL"),
    (LAW, "UPDATE draw_results SET pick = CASE pick WHEN 31 THEN 62 ELSE 31 END"),
    (LAW, "UPDATE draws SET round = round + 1 WHERE id = 1"),
    (LAW, "UPDATE draws SET round = round + 1, draw_at = draw_at + interval '3 s' WHERE id = 2"),
    (LAW, "UPDATE draws SET fairness = 'commit_reveal', chain = NULL, round = NULL WHERE id = 2"),
    (LAW, "UPDATE beacon_chains SET genesis = genesis + 3"),
    (LAW, "UPDATE beacon_chains SET beacon_id = 'another'"),
];

#[actix_web::test]
async fn check_finds_each_planted_corruption_of_a_draw_with_a_beacon() {
    let server = Drand::start(Manner::Good).await;
    let (world, admin, completed) = on_sale(&server).await;
    let ann = world.rich_player("ann", 10_000_000).await;
    ann.buy_quick(completed, 3).await;
    world.advance(SignedDuration::from_mins(61));
    world.until_draw_is(completed, "closed").await;
    world.advance(SignedDuration::from_mins(60));
    world.until_draw_is(completed, "completed").await;
    let open = admin.open_draw(&world, 0).await;
    assert_eq!((completed, open), (1, 2));
    world.check_invariants().await;
    let sql = world.sql().await;
    assert_finds(&sql, PLANTED).await;

    // Nothing of it needs the master secret.
    let change = "BEGIN; SET LOCAL session_replication_role = replica;
        UPDATE draw_results SET pick = CASE pick WHEN 31 THEN 62 ELSE 31 END; COMMIT";
    sql.batch_execute(change).await.unwrap();
    let broken = check(&sql, None, |_| {}).await.unwrap().violations;
    assert!(broken.iter().any(|violation| violation.invariant == LAW), "{broken:#?}");
}
