//! The same key while its first request is under way.

use futures_util::future::join;
use lottery::domain::record::KeyId;

use super::*;

#[actix_web::test]
async fn a_key_is_in_progress_while_its_first_request_runs() {
    let (world, _, draw) = World::on_sale(20).await;
    let ann = world.rich_player("ann", 9 * PRICE).await;
    let to_pay = ann.reserve(draw).await;
    for (key, path, body) in [("buy", tickets(draw), quick("wallet")), ("pay", pay(&to_pay), wallet())] {
        let lock = world.lock_draw(draw).await;
        let first = ask(&ann, &path, key, body.clone());
        let meanwhile = async {
            world.until_writer_waits().await;
            for _ in 0..2 {
                ann.post_keyed(&path, key, body.clone()).await.refused(409, "idempotency_in_progress");
            }
            let other = json!({"amount": 5, "token": "tok_visa"});
            ann.post_keyed("/wallet/deposits", key, other).await.refused(409, "idempotency_in_progress");
            lock.release().await;
        };
        let (first, ()) = tokio::join!(first, meanwhile);
        first.is_replayed(&ann).await;
    }
    assert_eq!(ann.balance().await, 7 * PRICE);
    world.check_invariants().await;
}

#[actix_web::test]
async fn eight_concurrent_requests_under_one_key_have_one_effect() {
    let (world, _, draw) = World::on_sale(20).await;
    let ann = world.rich_player("ann", 100 * PRICE).await;
    let ordered = ann.reserve(draw).await;
    let by_card = ann.reserve(draw).await;
    for (key, path, body) in [
        ("buy", tickets(draw), quick("wallet")),
        ("reserve", tickets(draw), quick("later")),
        ("pay", pay(&ordered), wallet()),
        ("pay-card", pay(&by_card), card(GOOD_CARD)),
        ("fund", "/wallet/deposits".to_owned(), json!({"amount": PRICE, "token": "tok_visa"})),
    ] {
        let answers = join_all((0..8).map(|_| ann.post_keyed(&path, key, body.clone()))).await;

        let is_first = |it: &Answer| it.status < 300 && !it.headers.contains_key("idempotency-replayed");
        let first: Vec<&Answer> = answers.iter().filter(|it| is_first(it)).collect();
        assert_eq!(first.len(), 1, "{key}");
        for other in answers.iter().filter(|it| !is_first(it)) {
            if !other.is(409, "idempotency_in_progress") {
                is_replay(other, first[0]);
            }
        }
        is_replay(&ann.post_keyed(&path, key, body).await, first[0]);
    }
    assert_eq!(ann.balance().await, (100 - 1 - 1 + 1) * PRICE);
    assert_eq!(ann.all("/tickets").await.len(), 4);
    world.check_invariants().await;
}

#[actix_web::test]
async fn a_client_that_hangs_up_and_retries_is_charged_once() {
    let (world, _, draw) = World::on_sale(20).await;
    let ann = world.rich_player("ann", 9 * PRICE).await;
    let to_pay = ann.reserve(draw).await;
    for (key, path, body) in [("buy", tickets(draw), quick("wallet")), ("pay", pay(&to_pay), wallet())] {
        let lock = world.lock_draw(draw).await;
        let hasty = world.reconnect(&ann);
        tokio::select! {
            answer = hasty.post_keyed(&path, key, body.clone()) => panic!("it was held: {}", answer.text),
            () = world.until_writer_waits() => {}
        }
        drop(hasty);
        ann.post_keyed(&path, key, body.clone()).await.refused(409, "idempotency_in_progress");
        lock.release().await;
        let replayed = || async {
            let answer = ann.post_keyed(&path, key, body.clone()).await;
            assert!(answer.status < 300 || answer.is(409, "idempotency_in_progress"), "{}", answer.text);
            answer.headers.contains_key("idempotency-replayed")
        };
        until("the first answer is known", replayed).await;
    }
    assert_eq!(ann.balance().await, 7 * PRICE);
    assert_eq!(ann.all("/tickets").await.len(), 2);
    world.check_invariants().await;
}

/// The last batch of a killed service may commit after the next service has looked up the key. The conflict is
/// detected when the key is written, and the order is not written twice.
#[actix_web::test]
async fn a_key_that_is_committed_between_the_lookup_and_the_write_is_detected() {
    let (world, _, draw) = World::on_sale(20).await;
    let ann = world.rich_player("ann", 10 * PRICE).await;
    let mut sql = world.sql().await;
    let keys: [(&str, String, Value); 2] = [
        ("out", "/wallet/withdrawals".to_owned(), json!({"amount": PRICE})),
        ("paid", pay(&ann.order(draw, json!([{"quick_pick": true}]), "later").await.expect(201)), wallet()),
    ];
    for (key, path, body) in keys {
        let late = sql.transaction().await.unwrap();
        let id = KeyId::of(ann.id, key).0;
        let insert = "INSERT INTO idempotency_keys (id, request, status, created_at) VALUES ($1, $1, 201, now())";
        late.execute(insert, &[&id]).await.unwrap();
        let before = all_lists(&ann).await;
        let (answer, ()) = join(ann.post_keyed(&path, key, body), async {
            world.until_writer_waits().await;
            late.commit().await.unwrap();
        })
        .await;
        answer.refused(422, "idempotency_key_reused");
        assert_eq!(all_lists(&ann).await, before, "{path}");
    }
}
