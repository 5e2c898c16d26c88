//! A series: one house, its crowd, and so many rounds of faults; then the ends of its draws, with faults in
//! the middle of those too, and the last audit.

use std::time::Duration;

use jiff::SignedDuration;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{RngExt, SeedableRng};
use serde_json::Value;
use tokio_postgres::Client;

use crate::audit::{audit, prizes};
use crate::crowd::Crowd;
use crate::faults::Fault;
use crate::figures::Figures;
use crate::house::{House, PATIENCE};
use crate::journal::{Fate, Heard, Journal, What};
use crate::life::{Admin, LARGE_POOL};

/// Rounds between two audits of a thorough run.
const AUDIT_EVERY: usize = 4;
/// Kept answers that are asked for again at each audit, and at the end.
const REPLAYS: usize = 30;
const REPLAYS_AT_THE_END: usize = 300;

pub async fn play(seed: u64, rounds: usize, thorough: bool, figures: &mut Figures) {
    let mut rng = StdRng::seed_from_u64(seed);
    let mut house = House::open().await;
    let admin = Admin::new(&house).await;
    let (to_settle, to_cancel) = (admin.open_draw().await, admin.open_draw().await);
    // One that the clock ends, in the middle of everything.
    let by_clock = admin.open_draw_for(SignedDuration::from_secs(if thorough { 15 } else { 3 })).await;
    let to_fill = admin.make_draw().await;
    let mut crowd = Crowd::gather(&house, &[to_settle, to_cancel, by_clock], seed).await;

    for round in 0..rounds {
        crowd.buys(rng.random_range(50..400), &house).await;
        tokio::time::sleep(Duration::from_millis(rng.random_range(0..40))).await;
        let fault = if thorough { Fault::any(&mut rng) } else { Fault::of_few(round) };
        fault.befall(&mut house, &mut rng).await;
        // It is healed when the crowd can buy again.
        crowd.buys(30, &house).await;
        figures.rounds += 1;
        if round % AUDIT_EVERY == AUDIT_EVERY - 1 {
            look(&crowd, &admin, &[to_settle, to_cancel], &house, &mut rng, figures).await;
        }
    }

    let faults = if thorough { 2 } else { 1 };
    let made = admin.insist_on_pool(to_fill, faults, &mut house, &mut rng).await;
    admin.insist(to_settle, "close", faults, &mut house, &mut rng).await;
    let numbers = admin.insist(to_settle, "conduct", faults, &mut house, &mut rng).await;
    let result = admin.result(to_settle).await;
    assert!(numbers.iter().all(|it| *it == result["winning_numbers"]), "{numbers:?} {result}");
    admin.insist(to_cancel, "cancel", faults, &mut house, &mut rng).await;
    crowd.go_home().await;

    crowd.meanwhile(async |journal| find_out(&crowd, journal, figures).await).await;
    look(&crowd, &admin, &[], &house, &mut rng, figures).await;
    // Once more, after a stop in good order: nothing was true only in memory.
    house.stop().await;
    house.start().await;
    admin.insist(to_settle, "conduct", 0, &mut house, &mut rng).await;
    assert_eq!(admin.result(to_settle).await, result, "one result only");
    let result_by_clock = admin.result(by_clock).await;
    assert_eq!(admin.insist_on_pool(to_fill, 0, &mut house, &mut rng).await, made);
    let sql = house.sql().await;
    assert_eq!(pool(&sql, to_fill).await, LARGE_POOL, "{made}");
    for (draw, result) in [(to_settle, &result), (by_clock, &result_by_clock)] {
        figures.prizes += prizes(&sql, draw, result).await;
        figures.draws_settled += 1;
    }
    figures.refunds += refunds(&sql).await;
    figures.draws_cancelled += 1;
    crowd.meanwhile(async |journal| last_look(&crowd, journal, &sql, &mut rng, figures).await).await;
    figures.requests += crowd.requests();
    for (fault, count) in &house.befallen {
        *figures.faults.entry(fault.clone()).or_default() += count;
    }
    drop(sql);
    house.close().await;
}

/// Holds the journal against the database while nobody is in the middle of anything, and what the service
/// remembers of its draws against what it would load.
async fn look(
    crowd: &Crowd,
    admin: &Admin,
    draws: &[i64],
    house: &House,
    rng: &mut StdRng,
    figures: &mut Figures,
) {
    let looking = async |journal: &mut Journal| {
        let sql = house.sql().await;
        audit(journal, &sql, figures).await;
        replay(crowd, journal, REPLAYS, rng, figures).await;
        for draw in draws {
            remembers(admin, *draw, &sql).await;
        }
    };
    crowd.meanwhile(looking).await;
}

/// Whatever has a key is asked until an answer is heard.
async fn find_out(crowd: &Crowd, journal: &mut Journal, figures: &mut Figures) {
    for at in journal.open() {
        let heard = crowd.ask_again(&journal.calls[at]).await;
        journal.hear(at, heard);
    }
    let unheard = |call: &&crate::journal::Call| call.key.is_some() && call.was_unheard();
    figures.found_out += journal.calls.iter().filter(unheard).count();
}

async fn last_look(crowd: &Crowd, journal: &mut Journal, sql: &Client, rng: &mut StdRng, figures: &mut Figures) {
    replay(crowd, journal, REPLAYS_AT_THE_END, rng, figures).await;
    figures.unknown_and_true += audit(journal, sql, figures).await;
    figures.calls += journal.calls.len();
    for call in &journal.calls {
        let unknown = matches!(call.fate(), Fate::Unknown) && call.key.is_none();
        figures.unknown += usize::from(unknown);
        figures.unheard += call.heard.iter().filter(|heard| matches!(heard, Heard::Nothing)).count();
        let overloaded = |heard: &&Heard| matches!(heard, Heard::NotTaken("overloaded"));
        figures.overloaded += call.heard.iter().filter(overloaded).count();
        let bought = match (&call.what, call.success()) {
            (What::Order { paid: true, .. }, Some(body)) => Some(&body["payment"]),
            (What::Pay { .. }, Some(body)) if body["status"] == "paid" => Some(body),
            _ => None,
        };
        if let Some(payment) = bought {
            figures.purchases += 1;
            figures.tickets += payment["ticket_ids"].as_array().map_or(0, Vec::len);
        }
    }
}

/// Asks again for some of the kept answers: they are as they were.
async fn replay(crowd: &Crowd, journal: &Journal, count: usize, rng: &mut StdRng, figures: &mut Figures) {
    let kept = journal.kept();
    for at in kept.sample(rng, count.min(kept.len())) {
        let call = &journal.calls[*at];
        let Fate::Done { status, body } = call.fate() else { continue };
        match crowd.ask_again(call).await {
            Heard::Success { status: again, body: same } if again == status && same == *body => {}
            // What was still being charged may have gone on.
            Heard::Success { body: same, .. } if body["status"] == "processing" && same["id"] == body["id"] => {}
            other => panic!("a replay that differs: {other:?} of {call:?}"),
        }
        figures.replays += 1;
    }
}

/// What the draw's actor remembers is what the database says, as soon as what ran out is let go.
async fn remembers(admin: &Admin, draw: i64, sql: &Client) {
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
    let same = tokio::time::timeout(PATIENCE / 3, comparing).await;
    assert!(same.is_ok(), "draw {draw} remembers what is not so");
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
