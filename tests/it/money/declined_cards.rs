//! Nobody tries out stolen cards: how many cards of an account and from a network may be declined in an hour.

use lottery::config::Config;

use super::*;
use crate::webhook::tell;

const BAD_CARD: &str = "tok_declined";
const CHARGES: &str = "SELECT count(*) FROM charges";

/// A world in which so many cards of an account and from a network may be declined. The header of a proxy on this machine
/// tells from which network a request comes.
async fn limited(account: u32, network: u32) -> World {
    World::with(|config| limit(config, account, network)).await
}

fn limit(config: &mut Config, account: u32, network: u32) {
    config.limits.enabled = true;
    config.limits.declined_cards_per_hour = account.try_into().unwrap();
    config.limits.declined_cards_per_address = network.try_into().unwrap();
    config.server.trusted_proxies = vec!["127.0.0.0/8".to_owned().try_into().unwrap()];
}

async fn deposit(who: &User, token: &str) -> Answer {
    who.post("/wallet/deposits", json!({"amount": 100, "token": token})).await
}

/// Holds that a card is refused; returns how long to wait.
fn refused(answer: Answer, setting: &str) -> SignedDuration {
    let seconds = answer.headers["retry-after"].to_str().unwrap().parse().unwrap();
    let problem = answer.refused(429, "rate_limited");
    let detail = problem["detail"].as_str().unwrap();
    assert!(detail.contains(setting) && detail.contains("pay from the wallet"), "{detail}");
    SignedDuration::from_secs(seconds)
}

#[actix_web::test]
async fn of_many_tries_at_once_no_more_than_the_limit_reach_the_provider() {
    let world = limited(20, 1000).await;
    let ann = world.player("ann").await;
    for _ in 0..3 {
        let answers = join_all((0..200).map(|_| deposit(&ann, BAD_CARD))).await;
        let tried = count(&answers, 201, None);
        assert_eq!(count(&answers, 429, Some("rate_limited")), 200 - tried);
        assert!(world.count(CHARGES).await <= 20);
    }
    // Each attempt was a decline, so in the end their number is that of the limit.
    while deposit(&ann, BAD_CARD).await.status == 201 {}
    assert_eq!(world.count(CHARGES).await, 20);
    let wait = refused(deposit(&ann, GOOD_CARD).await, "limits.declined_cards_per_hour");
    assert!(wait > SignedDuration::from_mins(59) && wait <= SignedDuration::from_secs(3601), "{wait}");
    world.player("bob").await.deposit(100).await;
    world.advance(wait);
    deposit(&ann, GOOD_CARD).await.expect(201);
    world.check_invariants().await;
}

#[actix_web::test]
async fn a_success_takes_no_declined_card_back_and_the_wallet_still_pays() {
    let world = limited(3, 1000).await;
    let (admin, ann) = (world.admin().await, world.player("ann").await);
    let draw = admin.open_draw(&world, 2).await;
    let [one, two] = [ann.reserve(draw).await, ann.reserve(draw).await];
    let [one, two] = [&one, &two].map(|invoice| id(&invoice["payment"]));
    for token in [BAD_CARD, GOOD_CARD, "tok_insufficient", GOOD_CARD] {
        deposit(&ann, token).await.expect(201);
    }
    ann.deposit(10 * PRICE).await;
    // The last one by which a reservation is paid, as a card counts for both.
    assert_eq!(ann.pay(one, card(BAD_CARD)).await.expect(200)["failure_code"], "card_declined");
    let charges = world.count(CHARGES).await;
    refused(ann.pay(one, card(GOOD_CARD)).await, "limits.declined_cards_per_hour");
    refused(deposit(&ann, GOOD_CARD).await, "limits.declined_cards_per_hour");
    assert_eq!(world.count(CHARGES).await, charges, "no provider was called");
    assert_eq!(ann.pay(one, wallet()).await.expect(200)["status"], "paid");
    assert_eq!(ann.pay(two, wallet()).await.expect(200)["status"], "paid");
    ann.buy(draw, &[1, 2, 3, 4, 5]).await;
    ann.post("/wallet/withdrawals", json!({"amount": 1})).await.expect(201);
    world.check_invariants().await;
}

#[actix_web::test]
async fn a_stored_answer_is_given_again_whatever_was_declined_since() {
    let world = limited(2, 1000).await;
    let (admin, ann) = (world.admin().await, world.player("ann").await);
    let invoice = ann.reserve(admin.open_draw(&world, 1).await).await;
    let pay = format!("/payments/{}/pay", id(&invoice["payment"]));
    let calls = [
        ("/wallet/deposits", json!({"amount": 100, "token": BAD_CARD}), 201),
        (pay.as_str(), json!({"method": "card", "token": BAD_CARD}), 200),
    ];
    let mut first = Vec::new();
    for (path, body, status) in &calls {
        first.push(ann.post_keyed(path, path, body.clone()).await.expect(*status));
    }
    for ((path, body, status), first) in calls.iter().zip(&first) {
        refused(ann.post_keyed(path, "new", body.clone()).await, "limits.declined_cards_per_hour");
        let again = ann.post_keyed(path, path, body.clone()).await;
        assert_eq!(again.headers["idempotency-replayed"], "true");
        assert_eq!(again.expect(*status), *first);
    }
    assert_eq!(world.count(CHARGES).await, 2);
    // The refused key has no answer: it works when the time is over.
    world.advance(SignedDuration::from_hours(1));
    let body = json!({"amount": 100, "token": BAD_CARD});
    assert_eq!(ann.post_keyed("/wallet/deposits", "new", body).await.expect(201)["status"], "failed");
}

#[actix_web::test]
async fn the_cards_of_a_network_count_together() {
    let world = limited(1000, 3).await;
    let (ann, bob) = (world.player("ann").await, world.player("bob").await);
    let deposit_from = async |who: &User, address: &str, token: &str| {
        let request = who.request(reqwest::Method::POST, "/wallet/deposits").header("X-Forwarded-For", address);
        who.send(request.json(&json!({"amount": 100, "token": token}))).await
    };
    for (who, address) in [(&ann, "2001:db8::1"), (&bob, "2001:db8::2"), (&ann, "2001:db8::3")] {
        deposit_from(who, address, BAD_CARD).await.expect(201);
    }
    refused(deposit_from(&bob, "2001:db8::4", GOOD_CARD).await, "limits.declined_cards_per_address");
    deposit_from(&bob, "2001:db8:0:1::1", GOOD_CARD).await.expect(201);
}

#[actix_web::test]
async fn a_card_that_is_declined_by_webhook_counts_once() {
    let world = limited(2, 1000).await;
    let ann = world.player("ann").await;
    let slow = deposit(&ann, SLOW_CARD).await.expect(201);
    for _ in 0..3 {
        tell(&world, &slow, "failed").await;
    }
    deposit(&ann, GOOD_CARD).await.expect(201);
    deposit(&ann, BAD_CARD).await.expect(201);
    refused(deposit(&ann, GOOD_CARD).await, "limits.declined_cards_per_hour");
}

#[actix_web::test]
async fn without_limits_any_number_of_cards_may_be_declined() {
    let world = World::with(|config| {
        limit(config, 1, 1);
        config.limits.enabled = false;
    })
    .await;
    let ann = world.player("ann").await;
    for _ in 0..4 {
        deposit(&ann, BAD_CARD).await.expect(201);
    }
    deposit(&ann, GOOD_CARD).await.expect(201);
}
