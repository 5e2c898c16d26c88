//! A lottery service: people register, fund a wallet, buy tickets of a draw and are paid what they win.
//!
//! Writes go down through actors, reads go straight to the database, and only the domain thinks. The
//! house and its floors are drawn in ARCHITECTURE.md.

pub mod actors;
pub mod app;
pub mod auth;
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
