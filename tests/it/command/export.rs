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

    let refused = refusal(&program, &["export", "tickets", "--draw", "99", "--output", "none.csv"]).await;
    assert!(refused.contains("no such draw"), "{refused}");
    assert!(!program.directory().join("none.csv").exists());
    assert_eq!(program.run(&["export", "sessions"]).await.status.code(), Some(2), "a usage error");
    assert_eq!(fs::read_dir(program.directory()).unwrap().count(), 2, "nothing half-made is left");
}
