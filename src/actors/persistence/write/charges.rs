//! The statements about charges of cards. Only batches with a card need them: a purchase from the wallet sends none
//! of them.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use tokio_postgres::{Client, Error};

use super::params::Params;
use crate::actors::persistence::connection::WriterConnection;
use crate::db::read::charges::charge_row;
use crate::domain::charge::{ChargeIssue, ChargeName, ChargeRow};
use crate::domain::id::PaymentId;
use crate::domain::money::Money;

pub const LOCK: &str = "-- charges::lock(payments)
    SELECT payment_id, begun_at, user_id, amount, ended_at, outcome, failure_code, late, issue, begun_known
    FROM charges WHERE payment_id = ANY($1) ORDER BY payment_id, begun_at FOR UPDATE";

fn lock_params(payments: &BTreeSet<PaymentId>) -> Params<'_> {
    Params::with_capacity(1).column(payments.iter().map(|id| id.0))
}

/// Locks and reads all charges of these payments.
pub async fn lock(
    connection: &WriterConnection,
    payments: &BTreeSet<PaymentId>,
) -> Result<BTreeMap<ChargeName, ChargeRow>, Error> {
    if payments.is_empty() {
        return Ok(BTreeMap::new());
    }
    let statement = connection.prepare(LOCK).await?;
    let rows = lock_params(payments).query(&connection.client, &statement).await?;
    Ok(rows.iter().filter_map(charge_row).collect())
}

// Disputes and refunds are not written here: `record_dispute` and `record_refund` do.
pub const WRITE: &str =
    "-- charges::write(payments, begins, users, amounts, ends, outcomes, failures, late, issues)
    INSERT INTO charges (payment_id, begun_at, user_id, amount, ended_at, outcome, failure_code, late, issue)
    SELECT * FROM unnest($1::uuid[], $2::timestamptz[], $3::bigint[], $4::bigint[], $5::timestamptz[], $6::text[],
                         $7::text[], $8::boolean[], $9::text[])
    ON CONFLICT (payment_id, begun_at) DO UPDATE
    SET ended_at = EXCLUDED.ended_at, outcome = EXCLUDED.outcome, failure_code = EXCLUDED.failure_code,
        late = EXCLUDED.late, issue = EXCLUDED.issue";

pub fn write_params(charges: &BTreeMap<ChargeName, ChargeRow>) -> Params<'_> {
    Params::with_capacity(9)
        .column(charges.keys().map(|name| name.payment.0))
        .column(charges.keys().map(|name| name.begun))
        .column(charges.values().map(|row| row.user.0))
        .column(charges.values().map(|row| row.amount.minor()))
        .column(charges.values().map(|row| row.end.as_ref().map(|end| end.at)))
        .column(charges.values().map(|row| row.outcome().map(|outcome| outcome.as_str())))
        .column(charges.values().map(|row| row.end.as_ref()?.failure_code.as_deref()))
        .column(charges.values().map(|row| row.end.as_ref().is_some_and(|end| end.late)))
        .column(charges.values().map(|row| row.issue.map(ChargeIssue::as_str)))
}

/// Records what the provider reports of a charge's dispute. A report that is older than the recorded one changes
/// nothing, because reports may arrive in another order. False if there is no such charge.
pub async fn record_dispute(db: &Client, name: ChargeName, status: &str, at: Timestamp) -> Result<bool, Error> {
    let sql = "-- charges::record_dispute(payment, begun, status, at)
        UPDATE charges SET dispute = CASE WHEN disputed_at > $4 THEN dispute ELSE $3 END,
                           disputed_at = greatest(disputed_at, $4)
        WHERE payment_id = $1 AND (begun_at = $2 OR NOT begun_known)";
    Ok(db.execute(sql, &[&name.payment.0, &name.begun, &status, &at]).await? > 0)
}

/// Records how much of a charge the provider has refunded in all. False if there is no such charge.
pub async fn record_refund(db: &Client, name: ChargeName, refunded: Money) -> Result<bool, Error> {
    let sql = "-- charges::record_refund(payment, begun, refunded)
        UPDATE charges SET refunded = $3 WHERE payment_id = $1 AND (begun_at = $2 OR NOT begun_known)";
    Ok(db.execute(sql, &[&name.payment.0, &name.begun, &refunded.minor()]).await? > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_statement_uses_all_its_parameters_in_order() {
        lock_params(&BTreeSet::new()).assert_fit(LOCK);
        write_params(&BTreeMap::new()).assert_fit(WRITE);
    }
}
