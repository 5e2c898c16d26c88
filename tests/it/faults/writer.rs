//! The writer cannot work: its row is gone, or its connection. Sales go on as soon as they can, and readiness tells when
//! they cannot.

use super::*;

/// A failover or a restore forgets the row that tells the outcome of a COMMIT, together with the transaction.
#[actix_web::test]
async fn a_commit_whose_row_is_gone_is_known_to_be_lost_and_the_order_is_written_once() {
    let world = World::new().await;
    let admin = world.admin().await;
    let draw = admin.open_draw(&world, 5).await;
    let ann = world.rich_player("ann", 1_000_000).await;
    let sql = world.sql().await;
    // Each COMMIT of a sale waits for this lock.
    at_commit(&sql, "INSERT ON tickets", "pg_advisory_xact_lock(1)").await;
    sql.batch_execute("SELECT pg_advisory_lock(1)").await.unwrap();
    let buying = order(&ann, draw, from_pool(), "order");
    let pid = committing(&sql, "advisory").await;
    // This waits for the transaction of the order. So the rows are gone before the writer can ask for its own.
    let other = world.sql().await;
    let forgetting = actix_web::rt::spawn(async move { other.batch_execute("DELETE FROM writers").await });
    until("both wait", async || world.count(SESSIONS_WAITING_FOR_LOCKS).await == 2).await;
    sql.execute("SELECT pg_terminate_backend($1)", &[&pid]).await.unwrap();
    forgetting.await.unwrap().unwrap();
    sql.batch_execute("SELECT pg_advisory_unlock(1)").await.unwrap();

    let bought = buying.await.unwrap().expect(201);
    assert_eq!(bought["tickets"][0]["number"], 1);
    assert_eq!((paid(&world, draw).await, ann.balance().await), (1, 1_000_000 - PRICE));
    world.drop_trigger("at_commit").await;
    world.check_invariants().await;
}

#[actix_web::test]
async fn orders_and_steps_succeed_although_the_row_of_the_open_connection_is_gone() {
    let world = World::new().await;
    let admin = world.admin().await;
    let draw = admin.open_draw(&world, 5).await;
    let ann = world.rich_player("ann", 1_000_000).await;
    let sql = world.sql().await;
    sql.batch_execute("DELETE FROM writers").await.unwrap();
    ann.buy(draw, &[1, 2, 3, 4, 5]).await;
    sql.batch_execute("DELETE FROM writers").await.unwrap();
    assert_eq!(admin.conduct(draw).await["tickets_sold"], 1);
    world.check_invariants().await;
}

/// Readiness, and whether reads work.
async fn ready_and_reads(world: &World, user: &User) -> (u16, u16) {
    let reads = user.get("/wallet").await.status;
    (world.anonymous().without_base_path().get("/health/ready").await.status, reads)
}

#[actix_web::test]
async fn a_service_whose_idle_writer_cannot_connect_is_not_ready_until_it_can() {
    let world = World::new().await;
    let ann = world.rich_player("ann", 1_000_000).await;
    assert_eq!(ready_and_reads(&world, &ann).await, (200, 200));
    let sql = world.sql().await;
    // Reads work meanwhile.
    sql.batch_execute("BEGIN; LOCK TABLE writers IN EXCLUSIVE MODE").await.unwrap();
    let end = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = current_database()
        AND query SIMILAR TO '(-- sales::|-- writers::|COMMIT)%'";
    assert!(!sql.query(end, &[]).await.unwrap().is_empty(), "the writer's session");
    until("the service is not ready", async || ready_and_reads(&world, &ann).await == (503, 200)).await;
    // No order comes.
    sql.batch_execute("ROLLBACK").await.unwrap();
    until("it is ready again", async || ready_and_reads(&world, &ann).await == (200, 200)).await;
    ann.deposit(PRICE).await;
}

#[actix_web::test]
async fn a_service_whose_writer_waits_in_a_transaction_is_not_ready() {
    let world = World::new().await;
    let admin = world.admin().await;
    let draw = admin.open_draw(&world, 0).await;
    let ann = world.rich_player("ann", 1_000_000).await;
    let lock = world.lock_draw(draw).await;
    let waiting = order_that_waits(&world, &ann, draw, quick_pick(), "order").await;
    until("the service is not ready", async || ready_and_reads(&world, &ann).await == (503, 200)).await;
    lock.release().await;
    until("it is ready again", async || ready_and_reads(&world, &ann).await == (200, 200)).await;
    let answer = waiting.await.unwrap();
    assert!(answer.status == 201 || answer.is(503, "outcome_unknown"), "{}", answer.text);
    order_until_done(&ann, draw, quick_pick(), "order").await;
    assert_eq!((paid(&world, draw).await, ann.balance().await), (1, 1_000_000 - PRICE));
}
