//! What `lottery verify` finds, as anybody runs it: the operator has every key, and makes everything that it shows agree.
//! What people have kept does not agree with it.

use jiff::SignedDuration;
use serde_json::Value;

use super::*;
use crate::common::process::Program;
use crate::common::receipts::DrawLog;
use crate::server;
use crate::verify::{keep, keep_bundles, log_key, log_url, look, read, url, verify, write};

const NUMBERS: [[u8; 5]; 3] = [[1, 2, 3, 4, 5], [6, 7, 8, 9, 10], [11, 12, 13, 14, 15]];
const CHANGE: &str = "UPDATE tickets SET pick = pick << 1 WHERE number = 2";

/// A draw with three orders of Ann's. Her third order is kept in `order.json`.
async fn sold() -> (World, User, i64, Program, String) {
    let (world, admin, draw) = World::on_sale(0).await;
    let ann = world.rich_player("ann", 10_000_000).await;
    let program = Program::new();
    for numbers in NUMBERS {
        write(&program, "order.json", ann.buy(draw, &numbers).await.to_string().as_bytes());
    }
    let user = ann.get("/me").await.expect(200)["id"].to_string();
    (world, admin, draw, program, user)
}

/// Makes everything in the database agree with the tickets as they are now, also the seal if the draw has one.
async fn make_anew(world: &World, draw: i64) {
    let sql = world.sql().await;
    let anew = DrawLog::read(&sql, draw).await;
    sql.batch_execute("BEGIN; SET LOCAL session_replication_role = replica").await.unwrap();
    sql.execute("UPDATE draw_sales SET edge = $1", &[&anew.edge()]).await.unwrap();
    sql.batch_execute("COMMIT").await.unwrap();
    if world.count("SELECT count(*) FROM draw_seals").await > 0 {
        reseal(world, anew.head().root).await;
    }
}

#[actix_web::test]
async fn a_list_that_was_changed_after_its_seal_and_sealed_anew_is_found() {
    let (mut world, admin, draw, program, user) = sold().await;
    admin.step(draw, "close").await.expect(200);
    let (key, online) = (log_key(&world).await, url(&world, draw));
    verify(&program, &[&online, "--key", &key]).await.holds(&["All 3 orders were read"]);
    look(&program, &log_url(&world)).await.tells(&["draw 1 is sealed: 3 orders"]);
    keep(&world, &program, &format!("/draws/{draw}/proof"), "proof.json").await;
    keep(&world, &program, "/log/checkpoint", "checkpoint").await;

    // As the database's superuser: the service runs on, and has signed another log than it shows.
    tamper(&world, CHANGE).await;
    make_anew(&world, draw).await;
    verify(&program, &[&online, "--key", &key]).await.fails(&["the proof leads to another root"]);
    let new_monitor = ["--follow", &log_url(&world), "--state", "new.json", "--once"];
    verify(&program, &new_monitor).await.fails(&["its entries are not those that are signed"]);
    // With a shell, too: the copy of the log is gone, and the service signs what the database has now.
    world.stop().await;
    std::fs::remove_dir_all(world.config.data_dir.join("log")).unwrap();
    world.start().await;
    let online = url(&world, draw);
    verify(&program, &[&online, "--key", &key]).await.holds(&["All 3 orders were read"]);
    verify(&program, &[&online, "--key", &key, "--checkpoint", "checkpoint"]).await.fails(&["✗ FORK"]);
    look(&program, &log_url(&world)).await.fails(&["FORK", "seen.json.fork"]);
    keep_bundles(&world, &program, draw, 3, "list").await;
    let offline = ["proof.json", "--key", &key, "--tickets", "list"];
    verify(&program, &offline).await.fails(&["THE ORDERS ARE NOT THE SEALED LIST"]);
    let with_kept = ["order.json", "--draw", "proof.json", "--key", &key, "--tickets", "list", "--user", &user];
    verify(&program, &with_kept).await.fails(&["THE ORDERS ARE NOT THE SEALED LIST"]);
    let with_shown = ["order.json", "--draw", &online, "--key", &key, "--user", &user];
    verify(&program, &with_shown).await.fails(&["THE ORDER IS NOT IN THE SEALED LIST"]);
}

#[actix_web::test]
async fn two_logs_that_are_shown_to_two_people_are_found_when_they_compare() {
    let (mut world, admin, draw, program, _) = sold().await;
    world.stop().await;
    let copy = server::copy(&world.database).await;
    let other = World::at(world.clock.now(), copy, |_| {}).await;
    world.start().await;
    let mut shown = Vec::new();
    for (name, world) in [("carol", &world), ("bob", &other)] {
        // A start logs the heads of what is on sale.
        until("the head is logged", async || world.count("SELECT count(*) FROM log_entries").await == 2).await;
        // Each list has an order that the other one lacks.
        world.rich_player(name, 1_000_000).await.buy_quick(draw, 2).await;
        world.reconnect(&admin).step(draw, "close").await.expect(200);
        let (key, online) = (log_key(world).await, url(world, draw));
        verify(&program, &[&online, "--key", &key]).await.holds(&["All 4 orders were read"]);
        keep(world, &program, "/log/checkpoint", &format!("{name}.checkpoint")).await;
        keep(world, &program, &format!("/draws/{draw}/proof"), &format!("{name}.json")).await;
        shown.push((key, online, log_url(world)));
    }
    let [(key, of_carol, carols_log), (same_key, of_bob, bobs_log)] = &shown[..] else { panic!() };
    assert_eq!(key, same_key);
    let fork = ["✗ FORK: two heads of the public log with 3 entries were signed"];
    verify(&program, &[of_carol, "--key", key, "--checkpoint", "bob.checkpoint"]).await.fails(&fork);
    verify(&program, &[of_bob, "--key", key, "--checkpoint", "carol.checkpoint"]).await.fails(&fork);
    verify(&program, &["carol.json", "--key", key, "--checkpoint", "bob.checkpoint"]).await.fails(&fork);
    verify(&program, &["carol.json", "--key", key, "--checkpoint", "carol.checkpoint"]).await.holds(&[]);
    // One log goes on: tiles show that it does not continue the other's.
    world.reconnect(&admin).step(draw, "conduct").await.expect(200);
    world.until_draw_is(draw, "completed").await;
    verify(&program, &[of_carol, "--key", key, "--checkpoint", "carol.checkpoint"])
        .await
        .holds(&["are of one log"]);
    verify(&program, &[of_carol, "--key", key, "--checkpoint", "bob.checkpoint"]).await.fails(&["✗ FORK"]);
    // A monitor of either.
    look(&program, bobs_log).await.tells(&["draw 1 is sealed: 4 orders"]);
    look(&program, carols_log).await.fails(&["FORK", "Both checkpoints are kept in seen.json.fork"]);
    let evidence: Value = serde_json::from_slice(&read(&program, "seen.json.fork")).unwrap();
    assert_eq!(evidence["seen_before"].as_str().unwrap().as_bytes(), read(&program, "bob.checkpoint"));
}

#[actix_web::test]
async fn a_receipt_that_is_not_in_the_sealed_list_is_found() {
    let (mut world, admin, draw, program, user) = sold().await;
    // A monitor has seen the list with its three orders.
    world.advance(SignedDuration::from_secs(60));
    until("the head is logged", async || look(&program, &log_url(&world)).await.out.contains("draw 1: 3 orders"))
        .await;
    world.stop().await;
    tamper(&world, CHANGE).await;
    make_anew(&world, draw).await;
    world.start().await;
    world.check_invariants().await;
    let admin = world.reconnect(&admin);
    world.rich_player("bob", 1_000_000).await.buy_quick(draw, 1).await;
    admin.conduct(draw).await;
    world.until_draw_is(draw, "completed").await;
    let (key, online) = (log_key(&world).await, url(&world, draw));
    // All that the service shows agrees.
    verify(&program, &[&online, "--key", &key]).await.holds(&["All 4 orders were read"]);
    let lost = ["✗ THE ORDER OF THE RECEIPT IS NOT IN THE SEALED LIST"];
    let order = ["order.json", "--draw", &online, "--key", &key, "--user", &user];
    verify(&program, &order).await.fails(&lost);
    keep(&world, &program, &format!("/draws/{draw}/proof"), "proof.json").await;
    keep_bundles(&world, &program, draw, 4, "list").await;
    let offline = ["order.json", "--draw", "proof.json", "--key", &key, "--tickets", "list"];
    verify(&program, &offline).await.fails(&lost);
    // Whether the next head that is logged has three orders or four.
    look(&program, &log_url(&world)).await.fails(&["FORK", "draw 1"]);
}

#[actix_web::test]
async fn a_draw_that_was_cancelled_because_of_its_numbers_shows_them() {
    let (mut world, admin, draw, program, _) = sold().await;
    admin.step(draw, "close").await.expect(200);
    world.stop().await;
    let copy = server::copy(&world.database).await;
    let other = World::at(world.clock.now(), copy, |_| {}).await;
    world.start().await;
    // The operator looks at the numbers elsewhere first.
    let (admin, elsewhere) = (world.reconnect(&admin), other.reconnect(&admin));
    let numbers = elsewhere.step(draw, "conduct").await.expect(200)["winning_numbers"].clone();
    let numbers: Vec<String> = numbers.as_array().unwrap().iter().map(Value::to_string).collect();
    let would = format!("It would have drawn {}", numbers.join(" "));
    look(&program, &log_url(&world)).await.tells(&["draw 1 is sealed"]);
    admin.cancel(draw).await.expect(200);
    world.until_draw_is(draw, "cancelled").await;

    let told = ["(the drum is broken)", "knew its numbers before it cancelled", &would, "NOT VERIFIED"];
    let key = log_key(&world).await;
    verify(&program, &[&url(&world, draw), "--key", &key]).await.fails(&told);
    keep(&world, &program, &format!("/draws/{draw}/proof"), "proof.json").await;
    verify(&program, &["proof.json", "--key", &key]).await.fails(&told);
    look(&program, &log_url(&world)).await.tells(&["draw 1 is cancelled (the drum is broken)"]);
}
