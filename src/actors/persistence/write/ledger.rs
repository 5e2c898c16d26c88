//! Accounts and transfers for the steps of a draw's life. The sale has its own, prepared and pipelined,
//! in `sales`; the rows are the same.

use std::collections::BTreeSet;

use jiff::Timestamp;
use tokio_postgres::{Client, Error, Row};
use uuid::Uuid;

use crate::actors::persistence::transaction::StepFailure;
use crate::domain::ledger::{AccountId, Ledger, LedgerError, Posting};
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

/// Locks these accounts and reads their balances.
pub async fn open(db: &Client, accounts: &BTreeSet<AccountId>) -> Result<Ledger, Error> {
    let ids: Vec<i64> = accounts.iter().map(|id| id.0).collect();
    Ok(of(&db.query(LOCK_ACCOUNTS, &[&ids]).await?))
}

/// The ledger of the accounts that were locked.
pub fn of(rows: &[Row]) -> Ledger {
    Ledger::new(rows.iter().map(|row| (AccountId(row.get(0)), Money::new(row.get(1)))))
}

/// Writes the transfers made and the balances they left.
pub async fn write(db: &Client, ledger: &Ledger) -> Result<(), Error> {
    if ledger.made().is_empty() {
        return Ok(());
    }
    let (ids, balances) = balance_columns(ledger);
    db.execute(UPDATE_BALANCES, &[&ids, &balances]).await?;
    let t = TransferColumns::of(ledger.made());
    let columns = t.params();
    db.execute(INSERT_TRANSFERS, &columns).await?;
    Ok(())
}

/// The changed balances, column by column.
pub fn balance_columns(ledger: &Ledger) -> (Vec<i64>, Vec<i64>) {
    ledger.changed().into_iter().map(|(id, balance)| (id.0, balance.minor())).unzip()
}

/// Transfers, column by column, as `unnest` takes them.
#[derive(Default)]
pub struct TransferColumns {
    users: Vec<i64>,
    debits: Vec<i64>,
    credits: Vec<i64>,
    amounts: Vec<i64>,
    kinds: Vec<&'static str>,
    references: Vec<Option<Uuid>>,
    balances: Vec<Option<i64>>,
    times: Vec<Timestamp>,
}

impl TransferColumns {
    pub fn of(made: &[Posting]) -> TransferColumns {
        let mut columns = TransferColumns::default();
        for Posting { transfer, wallet } in made {
            columns.users.push(wallet.map_or(0, |(user, _)| user.0));
            columns.debits.push(transfer.debit.0);
            columns.credits.push(transfer.credit.0);
            columns.amounts.push(transfer.amount.minor());
            columns.kinds.push(transfer.kind.as_str());
            columns.references.push(transfer.reference);
            columns.balances.push(wallet.map(|(_, balance)| balance.minor()));
            columns.times.push(transfer.at);
        }
        columns
    }

    pub fn params(&self) -> [&(dyn tokio_postgres::types::ToSql + Sync); 8] {
        [
            &self.users,
            &self.debits,
            &self.credits,
            &self.amounts,
            &self.kinds,
            &self.references,
            &self.balances,
            &self.times,
        ]
    }
}
