//! The tests on a real Postgres and over real HTTP, one file for each noun of the API. `world` has what they share.
#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

#[path = "../common/mod.rs"]
#[allow(dead_code, reason = "the other test binaries use the rest")]
mod common;

mod admin;
mod attacks;
mod audit;
mod auth;
mod beacon;
mod clock_set;
mod command;
mod containers;
mod contract;
mod documented;
mod draws;
mod events;
mod export;
mod faults;
mod idempotency;
mod logs;
mod matrix;
mod money;
mod monitoring;
mod operations;
mod restored;
mod roles;
mod schedule;
mod server;

mod smoke;
mod tickets;
mod tls;
mod upgrade;
mod users;
mod verify;
mod web;
mod webhook;
mod world;
