//! docs/operations.md: the commands of the runbook are run as they are written there, on an external Postgres.

use std::process::Output;

use crate::command::{database, program_with_database};
use crate::common::postgres;
use crate::common::process::Service;
use crate::logs::witnesses::stand_in::{Conduct, TestWitness};
use crate::logs::witnesses::{PUBLIC_URL, PolicyFile, policy_of};

use super::*;

const RUNBOOK: &str = include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/operations.md"));

/// The block of code whose text begins like this.
fn block(begin: &str) -> &'static str {
    let blocks = RUNBOOK.split("```").skip(1).step_by(2).filter_map(|block| block.split_once('\n'));
    let found = blocks.map(|(_, text)| text).find(|text| text.starts_with(begin));
    found.unwrap_or_else(|| panic!("the runbook has no block that begins with {begin}"))
}

/// Runs a script in the shell that the runbook describes.
async fn shell(program: Program, script: &str) -> (Program, Output) {
    let owner = program.variable("LOTTERY__DATABASE__OWNER_URL").unwrap().to_owned();
    // The path of the program is the argument.
    let script =
        format!("set -eu; BIN=$1; lottery() {{ \"$BIN\" \"$@\"; }}; OWNER_URL='{owner}'; umask 077\n{script}");
    let program = program.launched_by(["bash", "-c", &script, "bash"].map(str::to_owned).to_vec());
    let output = program.run(&[]).await;
    (program.launched_by(Vec::new()), output)
}

async fn done(program: Program, script: &str) -> (Program, String) {
    let (program, output) = shell(program, script).await;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let (out, error) = (text(&output.stdout), text(&output.stderr));
    assert!(output.status.success(), "{script}\n{out}\n{error}");
    (program, out)
}

async fn opened(admin: &User) -> i64 {
    let new = json!({"lottery": "5of36", "sales_close_at": "2099-01-01T00:00:00Z"});
    let draw = admin.create_draw(new).await;
    admin.step(draw, "open").await.expect(200);
    draw
}

async fn ended(service: &Service, draw: i64, status: &str) {
    let (user, path) = (service.anonymous(), format!("/draws/{draw}"));
    until("the draw is over", async || user.get(&path).await.body["status"] == status).await;
}

#[actix_web::test]
async fn a_dump_is_restored_into_an_external_postgres_and_the_log_goes_on() {
    let witness = TestWitness::start(1, Conduct::Honest).await;
    let policy = PolicyFile::new(&policy_of(1, &[&witness]));
    let program = program_with_database()
        .await
        .with("LOTTERY__SERVER__PUBLIC_URL", PUBLIC_URL)
        .with("LOTTERY__FAIRNESS__POLICY", policy.path().to_str().unwrap());
    let name = database(&program).get_dbname().unwrap().to_owned();
    let service = program.start().await;
    let admin = service.admin(&program, "the.admin").await;
    let ann = service.player("ann").await;
    ann.deposit(1_000_000).await;
    let drawn = opened(&admin).await;
    ann.buy_quick(drawn, 2).await;
    admin.step(drawn, "close").await.expect(200);
    let (program, _) = done(program, block("pg_dump --format=custom --file=lottery.dump \"$OWNER_URL\"")).await;
    admin.step(drawn, "conduct").await.expect(200);
    ended(&service, drawn, "completed").await;
    let results = ann.get(&format!("/draws/{drawn}/results")).await.expect(200);
    let lost = opened(&admin).await;
    ann.buy_quick(lost, 1).await;
    let size = async |service: &Service| {
        let checkpoint = format!("http://{}/api/v1/log/checkpoint", service.address);
        let text = http_client().get(checkpoint).send().await.unwrap().text().await.unwrap();
        text.lines().nth(1).unwrap().parse::<u64>().unwrap()
    };
    until("the witness has cosigned all", async || witness.sizes().last() == Some(&size(&service).await)).await;
    service.stop().await;

    // As an administrator, on a database of another name. Sessions may end a moment after their service.
    let sql = lottery::db::connect(&postgres::database(&database(&program), "lottery")).await.unwrap();
    let sessions = "SELECT count(*) FROM pg_stat_activity WHERE datname = $1";
    until("nobody uses it", async || sql.query_one(sessions, &[&name]).await.unwrap().get::<_, i64>(0) == 0).await;
    let fresh = block("ALTER DATABASE lottery RENAME TO lottery_old;")
        .replace("DATABASE lottery ", &format!("DATABASE {name} "))
        .replace("lottery_old", &format!("{name}_old"))
        .replace("\\c lottery", &format!("\\c {name}"));
    let server = postgres::url(&postgres::database(&database(&program), "lottery"));
    let psql = format!("psql -v ON_ERROR_STOP=1 --dbname='{server}' <<'SQL'\n{fresh}\nSQL");
    let (program, _) = done(program, &psql).await;
    std::fs::write(program.directory().join("after_restore.sql"), block("-- after_restore.sql")).unwrap();
    let restore = block("pg_restore --dbname=\"$OWNER_URL\"");
    assert!(restore.contains("lottery log import"), "{restore}");
    let (program, said) = done(program, restore).await;
    assert!(said.contains(&format!("draw {drawn}: is drawn again")), "{said}");
    assert!(said.contains(&format!("draw {lost}: STOPPED")), "{said}");

    let service = program.start().await;
    ended(&service, drawn, "completed").await;
    let [admin, ann] = [service.log_in("the.admin").await, service.log_in("ann").await];
    let mut again = ann.get(&format!("/draws/{drawn}/results")).await.expect(200);
    again["drawn_at"] = results["drawn_at"].clone();
    assert_eq!(again, results);
    admin.cancel(lost).await.expect(200);
    ended(&service, lost, "cancelled").await;
    // It has cosigned the log before the restore, and cosigns what continues it.
    until("the witness cosigns on", async || witness.sizes().last() == Some(&size(&service).await)).await;
    service.stop().await;
    let checked = program.run(&["check"]).await;
    assert!(checked.status.success(), "{checked:?}");
}
