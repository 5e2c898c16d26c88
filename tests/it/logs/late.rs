//! The database has committed an announcement, and the announcement cannot be published for a while: the draw waits with its
//! sale, other draws go on, and nothing is lost.

use std::path::PathBuf;

use nix::unistd::Pid;
use tokio::process::Command;

use super::*;
use crate::command::{database, program_with_database};
use crate::common::postgres::SESSIONS_WAITING_FOR_LOCKS;
use crate::common::process::{Program, Service};
use crate::verify::verify;

/// Starts a program that gets an error when it writes more than this to a file, as on a full disk. Otherwise the signal would
/// end it.
fn launcher(bytes: Option<u64>) -> Vec<String> {
    let limit = bytes.map_or("unlimited".to_owned(), |bytes| bytes.to_string());
    let words = ["prlimit", &format!("--fsize={limit}:"), "env", "--ignore-signal=XFSZ"];
    words.map(str::to_owned).to_vec()
}

/// Limits the size of the files that a process writes. `None`: no limit.
async fn limit_files(process: Pid, bytes: Option<u64>) {
    let limit = bytes.map_or("unlimited".to_owned(), |bytes| bytes.to_string());
    let arguments = [format!("--pid={process}"), format!("--fsize={limit}:")];
    assert!(Command::new("prlimit").args(arguments).status().await.unwrap().success());
}

fn copy(program: &Program) -> PathBuf {
    program.data().join("log/entries")
}

fn copied(program: &Program) -> u64 {
    std::fs::metadata(copy(program)).unwrap().len()
}

/// Waits until the announcement of a draw is committed.
async fn until_committed(sql: &tokio_postgres::Client, draw: i64) {
    let announced = "SELECT count(*) FROM log_entries WHERE draw_id = $1";
    until("the announcement is committed", async || {
        sql.query_one(announced, &[&draw]).await.unwrap().get::<_, i64>(0) == 1
    })
    .await;
}

/// Everybody can know the announcement of a draw: the signed log has it.
async fn is_announced(program: &Program, service: &Service, draw: i64) {
    let entries = format!("has 1 entries about draw {draw}, each proved to be under a head");
    verify(program, &[&format!("http://{}/api/v1/draws/{draw}", service.address)]).await.holds(&[&entries]);
}

#[actix_web::test]
async fn a_sale_waits_for_an_announcement_that_is_published_late() {
    let program = program_with_database().await.launched_by(launcher(None));
    let mut service = program.start().await;
    let admin = service.admin(&program, "the.admin").await;
    let ann = service.player("ann").await;
    ann.deposit(1_000_000).await;
    let mut draws = Vec::new();
    for _ in 0..3 {
        let new = json!({"lottery": "5of36", "sales_close_at": "2099-01-01T00:00:00Z"});
        draws.push(admin.create_draw(new).await);
    }
    let [on_sale, late, killed] = draws[..] else { panic!() };
    admin.step(on_sale, "open").await.expect(200);
    let sql = lottery::db::connect(&database(&program)).await.unwrap();
    let is_waiting = async |draw: i64| {
        assert_eq!(ann.get(&format!("/draws/{draw}")).await.expect(200)["status"], "scheduled");
        ann.order(draw, json!([quick_pick()]), "wallet").await.refused(409, "draw_not_open");
    };

    // The disk takes a part of the entry, and then no more.
    limit_files(service.pid(), Some(copied(&program) + 9)).await;
    let opening = actix_web::rt::spawn({
        let admin = admin.clone();
        async move { admin.step(late, "open").await }
    });
    until_committed(&sql, late).await;
    service.logged("entries of the public log are not published yet").await;
    is_waiting(late).await;
    ann.buy_quick(on_sale, 1).await;
    // The disk works, and the database does not answer.
    sql.batch_execute("BEGIN; LOCK TABLE log_edge").await.unwrap();
    limit_files(service.pid(), None).await;
    service.logged("no answer within 5s").await;
    is_waiting(late).await;
    sql.batch_execute("COMMIT").await.unwrap();
    until("the draw is open", async || ann.get(&format!("/draws/{late}")).await.expect(200)["status"] == "open")
        .await;
    let opened = opening.await.unwrap();
    assert!(opened.status == 200 || opened.is(503, "outcome_unknown"), "{}", opened.text);
    ann.buy_quick(late, 1).await;
    is_announced(&program, &service, late).await;

    // The service is killed while a draw waits. The next start publishes what was committed, before anything is sold.
    let full = copied(&program) + 9;
    limit_files(service.pid(), Some(full)).await;
    let opening = actix_web::rt::spawn(async move { admin.step(killed, "open").await });
    until_committed(&sql, killed).await;
    is_waiting(killed).await;
    service.kill_9().await;
    opening.abort();
    let program = program.launched_by(launcher(Some(full)));
    let refused = program.run(&["serve"]).await;
    let said = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(said.contains("the copy of the public log in data_dir/log cannot be written"), "{said}");
    let program = program.launched_by(launcher(None));
    let service = program.start().await;
    let ann = ann.moved_to(&service.address);
    ann.buy_quick(killed, 1).await;
    is_announced(&program, &service, killed).await;
    service.stop().await;
    let stored = sql.query("SELECT entry FROM log_entries ORDER BY index", &[]).await.unwrap();
    let stored: Vec<&[u8]> = stored.iter().map(|row| row.get(0)).collect();
    assert_eq!(read_entries(&std::fs::read(copy(&program)).unwrap()).unwrap(), stored, "nothing is torn or lost");
    let checked = program.run(&["check"]).await;
    assert!(checked.status.success(), "{checked:?}");
}

/// The step that has logged an entry gives up to wait for its publication. It need not wait for the next heads.
#[actix_web::test]
async fn an_entry_that_is_published_late_is_published_as_soon_as_possible() {
    let world = World::new().await;
    let admin = world.admin().await;
    let draw = admin.open_draw(&world, 0).await;
    let log = &world.app().state.public_log;
    assert_eq!(log.published().head.size, 1);
    let (before, after) = (world.sql().await, world.sql().await);
    before.batch_execute("BEGIN; SELECT FROM log_edge FOR UPDATE").await.unwrap();
    let closing = actix_web::rt::spawn(async move { admin.step(draw, "close").await });
    world.until_writer_waits().await;
    // This lock is granted when the step is committed, before the log is read to publish it.
    let locking = actix_web::rt::spawn(async move {
        after.batch_execute("BEGIN; LOCK TABLE log_edge").await.unwrap();
        after
    });
    until("the lock waits for the step", async || world.count(SESSIONS_WAITING_FOR_LOCKS).await == 2).await;
    before.batch_execute("COMMIT").await.unwrap();
    let after = locking.await.unwrap();
    closing.await.unwrap().expect(200);
    assert_eq!(log.published().head.size, 1);
    after.batch_execute("COMMIT").await.unwrap();
    until("the seal is published", async || log.published().head.size == 2).await;
}
