//! Exports over HTTP: the same rows as the lists show, from one snapshot, in every format.

use std::io::Read;

use futures_util::future::join_all;
use lottery::db::read::export::{Export, ExportTable};
use lottery::domain::id::DrawId;
use reqwest::{Method, Response};
use serde_json::{Value, json};

use crate::world::*;

async fn export(person: &User, path: &str) -> Response {
    let response = person.request(Method::GET, &format!("/admin/export/{path}")).send().await.unwrap();
    assert_eq!(response.status(), 200, "{path}");
    response
}

/// The rows of an export, in its order.
async fn rows(admin: &User, table: &str, draw: Option<i64>) -> Vec<Value> {
    let of = draw.map(|draw| format!("&draw_id={draw}")).unwrap_or_default();
    let text = export(admin, &format!("{table}?format=ndjson{of}")).await.text().await.unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// A row without these columns.
fn without(mut row: Value, columns: &[&str]) -> Value {
    columns.iter().for_each(|column| drop(row.as_object_mut().unwrap().remove(*column).unwrap()));
    row
}

fn sum(rows: &[Value], column: &str) -> i64 {
    rows.iter().map(|row| row[column].as_i64().unwrap()).sum()
}

#[actix_web::test]
async fn an_export_has_the_same_rows_as_the_lists() {
    let world = World::new().await;
    let admin = world.admin().await;
    let (ann, bob) = (world.rich_player("ann", 5_000_000).await, world.rich_player("bob", 100_000).await);
    let (draw, other) = (admin.open_draw(&world, 5).await, admin.open_draw(&world, 3).await);
    for _ in 0..3 {
        ann.buy_quick(draw, 100).await;
    }
    bob.reserve(other).await;
    let result = admin.conduct(draw).await;

    // Oldest first, where the lists are newest first.
    let mut tickets = admin.all(&format!("/admin/draws/{draw}/tickets")).await;
    tickets.reverse();
    assert_eq!(rows(&admin, "tickets", Some(draw)).await, tickets);
    assert_eq!(rows(&admin, "tickets", None).await.len(), 301);
    let mut payments = admin.all("/admin/payments").await;
    payments.reverse();
    let exported = rows(&admin, "payments", None).await;
    let exported: Vec<Value> = exported.into_iter().map(|row| without(row, &["draw_id"])).collect();
    assert_eq!(exported, payments);
    assert_eq!(rows(&admin, "payments", Some(other)).await.len(), 1);
    let mut draws = admin.all("/draws").await;
    draws.reverse();
    assert_eq!(rows(&admin, "draws", None).await, draws);
    assert_eq!(rows(&admin, "draws", Some(other)).await, draws[1..]);

    let users = rows(&admin, "users", None).await;
    assert_eq!(without(users[1].clone(), &["balance"]), ann.get("/me").await.expect(200));
    assert_eq!(users[1]["balance"], ann.balance().await);
    assert_eq!(users.len(), 3);
    assert_eq!(rows(&admin, "users", Some(other)).await, users[2..]);
    assert!(!format!("{users:?}").contains("argon2"), "no hash of a password");

    let mut transfers = ann.all("/wallet/transfers").await;
    transfers.reverse();
    let all = rows(&admin, "transfers", None).await;
    let hers: Vec<Value> = all.iter().filter(|row| row["user_id"] == ann.id.0).cloned().collect();
    let hers: Vec<Value> = hers.into_iter().map(|row| without(row, &["user_id", "debit", "credit"])).collect();
    assert_eq!(hers, transfers);
    let purchase = all.iter().find(|row| row["kind"] == "purchase").unwrap();
    let between = (purchase["debit"].as_str().unwrap(), purchase["credit"].as_str().unwrap());
    assert_eq!(between, (format!("wallet {}", ann.id).as_str(), format!("escrow {draw}").as_str()));

    let winners = rows(&admin, "winners", None).await;
    let tiers = result["tiers"].as_array().unwrap();
    assert_eq!(winners.len() as i64, sum(tiers, "winners"));
    assert_eq!(sum(&winners, "prize"), sum(tiers, "total"));
    assert!(!winners.is_empty() && winners.iter().all(|row| row["username"] == "ann"));
    assert_eq!(rows(&admin, "winners", Some(other)).await, [] as [Value; 0]);
}

#[actix_web::test]
async fn draws_with_huge_sums_are_exported() {
    let (world, admin, draw) = World::on_sale(0).await;
    let other = admin.open_draw(&world, 0).await;
    // Sales of 10^16 fit in a bigint; multiplied by the basis points of the fund they do not.
    let sold = format!("UPDATE draw_sales SET sold = 1000000000001 WHERE draw_id = {draw}");
    world.sql().await.batch_execute(&sold).await.unwrap();
    let draws = rows(&admin, "draws", None).await;
    assert_eq!((&draws[0]["id"], &draws[0]["prize_fund"]), (&json!(draw), &json!(5_000_000_000_005_000_i64)));
    assert_eq!((&draws[1]["id"], &draws[1]["prize_fund"]), (&json!(other), &json!(0)));
}

#[actix_web::test]
async fn a_spreadsheet_reads_an_export_and_evaluates_no_formula() {
    let world = World::new().await;
    let admin = world.admin().await;
    let body = json!({"username": "eve", "email": "+eve@example.com", "password": "correct horse battery",
        "name": "=HYPERLINK(\"http://example.com\",\"Ива́н, näive\")"});
    world.anonymous().post("/auth/register", body).await.expect(201);

    let response = export(&admin, "users").await;
    assert_eq!(response.headers()["content-type"], "text/csv; charset=utf-8");
    let disposition = "attachment; filename=\"users-20300501T120000Z.csv\"";
    assert_eq!(response.headers()["content-disposition"], disposition);
    let text = response.text().await.unwrap();
    let lines: Vec<&str> = text.split("\r\n").collect();
    assert_eq!(lines[0], "id,username,email,name,role,status,created_at,balance");
    let name = "\"'=HYPERLINK(\"\"http://example.com\"\",\"\"Ива́н, näive\"\")\"";
    assert_eq!(lines[2], format!("2,eve,'+eve@example.com,{name},player,active,2030-05-01T12:00:00Z,0"));

    let response = export(&admin, "users?format=xlsx").await;
    let length: usize = response.headers()["content-length"].to_str().unwrap().parse().unwrap();
    let bytes = response.bytes().await.unwrap();
    assert_eq!(bytes.len(), length);
    let mut workbook = zip::ZipArchive::new(std::io::Cursor::new(bytes)).unwrap();
    let mut sheet = String::new();
    workbook.by_name("xl/worksheets/sheet1.xml").unwrap().read_to_string(&mut sheet).unwrap();
    assert_eq!(sheet.matches("<row ").count(), 3);
    assert!(sheet.contains("<v>2</v>") && !sheet.contains("<f>"), "{sheet}");
}

#[actix_web::test]
async fn tickets_sold_during_an_export_are_not_in_it() {
    let world = World::new().await;
    let admin = world.admin().await;
    let ann = world.rich_player("ann", 1_000_000).await;
    let draw = admin.open_draw(&world, 0).await;
    ann.buy_quick(draw, 2).await;
    let currency = world.app().state.currency;
    let begin = async |table| {
        Export::begin(world.sql().await, table, Some(DrawId(draw)), currency).await.unwrap().unwrap()
    };
    let (mut tickets, mut payments) = (begin(ExportTable::Tickets).await, begin(ExportTable::Payments).await);
    ann.buy_quick(draw, 3).await;
    for (export, count) in [(&mut tickets, 2), (&mut payments, 1), (&mut begin(ExportTable::Tickets).await, 5)] {
        let mut found = 0;
        while export.next().await.unwrap().is_some() {
            found += 1;
        }
        assert_eq!(found, count);
    }
}

#[actix_web::test]
async fn invalid_exports_and_too_many_concurrent_ones_are_refused() {
    let world = World::new().await;
    let admin = world.admin().await;
    let ann = world.player("ann").await;
    world.anonymous().get("/admin/export/tickets").await.refused(401, "unauthorized");
    ann.get("/admin/export/nothing").await.refused(403, "forbidden");
    admin.get("/admin/export/sessions").await.refused(404, "not_found");
    admin.get("/admin/export/tickets?format=pdf").await.refused(422, "validation_failed");
    admin.get("/admin/export/tickets?draw_id=x").await.refused(422, "validation_failed");
    admin.get("/admin/export/tickets?draw=1").await.refused(422, "validation_failed");
    admin.get("/admin/export/tickets?draw_id=99").await.refused(404, "not_found");

    // Four exports that wait for the locked table use every place.
    let sql = world.sql().await;
    sql.batch_execute("BEGIN; LOCK TABLE tickets IN ACCESS EXCLUSIVE MODE").await.unwrap();
    let waiting: Vec<_> = (0..4)
        .map(|_| {
            let admin = admin.clone();
            actix_web::rt::spawn(async move { export(&admin, "tickets").await.text().await.unwrap() })
        })
        .collect();
    let waits = "SELECT count(*) FROM pg_stat_activity
        WHERE datname = current_database() AND wait_event_type = 'Lock'";
    until("all of them wait", || async { world.count(waits).await == 4 }).await;
    let refused = admin.get("/admin/export/tickets").await;
    assert_eq!(refused.headers["retry-after"], "1");
    refused.refused(503, "overloaded");
    sql.batch_execute("ROLLBACK").await.unwrap();
    for text in join_all(waiting).await {
        assert!(text.unwrap().starts_with("id,user_id,"));
    }
    // A place is free again a moment after its answer was read.
    until("there is a place again", || async {
        let request = admin.request(Method::GET, "/admin/export/tickets");
        request.send().await.unwrap().status() == 200
    })
    .await;
}
