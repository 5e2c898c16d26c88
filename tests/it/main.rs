//! The tests on a real Postgres and over real HTTP, one file a noun. `world` has their vocabulary.

mod embedded;
mod server;
mod smoke;
mod world;
