//! How long an idempotency key is stored.

use super::*;

#[actix_web::test]
async fn a_key_is_deleted_at_its_age_and_not_before() {
    let hours = |hours: u64| std::time::Duration::from_secs(hours * 3600);
    let world = World::with(|config| {
        config.persistence.keys_kept = hours(48);
        config.auth.access_token = hours(100);
    })
    .await;
    let admin = world.admin().await;
    let draw = admin.open_draw(&world, 0).await;
    let ann = world.rich_player("ann", 10 * PRICE).await;
    let old = ask(&ann, &tickets(draw), "old", quick("wallet")).await;
    let keys = async || world.count("SELECT count(*) FROM idempotency_keys").await;

    world.advance(SignedDuration::from_hours(47));
    old.is_replayed(&ann).await;
    ask(&ann, "/wallet/deposits", "young", json!({"amount": 1, "token": "tok_visa"})).await;
    assert_eq!(keys().await, 2);

    world.advance(SignedDuration::from_hours(2));
    until("the old key is dropped", async || keys().await == 1).await;
    let young = ann.post_keyed("/wallet/deposits", "young", json!({"amount": 1, "token": "tok_visa"})).await;
    assert_eq!(young.headers["idempotency-replayed"], "true");
    // The old key is free again.
    ann.post_keyed(&tickets(draw), "old", quick("wallet")).await.refused(409, "draw_not_open");
    world.check_invariants().await;
}
