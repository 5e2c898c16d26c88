//! The second copy of the public log: a database that lacks what was published is not served.

use lottery::app::App;
use lottery::db;

use super::*;
use crate::common::postgres::service;

/// Why the service does not start on what it finds.
async fn refusal(world: &World) -> String {
    App::start(&world.config, world.clock.clone()).await.err().unwrap().to_string()
}

fn file(world: &World) -> std::path::PathBuf {
    world.config.data_dir.join("log/entries")
}

/// A stopped world with an opened and a cancelled draw: three entries.
async fn stopped() -> World {
    let (mut world, admin, draw) = World::on_sale(0).await;
    admin.cancel(draw).await.expect(200);
    world.until_draw_is(draw, "cancelled").await;
    admin.open_draw(&world, 0).await;
    world.stop().await;
    world
}

#[actix_web::test]
async fn a_database_that_lacks_published_entries_is_not_served() {
    let mut world = stopped().await;
    // As if it was restored from a backup of before the last entry.
    let sql = world.sql().await;
    sql.batch_execute(
        "BEGIN; SET LOCAL session_replication_role = replica; CREATE TABLE lost AS SELECT * FROM log_entries WHERE index = 2;
         CREATE TABLE newer AS SELECT * FROM log_edge; DELETE FROM log_entries WHERE index = 2; COMMIT",
    )
    .await
    .unwrap();
    let entries: Vec<Vec<u8>> = sql
        .query("SELECT entry FROM log_entries ORDER BY index", &[])
        .await
        .unwrap()
        .iter()
        .map(|row| row.get(0))
        .collect();
    let leaves = entries.iter().map(|entry| hash_leaf(entry)).collect();
    let edge = verifiable_draw::merkle::edge::Edge::new().append_batch(leaves).unwrap().into_edge().to_bytes();
    sql.execute("UPDATE log_edge SET edge = $1", &[&edge]).await.unwrap();
    let said = refusal(&world).await;
    assert!(
        said.contains("has 3 entries of the public log that were published, and the database has only 2"),
        "{said}"
    );
    assert!(said.contains("restored from a backup") && said.contains("Restore a newer backup"), "{said}");

    // Another history of the same length.
    sql.batch_execute("INSERT INTO log_entries SELECT 2, draw_id, '{}', mac FROM lost").await.unwrap();
    let other = verifiable_draw::merkle::edge::Edge::from_bytes(&edge).unwrap();
    let other = other.append_batch(vec![hash_leaf(b"{}")]).unwrap().into_edge().to_bytes();
    sql.execute("UPDATE log_edge SET edge = $1", &[&other]).await.unwrap();
    let said = refusal(&world).await;
    assert!(said.contains("and the database has others"), "{said}");

    // The newer backup.
    sql.batch_execute(
        "BEGIN; SET LOCAL session_replication_role = replica; UPDATE log_entries e SET entry = l.entry FROM lost l
         WHERE e.index = 2; UPDATE log_edge SET edge = (SELECT edge FROM newer); DROP TABLE lost; DROP TABLE newer; COMMIT",
    )
    .await
    .unwrap();
    world.start().await;
    assert_eq!(head(&world, "/log", &log_key(&world).await).await.size, 3);
    world.check_invariants().await;
}

#[actix_web::test]
async fn a_copy_that_is_behind_or_missing_is_completed() {
    let mut world = stopped().await;
    let whole = std::fs::read(file(&world)).unwrap();
    assert_eq!(read_entries(&whole).unwrap().len(), 3);
    let first = 2 + read_entries(&whole).unwrap()[0].len();
    // A crash between the commit and the copy; one inside the copy; another machine.
    for kept in [first, first + 7, 0] {
        std::fs::write(file(&world), &whole[..kept]).unwrap();
        world.start().await;
        assert_eq!(std::fs::read(file(&world)).unwrap(), whole);
        assert_eq!(head(&world, "/log", &log_key(&world).await).await.size, 3);
        world.stop().await;
    }
    std::fs::remove_dir_all(world.config.data_dir.join("log")).unwrap();
    world.start().await;
    assert_eq!(std::fs::read(file(&world)).unwrap(), whole);
}

/// What the operator does who has lost every copy of the master secret: docs/operations.md.
#[actix_web::test]
async fn a_draw_is_not_drawn_from_another_seed_than_the_announced_one() {
    let (mut world, admin, draw) = World::on_sale(0).await;
    let ann = world.rich_player("ann", 1_000_000).await;
    ann.buy_quick(draw, 1).await;
    admin.step(draw, "close").await.expect(200);
    world.stop().await;
    let sql = world.sql().await;
    sql.batch_execute(
        "ALTER TABLE log_identity DISABLE TRIGGER log_identity_stays; DELETE FROM log_identity;
         ALTER TABLE log_identity ENABLE TRIGGER log_identity_stays;
         ALTER TABLE log_macs DISABLE TRIGGER log_macs_stay;
         UPDATE log_macs SET first_entry = (SELECT count(*) FROM log_entries);
         ALTER TABLE log_macs ENABLE TRIGGER log_macs_stay",
    )
    .await
    .unwrap();
    world.config.fairness.master_secret = Some(crate::common::MASTER_SECRET.replace("1f", "20").into());
    world.start().await;
    let admin = world.reconnect(&admin);
    let refused = admin.step(draw, "conduct").await;
    assert!(refused.status >= 500, "{refused:?}");
    assert_eq!(world.count("SELECT count(*) FROM draw_results").await, 0);
    until("the draw can be cancelled", async || admin.cancel(draw).await.status == 200).await;
    world.until_draw_is(draw, "cancelled").await;
    // A machine without the copy takes what the lost secret has written as it is.
    world.stop().await;
    std::fs::remove_dir_all(world.config.data_dir.join("log")).unwrap();
    world.start().await;
}

/// The database is restored under the running service.
#[actix_web::test]
async fn nothing_is_signed_of_a_database_that_forgot() {
    let (world, admin, draw) = World::on_sale(0).await;
    let key = log_key(&world).await;
    let sql = world.sql().await;
    sql.batch_execute("CREATE TABLE backup AS SELECT * FROM log_edge").await.unwrap();
    let other = admin.open_draw(&world, 0).await;
    let signed = head(&world, "/log", &key).await;
    assert_eq!(signed.size, 2);
    sql.batch_execute(
        "BEGIN; SET LOCAL session_replication_role = replica; DELETE FROM log_entries WHERE index = 1;
         UPDATE log_edge SET edge = (SELECT edge FROM backup); DROP TABLE backup; COMMIT",
    )
    .await
    .unwrap();
    for step in [(draw, "close"), (other, "close")] {
        admin.step(step.0, step.1).await.expect(200);
    }
    assert_eq!(head(&world, "/log", &key).await, signed);
}

/// Somebody who can write to the database names a key of their own, and the service would vouch for it.
#[actix_web::test]
async fn a_key_that_is_not_of_this_service_is_not_signed_and_nothing_is_sold_unpublished() {
    let (mut world, admin, draw) = World::on_sale(0).await;
    let next = admin.schedule(&world).await;
    let key = log_key(&world).await;
    let signed = head(&world, "/log", &key).await;
    let sql = world.sql().await;
    sql.batch_execute("CREATE TABLE before AS SELECT * FROM log_edge").await.unwrap();
    let theirs = verifiable_draw::vkey::NoteSigner::new(key.name(), &[66; 32]).unwrap().verifier().to_string();
    append(&world, &Event::KeyAdded { at: 1, vkey: theirs }).await;
    admin.step(draw, "close").await.expect(200);
    assert_eq!(head(&world, "/log", &key).await, signed);

    // A draw is on sale once everybody can know its announcement.
    let opening = tokio::time::timeout(std::time::Duration::from_secs(2), admin.step(next, "open")).await;
    assert!(opening.is_err(), "it waits");
    assert_eq!(admin.get(&format!("/draws/{next}")).await.expect(200)["status"], "scheduled");
    world.stop().await;
    let said = refusal(&world).await;
    let expected =
        "the entry 1 of the public log in the database adds or retires a key of the log that this service has not";
    assert!(said.contains(expected) && said.contains("Nothing is signed"), "{said}");

    // A backup of before.
    sql.batch_execute(
        "BEGIN; SET LOCAL session_replication_role = replica; DELETE FROM log_entries WHERE index > 0;
         UPDATE log_edge SET edge = (SELECT edge FROM before); DROP TABLE before; COMMIT",
    )
    .await
    .unwrap();
    world.start().await;
    assert_eq!(head(&world, "/log", &key).await, signed);
}

/// A login with the rights of the service writes to the log, and makes the tree agree.
#[actix_web::test]
async fn rows_that_this_service_has_not_written_are_not_signed_by_any_service() {
    let (mut world, admin, draw) = World::on_sale(0).await;
    admin.cancel(draw).await.expect(200);
    world.until_draw_is(draw, "cancelled").await;
    let key = log_key(&world).await;
    let signed = head(&world, "/log", &key).await;
    let (owner, login) = (world.sql().await, db::connect(&service(&world.database)).await.unwrap());
    let genuine = owner.query_one("SELECT entry, mac FROM log_entries WHERE index = 0", &[]).await.unwrap();
    let (entry, mac): (Vec<u8>, Vec<u8>) = (genuine.get(0), genuine.get(1));
    let draw = draw as u64;
    let others = MasterSecret::new([7; 32]).row_key().entry_mac(2, Some(draw), &entry);

    let refused = add_row(&login, &entry, Some(draw), None).await.unwrap_err();
    assert_eq!(refused.code().unwrap().code(), "23514", "the database takes no row without a MAC: {refused:?}");
    for sql in
        ["UPDATE log_macs SET first_entry = 9", "DELETE FROM log_macs", "INSERT INTO log_macs VALUES (true, 9)"]
    {
        for client in [&login, &owner] {
            client.batch_execute(sql).await.unwrap_err();
        }
    }
    owner
        .batch_execute(
            "ALTER TABLE log_entries DROP CONSTRAINT log_entries_mac_check; CREATE TABLE before AS SELECT * FROM log_edge",
        )
        .await
        .unwrap();
    // An entry of the service itself in another place; one with the MAC of another secret; one as before there were MACs.
    for forged in [Some(mac.as_slice()), Some(others.as_slice()), None] {
        add_row(&login, &entry, Some(draw), forged).await.unwrap();
        let admin = world.reconnect(&admin);
        let other = admin.schedule(&world).await;
        admin.cancel(other).await.expect(200);
        assert_eq!(head(&world, "/log", &key).await, signed);
        assert!(world.metrics().await.contains("lottery_public_log_contradicted 1"));
        world.stop().await;
        let expected = "the entry 2 of the public log in the database does not have the MAC";
        let said = refusal(&world).await;
        assert!(said.contains(expected) && said.contains("Nothing is signed"), "{said}");
        // A standby that starts for the first time, or a machine that has lost its copy.
        let copy = std::fs::read(file(&world)).unwrap();
        std::fs::remove_dir_all(world.config.data_dir.join("log")).unwrap();
        let said = refusal(&world).await;
        assert!(said.contains(expected), "{said}");
        assert_eq!(std::fs::read(file(&world)).unwrap(), b"");
        std::fs::write(file(&world), copy).unwrap();
        owner
            .batch_execute(
                "BEGIN; SET LOCAL session_replication_role = replica; DELETE FROM log_entries WHERE index > 1;
                 UPDATE log_edge SET edge = (SELECT edge FROM before); COMMIT",
            )
            .await
            .unwrap();
        world.start().await;
        assert_eq!(head(&world, "/log", &key).await, signed);
    }
}
