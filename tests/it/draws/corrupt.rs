//! Draws whose rows are corrupt: they are left out, and everything else is served.

use super::*;
use crate::common::wait::TIMEOUT;

#[actix_web::test]
async fn corrupt_draws_are_left_out_and_the_others_are_served() {
    let mut world = World::new().await;
    let admin = world.admin().await;
    let ann = world.rich_player("ann", 1_000_000).await;
    let good = admin.open_draw(&world, 2).await;
    let without_prizes = admin.open_draw(&world, 2).await;
    let without_status = admin.open_draw(&world, 2).await;
    let last = admin.open_draw(&world, 2).await;
    world.stop().await;
    let corrupt = format!(
        "ALTER TABLE draw_tiers DISABLE TRIGGER USER; ALTER TABLE draws DISABLE TRIGGER USER;
         DELETE FROM draw_tiers WHERE draw_id = {without_prizes};
         ALTER TABLE draws DROP CONSTRAINT draws_status_check;
         UPDATE draws SET status = 'lost' WHERE id = {without_status}"
    );
    world.sql().await.batch_execute(&corrupt).await.unwrap();
    tokio::time::timeout(TIMEOUT, world.start()).await.expect("the service starts");

    let (admin, ann) = (world.reconnect(&admin), world.reconnect(&ann));
    let ids = async |path: &str| {
        let draws = ann.get(path).await.expect(200);
        let items = draws["items"].as_array().unwrap();
        items.iter().map(|draw| draw["id"].as_i64().unwrap()).collect::<Vec<i64>>()
    };
    assert_eq!(ids("/draws").await, [last, good]);
    assert_eq!(ids("/draws?limit=1").await, [last]);
    for draw in [good, last] {
        ann.buy_quick(draw, 1).await;
        assert_eq!(admin.conduct(draw).await["tickets_sold"], 1);
    }
    for draw in [without_prizes, without_status] {
        ann.order(draw, json!([{"quick_pick": true}]), "wallet").await.refused(503, "overloaded");
        admin.step(draw, "close").await.refused(503, "overloaded");
    }
}
