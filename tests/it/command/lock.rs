//! Only one service works on a database: the lock, its loss, and its next holder.

use std::time::{Duration, Instant};

use tokio_postgres::Client;

use super::*;

/// Finds the session that holds the lock, as `docs/operations.md` does.
const HOLDER: &str = "SELECT pid FROM pg_locks JOIN pg_stat_activity USING (pid)
    WHERE locktype = 'advisory' AND granted AND datname = current_database() AND application_name LIKE 'lottery lock%'";

async fn holder(sql: &Client) -> Option<i32> {
    sql.query_opt(HOLDER, &[]).await.unwrap().map(|row| row.get(0))
}

async fn end_session_of_holder(sql: &Client) {
    let holder = holder(sql).await.expect("the service holds the lock");
    sql.execute("SELECT pg_terminate_backend($1)", &[&holder]).await.unwrap();
}

async fn until_a_start_waits(sql: &Client) {
    let waiting = async || sql.query_one(SESSIONS_WAITING_FOR_LOCKS, &[]).await.unwrap().get::<_, i64>(0) > 0;
    until("a start waits for the lock", waiting).await;
}

#[actix_web::test]
async fn a_second_service_on_a_database_waits_and_then_ends_with_a_sentence() {
    let program = program_with_database().await;
    let first = program.start().await;
    let sql = db::connect(&database(&program)).await.unwrap();
    #[allow(clippy::disallowed_methods, reason = "how long a process takes, not the draw's time")]
    let started = Instant::now();
    let refused = refusal(&program, &["serve"]);
    let meanwhile = async {
        until_a_start_waits(&sql).await;
        // The other commands work beside the service.
        for command in ["migrate", "check"] {
            let output = program.run(&[command]).await;
            assert!(output.status.success(), "{output:?}");
        }
        first.admin(&program, "the.admin").await
    };
    let (said, admin) = tokio::join!(refused, meanwhile);
    assert!(said.starts_with("lottery: another service works on this database"), "{said}");
    assert!(started.elapsed() >= Duration::from_secs(10), "it waited for the first to end");
    admin.get("/me").await.expect(200);
    first.stop().await;
}

#[actix_web::test]
async fn a_second_service_begins_when_the_first_has_stopped() {
    let program = program_with_database().await;
    let first = program.start().await;
    let ann = first.player("ann").await;
    let sql = db::connect(&database(&program)).await.unwrap();
    let stop = async {
        until_a_start_waits(&sql).await;
        first.stop().await
    };
    let (second, _) = tokio::join!(program.start(), stop);
    reconnect(&ann, &second).get("/me").await.expect(200);
    second.stop().await;
}

#[actix_web::test]
async fn a_lost_lock_is_taken_again() {
    let program = program_with_database().await;
    let mut service = program.start().await;
    let sql = db::connect(&database(&program)).await.unwrap();
    let first = holder(&sql).await;
    end_session_of_holder(&sql).await;
    service.logged("the lock on the database is taken again").await;
    let second = holder(&sql).await;
    assert!(second.is_some() && second != first, "{second:?}");
    service.player("ann").await.deposit(500).await;
    service.stop().await;
    until("the lock is free", async || holder(&sql).await.is_none()).await;
}

/// Both work on the database for a while. The epochs refuse what the first one decides over its outdated memory.
#[actix_web::test]
async fn a_service_whose_lock_another_one_has_taken_stops_and_no_money_is_lost() {
    let program = program_with_database().await;
    let first = program.start().await;
    let draw = open_draw(&first, &program).await;
    let ann = first.player("ann").await;
    ann.deposit(100_000).await;
    ann.buy(draw, &[1, 2, 3, 4, 5]).await;
    let sql = db::connect(&database(&program)).await.unwrap();
    let take_over = async {
        until_a_start_waits(&sql).await;
        end_session_of_holder(&sql).await;
    };
    let (second, ()) = tokio::join!(program.start(), take_over);
    let bob = second.player("bob").await;
    bob.deposit(100_000).await;
    bob.buy(draw, &[1, 2, 3, 4, 5]).await;
    ann.order(draw, json!([{"quick_pick": true}]), "wallet").await.refused(503, "overloaded");

    let (status, log) = first.ended().await;
    let log = log.join("\n");
    assert_eq!(status.code(), Some(1), "{log}");
    assert!(log.contains("lottery: the service stopped, because another one took over its database"), "{log}");
    // The first one loaded the draw again when it was refused, so the second one may be refused once.
    let ann = reconnect(&ann, &second);
    until("she buys from the second one", async || {
        let answer = ann.order(draw, json!([{"quick_pick": true}]), "wallet").await;
        assert!(answer.status == 201 || answer.is(503, "overloaded"), "{}", answer.text);
        answer.status == 201
    })
    .await;
    let open = second.anonymous().get(&format!("/draws/{draw}")).await.expect(200);
    assert_eq!(open["tickets_sold"], 3);
    let checked = program.run(&["check"]).await;
    assert!(checked.status.success(), "{checked:?}");
    second.stop().await;
}
