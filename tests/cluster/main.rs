//! A machine dies, and the sale goes on: three etcd, two Patroni with Postgres, HAProxy and two services on one machine,
//! from nothing; clients who buy through HAProxy; and one fault after the other. The buyers, their journal and its
//! audit are those of the kill rounds: what was answered is in the database exactly once, whatever failed over.
//!
//! `.ci/cluster` installs what this needs and runs it. `CLUSTER_ROUNDS=100 .ci/cluster service_killed` plays that many
//! rounds of one fault and prints their figures.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]
#![allow(clippy::disallowed_methods, reason = "measures for how long nothing is sold")]

#[path = "../common/mod.rs"]
#[allow(dead_code, reason = "the other test binaries use the rest")]
mod common;

#[path = "../kill/audit.rs"]
mod audit;
#[path = "../kill/buyers.rs"]
#[allow(dead_code, reason = "tests/kill uses the rest")]
mod buyers;
#[path = "../kill/figures.rs"]
mod figures;
#[path = "../kill/journal.rs"]
mod journal;
#[path = "../kill/player.rs"]
#[allow(dead_code, reason = "tests/kill uses the rest")]
mod player;

mod faults;
mod network;
mod process;
mod series;
mod stack;
mod table;
mod world;

use std::time::Instant;

use faults::Fault;
use figures::Figures;
use table::Row;

/// Rounds, unless `CLUSTER_ROUNDS` says another number.
const FEW: usize = 2;
/// Rounds in one world: then a new one begins, so that the journal stays small.
const SERIES: usize = 20;

/// A number from the environment.
fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|text| text.parse().expect(name))
}

async fn play(fault: Fault) {
    let rounds = number("CLUSTER_ROUNDS").map_or(FEW, |rounds| usize::try_from(rounds).unwrap());
    let seed = number("KILL_SEED").unwrap_or_else(|| u64::from(rand::random::<u32>()));
    let (mut row, mut figures) = (Row::default(), Figures::default());
    let begun = Instant::now();
    for (first, series) in (0..rounds).step_by(SERIES).zip(0..) {
        series::play(fault, SERIES.min(rounds - first), seed + series, &mut row, &mut figures).await;
    }
    let seconds = begun.elapsed().as_secs_f64();
    println!("\n== {fault:?}, {rounds} rounds, {:.0} s for each\n{row}{figures}\n", seconds / rounds as f64);
}

macro_rules! rounds_of {
    ($($name:ident: $fault:ident,)*) => {
        $(
            #[actix_web::test]
            #[ignore = "needs etcd, Patroni and HAProxy: .ci/cluster"]
            async fn $name() {
                play(Fault::$fault).await;
            }
        )*
    };
}

rounds_of! {
    service_killed: ServiceKilled,
    service_stopped: ServiceStopped,
    service_drained: Drained,
    primary_killed: PrimaryKilled,
    primary_frozen: PrimaryFrozen,
    primary_cut_off: PrimaryCutOff,
    patroni_frozen: PatroniFrozen,
    standby_killed: StandbyKilled,
    etcd_frozen: EtcdFrozen,
    machine_cut_off: MachineCutOff,
    database_clock_moved: DatabaseClock,
    service_clock_moved: ServiceClock,
}
