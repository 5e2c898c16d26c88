//! Settings of the database with which a crash could lose what was answered.

use super::*;
use crate::common::postgres::url;
use crate::common::process::Program;
use crate::server;

#[actix_web::test]
async fn every_write_waits_for_the_disk_whatever_the_database_is_set_to() {
    assert_eq!(setting_of_writes("off").await, "on");
}

#[actix_web::test]
async fn a_stronger_setting_of_the_database_stays() {
    assert_eq!(setting_of_writes("remote_apply").await, "remote_apply");
}

/// The `synchronous_commit` that every write has on a database with this one.
async fn setting_of_writes(of_database: &str) -> String {
    let database = server::database().await;
    let sql = connect(&database).await.unwrap();
    let name = database.get_dbname().unwrap();
    sql.batch_execute(&format!("ALTER DATABASE {name} SET synchronous_commit = {of_database}")).await.unwrap();
    sql.batch_execute(
        "CREATE TABLE seen (what text, setting text, idle text);
         CREATE FUNCTION see() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS $$ BEGIN
             INSERT INTO seen VALUES (TG_TABLE_NAME, current_setting('synchronous_commit'),
                 current_setting('idle_in_transaction_session_timeout')); RETURN NULL;
         END $$;
         CREATE TRIGGER see AFTER INSERT ON users EXECUTE FUNCTION see();
         CREATE TRIGGER see AFTER INSERT ON draws EXECUTE FUNCTION see();
         CREATE TRIGGER see AFTER INSERT ON tickets EXECUTE FUNCTION see();
         CREATE TRIGGER see AFTER INSERT ON draw_results EXECUTE FUNCTION see()",
    )
    .await
    .unwrap();
    let world = World::on(database, |_| {}).await;
    let admin = world.admin().await;
    let draw = admin.open_draw(&world, 0).await;
    world.rich_player("ann", 1_000_000).await.buy_quick(draw, 1).await;
    admin.conduct(draw).await;

    let sql = world.sql().await;
    let written = "SELECT string_agg(DISTINCT what, ' ' ORDER BY what) FROM seen";
    let written: String = sql.query_one(written, &[]).await.unwrap().get(0);
    assert_eq!(written, "draw_results draws tickets users");
    // All writes have the same settings.
    let seen = sql.query("SELECT DISTINCT setting, idle FROM seen", &[]).await.unwrap();
    let [row] = &seen[..] else { panic!("{seen:?}") };
    assert_eq!(row.get::<_, &str>("idle"), "10s", "a service that is stopped keeps its locks no longer");
    row.get("setting")
}

#[actix_web::test]
async fn a_database_that_a_crash_can_damage_is_refused() {
    for setting in ["fsync", "full_page_writes"] {
        let (_directory, server) = own_server(setting, "off").await;
        let program = Program::new()
            .with("DATABASE_URL", &url(&server.connection()))
            .with("LOTTERY__AUTH__JWT_SECRET", "what these tests sign their tokens with");
        let refused = program.run(&["serve"]).await;
        let printed = String::from_utf8(refused.stderr).unwrap();
        assert_eq!(refused.status.code(), Some(1), "{printed}");
        assert!(printed.contains(&format!("{setting} = off")), "{printed}");
        assert!(printed.contains("database.allow_unsafe"), "{printed}");

        let mut service = program.with("LOTTERY__DATABASE__ALLOW_UNSAFE", "true").start().await;
        service.logged("can lose or damage").await;
        service.stop().await;
        server.stop().await.unwrap();
    }
}
