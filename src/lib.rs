//! A lottery service: people register, fund a wallet, buy tickets of a draw and are paid what they win.
//!
//! Money and sold tickets are written only by the persistence actor, in the order in which the draw actors decide.
//! Other writes (registration, sessions, new draws, pools) are ordinary transactions in
//! [`actors::persistence`]. Reads go straight to the database or to snapshots. Only the domain decides.
//! ARCHITECTURE.md describes the layers and the modules.

pub mod actors;
pub mod app;
pub mod auth;
pub mod beacon;
pub mod charges;
pub mod cli;
pub mod clock;
pub mod config;
pub mod db;
pub mod domain;
pub mod export;
pub mod http;
pub mod payment;
pub mod telemetry;
pub mod tls;
pub mod version;
pub mod witness;
