//! The shortest test of the whole service: a draw is sold, drawn and paid out.

use crate::world::*;

#[actix_web::test]
async fn a_draw_is_sold_drawn_and_paid_out() {
    let mut world = World::new().await;
    let admin = world.admin().await;
    let ann = world.rich_player("ann", 1_000_000).await;
    let draw = admin.open_draw(&world, 100).await;
    ann.buy(draw, &[1, 7, 13, 22, 36]).await;
    ann.buy_quick(draw, 90).await;
    let reserved = ann.reserve(draw).await;
    let payment = reserved["payment"]["id"].as_str().unwrap();
    assert_eq!(ann.pay(payment, wallet()).await.expect(200)["status"], "paid");
    assert_eq!(ann.balance().await, 1_000_000 - 92 * 10_000);

    let result = admin.conduct(draw).await;

    let won: i64 = result["tiers"].as_array().unwrap().iter().map(|tier| tier["total"].as_i64().unwrap()).sum();
    assert_eq!(ann.balance().await, 80_000 + won);
    world.check_invariants().await;
    world.restart().await;
    let ann = world.reconnect(&ann);
    assert_eq!(ann.balance().await, 80_000 + won);
    world.stop().await;
}
