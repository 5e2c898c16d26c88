//! What is lost with a restored backup, and who sees it: orders of which no entry of the log tells, and a result with its
//! list.

use tempfile::NamedTempFile;
use tokio::process::Command;

use super::*;
use crate::common::postgres;
use crate::server::empty_database;
use crate::verify::{Verified, keep, url, verify, write};

/// What `lottery verify` says of an order, with its draw.
async fn verify_order(program: &Program, world: &World, draw: i64, (file, user): (&str, &User)) -> Verified {
    let user = user.id.to_string();
    verify(program, &[file, "--draw", &url(world, draw), "--user", &user]).await
}

/// Runs a program of Postgres on the database of a world.
async fn postgres_program(name: &str, arguments: &[&str], world: &World) {
    let database = format!("--dbname={}", postgres::url(&world.database));
    let output = Command::new(name).args(arguments).arg(database).output().await.unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

/// A backup of a running service.
async fn dump(world: &World) -> NamedTempFile {
    let file = NamedTempFile::new().unwrap();
    let to = format!("--file={}", file.path().display());
    postgres_program("pg_dump", &["--format=custom", &to], world).await;
    file
}

/// The key of the ticket log of a draw, from its announcement.
async fn ticket_log(world: &World, draw: i64) -> String {
    match entries_of(world, draw).await.remove(0) {
        Event::DrawAnnounced { ticket_log, .. } => ticket_log,
        other => panic!("{other:?}"),
    }
}

/// A backup of less than a minute before the service stopped: orders are lost, and no entry of the public log. The operator is
/// told nothing, and the service sells on. The receipts of these orders contradict the list that is sealed then.
#[actix_web::test]
async fn orders_that_no_entry_tells_of_are_missed_by_their_receipts_alone() {
    let (mut world, admin, draw) = World::on_sale(0).await;
    let ann = world.rich_player("ann", 1_000_000).await;
    let bob = world.rich_player("bob", 1_000_000).await;
    ann.buy_quick(draw, 1).await;
    log_heads(&world).await;
    let (watched, program) = (Program::new(), Program::new());
    assert_eq!(monitor(&world, &watched).await.0, Some(0));
    let backup = dump(&world).await;
    let files = ["first.json", "second.json"];
    for file in files {
        write(&program, file, bob.buy_quick(draw, 2).await.to_string().as_bytes());
    }
    world.stop().await;
    let published = entries(&world).await;
    server::restore(&world.database, &empty_database().await).await;
    postgres_program("pg_restore", &["--exit-on-error", backup.path().to_str().unwrap()], &world).await;
    assert!(entries(&world).await == published, "the log lacks nothing");

    let said = import(&world, &[]).await.unwrap();
    assert!(said.contains("nothing is missing"), "{said}");
    world.start().await;
    let [admin, ann, bob] = [&admin, &ann, &bob].map(|user| world.reconnect(user));
    assert_eq!(bob.balance().await, 1_000_000, "his money is there again, and his tickets are not");
    // A list on sale is not public, so the receipt is compared after the seal.
    let later = "The draw is not sealed yet: verify the receipt again after the seal";
    verify_order(&program, &world, draw, (files[0], &bob)).await.holds(&[later]);
    for _ in 0..2 {
        ann.buy_quick(draw, 1).await;
    }
    log_heads(&world).await;
    let (code, said) = monitor(&world, &watched).await;
    assert_eq!((code, said.contains("draw 1: 3 orders")), (Some(0), true), "{said}");
    close(&admin, draw).await;
    conduct(&world, &admin, draw).await;

    // The draw itself is as good as any other: for the database, for a monitor, and for a verifier.
    world.check_invariants().await;
    assert_eq!(monitor(&world, &watched).await.0, Some(0));
    verify(&program, &[&url(&world, draw)]).await.holds(&["All 3 orders were read: they have the sealed root"]);
    let shorter =
        "THE ORDER OF THE RECEIPT IS NOT IN THE SEALED LIST, or the list of 2 orders that was signed then";
    verify_order(&program, &world, draw, (files[0], &bob)).await.fails(&[shorter]);
    let as_long =
        "THE ORDER IS NOT IN THE SEALED LIST: it was signed in a list of 3 orders, and another one with 3";
    verify_order(&program, &world, draw, (files[1], &bob)).await.fails(&[as_long]);
    let key = ticket_log(&world, draw).await;
    let signed = "VERIFIED: the key that you gave has signed a list with this order";
    verify(&program, &[files[0], "--key", &key]).await.holds(&[signed]);
}

/// Its list is lost with it, so nobody can be paid: the draw is void. A verifier does not accept it, and a monitor complains.
#[actix_web::test]
async fn a_published_result_that_is_undone_is_accepted_by_nobody() {
    let (mut world, admin, draw) = World::on_sale(0).await;
    let ann = world.rich_player("ann", 1_000_000).await;
    let bob = world.rich_player("bob", 1_000_000).await;
    ann.buy_quick(draw, 1).await;
    world.stop().await;
    let backup = server::copy(&world.database).await;
    world.start().await;
    let [admin, bob] = [&admin, &bob].map(|user| world.reconnect(user));
    let (watched, program) = (Program::new(), Program::new());
    write(&program, "order.json", bob.buy_quick(draw, 1).await.to_string().as_bytes());
    close(&admin, draw).await;
    conduct(&world, &admin, draw).await;
    verify(&program, &[&url(&world, draw)]).await.holds(&["The numbers follow from what was published"]);
    verify_order(&program, &world, draw, ("order.json", &bob)).await.holds(&["The order is in the sealed list"]);
    keep(&world, &program, &format!("/draws/{draw}/proof"), "proof.json").await;
    let key = crate::verify::log_key(&world).await;
    assert_eq!(monitor(&world, &watched).await.0, Some(0));
    world.stop().await;

    server::restore(&world.database, &backup).await;
    let said = import(&world, &[]).await.unwrap();
    assert!(said.contains("draw 1: STOPPED"), "{said}");
    world.start().await;
    let [admin, ann, bob] = [&admin, &ann, &bob].map(|user| world.reconnect(user));
    // The result is published as before, and its list cannot be had any more.
    let check = async || command_line(&world).run(&["check"]).await;
    let checked = check().await;
    let said = String::from_utf8_lossy(&checked.stdout).into_owned();
    assert_eq!(checked.status.code(), Some(1), "{said}");
    assert!(said.contains("draw 1: what was sold after the backup"), "{said}");
    admin.get(&format!("/draws/{draw}/results")).await.refused(409, "draw_not_completed");
    verify(&program, &[&url(&world, draw)]).await.fails(&["tile/entries/000.p/2: 404"]);
    assert_eq!(monitor(&world, &watched).await.0, Some(0), "the log is the one that it knows");
    cancel(&world, &admin, draw, "whatever").await;
    assert_eq!((ann.balance().await, bob.balance().await), (1_000_000, 1_000_000));
    let checked = check().await;
    assert!(checked.status.success(), "{checked:?}");

    let undone = "of the log cancels the draw (log_rolled_back) after its result was published";
    verify(&program, &[&url(&world, draw)]).await.fails(&[undone]);
    verify_order(&program, &world, draw, ("order.json", &bob)).await.fails(&[undone]);
    // A monitor complains once and follows the log further, and so does one that reads it for the first time.
    for watched in [&watched, &Program::new()] {
        let (code, said) = monitor(&world, watched).await;
        assert_eq!(code, Some(1), "{said}");
        assert!(said.contains("draw 1 is CANCELLED AFTER ITS RESULT (log_rolled_back)"), "{said}");
        assert!(said.contains("1 draws were cancelled after their results"), "{said}");
        assert_eq!(monitor(&world, watched).await, (Some(0), String::new()));
    }
    // Who has kept it can prove what was drawn, and which order the list had.
    verify(&program, &["proof.json", "--key", &key]).await.holds(&["The numbers follow from what was published"]);
    let key = ticket_log(&world, draw).await;
    verify(&program, &["order.json", "--key", &key]).await.holds(&["VERIFIED: the key that you gave has signed"]);
}
