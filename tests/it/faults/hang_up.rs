//! A client that hangs up while its request is committed: what was committed takes effect at once all the same.

use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use super::*;
use crate::common::PASSWORD;

/// Sends a request, and resets its connection while the service commits.
async fn hang_up(world: &World, who: &User, method: &str, path: &str, body: Value) {
    let sql = world.sql().await;
    sql.batch_execute("SELECT pg_advisory_lock(1)").await.unwrap();
    let mut connection = TcpStream::connect(world.app().address).await.unwrap();
    let (token, body) = (who.token.as_deref().unwrap(), body.to_string());
    let length = body.len();
    let request = format!(
        "{method} /api/v1{path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\n\
         Content-Type: application/json\r\nContent-Length: {length}\r\n\r\n{body}"
    );
    connection.write_all(request.as_bytes()).await.unwrap();
    committing(&sql, "advisory").await;
    // The end of what a client sends is no reset: the service would still answer.
    connection.set_zero_linger().unwrap();
    drop(connection);
    // The service hears of the reset before it answers these.
    for _ in 0..20 {
        world.anonymous().get("/lotteries").await.expect(200);
    }
    sql.batch_execute("SELECT pg_advisory_unlock(1)").await.unwrap();
}

#[actix_web::test]
async fn a_block_and_a_new_password_hold_although_the_client_hung_up() {
    let world = World::new().await;
    let admin = world.admin().await;
    let (ann, bob) = (world.player("ann").await, world.player("bob").await);
    let thief = world.anonymous().log_in("bob", PASSWORD).await;
    // The COMMIT of a change of a user waits for a lock.
    at_commit(&world.sql().await, "UPDATE ON users", "pg_advisory_xact_lock(1)").await;

    hang_up(&world, &admin, "PATCH", &format!("/admin/users/{}", ann.id), json!({"status": "blocked"})).await;
    until("Ann is blocked", async || ann.get("/me").await.is(403, "account_blocked")).await;

    let change = json!({"current_password": PASSWORD, "new_password": "correct horse"});
    hang_up(&world, &bob, "POST", "/me/password", change).await;
    until("the other session has ended", async || thief.get("/me").await.is(401, "unauthorized")).await;
    bob.get("/me").await.expect(200);

    world.sql().await.batch_execute("DROP TRIGGER at_commit ON users").await.unwrap();
    world.check_invariants().await;
}
