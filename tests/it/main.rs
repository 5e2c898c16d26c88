//! The tests on a real Postgres and over real HTTP, one file a noun. `world` has their vocabulary.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod admin;
mod audit;
mod auth;
mod command;
mod contract;
mod documented;
mod draws;
mod events;
mod export;
mod faults;
mod idempotency;
mod matrix;
mod money;
mod operations;
mod schedule;
mod server;
mod signed;
mod smoke;
mod tickets;
mod tls;
mod users;
mod world;
