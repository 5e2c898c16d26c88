//! Reads a wallet's balance and its transfers.

use jiff::Timestamp;
use serde::Serialize;
use uuid::Uuid;

use super::{Page, PageRows};
use crate::db::{Db, DbError};
use crate::domain::id::UserId;
use crate::domain::ledger::{AccountId, TransferKind};
use crate::domain::money::Money;

/// The balance of a user's wallet.
pub async fn balance(db: &Db, user: UserId) -> Result<Money, DbError> {
    let sql = "-- wallet::balance()
        SELECT balance FROM accounts WHERE id = $1";
    let row = db.query_opt(sql, &[&AccountId::wallet(user).0]).await?;
    row.map(|row| Money::new(row.get("balance"))).ok_or(DbError::Corrupt("a user without a wallet"))
}

/// A transfer as the wallet's owner sees it.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct WalletTransfer {
    pub id: i64,
    pub kind: TransferKind,
    /// What the transfer added to the wallet; negative if it took money out.
    pub amount: Money,
    pub balance_after: Money,
    pub reference: Option<Uuid>,
    pub created_at: Timestamp,
}

/// A wallet's transfers, newest first.
pub async fn transfers(db: &Db, user: UserId, page: Page<i64>) -> Result<PageRows<WalletTransfer, i64>, DbError> {
    let sql = "-- wallet::transfers()
        SELECT id, kind, CASE WHEN debit = $2 THEN -amount ELSE amount END AS amount, balance_after, reference,
               created_at
        FROM transfers WHERE user_id = $1 AND id < $3 ORDER BY user_id DESC, id DESC LIMIT $4";
    let wallet = AccountId::wallet(user).0;
    let rows = db.query(sql, &[&user.0, &wallet, &page.after.unwrap_or(i64::MAX), &(page.limit + 1)]).await?;
    let transfer = |row: &tokio_postgres::Row| {
        let kind = TransferKind::parse_of_wallet(row.get("kind"));
        Ok(WalletTransfer {
            id: row.get("id"),
            kind: kind.ok_or(DbError::Corrupt("the kind of a wallet's transfer"))?,
            amount: Money::new(row.get("amount")),
            balance_after: Money::new(row.get("balance_after")),
            reference: row.get("reference"),
            created_at: row.get("created_at"),
        })
    };
    let items = rows.iter().map(transfer).collect::<Result<_, DbError>>()?;
    Ok(PageRows::cut(items, page.limit, |transfer: &WalletTransfer| transfer.id))
}
