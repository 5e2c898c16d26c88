//! The tests on a real Postgres and over real HTTP, one file a noun. `world` has their vocabulary.

mod embedded;
mod server;
mod auth;
mod contract;
mod command;
mod draws;
mod faults;
mod idempotency;
mod money;
mod smoke;
mod tickets;
mod world;
