//! A witness of another project, `aics-witness` from PyPI, cosigns the log of a real running service, and none that was rolled
//! back. `.ci/verifiable` installs the witness and runs this.

use std::process::Stdio;

use lottery::db;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};
use verifiable_draw::checkpoint::sign_head;

use super::*;
use crate::command::{database, program_on};
use crate::common::process::Program;
use crate::server;

/// The path of the program.
const VARIABLE: &str = "AICS_WITNESS";

fn aics(directory: &std::path::Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(std::env::var(VARIABLE).expect("AICS_WITNESS is the path of aics-witness"));
    command.args(arguments).env("AICS_WITNESS_CONFIG", directory.join("witness.json")).kill_on_drop(true);
    command
}

async fn run(directory: &std::path::Path, arguments: &[&str]) -> String {
    let output = aics(directory, arguments).output().await.unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// Starts it on any free port; returns its address.
async fn serve(directory: &std::path::Path) -> (Child, String) {
    let mut child = aics(directory, &["serve", "--listen", "127.0.0.1:0"]).stderr(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
    let url = loop {
        let line = lines.next_line().await.unwrap().expect("it listens");
        if let Some((_, rest)) = line.split_once("listening on ") {
            break rest.split(' ').next().unwrap().to_owned();
        }
    };
    // It must never wait for a reader of its log.
    actix_web::rt::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
    (child, url)
}

#[actix_web::test]
#[ignore = "needs aics-witness from PyPI; .ci/verifiable installs it"]
async fn aics_witness_cosigns_the_log_of_a_running_service_and_none_that_was_rolled_back() {
    let home = tempfile::tempdir().unwrap();
    let vkey = run(home.path(), &["init", "--name", "witness.example/w1"]).await;
    let (vkey, log) = (vkey.trim().to_owned(), log_key_of_tests());
    run(home.path(), &["add-log", "--origin", log.name(), "--vkey", &log.to_string()]).await;
    let (_child, url) = serve(home.path()).await;
    let policy = format!("log {log}\nwitness w {vkey} {url}\nquorum w\n");
    let file = PolicyFile::new(&policy);
    let program = program_on(&server::database().await)
        .with("LOTTERY__SERVER__PUBLIC_URL", PUBLIC_URL)
        .with("LOTTERY__FAIRNESS__POLICY", file.0.path().to_str().unwrap());

    let service = program.start().await;
    let admin = service.admin(&program, "the.admin").await;
    let draw = admin.create_draw(json!({"lottery": "5of36", "sales_close_at": "2099-01-01T00:00:00Z"})).await;
    for step in ["open", "close"] {
        admin.step(draw, step).await.expect(200);
    }
    until("the seal is cosigned", async || {
        let proof = admin.get(&format!("/draws/{draw}/proof")).await.expect(200);
        assert_eq!(proof["policy"], policy);
        let seal = proof["entries"][1]["proof"].as_str().unwrap();
        let note = SignedNote::parse(seal.split_once("\n\n").unwrap().1.as_bytes()).unwrap();
        quorum(&policy, &note).is_some_and(|times| times.len() == 1)
    })
    .await;
    admin.step(draw, "conduct").await.expect(200);
    until("the draw is over", async || admin.get(&format!("/draws/{draw}")).await.body["status"] == "completed")
        .await;
    let cosigned = until_status_has_size(home.path(), 3).await;
    service.stop().await;

    // A restored database, without the copy beside it: the witness has seen more, and the service signs nothing.
    roll_back(&program).await;
    std::fs::remove_dir_all(program.data().join("log")).unwrap();
    let output = program.run(&["serve"]).await;
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{said}");
    let expected =
        "the witness witness.example/w1 has cosigned 3 entries of the public log, and the database has only 2";
    assert!(said.contains(expected), "{said}");

    // Who has the key signs all the same. The witness does not cosign that.
    let secret = MasterSecret::new(std::array::from_fn(|i| i as u8));
    let signer = LogKeys::new(secret, LogOrigin::of_url(PUBLIC_URL).unwrap()).public_log_key(0);
    for size in [2, 3] {
        let fork = sign_head(&Head { size, root: [7; 32] }, &signer);
        let request = http_client().post(format!("{url}/add-checkpoint")).body(format!("old {size}\n\n{fork}"));
        let status = request.send().await.unwrap().status().as_u16();
        assert!([409, 422].contains(&status), "{status}");
    }
    assert_eq!(until_status_has_size(home.path(), 3).await, cosigned);
}

/// Waits until it has cosigned so many entries; returns their root.
async fn until_status_has_size(directory: &std::path::Path, size: u64) -> String {
    let status = async || -> Value { serde_json::from_str(&run(directory, &["status", "--json"]).await).unwrap() };
    until("it has cosigned the log", async || status().await["logs"][0]["size"] == size).await;
    status().await["logs"][0]["root"].as_str().unwrap().to_owned()
}

/// The last entry of the public log is gone from the database.
async fn roll_back(program: &Program) {
    let sql = db::connect(&database(program)).await.unwrap();
    let entries = sql.query("SELECT entry FROM log_entries ORDER BY index", &[]).await.unwrap();
    let mut edge = verifiable_draw::merkle::edge::Edge::new();
    for row in &entries[..entries.len() - 1] {
        edge.append(hash_leaf(row.get(0))).unwrap();
    }
    sql.batch_execute(
        "BEGIN; SET LOCAL session_replication_role = replica;
         DELETE FROM log_entries WHERE index = (SELECT max(index) FROM log_entries); COMMIT",
    )
    .await
    .unwrap();
    sql.execute("UPDATE log_edge SET edge = $1", &[&edge.to_bytes()]).await.unwrap();
}
