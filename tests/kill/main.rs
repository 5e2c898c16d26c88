//! Kill rounds: the real program with its private Postgres, under load from many clients, while one or the
//! other is killed or frozen at random moments. Every request and its outcome is kept in a journal, and the journal
//! is compared with the database: what was answered is there exactly once, what was refused is not there at all, and
//! unknown outcomes are resolved.
//!
//! `cargo test --test kill` plays a few rounds, `KILL_ROUNDS=100` that many. `KILL_SEED=…` repeats the faults of an
//! earlier run after the same number of purchases, though the timing is never quite the same. The test of a full disk
//! is run by `-- --ignored`.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

#[path = "../common/mod.rs"]
#[allow(dead_code, reason = "the other test binaries use the rest")]
mod common;

mod admin;
mod audit;
#[allow(dead_code, reason = "tests/cluster uses the rest")]
mod buyers;
mod disk;
mod faults;
mod figures;
mod journal;
mod player;
mod series;
mod world;

use figures::Figures;

/// Rounds of a plain `cargo test`.
const FEW: usize = 4;
/// Rounds in one world: then its draws are ended and a new world begins, so that audits stay quick.
const SERIES: usize = 12;

/// A number from the environment.
fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().expect(name))
}

/// How many rounds are to be played.
fn rounds() -> usize {
    number("KILL_ROUNDS").map_or(FEW, |rounds| usize::try_from(rounds).unwrap())
}

#[actix_web::test]
async fn every_answered_request_is_carried_out_exactly_once_whatever_is_killed() {
    let rounds = rounds();
    let seed = number("KILL_SEED").unwrap_or_else(|| u64::from(rand::random::<u32>()));
    println!("KILL_SEED={seed}, {rounds} rounds");
    let mut figures = Figures::default();
    for (first, series) in (0..rounds).step_by(SERIES).zip(0..) {
        let thorough = rounds > FEW;
        series::play(seed + series, SERIES.min(rounds - first), thorough, &mut figures).await;
        println!("{figures}");
    }
}
