//! `lottery export` beside the running service.

use std::fs;

use super::{Home, SECRET, said, url};
use crate::world::World;

#[actix_web::test]
async fn export_writes_a_whole_file_or_none() {
    let world = World::new().await;
    let admin = world.admin().await;
    let ann = world.rich_player("ann", 1_000_000).await;
    let (draw, other) = (admin.open_draw(&world, 0).await, admin.open_draw(&world, 0).await);
    ann.buy_quick(draw, 5).await;
    ann.buy_quick(other, 2).await;
    let home = Home::new().with("DATABASE_URL", &url(&world.database)).with("LOTTERY__AUTH__JWT_SECRET", SECRET);

    let (code, out, error) = said(&home.run(&["export", "tickets", "--draw", "1", "--format", "ndjson"]).await);
    assert_eq!((code, out.lines().count()), (Some(0), 5), "{error}");
    let written = home.run(&["export", "tickets", "--output", "tickets.csv"]).await;
    assert_eq!(said(&written), (Some(0), String::new(), String::new()));
    let file = fs::read_to_string(home.dir.path().join("tickets.csv")).unwrap();
    assert_eq!(file.lines().count(), 1 + 7);
    home.run(&["export", "payments", "--format", "xlsx", "--output", "payments.xlsx"]).await;
    assert!(fs::read(home.dir.path().join("payments.xlsx")).unwrap().starts_with(b"PK"));

    let refused = home.refused(&["export", "tickets", "--draw", "99", "--output", "none.csv"]).await;
    assert!(refused.contains("no such draw"), "{refused}");
    assert!(!home.dir.path().join("none.csv").exists());
    assert_eq!(home.run(&["export", "sessions"]).await.status.code(), Some(2), "a usage error");
    assert_eq!(fs::read_dir(home.dir.path()).unwrap().count(), 2, "nothing half-made is left");
}
