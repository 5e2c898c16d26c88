//! A series: one world, its buyers, and a number of rounds of faults; then its draws are ended, with faults in the
//! middle of that too, and audited for the last time.

use std::time::Duration;

use jiff::SignedDuration;
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use serde_json::Value;
use tokio_postgres::Client;

use crate::admin::{Admin, LARGE_POOL};
use crate::audit::{audit, prizes};
use crate::buyers::{self, Buyers};
use crate::common::wait::TIMEOUT;
use crate::faults::Fault;
use crate::figures::Figures;
use crate::journal::Journal;
use crate::world::World;

/// Rounds between two audits of a thorough run.
const AUDIT_EVERY: usize = 4;
/// Successes that are replayed at each audit, and at the end.
const REPLAYS: usize = 30;
const REPLAYS_AT_THE_END: usize = 300;

pub async fn play(seed: u64, rounds: usize, thorough: bool, figures: &mut Figures) {
    let mut rng = StdRng::seed_from_u64(seed);
    let mut world = World::new().await;
    let admin = Admin::new(&world).await;
    // Before the draws, of which one is on sale for a few seconds only.
    let players = buyers::register(&world).await;
    let (to_settle, to_cancel) = (admin.open_draw().await, admin.open_draw().await);
    // A draw that ends by its own times while faults are injected.
    let by_clock = admin.open_draw_for(SignedDuration::from_secs(if thorough { 15 } else { 3 })).await;
    let to_pool = admin.create_draw().await;
    let mut buyers = Buyers::start(players, &[to_settle, to_cancel, by_clock], seed);

    for round in 0..rounds {
        buyers.until_bought(rng.random_range(50..400), &world).await;
        tokio::time::sleep(Duration::from_millis(rng.random_range(0..40))).await;
        let fault = if thorough { Fault::any(&mut rng) } else { Fault::of_few(round) };
        fault.inject(&mut world, &mut rng).await;
        // The service has recovered when the buyers can buy again.
        buyers.until_bought(30, &world).await;
        figures.rounds += 1;
        if round % AUDIT_EVERY == AUDIT_EVERY - 1 {
            audit_while_paused(&buyers, &admin, &[to_settle, to_cancel], &world, &mut rng, figures).await;
        }
    }

    let faults = if thorough { 2 } else { 1 };
    let made = admin.create_pool_under_faults(to_pool, faults, &mut world, &mut rng).await;
    admin.step_under_faults(to_settle, "close", faults, &mut world, &mut rng).await;
    let numbers = admin.step_under_faults(to_settle, "conduct", faults, &mut world, &mut rng).await;
    let result = admin.result(to_settle).await;
    assert!(numbers.iter().all(|it| *it == result["winning_numbers"]), "{numbers:?} {result}");
    admin.step_under_faults(to_cancel, "cancel", faults, &mut world, &mut rng).await;
    buyers.finish().await;

    figures.resolved += buyers.while_paused(async |journal| buyers.resolve_unknown(journal).await).await;
    audit_while_paused(&buyers, &admin, &[], &world, &mut rng, figures).await;
    // The same after a graceful stop: nothing was true only in memory.
    world.stop().await;
    world.start().await;
    admin.step_under_faults(to_settle, "conduct", 0, &mut world, &mut rng).await;
    assert_eq!(admin.result(to_settle).await, result, "one result only");
    let result_by_clock = admin.result(by_clock).await;
    assert_eq!(admin.create_pool_under_faults(to_pool, 0, &mut world, &mut rng).await, made);
    let sql = world.sql().await;
    assert_eq!(pool(&sql, to_pool).await, LARGE_POOL, "{made}");
    for (draw, result) in [(to_settle, &result), (by_clock, &result_by_clock)] {
        figures.prizes += prizes(&sql, draw, result).await;
        figures.draws_settled += 1;
    }
    figures.refunds += refunds(&sql).await;
    figures.draws_cancelled += 1;
    buyers.while_paused(async |journal| last_audit(&buyers, journal, &sql, &mut rng, figures).await).await;
    figures.requests += buyers.requests();
    for (fault, count) in &world.injected {
        *figures.faults.entry(fault.clone()).or_default() += count;
    }
    drop(sql);
    world.close().await;
}

/// Compares the journal with the database while no call is under way, and the draws in the service's memory with
/// those in the database.
async fn audit_while_paused(
    buyers: &Buyers,
    admin: &Admin,
    draws: &[i64],
    world: &World,
    rng: &mut StdRng,
    figures: &mut Figures,
) {
    let looking = async |journal: &mut Journal| {
        let sql = world.sql().await;
        audit(journal, &sql, figures).await;
        figures.replays += buyers.replay(journal, REPLAYS, rng).await;
        for draw in draws {
            until_memory_matches(admin, *draw, &sql).await;
        }
    };
    buyers.while_paused(looking).await;
}

async fn last_audit(
    buyers: &Buyers,
    journal: &mut Journal,
    sql: &Client,
    rng: &mut StdRng,
    figures: &mut Figures,
) {
    figures.replays += buyers.replay(journal, REPLAYS_AT_THE_END, rng).await;
    figures.unknown_but_done += audit(journal, sql, figures).await;
    figures.count(journal);
}

/// The draw actor's state equals the database's, as soon as expired reservations are released.
async fn until_memory_matches(admin: &Admin, draw: i64, sql: &Client) {
    let statement =
        "SELECT s.sold, (SELECT count(*) FROM pool_tickets p WHERE p.draw_id = s.draw_id AND NOT EXISTS (
        SELECT FROM tickets t WHERE t.pool_ticket_id = p.id AND t.status IN ('reserved', 'paid')))
        FROM draw_sales s WHERE s.draw_id = $1";
    let comparing = async {
        loop {
            let shown: Value = admin.draw(draw).await;
            let row = sql.query_one(statement, &[&draw]).await.unwrap();
            let (sold, free): (i64, i64) = (row.get(0), row.get(1));
            if shown["tickets_sold"] == sold && shown["tickets_available"] == free {
                return;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    let same = tokio::time::timeout(TIMEOUT / 3, comparing).await;
    assert!(same.is_ok(), "draw {draw} is not in memory what it is in the database");
}

async fn refunds(sql: &Client) -> usize {
    count(sql, "SELECT count(*) FROM transfers WHERE kind = 'refund'").await
}

async fn pool(sql: &Client, draw: i64) -> usize {
    count(sql, &format!("SELECT count(*) FROM pool_tickets WHERE draw_id = {draw}")).await
}

async fn count(sql: &Client, statement: &str) -> usize {
    usize::try_from(sql.query_one(statement, &[]).await.unwrap().get::<_, i64>(0)).unwrap()
}
