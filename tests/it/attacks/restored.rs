//! The past is to be another one: a backup is restored, or the list is written anew before its seal.

use lottery::app::App;

use super::*;
use crate::command::{database, program_with_database};
use crate::common::receipts::DrawLog;
use crate::server;

#[actix_web::test]
async fn a_restored_backup_is_not_served_and_without_the_copy_its_fork_is_seen() {
    let (mut world, admin, draw) = World::on_sale(0).await;
    let ann = world.rich_player("ann", 10_000_000).await;
    ann.buy_quick(draw, 1).await;
    admin.step(draw, "close").await.expect(200);
    world.stop().await;
    let backup = server::copy(&world.database).await;
    world.start().await;
    let admin = world.reconnect(&admin);
    admin.step(draw, "conduct").await.expect(200);
    world.until_draw_is(draw, "completed").await;
    let key = crate::logs::log_key(&world).await;
    let known = crate::logs::head(&world, "/log", &key).await;
    world.stop().await;

    server::restore(&world.database, &backup).await;
    let refused = App::start(&world.config, world.clock.clone()).await.err().unwrap().to_string();
    assert!(refused.contains("has 3 entries") && refused.contains("restored from a backup"), "{refused}");
    // A shell removes the copy, too. The numbers are the same again, and what is different is seen.
    std::fs::remove_dir_all(world.config.data_dir.join("log")).unwrap();
    world.start().await;
    let admin = world.reconnect(&admin);
    world.advance(jiff::SignedDuration::from_mins(1));
    admin.cancel(draw).await.expect(200);
    world.until_draw_is(draw, "cancelled").await;
    let forked = crate::logs::head(&world, "/log", &key).await;
    assert_eq!(forked.size, known.size);
    assert!(verifiable_draw::merkle::verify::verify_consistency(&known, &forked, &[]).is_err());
}

#[actix_web::test]
async fn a_service_whose_database_is_replaced_by_a_backup_stops_and_is_not_started_again() {
    let program = program_with_database().await;
    let service = program.start().await;
    let admin = service.admin(&program, "the.admin").await;
    let new = serde_json::json!({"lottery": "5of36", "sales_close_at": "2099-01-01T00:00:00Z"});
    let draw = admin.create_draw(new.clone()).await;
    admin.step(draw, "open").await.expect(200);
    service.stop().await;
    let backup = server::copy(&database(&program)).await;
    let service = program.start().await;
    let admin = admin.moved_to(&service.address);
    let other = admin.create_draw(new).await;
    admin.step(other, "open").await.expect(200);

    server::restore(&database(&program), &backup).await;
    // The database has never heard of this node.
    let (status, _) = service.ended().await;
    assert_eq!(status.code(), Some(75));
    let refused = program.run(&["serve"]).await;
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(!refused.status.success() && said.contains("restored from a backup"), "{said}");
}

/// With the master secret the list can be written anew before its seal, and everything that the operator has agrees. The
/// receipts of the players do not.
#[actix_web::test]
async fn a_list_that_is_written_anew_before_its_seal_contradicts_the_receipts() {
    let (mut world, admin, draw) = World::on_sale(0).await;
    let ann = world.rich_player("ann", 10_000_000).await;
    let mut receipts = Vec::new();
    for numbers in [[1, 2, 3, 4, 5], [6, 7, 8, 9, 10], [11, 12, 13, 14, 15]] {
        receipts.push(ann.buy(draw, &numbers).await["receipt"].clone());
    }
    world.stop().await;
    tamper(&world, "UPDATE tickets SET pick = pick << 1 WHERE number = 2").await;
    let sql = world.sql().await;
    let anew = DrawLog::read(&sql, draw).await;
    sql.execute("UPDATE draw_sales SET edge = $1", &[&anew.edge()]).await.unwrap();
    world.start().await;
    world.check_invariants().await;
    world.reconnect(&admin).conduct(draw).await;
    world.until_draw_is(draw, "completed").await;

    let sealed = DrawLog::read(&sql, draw).await;
    assert!(sealed.check(&receipts[0]).is_ok(), "it is of the beginning of the list, which is the same");
    for receipt in &receipts[1..] {
        let wrong = sealed.check(receipt).unwrap_err();
        assert!(wrong.starts_with("the checkpoint is of another list"), "{wrong}");
    }
}
