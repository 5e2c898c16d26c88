//! A deterministic simulation of the domain. It plays many histories of a small lottery, each from its own seed.
//! It injects faults between a draw's memory, its records, the database and the players. A model that shares no
//! logic with the domain checks the invariants. The simulation runs no SQL and no HTTP.
//!
//! `SIMULATION_HISTORIES` is the number of histories and `SIMULATION_SEED` is the seed of the first; each next
//! seed is one more. A history that fails prints its seed and the end of its log. Replay it with
//! `SIMULATION_SEED=… SIMULATION_HISTORIES=1 cargo test --test simulation`.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod actor;
mod coverage;
mod dice;
mod facts;
mod faults;
mod history;
mod model;
mod process;
mod store;
mod world;

use std::env;
use std::io::{self, Write};
use std::panic::{self, AssertUnwindSafe};
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Instant;

use coverage::Coverage;

/// The number of histories of an ordinary `cargo test`.
const HISTORIES: u64 = 1_500;
/// With fewer histories, some events may be missing.
const ENOUGH: u64 = 1_000;
const SEED: u64 = 1;
const THREADS: u64 = 2;
/// The number of log lines that a failing history shows, unless `SIMULATION_LINES` gives another.
const LAST_LINES: u64 = 80;

fn number(name: &str, default: u64) -> u64 {
    env::var(name).map_or(default, |text| text.parse().unwrap_or_else(|_| panic!("{name} is a number: {text}")))
}

/// Prints directly to the terminal, because the test harness hides the output of a passing test.
fn print(text: &str) {
    io::stderr().write_all(text.as_bytes()).unwrap();
}

/// Runs the histories. Returns what they covered, and the seed of a history that failed, if there is one.
fn run(first: u64, count: u64) -> (Coverage, Option<u64>) {
    let (next, failed) = (AtomicU64::new(0), AtomicU64::new(u64::MAX));
    let total = Mutex::new(Coverage::new());
    thread::scope(|scope| {
        for _ in 0..THREADS.min(count) {
            scope.spawn(|| {
                let mut seen = Coverage::new();
                loop {
                    let history = next.fetch_add(1, Ordering::Relaxed);
                    if history >= count || failed.load(Ordering::Relaxed) != u64::MAX {
                        break;
                    }
                    let seed = first.wrapping_add(history);
                    match panic::catch_unwind(AssertUnwindSafe(|| history::play(seed, &mut None))) {
                        Ok(coverage) => seen.add(&coverage),
                        Err(_) => drop(failed.fetch_min(seed, Ordering::Relaxed)),
                    }
                }
                total.lock().unwrap().add(&seen);
            });
        }
    });
    let failed = failed.into_inner();
    (total.into_inner().unwrap(), (failed != u64::MAX).then_some(failed))
}

/// The log of a history, and whether it passed.
fn logged(seed: u64) -> (Vec<String>, bool) {
    let mut log = Some(Vec::new());
    let went = panic::catch_unwind(AssertUnwindSafe(|| history::play(seed, &mut log))).is_ok();
    (log.unwrap(), went)
}

#[test]
fn whatever_happens_the_invariants_hold() {
    let (seed, histories) = (number("SIMULATION_SEED", SEED), number("SIMULATION_HISTORIES", HISTORIES));
    #[allow(clippy::disallowed_methods, reason = "how long the run took, not what it does")]
    let started = Instant::now();
    let (coverage, failed) = run(seed, histories);
    if let Some(failed) = failed {
        let (log, went) = logged(failed);
        print(&format!(
            "\n{}\n",
            log[log.len().saturating_sub(number("SIMULATION_LINES", LAST_LINES) as usize)..].join("\n")
        ));
        let replay = format!("SIMULATION_SEED={failed} SIMULATION_HISTORIES=1 cargo test --test simulation");
        assert!(!went, "history {failed} failed and then passed: it depends on something besides its seed");
        panic!("a history failed; replay it with: {replay}");
    }
    let Coverage { histories, steps, commits, .. } = coverage;
    let took = started.elapsed();
    print(&format!(
        "\n{histories} histories from seed {seed}, {steps} steps, {commits} commits in {took:.1?}\n{}",
        coverage.table()
    ));
    if histories >= ENOUGH {
        let missing = coverage.missing();
        assert!(missing.is_empty(), "the simulation does not cover this any more: {missing:?}");
    }
}

#[test]
fn a_seed_is_a_history() {
    for seed in 1..=20 {
        let (first, second) = (logged(seed), logged(seed));
        assert!(first.0.len() > 50, "the log lists the events");
        assert_eq!(first, second, "seed {seed}");
    }
}

#[test]
fn the_judge_shares_no_logic_with_the_domain() {
    let texts = [
        include_str!("facts.rs"),
        include_str!("model.rs"),
        include_str!("model/answers.rs"),
        include_str!("model/draws.rs"),
        include_str!("model/money.rs"),
    ];
    assert!(texts.iter().all(|text| !text.contains("lottery::")));
}
