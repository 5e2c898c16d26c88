//! The ticket log of a draw: each paid order is one leaf, whatever happens to the draw and to the writer.

use serde_json::json;

use crate::command::check::assert_finds;
use crate::world::*;

const LAW: &str = "a draw's ticket log, its tiles and its seal are those of its paid orders";

/// Corruptions that leave every other invariant as it is, or not. Draw 1 is sealed and has 300 orders, of which 256 are
/// one tile; draw 2 is on sale, and draw 3 was not opened.
const PLANTED: &[(&str, &str)] = &[
    (LAW, "UPDATE tickets SET pick = 31 WHERE draw_id = 1 AND number = 7"),
    (
        LAW,
        "UPDATE tickets t SET pick = o.pick FROM tickets o WHERE t.draw_id = 1 AND o.draw_id = 1
         AND (t.number, o.number) IN ((299, 300), (300, 299))",
    ),
    (LAW, "UPDATE tickets SET number = 301 WHERE draw_id = 1 AND number = 300"),
    (LAW, "UPDATE tickets SET pick = 1 WHERE draw_id = 2 AND number = 1"),
    (LAW, "UPDATE tickets SET user_id = 1 WHERE draw_id = 2 AND number = 1"),
    (LAW, "UPDATE tickets SET payment_id = id WHERE draw_id = 2 AND number = 3"),
    (LAW, "DELETE FROM tickets WHERE draw_id = 2 AND number = 3"),
    (LAW, "UPDATE draw_sales SET edge = '\\x0000000000000000' WHERE draw_id = 2"),
    (LAW, "UPDATE draw_sales SET edge = '\\x0000000000000001' WHERE draw_id = 2"),
    (LAW, "UPDATE draw_sales SET edge = NULL WHERE draw_id = 1"),
    (LAW, "UPDATE draw_sales SET edge = '\\x0000000000000000' WHERE draw_id = 3"),
    (LAW, "UPDATE draw_seals SET orders = orders + 1 WHERE draw_id = 1"),
    (LAW, "UPDATE draw_seals SET root = sha256('') WHERE draw_id = 1"),
    (LAW, "UPDATE draw_seals SET root = NULL WHERE draw_id = 1"),
    (LAW, "UPDATE ticket_log_tiles SET root = sha256('')"),
    (LAW, "UPDATE ticket_log_tiles SET last_number = last_number + 1"),
    (LAW, "UPDATE ticket_log_tiles SET tile = 1"),
    (LAW, "DELETE FROM ticket_log_tiles"),
    (LAW, "INSERT INTO ticket_log_tiles VALUES (2, 0, 0, 256, sha256(''))"),
];

#[actix_web::test]
async fn check_finds_each_planted_corruption_of_a_ticket_log() {
    let (world, admin, draw) = World::on_sale(0).await;
    let ann = world.rich_player("ann", 50_000_000).await;
    for _ in 0..300 {
        ann.buy_quick(draw, 1).await;
    }
    admin.step(draw, "close").await.expect(200);
    let on_sale = admin.open_draw(&world, 0).await;
    ann.buy_quick(on_sale, 2).await;
    ann.buy_quick(on_sale, 1).await;
    let body =
        json!({"lottery": "5of36", "sales_close_at": world.minutes(60), "sales_open_at": world.minutes(30)});
    let scheduled = admin.create_draw(body).await;
    assert_eq!((draw, on_sale, scheduled), (1, 2, 3));
    world.check_invariants().await;
    let tiles = "SELECT tile * 1000 + last_number FROM ticket_log_tiles WHERE (draw_id, level) = (1, 0)";
    assert_eq!(world.count(tiles).await, 256);
    assert_finds(&world.sql().await, PLANTED).await;
}

/// The database is restored under the running service: the draw stops, before anything is appended to its older log.
#[actix_web::test]
async fn a_draw_whose_log_went_back_is_left_out_and_the_others_sell() {
    let (mut world, admin, draw) = World::on_sale(0).await;
    let other = admin.open_draw(&world, 0).await;
    let ann = world.rich_player("ann", 1_000_000).await;
    ann.buy_quick(draw, 1).await;
    let sql = world.sql().await;
    sql.batch_execute("CREATE TABLE backup AS SELECT * FROM draw_sales").await.unwrap();
    ann.buy_quick(draw, 1).await;
    let restore =
        "UPDATE draw_sales s SET (sold, edge) = (b.sold, b.edge) FROM backup b WHERE b.draw_id = s.draw_id";
    let newer = sql.query_one("SELECT sold, edge FROM draw_sales WHERE draw_id = $1", &[&draw]).await.unwrap();
    sql.batch_execute(restore).await.unwrap();
    for _ in 0..2 {
        let refused = ann.order(draw, json!([quick_pick()]), "wallet").await.expect(503);
        assert_eq!(refused["code"], "overloaded");
        assert_eq!(world.count("SELECT sold FROM draw_sales WHERE draw_id = 1").await, 1);
    }
    let anonymous = world.anonymous();
    until("the draw is left out", async || {
        anonymous.all("/draws").await.iter().all(|shown| shown["id"] != json!(draw))
    })
    .await;
    admin.step(draw, "close").await.expect(503);
    ann.buy_quick(other, 1).await;

    // The operator puts the newer state back, and starts the service again.
    let back = "UPDATE draw_sales SET sold = $2, edge = $3 WHERE draw_id = $1";
    let (sold, edge): (i64, Vec<u8>) = (newer.get(0), newer.get(1));
    sql.execute(back, &[&draw, &sold, &edge]).await.unwrap();
    world.restart().await;
    let (ann, admin) = (world.reconnect(&ann), world.reconnect(&admin));
    ann.buy_quick(draw, 1).await;
    admin.step(draw, "close").await.expect(200);
    sql.batch_execute("DROP TABLE backup").await.unwrap();
    world.check_invariants().await;
}

/// A list that went back before its seal is not sealed.
#[actix_web::test]
async fn a_log_that_went_back_is_not_sealed() {
    let (world, admin, draw) = World::on_sale(0).await;
    let ann = world.rich_player("ann", 1_000_000).await;
    ann.buy_quick(draw, 1).await;
    let sql = world.sql().await;
    sql.execute("UPDATE draw_sales SET edge = $2 WHERE draw_id = $1", &[&draw, &vec![0_u8; 8]]).await.unwrap();
    admin.step(draw, "close").await.expect(500);
    assert_eq!(world.count("SELECT count(*) FROM draw_seals").await, 0);
}

/// The count of sold tickets alone does not show that the log is another one.
#[actix_web::test]
async fn an_order_is_not_appended_to_another_log_of_as_many_tickets() {
    let (world, _, draw) = World::on_sale(0).await;
    let ann = world.rich_player("ann", 1_000_000).await;
    ann.buy_quick(draw, 1).await;
    let sql = world.sql().await;
    sql.execute("UPDATE draw_sales SET edge = $2 WHERE draw_id = $1", &[&draw, &vec![0_u8; 8]]).await.unwrap();
    ann.order(draw, json!([quick_pick()]), "wallet").await.refused(503, "overloaded");
    assert_eq!(world.count("SELECT sold FROM draw_sales").await, 1);
    assert_eq!(ann.balance().await, 990_000);
}
