//! Charges whose service is killed between the provider's answer and its record.

use lottery::db::read::check::check;

use super::*;
use crate::webhook::{notice, send, signature};

/// Locks the rows that the completion of a deposit changes.
const WALLETS: &str = "BEGIN; SELECT FROM accounts WHERE kind = 'wallet' FOR UPDATE";

#[actix_web::test]
async fn a_card_charged_before_a_kill_is_credited_after_the_restart() {
    let program = program_with_database().await.with("LOTTERY__PERSISTENCE__DEADLINE", "60s");
    let service = program.start().await;
    let ann = service.player("ann").await;
    let slow = json!({"amount": 30, "token": "tok_async"});
    let slow = ann.post("/wallet/deposits", slow).await.expect(201);
    let sql = db::connect(&database(&program)).await.unwrap();
    sql.batch_execute(WALLETS).await.unwrap();
    for (amount, token) in [(500, "tok_visa"), (70, "tok_declined")] {
        let (ann, body) = (ann.clone(), json!({"amount": amount, "token": token}));
        // The service is killed before it answers.
        tokio::spawn(
            async move { ann.request(reqwest::Method::POST, "/wallet/deposits").json(&body).send().await },
        );
    }
    let other = db::connect(&database(&program)).await.unwrap();
    let count = async |statement: &str| -> i64 { other.query_one(statement, &[]).await.unwrap().get(0) };
    let processing = "SELECT count(*) FROM payments WHERE status = 'processing'";
    until("all are begun, and the end of one waits", async || {
        count(processing).await >= 2 && count(SESSIONS_WAITING_FOR_LOCKS).await > 0
    })
    .await;

    service.kill_9().await;
    other.query(END_OTHER_SESSIONS, &[]).await.unwrap();
    drop(sql);
    let service = program.start().await;
    let ann = reconnect(&ann, &service);
    until("the provider was asked", async || ann.balance().await == 500).await;
    let slowly = async || ann.get(&format!("/payments/{}", slow["id"].as_str().unwrap())).await.expect(200);
    assert_eq!(slowly().await["status"], "processing", "this one the provider itself waits for");

    // The secret that signs webhooks was created at the first start, and kept.
    let secret = fs::read_to_string(program.data().join("webhook_secret")).unwrap();
    let (body, now) = (notice(&slow, "paid"), lottery::clock::Clock::system().now().as_second());
    let signature = signature(secret.trim(), now, &body);
    send("sandbox", Some(&signature), &body, &service.anonymous()).await.expect(200);
    assert_eq!(slowly().await["status"], "paid");
    assert_eq!(ann.balance().await, 530);
    let sql = db::connect(&database(&program)).await.unwrap();
    let broken = check(&sql, Some(&ticket_logs(&sql).await), |_| {}).await.unwrap().violations;
    assert!(broken.is_empty(), "{broken:#?}");
    service.stop().await;
}
