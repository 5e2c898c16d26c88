//! The private Postgres with real processes: it is started, joined, killed and stopped on many kinds of paths.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod access;
mod crashes;
mod lifecycle;
mod paths;
mod refusals;
// A stopped backend that has lost its postmaster is found through /proc.
#[cfg(target_os = "linux")]
mod stopped_processes;
mod support;
