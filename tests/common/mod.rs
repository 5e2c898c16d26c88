//! What the test binaries share: a private Postgres, the service as a process, a client that speaks HTTP with it,
//! and waiting for a condition. Holds no test, and nothing that only one binary needs.

use std::sync::Arc;

use lottery::db::read::public_log;
use lottery::domain::log_keys::{LogKeys, LogOrigin};
use lottery::domain::ticket_log::TicketLogs;
use tokio_postgres::Client;
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

/// The ticket logs of services with `MASTER_SECRET` on this database.
pub async fn ticket_logs(sql: &Client) -> TicketLogs {
    let secret = std::array::from_fn(|i| i as u8);
    let recorded = public_log::identity(sql).await.unwrap();
    let origin = recorded.map_or_else(|| LogOrigin::of_url("https://lottery.example").unwrap(), |it| it.origin);
    TicketLogs::new(Arc::new(LogKeys::new(MasterSecret::new(secret), origin)))
}

/// The master secret of services whose data directory must not matter.
pub const MASTER_SECRET: &str = "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f";
