//! `lottery check` compares the public log with the rows of the draws.

use lottery::db::read::check::check;

use super::*;
use crate::command::check::assert_finds;

pub const LAW: &str = "the public log is one tree of entries, and they say of each draw what its rows say";

/// Draw 1 is completed after new times, draw 2 is on sale, draw 3 was cancelled after its seal, draw 4 is not opened.
const PLANTED: &[(&str, &str)] = &[
    (LAW, "UPDATE log_edge SET edge = '\\x0000000000000000'"),
    (LAW, "UPDATE log_entries SET entry = '{}' WHERE index = 0"),
    (LAW, "UPDATE log_entries SET entry = entry || ' ' WHERE index = 0"),
    (LAW, "DELETE FROM log_entries WHERE index = 1"),
    (LAW, "DELETE FROM log_entries WHERE index = (SELECT max(index) FROM log_entries)"),
    (LAW, "UPDATE log_entries SET draw_id = 2 WHERE index = 0"),
    (LAW, "UPDATE log_entries SET draw_id = NULL WHERE index = 0"),
    (LAW, "INSERT INTO log_entries SELECT max(index) + 1, NULL, '{}', sha256('') FROM log_entries"),
    (LAW, "UPDATE log_entries SET mac = sha256('') WHERE index = 2"),
    (LAW, "INSERT INTO log_tiles VALUES (0, sha256(''))"),
    (LAW, "UPDATE draws SET fairness = NULL WHERE id = 2"),
    (LAW, "UPDATE draws SET fairness = 'commit_reveal' WHERE id = 4"),
    (LAW, "UPDATE draws SET price = price + 1 WHERE id = 2"),
    (LAW, "UPDATE draws SET sales_close_at = sales_close_at + interval '1 s' WHERE id = 2"),
    (LAW, "UPDATE draws SET draw_at = draw_at + interval '1 s' WHERE id = 1"),
    (LAW, "UPDATE draw_tiers SET amount = amount + 1 WHERE draw_id = 2 AND matches = 2"),
    (LAW, "UPDATE draw_seals SET root = sha256('') WHERE draw_id = 1"),
    (LAW, "UPDATE draw_seals SET tickets = tickets + 1 WHERE draw_id = 3"),
    (LAW, "UPDATE draw_seals SET sealed_at = sealed_at + interval '2 h' WHERE draw_id = 3"),
    (LAW, "UPDATE draw_results SET pick = CASE pick WHEN 31 THEN 62 ELSE 31 END"),
    (LAW, "UPDATE draw_results SET after_entry = 0"),
    (LAW, "UPDATE draw_results SET jackpot = jackpot + 1"),
    (LAW, "UPDATE draw_results SET rollover = rollover + 1"),
    (LAW, "UPDATE result_tiers SET winners = winners + 1 WHERE matches = 2"),
    (LAW, "UPDATE draw_cancellations SET reason = 'rain'"),
    (LAW, "DELETE FROM draw_cancellations"),
    (LAW, "UPDATE log_key_generations SET newest = 1"),
    (LAW, "UPDATE log_key_generations SET oldest = 1, newest = 1"),
];

#[actix_web::test]
async fn check_finds_each_planted_corruption_of_the_public_log() {
    let (world, admin, completed) = World::on_sale(0).await;
    let ann = world.rich_player("ann", 10_000_000).await;
    reschedule(&admin, completed, &json!({"draw_at": world.minutes(300)})).await.expect(200);
    let open = admin.open_draw(&world, 0).await;
    let cancelled = admin.open_draw(&world, 0).await;
    let scheduled = admin.schedule(&world).await;
    assert_eq!((completed, open, cancelled, scheduled), (1, 2, 3, 4));
    for draw in [completed, open, cancelled] {
        ann.buy_quick(draw, 3).await;
    }
    admin.conduct(completed).await;
    world.until_draw_is(completed, "completed").await;
    admin.step(cancelled, "close").await.expect(200);
    admin.cancel(cancelled).await.expect(200);
    world.until_draw_is(cancelled, "cancelled").await;
    world.check_invariants().await;
    let sql = world.sql().await;
    assert_finds(&sql, PLANTED).await;

    // Without the master secret all of it is compared but the numbers.
    assert!(check(&sql, None, |_| {}).await.unwrap().violations.is_empty());
    sql.batch_execute(
        "BEGIN; SET LOCAL session_replication_role = replica; UPDATE draw_seals SET tickets = 9; COMMIT",
    )
    .await
    .unwrap();
    let broken = check(&sql, None, |_| {}).await.unwrap().violations;
    assert!(broken.iter().any(|violation| violation.invariant == LAW), "{broken:#?}");
}

/// A head of the audit log is published: then even a chain that is made anew as a whole is found.
#[actix_web::test]
async fn check_finds_an_audit_log_that_is_not_the_published_one() {
    let (world, _, draw) = World::on_sale(0).await;
    world.rich_player("ann", 10_000_000).await.buy_quick(draw, 1).await;
    let key = log_key(&world).await;
    world.advance(SignedDuration::from_secs(60));
    until("the heads are logged", async || head(&world, "/log", &key).await.size == 2).await;
    let entry = entries(&world, "/log", head(&world, "/log", &key).await).await.pop().unwrap();
    let Event::DrawHeads { audit: Some(audit), .. } = Event::parse(&entry).unwrap() else { panic!() };
    let sql = world.sql().await;
    let newest = sql.query_one("SELECT position, hash FROM audit_chain", &[]).await.unwrap();
    assert_eq!(audit.position, newest.get::<_, i64>(0) as u64);
    assert_eq!(audit.hash.as_slice(), newest.get::<_, &[u8]>(1));
    world.check_invariants().await;

    let anew = "UPDATE audit_log SET detail = '{\"price\": 1}' WHERE position = 1;
         UPDATE audit_chain SET position = 0, hash = decode(repeat('00', 32), 'hex');
         DO $$ DECLARE it audit_log; chain audit_chain; BEGIN
             FOR it IN SELECT * FROM audit_log ORDER BY position LOOP
                 SELECT * INTO chain FROM audit_chain;
                 UPDATE audit_log SET hash = audit_hash(chain.hash, it) WHERE id = it.id;
                 UPDATE audit_chain SET position = it.position, hash = audit_hash(chain.hash, it);
             END LOOP;
         END $$";
    assert_finds(&sql, &[(LAW, anew), (LAW, "DELETE FROM audit_log; UPDATE audit_chain SET position = 0")]).await;
    // Without the public log nothing would tell.
    let spoil = format!("BEGIN; SET LOCAL session_replication_role = replica; {anew}");
    sql.batch_execute(&spoil).await.unwrap();
    let logs = ticket_logs(&sql).await;
    let found =
        lottery::db::read::check::check_in_transaction(&sql, Some(&logs), |_| {}).await.unwrap().violations;
    assert_eq!(found.iter().map(|broken| broken.invariant).collect::<Vec<_>>(), [LAW]);
    sql.batch_execute("ROLLBACK").await.unwrap();
}
