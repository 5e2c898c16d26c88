//! `lottery export` beside the running service.

use std::fs;

use super::*;

#[actix_web::test]
async fn export_writes_a_whole_file_or_none() {
    let world = World::new().await;
    let admin = world.admin().await;
    let ann = world.rich_player("ann", 1_000_000).await;
    let (draw, other) = (admin.open_draw(&world, 0).await, admin.open_draw(&world, 0).await);
    ann.buy_quick(draw, 5).await;
    ann.buy_quick(other, 2).await;
    let program = program_on(&world.database);

    let (code, out, error) =
        printed(&program.run(&["export", "tickets", "--draw", "1", "--format", "ndjson"]).await);
    assert_eq!((code, out.lines().count()), (Some(0), 5), "{error}");
    let written = program.run(&["export", "tickets", "--output", "tickets.csv"]).await;
    assert_eq!(printed(&written), (Some(0), String::new(), String::new()));
    let file = fs::read_to_string(program.directory().join("tickets.csv")).unwrap();
    assert_eq!(file.lines().count(), 1 + 7);
    program.run(&["export", "payments", "--format", "xlsx", "--output", "payments.xlsx"]).await;
    assert!(fs::read(program.directory().join("payments.xlsx")).unwrap().starts_with(b"PK"));

    let log = admin.all("/admin/audit-log?action=export").await;
    let told =
        log.iter().rev().map(|row| (row["actor_id"].clone(), row["subject"].as_str().unwrap(), &row["detail"]));
    let (whole, of_draw) = (json!({"format": "csv", "draw_id": null}), json!({"format": "ndjson", "draw_id": 1}));
    let payments = json!({"format": "xlsx", "draw_id": null});
    assert_eq!(
        told.collect::<Vec<_>>(),
        [
            (Value::Null, "table:tickets", &of_draw),
            (Value::Null, "table:tickets", &whole),
            (Value::Null, "table:payments", &payments)
        ]
    );
    let sql = world.sql().await;
    sql.batch_execute("ALTER TABLE audit_log ADD CONSTRAINT full_up CHECK (action = '') NOT VALID").await.unwrap();
    for to in [&["--output", "none.csv"][..], &[]] {
        let output = program.run(&[&["export", "tickets"], to].concat()).await;
        let (code, out, error) = printed(&output);
        assert_eq!((code, out.as_str()), (Some(1), ""));
        assert!(error.contains("the audit log cannot be written"), "{error}");
    }
    sql.batch_execute("ALTER TABLE audit_log DROP CONSTRAINT full_up").await.unwrap();

    let refused = refusal(&program, &["export", "tickets", "--draw", "99", "--output", "none.csv"]).await;
    assert!(refused.contains("no such draw"), "{refused}");
    assert!(!program.directory().join("none.csv").exists());
    assert_eq!(program.run(&["export", "sessions"]).await.status.code(), Some(2), "a usage error");
    assert_eq!(fs::read_dir(program.directory()).unwrap().count(), 2, "nothing half-made is left");
}
