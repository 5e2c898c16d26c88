//! Charges that a kill cuts off between the provider's answer and its record.

use lottery::db::read::check::check;

use super::*;
use crate::signed::{notice, send, signature};

/// What the record of a deposit's end must change.
const WALLETS: &str = "BEGIN; SELECT FROM accounts WHERE kind = 'wallet' FOR UPDATE";
/// Nothing that a killed process still has on its way may come true.
const END_ALL: &str = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity
    WHERE datname = current_database() AND pid <> pg_backend_pid()";
const WAITING: &str = "SELECT count(*) FROM pg_stat_activity
    WHERE datname = current_database() AND wait_event_type = 'Lock'";

#[actix_web::test]
async fn what_a_card_paid_before_a_kill_is_in_the_wallet_after_it() {
    let home = Home::with_database().await.with("LOTTERY__PERSISTENCE__DEADLINE", "60s");
    let service = home.serve().await;
    let ann = service.player("ann").await;
    let slow = json!({"amount": 30, "token": "tok_async"});
    let slow = ann.post("/wallet/deposits", slow).await.expect(201);
    let sql = db::connect(&home.database()).await.unwrap();
    sql.batch_execute(WALLETS).await.unwrap();
    for (amount, token) in [(500, "tok_visa"), (70, "tok_declined")] {
        let (ann, body) = (ann.clone(), json!({"amount": amount, "token": token}));
        // Nobody hears the answer: there will be none.
        tokio::spawn(
            async move { ann.request(reqwest::Method::POST, "/wallet/deposits").json(&body).send().await },
        );
    }
    let other = db::connect(&home.database()).await.unwrap();
    let count = async |statement: &str| -> i64 { other.query_one(statement, &[]).await.unwrap().get(0) };
    let processing = "SELECT count(*) FROM payments WHERE status = 'processing'";
    until("all are begun, and the end of one waits", async || {
        count(processing).await >= 2 && count(WAITING).await > 0
    })
    .await;

    service.kill_9().await;
    other.query(END_ALL, &[]).await.unwrap();
    drop(sql);
    let service = home.serve().await;
    let ann = service.again(&ann);
    until("the provider was asked", async || ann.balance().await == 500).await;
    let slowly = async || ann.get(&format!("/payments/{}", slow["id"].as_str().unwrap())).await.expect(200);
    assert_eq!(slowly().await["status"], "processing", "this one the provider itself waits for");

    // The key that signs its word was made at the first start, and kept.
    let secret = fs::read_to_string(home.data().join("webhook_secret")).unwrap();
    let (body, now) = (notice(&slow, "paid"), lottery::clock::Clock::system().now().as_second());
    let signature = signature(secret.trim(), now, &body);
    send("sandbox", Some(&signature), &body, &service.anybody()).await.expect(200);
    assert_eq!(slowly().await["status"], "paid");
    assert_eq!(ann.balance().await, 530);
    let sql = db::connect(&home.database()).await.unwrap();
    let broken = check(&sql, |_| {}).await.unwrap().violations;
    assert!(broken.is_empty(), "{broken:#?}");
    service.stop().await;
}
