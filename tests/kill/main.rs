//! Kill rounds: the real program with its private Postgres, under load from many clients, while one or the
//! other is killed or frozen at random moments. Everything that was asked and heard is kept in a journal, and
//! the journal is held against the database: what was answered is there exactly once, what was refused is not
//! there at all, and of what nobody heard of, the truth is found out.
//!
//! `cargo test --test kill` plays a few rounds. `KILL_ROUNDS=100` plays so many, and `KILL_SEED=…` those of
//! an earlier run: the same faults after the same number of purchases, though the machine's own timing is
//! never quite the same.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod audit;
mod crowd;
mod disk;
mod faults;
mod figures;
mod house;
mod journal;
mod life;
mod player;
mod series;

use figures::Figures;

/// Rounds of a plain `cargo test`.
const FEW: usize = 4;
/// Rounds in one house: then its draws are ended and a new house begins, so that an audit stays quick.
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
async fn whatever_is_killed_what_was_answered_is_there_once() {
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
