//! The writer's cache is outdated: somebody changed a row by hand beside the running service.

use super::*;

#[actix_web::test]
async fn a_batch_over_an_outdated_cache_is_not_written_and_reads_the_rows_again() {
    let world = World::new().await;
    let admin = world.admin().await;
    let draw = admin.open_draw(&world, 0).await;
    let ann = world.rich_player("ann", 10 * PRICE).await;
    ann.buy_quick(draw, 1).await;
    let sql = world.sql().await;
    let move_by_hand = async |amount: i64| {
        let accounts = "UPDATE accounts
            SET balance = balance + CASE kind WHEN 'wallet' THEN $1::bigint ELSE -$1::bigint END
            WHERE id = 16 OR id = $2::bigint * 8 + 1";
        assert_eq!(sql.execute(accounts, &[&amount, &ann.id.0]).await.unwrap(), 2);
    };

    // The cache still has the money: only the database knows that the wallet is empty.
    move_by_hand(-9 * PRICE).await;
    ann.order(draw, json!([{"quick_pick": true}]), "wallet").await.refused(402, "insufficient_funds");
    // The cache has an empty wallet: nobody is refused for one that was filled meanwhile.
    move_by_hand(9 * PRICE).await;
    ann.buy_quick(draw, 1).await;
    assert_eq!((paid(&world, draw).await, ann.balance().await), (2, 8 * PRICE));
    world.check_invariants().await;
}
