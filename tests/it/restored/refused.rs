//! Copies that are not of this log, or are of no use.

use std::fs;
use std::path::PathBuf;

use verifiable_draw::bundle::write_entry;

use super::*;

fn file(world: &World) -> PathBuf {
    world.config.data_dir.join("log/entries")
}

/// A copy of these entries in a directory of its own.
fn copy_of(entries: &[Vec<u8>]) -> tempfile::TempDir {
    let directory = tempfile::tempdir().unwrap();
    let mut bytes = Vec::new();
    entries.iter().for_each(|entry| write_entry(&mut bytes, entry).unwrap());
    fs::write(directory.path().join("entries"), bytes).unwrap();
    directory
}

async fn import_from(world: &World, entries: &[Vec<u8>]) -> Result<String, String> {
    let directory = copy_of(entries);
    import(world, &[directory.path().to_str().unwrap()]).await
}

/// A stopped world whose log has five entries, and its database as it was after the first.
async fn behind() -> (World, tokio_postgres::Config, Vec<Vec<u8>>) {
    let (mut world, admin, draw) = World::on_sale(0).await;
    world.stop().await;
    let backup = server::copy(&world.database).await;
    world.start().await;
    let admin = world.reconnect(&admin);
    close(&admin, draw).await;
    conduct(&world, &admin, draw).await;
    let other = admin.open_draw(&world, 0).await;
    cancel(&world, &admin, other, "rain").await;
    world.stop().await;
    let published = entries(&world).await;
    assert_eq!(published.len(), 5);
    server::restore(&world.database, &backup).await;
    (world, backup, published)
}

#[actix_web::test]
async fn only_a_copy_that_continues_the_database_is_imported() {
    let (mut world, backup, published) = behind().await;
    let before = entries(&world).await;
    let missing = tempfile::tempdir().unwrap();
    let said = import(&world, &[missing.path().to_str().unwrap()]).await.unwrap_err();
    assert!(said.contains("there is no copy of the public log in"), "{said}");

    // The copy in data_dir has more.
    let said = import_from(&world, &published[..3]).await.unwrap_err();
    assert!(said.contains("import that one, without naming a directory"), "{said}");
    let other = fs::read(file(&world)).unwrap();
    fs::remove_file(file(&world)).unwrap();
    for (copy, says) in [
        (vec![], "has only 0 entries of the public log, and the database has 1"),
        (vec![b"{}".to_vec(), published[1].clone()], "different entries among the first 1"),
        (vec![published[0].clone(), b"{}".to_vec()], "entry 1 of the copy: "),
        (vec![published[0].clone(), published[2].clone(), published[2].clone()], "contradict each other"),
        (vec![published[0].clone(), published[2].clone(), published[1].clone()], "contradict each other"),
        (vec![published[0].clone(), published[4].clone()], "it was not announced"),
        (vec![published[0].clone(), published[0].clone()], "has a later state of it"),
    ] {
        let refused = import_from(&world, &copy).await;
        assert!(refused.as_ref().is_err_and(|said| said.contains(says)), "{says}: {refused:?}");
        assert_eq!(entries(&world).await, before, "{says}");
    }
    let said = import_from(&world, &published[..1]).await.unwrap();
    assert!(said.starts_with("nothing is missing: the database has all 1 entries"), "{said}");
    // The log of another service: its announcements name other keys.
    let foreign = {
        let (world, ..) = World::on_sale(0).await;
        entries(&world).await.remove(0)
    };
    let foreign = String::from_utf8(foreign).unwrap().replace("\"draw\":1,", "\"draw\":2,").into_bytes();
    let said = import_from(&world, &[before[0].clone(), foreign]).await.unwrap_err();
    assert!(said.contains("draw 2: its announcement is not one of this service"), "{said}");

    // Another history in data_dir.
    let forked = copy_of(&[published[0].clone(), published[3].clone()]);
    fs::copy(forked.path().join("entries"), file(&world)).unwrap();
    let said = import_from(&world, &published).await.unwrap_err();
    assert!(said.contains("this copy and the one in data_dir/log have different entries"), "{said}");

    // From another directory, as when data_dir was lost with the database.
    fs::remove_file(file(&world)).unwrap();
    import_from(&world, &published).await.unwrap();
    assert_eq!(entries(&world).await, published);
    world.start().await;
    assert_eq!(fs::read(file(&world)).unwrap(), other, "it is made anew from the database");
    world.stop().await;

    // Served before the import: the log is forked, and stays so.
    server::restore(&world.database, &backup).await;
    fs::remove_file(file(&world)).unwrap();
    world.start().await;
    let admin = world.anonymous().log_in("the.admin", crate::common::PASSWORD).await;
    cancel(&world, &admin, 1, "snow").await;
    world.stop().await;
    let said = import_from(&world, &published).await.unwrap_err();
    assert!(said.contains("different entries"), "{said}");
    fs::write(file(&world), other).unwrap();
    let said = refusal(&world).await;
    assert!(said.contains("has only 2"), "{said}");
    let said = import(&world, &[]).await.unwrap_err();
    assert!(said.contains("different entries among the first 2"), "{said}");
}

/// The list of a draw was sold on after the backup, sealed and drawn: nobody can settle it.
#[actix_web::test]
async fn a_result_whose_list_is_lost_is_undone_before_everybody() {
    let (mut world, admin, draw) = World::on_sale(0).await;
    let ann = world.rich_player("ann", 1_000_000).await;
    ann.buy_quick(draw, 1).await;
    world.stop().await;
    let backup = server::copy(&world.database).await;
    world.start().await;
    let [admin, ann] = [&admin, &ann].map(|user| world.reconnect(user));
    ann.buy_quick(draw, 1).await;
    close(&admin, draw).await;
    conduct(&world, &admin, draw).await;
    world.stop().await;
    server::restore(&world.database, &backup).await;
    import(&world, &[]).await.unwrap();
    world.start().await;
    let [admin, ann] = [&admin, &ann].map(|user| world.reconnect(user));
    // The next draw does not wait for it, and has no jackpot of it.
    let next = admin.open_draw(&world, 0).await;
    close(&admin, next).await;
    conduct(&world, &admin, next).await;
    cancel(&world, &admin, draw, "whatever").await;
    assert_eq!(ann.balance().await, 1_000_000);
    let all = entries_of(&world, draw).await;
    let [.., Event::DrawCompleted { .. }, Event::DrawVoided { reason, seed, .. }] = &all[..] else {
        panic!("{all:?}")
    };
    assert!(reason == "log_rolled_back" && seed.is_some());
    world.check_invariants().await;
    // Only an import explains that.
    let sql = world.sql().await;
    sql.batch_execute(
        "BEGIN; SET LOCAL session_replication_role = replica; DELETE FROM rolled_back_draws; COMMIT",
    )
    .await
    .unwrap();
    let found = findings(&world).await.join("\n");
    assert!(found.contains("it was cancelled after it was completed"), "{found}");
}

/// Its winners are others: somebody has changed the tickets of the backup.
#[actix_web::test]
async fn a_draw_that_would_have_another_result_stops() {
    let (mut world, admin, first) = World::on_sale(0).await;
    let ann = world.rich_player("ann", 1_000_000).await;
    ann.buy_quick(first, 2).await;
    let second = admin.open_draw(&world, 0).await;
    close(&admin, first).await;
    close(&admin, second).await;
    conduct(&world, &admin, first).await;
    world.stop().await;
    let backup = server::copy(&world.database).await;
    world.start().await;
    let admin = world.reconnect(&admin);
    conduct(&world, &admin, second).await;
    world.stop().await;
    server::restore(&world.database, &backup).await;
    // What the first draw left for the second is another amount.
    let sql = world.sql().await;
    sql.batch_execute(
        "UPDATE accounts SET balance = balance + 7
         WHERE kind = 'jackpot' AND lottery = (SELECT seq FROM lotteries WHERE id = '5of36');
         UPDATE accounts SET balance = balance - 7 WHERE kind = 'revenue'",
    )
    .await
    .unwrap();
    let said = import(&world, &[]).await.unwrap();
    assert!(said.contains(&format!("draw {second}: is drawn again")), "{said}");
    world.start().await;
    let admin = world.reconnect(&admin);
    until("it stops", async || admin.step(second, "conduct").await.is(409, "list_mismatch")).await;
    assert!(world.metrics().await.contains("lottery_draws_stopped 1"), "{}", world.metrics().await);
    assert_eq!(shown(&world, second).await["status"], "settling");
    cancel(&world, &admin, second, "whatever").await;
    assert_eq!(shown(&world, second).await["cancel_reason"], "log_rolled_back");
}
