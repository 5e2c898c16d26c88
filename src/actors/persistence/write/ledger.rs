//! Accounts and transfers for the steps of a draw. Batches have their own statements in `sales`; the rows are the
//! same.

use std::collections::BTreeSet;

use tokio_postgres::{Client, Error, Row};

use super::params::Params;
use crate::actors::persistence::step::StepFailure;
use crate::domain::ledger::{AccountId, Ledger, LedgerError, Transfer};
use crate::domain::lottery::Rules;
use crate::domain::money::Money;

impl From<LedgerError> for StepFailure {
    fn from(error: LedgerError) -> StepFailure {
        StepFailure::Rejected(error.to_string())
    }
}

pub const LOCK_ACCOUNTS: &str = "-- ledger::lock_accounts(ids)
    SELECT id, balance FROM accounts WHERE id = ANY($1) ORDER BY id FOR UPDATE";

pub const UPDATE_BALANCES: &str = "-- ledger::update_balances(ids, balances)
    UPDATE accounts a SET balance = n.balance
    FROM unnest($1::bigint[], $2::bigint[]) AS n (id, balance) WHERE a.id = n.id";

pub const INSERT_TRANSFERS: &str =
    "-- ledger::insert_transfers(users, debits, credits, amounts, kinds, references, balances, times)
    INSERT INTO transfers (user_id, debit, credit, amount, kind, reference, balance_after, created_at)
    SELECT * FROM unnest($1::bigint[], $2::bigint[], $3::bigint[], $4::bigint[], $5::text[], $6::uuid[],
                         $7::bigint[], $8::timestamptz[])";

/// The account of the lottery's jackpot.
pub async fn jackpot_account(db: &Client, rules: &Rules) -> Result<AccountId, StepFailure> {
    let sql = "-- ledger::jackpot_account()
        SELECT seq FROM lotteries WHERE id = $1";
    Ok(AccountId::jackpot(db.query_one(sql, &[&rules.lottery.0]).await?.get(0)))
}

/// Locks these accounts and reads their balances.
pub async fn open(db: &Client, accounts: &BTreeSet<AccountId>) -> Result<Ledger, Error> {
    let ids: Vec<i64> = accounts.iter().map(|id| id.0).collect();
    Ok(of(&db.query(LOCK_ACCOUNTS, &[&ids]).await?))
}

/// The ledger of the accounts that were locked.
pub fn of(rows: &[Row]) -> Ledger {
    Ledger::new(rows.iter().map(|row| (AccountId(row.get(0)), Money::new(row.get(1)))))
}

/// Writes the transfers and the changed balances.
pub async fn write(db: &Client, ledger: &Ledger) -> Result<(), Error> {
    if ledger.made().is_empty() {
        return Ok(());
    }
    balance_params(ledger).execute(db, UPDATE_BALANCES).await?;
    transfer_params(Params::with_capacity(8), ledger.made()).execute(db, INSERT_TRANSFERS).await?;
    Ok(())
}

/// The changed balances, for [`UPDATE_BALANCES`].
pub fn balance_params(ledger: &Ledger) -> Params<'static> {
    let changed = ledger.changed();
    Params::with_capacity(2)
        .column(changed.iter().map(|(id, _)| id.0))
        .column(changed.iter().map(|(_, balance)| balance.minor()))
}

/// The columns of transfers, in the order of [`INSERT_TRANSFERS`]; a batch has other parameters before them.
pub fn transfer_params<'a>(params: Params<'a>, made: &[Transfer]) -> Params<'a> {
    params
        .column(made.iter().map(|it| it.user().map_or(0, |user| user.0)))
        .column(made.iter().map(|it| it.debit.0))
        .column(made.iter().map(|it| it.credit.0))
        .column(made.iter().map(|it| it.amount.minor()))
        .column(made.iter().map(|it| it.kind.as_str()))
        .column(made.iter().map(|it| it.reference))
        .column(made.iter().map(|it| it.balance_after.map(Money::minor)))
        .column(made.iter().map(|it| it.at))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_statement_uses_all_its_parameters_in_order() {
        balance_params(&Ledger::default()).assert_fit(UPDATE_BALANCES);
        transfer_params(Params::default(), &[]).assert_fit(INSERT_TRANSFERS);
    }
}
