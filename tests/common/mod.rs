//! What the test binaries share: a private Postgres, the service as a process, a client that speaks HTTP with it,
//! and waiting for a condition. Holds no test, and nothing that only one binary needs.

use std::sync::Arc;

use lottery::domain::log_keys::{LogKeys, LogOrigin};
use lottery::domain::ticket_log::TicketLogs;
use verifiable_draw::keys::MasterSecret;

pub mod body;
pub mod client;
pub mod commits;
pub mod openapi;
pub mod postgres;
pub mod process;
pub mod receipts;
pub mod wait;

/// The password of every user whose password is not the subject of the test.
pub const PASSWORD: &str = "correct horse battery";

/// The ticket logs of services with `MASTER_SECRET`, except their names.
pub fn ticket_logs() -> TicketLogs {
    let (secret, origin) =
        (std::array::from_fn(|i| i as u8), LogOrigin::of_url("https://lottery.example").unwrap());
    TicketLogs::new(Arc::new(LogKeys::new(MasterSecret::new(secret), origin)))
}

/// The master secret of services whose data directory must not matter.
pub const MASTER_SECRET: &str = "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f";
