//! Two services on one database: one is active, the other one stands by and takes its place when it is killed,
//! stopped or told to end.

use std::time::Duration;

use tokio_postgres::Client;

use super::*;

/// A second service on the database of this one.
fn another(program: &Program) -> Program {
    program_on(&database(program))
}

/// The same user at this service, over connections of its own.
fn at(user: &User, service: &Service) -> User {
    let token = user.token.clone().unwrap();
    service.anonymous().with_token(&token)
}

async fn sessions_waiting_for_locks(sql: &Client) -> i64 {
    sql.query_one(SESSIONS_WAITING_FOR_LOCKS, &[]).await.unwrap().get(0)
}

/// Locks a draw's row, so that the writer waits inside its transaction.
async fn lock_draw(program: &Program, draw: i64) -> Client {
    let sql = db::connect(&database(program)).await.unwrap();
    sql.batch_execute("BEGIN").await.unwrap();
    sql.execute("SELECT FROM draw_sales WHERE draw_id = $1 FOR UPDATE", &[&draw]).await.unwrap();
    sql
}

async fn check(program: &Program) {
    let checked = program.run(&["check"]).await;
    assert!(checked.status.success(), "{checked:?}");
}

async fn nodes(program: &Program) -> Vec<Value> {
    let (code, out, error) = printed(&program.run(&["nodes", "--json"]).await);
    assert_eq!(code, Some(0), "{error}");
    serde_json::from_str(&out).unwrap()
}

fn wallet_order() -> Value {
    json!({"tickets": [{"quick_pick": true}], "payment": "wallet"})
}

#[actix_web::test]
async fn a_second_service_stands_by_and_takes_the_place_of_a_killed_one() {
    let program = program_with_database().await;
    let first = program.start().await;
    let draw = open_draw(&first, &program).await;
    let (ann, bob, eve) = (first.player("ann").await, first.player("bob").await, first.player("eve").await);
    ann.deposit(100_000).await;
    let path = format!("/draws/{draw}/tickets");
    let bought = ann.post_keyed(&path, "once", wallet_order()).await.expect(201);
    let reserved = ann.order(draw, json!([{"quick_pick": true}]), "later").await.expect(201);

    let standby = another(&program);
    let mut second = standby.stand_by().await;
    let outside = second.anonymous().without_base_path();
    outside.get("/health/live").await.expect(200);
    for path in ["/health/ready", "/", "/admin", "/verify", "/web/config"] {
        outside.get(path).await.refused(503, "standby");
    }
    let page = http_client().get(format!("{}/api/problems", outside.base())).send().await.unwrap();
    assert_eq!(page.status(), 200, "the error's type leads there");
    let refused = at(&ann, &second).post_keyed(&path, "once", wallet_order()).await;
    assert_eq!(refused.headers["retry-after"], "1");
    refused.refused(503, "standby");
    let metrics = async |service: &Service| {
        let url = format!("http://{}/metrics", service.address);
        http_client().get(url).send().await.unwrap().text().await.unwrap()
    };
    let (active, waiting) = (metrics(&first).await, metrics(&second).await);
    assert!(active.contains("\nlottery_active 1\n") && active.contains("\nlottery_standby_ready 0\n"), "{active}");
    assert!(
        waiting.contains("\nlottery_active 0\n") && waiting.contains("\nlottery_standby_ready 1\n"),
        "{waiting}"
    );
    for name in ["lottery_build_info{", "process_open_fds "] {
        let line = |text: &str| text.lines().any(|line| line.starts_with(name));
        assert!(line(&active) && line(&waiting), "{name} is not in\n{waiting}");
    }
    for command in [&["migrate"][..], &["check"], &["nodes"]] {
        let output = program.run(command).await;
        assert!(output.status.success(), "{output:?}");
    }
    // What the first one has in memory alone must hold at the second one, too.
    let admin = first.log_in("the.admin").await;
    let block = admin.request(reqwest::Method::PATCH, &format!("/admin/users/{}", bob.id));
    admin.send(block.json(&json!({"status": "blocked"}))).await.expect(200);
    eve.post("/me/password", json!({"current_password": PASSWORD, "new_password": "another horse battery"}))
        .await
        .expect(204);
    let kept = first.try_log_in("eve", "another horse battery").await.expect(200);
    let refreshed = json!({"refresh_token": kept["refresh_token"]});
    first.anonymous().post("/auth/logout", refreshed).await.expect(204);
    let ended = first.anonymous().with_token(kept["access_token"].as_str().unwrap());
    ended.get("/me").await.refused(401, "unauthorized");

    first.kill_9().await;
    second.logged(READY).await;
    second.anonymous().without_base_path().get("/health/ready").await.expect(200);
    let ann = at(&ann, &second);
    let again = ann.post_keyed(&path, "once", wallet_order()).await;
    assert_eq!(again.headers["idempotency-replayed"], "true");
    assert_eq!(again.expect(201), without_receipt(bought));
    ann.pay(id(&reserved["payment"]), wallet()).await.expect(200);
    ann.buy_quick(draw, 1).await;
    at(&bob, &second).get("/me").await.refused(403, "account_blocked");
    at(&ended, &second).get("/me").await.refused(401, "unauthorized");
    assert_eq!(second.anonymous().get(&format!("/draws/{draw}")).await.expect(200)["tickets_sold"], 3);
    let listed = nodes(&program).await;
    let states: Vec<_> = listed.iter().map(|node| (node["active"] == true, node["dead"] == true)).collect();
    assert_eq!(states, [(true, false), (false, true)], "{listed:?}");
    assert_eq!(listed[0]["url"], format!("http://{}", second.address));
    check(&program).await;
    second.stop().await;
}

/// It is stopped inside a transaction, with a deposit behind it. It wakes up after its death.
#[actix_web::test]
async fn a_stopped_service_loses_its_place_and_writes_and_charges_nothing_when_it_goes_on() {
    let program = program_with_database().await;
    let first = program.start().await;
    let draw = open_draw(&first, &program).await;
    let (ann, bob) = (first.player("ann").await, first.player("bob").await);
    ann.deposit(100_000).await;
    let standby = another(&program);
    let mut second = standby.stand_by().await;
    let watcher = db::connect(&database(&program)).await.unwrap();
    let lock = lock_draw(&program, draw).await;
    let ordering = actix_web::rt::spawn({
        let request = ann.request(reqwest::Method::POST, &format!("/draws/{draw}/tickets"));
        async move { request.json(&wallet_order()).send().await.map(|answer| answer.status().as_u16()) }
    });
    until("the order waits", async || sessions_waiting_for_locks(&watcher).await > 0).await;
    let depositing = actix_web::rt::spawn({
        let request = bob.request(reqwest::Method::POST, "/wallet/deposits");
        let body = json!({"amount": 700, "token": "tok_visa"});
        async move { request.json(&body).send().await.map(|answer| answer.status().as_u16()) }
    });
    first.signal(Signal::SIGSTOP);
    second.logged("this node is active").await;
    lock.batch_execute("ROLLBACK").await.unwrap();
    second.logged(READY).await;
    let (ann, bob) = (at(&ann, &second), at(&bob, &second));
    ann.buy_quick(draw, 1).await;
    let before = ann.balance().await;

    first.signal(Signal::SIGCONT);
    let (status, log) = first.ended().await;
    let log = log.join("\n");
    assert_eq!(status.code(), Some(75), "{log}");
    assert!(log.contains("lottery: the service stopped, because another node has declared it dead"), "{log}");
    for answer in [ordering.await.unwrap(), depositing.await.unwrap()] {
        assert!(answer.is_err() || answer.is_ok_and(|status| status == 503), "no success was answered");
    }
    assert_eq!((ann.balance().await, bob.balance().await), (before, 0));
    assert_eq!(bob.all("/payments").await.len(), 0);
    assert_eq!(second.anonymous().get(&format!("/draws/{draw}")).await.expect(200)["tickets_sold"], 1);
    check(&program).await;
    second.stop().await;
}

/// Rounds of each takeover from a stopped process, unless `TAKEOVER_ROUNDS` says another number.
const ROUNDS: usize = 1;

fn rounds() -> usize {
    std::env::var("TAKEOVER_ROUNDS").map_or(ROUNDS, |rounds| rounds.parse().expect("TAKEOVER_ROUNDS"))
}

/// Lets the active service, and no other one, wait at each COMMIT after such a change for an advisory lock, which this
/// session holds.
async fn hold_commits(sql: &Client, after: &str) {
    let node: i64 = sql.query_one("SELECT node FROM active", &[]).await.unwrap().get(0);
    let own = format!("current_setting('application_name') = 'lottery-{node}'");
    at_commit(sql, after, &format!("pg_advisory_xact_lock(1) WHERE {own}")).await;
    sql.batch_execute("SELECT pg_advisory_lock(1)").await.unwrap();
}

async fn release_commits(sql: &Client) {
    sql.batch_execute("SELECT pg_advisory_unlock(1)").await.unwrap();
}

/// Wakes a service that was declared dead: it exits, and writes no ticket, transfer, balance or status of a draw. Then
/// commits are not held any more.
async fn wakes_and_exits(dead: Service, sql: &Client) {
    let contents = "SELECT md5(concat(
        (SELECT jsonb_agg(d ORDER BY id) FROM draws d), (SELECT jsonb_agg(t ORDER BY id) FROM tickets t),
        (SELECT jsonb_agg(t ORDER BY id) FROM transfers t), (SELECT jsonb_agg(a ORDER BY id) FROM accounts a)))";
    let written = async || -> String { sql.query_one(contents, &[]).await.unwrap().get(0) };
    let before = written().await;
    dead.signal(Signal::SIGCONT);
    let (status, log) = dead.ended().await;
    assert_eq!(status.code(), Some(75), "{}", log.join("\n"));
    assert_eq!(written().await, before, "it wrote after its death:\n{}", log.join("\n"));
    sql.batch_execute("DROP FUNCTION at_commit CASCADE").await.unwrap();
}

/// Its COMMIT has arrived at the database, and succeeds before the other service takes over, or not.
#[actix_web::test]
async fn an_order_of_a_service_that_is_stopped_at_commit_is_there_once() {
    for committed in (0..rounds()).flat_map(|_| [true, false]) {
        let program = program_with_database().await;
        let first = program.start().await;
        let draw = open_draw(&first, &program).await;
        let ann = first.player("ann").await;
        ann.deposit(100_000).await;
        let standby = another(&program);
        let mut second = standby.stand_by().await;
        let sql = db::connect(&database(&program)).await.unwrap();
        hold_commits(&sql, "INSERT ON tickets").await;
        let path = format!("/draws/{draw}/tickets");
        let request = ann.request(reqwest::Method::POST, &path).header("Idempotency-Key", "once");
        let ordering = actix_web::rt::spawn({
            let request = request.json(&wallet_order());
            async move { request.send().await.map(|answer| answer.status().as_u16()) }
        });
        committing(&sql, "advisory").await;
        first.signal(Signal::SIGSTOP);
        if committed {
            release_commits(&sql).await;
        }
        second.logged(READY).await;

        let ann = at(&ann, &second);
        let again = ann.post_keyed(&path, "once", wallet_order()).await;
        assert_eq!(again.headers.contains_key("idempotency-replayed"), committed, "{}", again.text);
        let bought = without_receipt(again.expect(201));
        if !committed {
            release_commits(&sql).await;
        }
        wakes_and_exits(first, &sql).await;
        let answered = ordering.await.unwrap();
        // It may have read before its death that the order was written.
        let true_answers = if committed { &[503, 201][..] } else { &[503] };
        assert!(answered.is_err() || answered.is_ok_and(|status| true_answers.contains(&status)));
        assert_eq!(ann.post_keyed(&path, "once", wallet_order()).await.expect(201), bought);
        assert_eq!(ann.balance().await, 90_000);
        assert_eq!(second.anonymous().get(&format!("/draws/{draw}")).await.expect(200)["tickets_sold"], 1);
        check(&program).await;
        second.stop().await;
    }
}

/// It is stopped while it draws the numbers, and while it pays the prizes.
#[actix_web::test]
async fn a_step_of_a_draw_in_which_a_service_is_stopped_is_done_once() {
    for after in (0..rounds()).flat_map(|_| ["INSERT ON draw_results", "INSERT ON transfers"]) {
        let program = program_with_database().await;
        let first = program.start().await;
        let draw = open_draw(&first, &program).await;
        let admin = first.log_in("the.admin").await;
        let ann = first.player("ann").await;
        ann.deposit(10_000_000).await;
        ann.buy_quick(draw, 100).await;
        ann.buy_quick(draw, 100).await;
        let standby = another(&program);
        let mut second = standby.stand_by().await;
        let sql = db::connect(&database(&program)).await.unwrap();
        admin.step(draw, "close").await.expect(200);
        hold_commits(&sql, after).await;
        let conduct = format!("/admin/draws/{draw}/conduct");
        let conducting = actix_web::rt::spawn({
            let request = admin.request(reqwest::Method::POST, &conduct);
            async move { request.send().await.map(|answer| answer.status().as_u16()) }
        });
        committing(&sql, "advisory").await;
        first.signal(Signal::SIGSTOP);
        second.logged(READY).await;

        let (admin, ann) = (at(&admin, &second), at(&ann, &second));
        admin.step(draw, "conduct").await.expect(200);
        let status = async || ann.get(&format!("/draws/{draw}")).await.expect(200)["status"].clone();
        until("the draw is completed", async || status().await == "completed").await;
        let results = ann.get(&format!("/draws/{draw}/results")).await.expect(200);
        release_commits(&sql).await;
        wakes_and_exits(first, &sql).await;
        let answered = conducting.await.unwrap();
        // The numbers are committed before the prizes are paid, so a success may have been answered before the stop.
        let is_drawn = after == "INSERT ON transfers" && matches!(answered, Ok(200));
        let has_failed = answered.map_or(true, |status| status == 503);
        assert!(is_drawn || has_failed, "no success was answered for numbers that are not committed");
        assert_eq!(ann.get(&format!("/draws/{draw}/results")).await.expect(200), results);
        let count = async |sql: Client| -> i64 {
            sql.query_one("SELECT count(*) FROM transfers WHERE kind = 'prize'", &[]).await.unwrap().get(0)
        };
        let tiers = results["tiers"].as_array().unwrap();
        let winners: i64 = tiers.iter().map(|tier| tier["winners"].as_i64().unwrap()).sum();
        assert_eq!(count(sql).await, winners);
        check(&program).await;
        second.stop().await;
    }
}

#[actix_web::test]
async fn a_service_that_is_told_to_end_answers_its_orders_and_hands_over() {
    let program = program_with_database().await.with("LOTTERY__LIMITS__ENABLED", "false");
    let first = program.start().await;
    let draw = open_draw(&first, &program).await;
    let ann = first.player("ann").await;
    ann.deposit(100_000_000).await;
    let standby = another(&program).with("LOTTERY__LIMITS__ENABLED", "false");
    let second = standby.stand_by().await;
    let (sold, mut sales) = watch::channel(0_i64);
    let places = [at(&ann, &first), at(&ann, &second)];
    // Each goes to the other service when one refuses it or is gone, and stops when both have sold to it.
    let buyers = (0..4).map(|buyer| {
        let (sold, places, path) = (&sold, &places, format!("/draws/{draw}/tickets"));
        async move {
            let (mut place, mut bought_at_second) = (0, 0);
            for n in 0.. {
                let key = format!("{buyer}-{n}");
                loop {
                    let request = places[place].request(reqwest::Method::POST, &path);
                    match request.header("Idempotency-Key", &key).json(&wallet_order()).send().await {
                        Ok(answer) if answer.status() == 201 => break,
                        Ok(answer) => assert!([503, 409].contains(&answer.status().as_u16()), "{answer:?}"),
                        Err(_) => {}
                    }
                    place = 1 - place;
                    tokio::time::sleep(Duration::from_millis(5)).await;
                }
                sold.send_modify(|sold| *sold += 1);
                bought_at_second += place;
                if bought_at_second == 5 {
                    return;
                }
            }
        }
    });
    let sql = db::connect(&database(&program)).await.unwrap();
    let stop = async {
        sales.wait_for(|sold| *sold >= 20).await.unwrap();
        // It waits for longer than between two renewals before it can give up its place.
        sql.batch_execute("BEGIN; SELECT FROM active FOR UPDATE").await.unwrap();
        first.signal(Signal::SIGTERM);
        until("it gives up its place", async || sessions_waiting_for_locks(&sql).await > 0).await;
        tokio::time::sleep(Duration::from_millis(700)).await;
        sql.batch_execute("ROLLBACK").await.unwrap();
        first.ended().await
    };
    let (_, (status, log)) = tokio::join!(join_all(buyers), stop);
    let log = log.join("\n");
    assert_eq!(status.code(), Some(0), "{log}");
    assert!(!log.contains("could not be renewed"), "{log}");
    assert!(!log.contains("without their end"), "{log}");
    let sold = *sold.borrow();
    assert_eq!(second.anonymous().get(&format!("/draws/{draw}")).await.expect(200)["tickets_sold"], sold);
    assert_eq!(at(&ann, &second).balance().await, 100_000_000 - 10_000 * sold);
    check(&program).await;
    second.stop().await;
}

#[actix_web::test]
async fn a_restart_after_a_kill_does_not_wait_for_the_lease() {
    let program = program_with_database().await;
    let first = program.start().await;
    let ann = first.player("ann").await;
    first.kill_9().await;
    let second = program.start().await;
    reconnect(&ann, &second).get("/me").await.expect(200);
    let log = second.stop().await.join("\n");
    assert!(log.contains("sign=NoSession"), "{log}");
}

#[actix_web::test]
async fn a_service_keeps_its_place_when_all_its_sessions_are_lost() {
    let program = program_with_database().await;
    let first = program.start().await;
    let standby = another(&program);
    let second = standby.stand_by().await;
    let ann = first.player("ann").await;
    let sql = db::connect(&database(&program)).await.unwrap();
    for _ in 0..2 {
        sql.batch_execute(END_OTHER_SESSIONS).await.unwrap();
        // A call that comes before the service knows that a session has ended may fail.
        until("she deposits", async || {
            let answer = ann.post("/wallet/deposits", deposit(500, GOOD_CARD)).await;
            answer.status == 201
        })
        .await;
    }
    assert!(!second.has_logged(READY));
    first.stop().await;
    second.stop().await;
}

/// As a service of a version before the nodes does.
#[actix_web::test]
async fn a_database_of_an_earlier_service_that_still_runs_is_refused() {
    let program = program_with_database().await;
    let earlier = db::connect(&database(&program)).await.unwrap();
    earlier.execute("SELECT pg_advisory_lock($1)", &[&0x6c6f_7474_6572_7901_i64]).await.unwrap();
    let said = refusal(&program, &["serve"]).await;
    assert!(said.starts_with("lottery: a service of an earlier version works on this database"), "{said}");
}

/// In this process: the database refuses what a dead node sends, whatever the node believes.
#[actix_web::test]
async fn nothing_of_a_dead_node_is_written_over_old_connections_and_new_ones() {
    let world = World::new().await;
    let admin = world.admin().await;
    let ann = world.rich_player("ann", 1_000_000).await;
    let draw = admin.open_draw(&world, 0).await;
    ann.buy_quick(draw, 1).await;
    let sql = world.sql().await;
    let contents =
        "SELECT (SELECT count(*) FROM transfers), (SELECT count(*) FROM payments), (SELECT count(*) FROM users)";
    let count = async || {
        let row = sql.query_one(contents, &[]).await.unwrap();
        [row.get::<_, i64>(0), row.get(1), row.get(2)]
    };
    let before = count().await;
    sql.batch_execute("UPDATE nodes SET dead = true; UPDATE writers SET closed = true").await.unwrap();
    sql.batch_execute(END_OTHER_SESSIONS).await.unwrap();
    let anonymous = world.anonymous();
    let (bought, deposited, registered) = tokio::join!(
        ann.order(draw, json!([{"quick_pick": true}]), "wallet"),
        ann.post("/wallet/deposits", deposit(500, GOOD_CARD)),
        anonymous.post("/auth/register", registration("eve")),
    );
    for answer in [bought, deposited, registered] {
        assert_eq!(answer.status, 503, "{}", answer.text);
    }
    until("it knows", async || ann.get("/draws").await.is(503, "overloaded")).await;
    assert_eq!(count().await, before);
}
