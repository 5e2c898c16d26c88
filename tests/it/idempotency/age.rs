//! How long a key is stored, also after an upgrade.

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

/// V7 made digests of the keys that were kept as text: it does so once more here, with a key as it was kept before.
#[actix_web::test]
async fn a_key_that_was_kept_as_text_replays_after_the_upgrade() {
    let (mut world, _, draw) = World::on_sale(20).await;
    let ann = world.rich_player("ann", 10 * PRICE).await;
    let key = "a-key-of-long-ago";
    let asked = ask(&ann, &tickets(draw), key, quick("wallet")).await;
    world.stop().await;

    let sql = world.sql().await;
    sql.batch_execute(
        "CREATE TABLE kept AS TABLE idempotency_keys;
         DROP TABLE idempotency_keys;
         CREATE TABLE idempotency_keys (user_id bigint, key text, request bytea, payment_id uuid, answer text,
                                        status smallint, created_at timestamptz)",
    )
    .await
    .unwrap();
    let kept = "INSERT INTO idempotency_keys
        SELECT $1, $2, decode(replace(request::text, '-', ''), 'hex') || sha256('the other half'), payment_id,
               answer, status, created_at
        FROM kept";
    assert_eq!(sql.execute(kept, &[&ann.id.0, &key]).await.unwrap(), 1);
    let v7 = include_str!("../../../migrations/V7__fewer_random_rows.sql");
    let (_, keys) = v7.split_once("CREATE TABLE short_keys").unwrap();
    sql.batch_execute(&format!("CREATE TABLE short_keys{keys}")).await.unwrap();

    world.start().await;
    asked.is_replayed(&world.reconnect(&ann)).await;
}
