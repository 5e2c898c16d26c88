//! Reads what the installation is: its currency and its payment provider.

use tokio_postgres::Client;

use crate::db::DbError;
use crate::domain::installation::{Installation, PaymentProvider};

/// What the first start of the service recorded. `None`: the service has not been started on this database.
pub async fn recorded(db: &Client) -> Result<Option<Installation>, DbError> {
    let sql = "-- installation::recorded()
        SELECT currency, provider FROM installation";
    let Some(row) = db.query_opt(sql, &[]).await? else { return Ok(None) };
    let currency = row.get::<_, &str>("currency").parse().map_err(|_| DbError::Corrupt("currency"))?;
    let provider = PaymentProvider::parse(row.get("provider")).ok_or(DbError::Corrupt("payment provider"))?;
    Ok(Some(Installation { currency, provider }))
}
