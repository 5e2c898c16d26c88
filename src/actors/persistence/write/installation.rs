//! Records what the installation is. It is written once.

use jiff::Timestamp;
use tokio_postgres::{Client, Error};

use crate::domain::installation::Installation;

/// Records the installation, unless it is recorded. If two services start at the same time, the second waits for the
/// first and records nothing.
pub async fn record(db: &Client, it: &Installation, at: Timestamp) -> Result<(), Error> {
    let sql = "-- installation::record()
        INSERT INTO installation (currency, provider, recorded_at) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING";
    db.execute(sql, &[&it.currency.as_str(), &it.provider.as_str(), &at]).await.map(drop)
}
