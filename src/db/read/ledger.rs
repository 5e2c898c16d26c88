//! The ledger as a whole: whether every balance is what its transfers say, and all sum to zero.

use crate::db::{Db, DbError};
use crate::domain::ledger::AccountId;
use crate::domain::money::Money;

/// The most accounts that a check names.
const MAX_NAMED: i64 = 20;

/// What a check of the ledger found.
#[derive(Clone, PartialEq, Debug)]
pub struct LedgerCheck {
    pub accounts: i64,
    pub transfers: i64,
    /// Of all balances; zero, if the books are right.
    pub sum: Money,
    /// Accounts whose balance is not what their transfers say: the balance, and what they say.
    pub off: Vec<(AccountId, Money, Money)>,
}

impl LedgerCheck {
    pub fn is_balanced(&self) -> bool {
        self.sum == Money::ZERO && self.off.is_empty()
    }
}

/// Adds up every transfer and holds the balances against that. Reads each table once.
pub async fn check(db: &Db) -> Result<LedgerCheck, DbError> {
    let sql = "-- ledger::check(sums)
        SELECT (SELECT count(*) FROM accounts) AS accounts, (SELECT count(*) FROM transfers) AS transfers,
               (SELECT coalesce(sum(balance), 0)::bigint FROM accounts) AS sum";
    let sums = db.query_long(sql, &[]).await?.pop().ok_or(DbError::Corrupt("no sums"))?;
    let sql = "-- ledger::check(balances)
        SELECT a.id, a.balance, coalesce(m.moved, 0)::bigint AS moved
        FROM accounts a FULL JOIN (
            SELECT account, sum(amount) AS moved FROM (
                SELECT credit AS account, amount FROM transfers
                UNION ALL SELECT debit, -amount FROM transfers) entries
            GROUP BY account) m ON m.account = a.id
        WHERE a.id IS NULL OR a.balance <> coalesce(m.moved, 0) LIMIT $1";
    let off = db.query_long(sql, &[&MAX_NAMED]).await?;
    let account = |row: &tokio_postgres::Row| {
        let (id, balance): (Option<i64>, Option<i64>) = (row.get("id"), row.get("balance"));
        (AccountId(id.unwrap_or(-1)), Money::new(balance.unwrap_or(0)), Money::new(row.get("moved")))
    };
    Ok(LedgerCheck {
        accounts: sums.get("accounts"),
        transfers: sums.get("transfers"),
        sum: Money::new(sums.get("sum")),
        off: off.iter().map(account).collect(),
    })
}
