//! A backup is restored that is older than the public log: `lottery log import` brings the entries back that it lacks, and
//! no draw contradicts them afterwards.

mod import;
mod lost;
mod refused;
mod runbook;
mod witnessed;

use jiff::SignedDuration;
use lottery::app::App;
use reqwest::Method;
use serde_json::{Value, json};
use verifiable_draw::event::Event;

use crate::common::process::Program;
use crate::common::receipts::DrawLog;
use crate::server;
use crate::world::*;

/// The command line on the database and the data directory of a world.
fn command_line(world: &World) -> Program {
    let data = world.config.data_dir.display().to_string();
    let program = crate::command::program_on(&world.database).with("LOTTERY__DATA_DIR", &data);
    match &world.config.fairness.policy {
        Some(policy) => program.with("LOTTERY__FAIRNESS__POLICY", policy.to_str().unwrap()),
        None => program,
    }
}

/// `lottery log import`, with further arguments. Returns what it prints.
async fn import(world: &World, arguments: &[&str]) -> Result<String, String> {
    let output = command_line(world).run(&[&["log", "import"], arguments].concat()).await;
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    match output.status.code() {
        Some(0) => Ok(text(&output.stdout)),
        code => {
            assert_eq!(code, Some(1));
            Err(text(&output.stderr))
        }
    }
}

/// Why the service does not start.
async fn refusal(world: &World) -> String {
    App::start(&world.config, world.clock.clone()).await.err().expect("it must not start").to_string()
}

/// What `lottery check` finds.
async fn findings(world: &World) -> Vec<String> {
    let sql = world.sql().await;
    let logs = ticket_logs(&sql).await;
    let report = lottery::db::read::check::check(&sql, Some(&logs), |_| {}).await.unwrap();
    report.violations.into_iter().flat_map(|violation| violation.rows).collect()
}

/// A monitor of the world's log looks once. Its state is kept.
async fn monitor(world: &World, state: &Program) -> (Option<i32>, String) {
    let url = format!("http://{}/api/v1/log", world.app().address);
    let output = state.run(&["verify", "--follow", &url, "--state", "state", "--once"]).await;
    let said = [output.stdout, output.stderr].concat();
    (output.status.code(), String::from_utf8(said).unwrap())
}

/// All entries of the log in the database.
async fn entries(world: &World) -> Vec<Vec<u8>> {
    let rows = world.sql().await.query("SELECT entry FROM log_entries ORDER BY index", &[]).await.unwrap();
    rows.iter().map(|row| row.get(0)).collect()
}

/// The entries of a draw.
async fn entries_of(world: &World, draw: i64) -> Vec<Event> {
    let all = entries(world).await;
    let all = all.iter().map(|entry| Event::parse(entry).unwrap());
    all.filter(|event| event.draw() == Some(draw.cast_unsigned())).collect()
}

/// Waits until the heads of the draws on sale are in the log once more.
async fn log_heads(world: &World) {
    let heads = "SELECT count(*) FROM log_entries WHERE draw_id IS NULL";
    let before = world.count(heads).await;
    world.advance(SignedDuration::from_mins(1));
    until("the heads are logged", async || world.count(heads).await > before).await;
}

async fn shown(world: &World, draw: i64) -> Value {
    world.anonymous().get(&format!("/draws/{draw}")).await.expect(200)
}

async fn close(admin: &User, draw: i64) {
    admin.step(draw, "close").await.expect(200);
}

/// Draws the numbers of a closed draw.
async fn conduct(world: &World, admin: &User, draw: i64) {
    admin.step(draw, "conduct").await.expect(200);
    world.until_draw_is(draw, "completed").await;
}

async fn cancel(world: &World, admin: &User, draw: i64, reason: &str) {
    admin.post(&format!("/admin/draws/{draw}/cancel"), json!({"reason": reason})).await.expect(200);
    world.until_draw_is(draw, "cancelled").await;
}
