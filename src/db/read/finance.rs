//! Reads what the books say: the balances of all accounts, and the money of each draw. It reads no ticket and no transfer.
//! What has moved follows from what the steps of a draw store, and from the balance of its escrow, so millions of tickets
//! make it no slower.

use serde::Serialize;
use tokio_postgres::Row;

use super::{Page, PageRows};
use crate::db::{Db, DbError};
use crate::domain::id::{DrawId, LotteryId};
use crate::domain::lottery::DrawStatus;
use crate::domain::money::{Currency, Money};

/// What an account is for.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum AccountKind {
    Wallet,
    Held,
    Escrow,
    Jackpot,
    Reserve,
    Revenue,
    Clearing,
}

impl AccountKind {
    pub const ALL: [AccountKind; 7] = [
        AccountKind::Wallet,
        AccountKind::Held,
        AccountKind::Escrow,
        AccountKind::Jackpot,
        AccountKind::Reserve,
        AccountKind::Revenue,
        AccountKind::Clearing,
    ];

    /// Those that are no player's.
    pub const HOUSE: [AccountKind; 5] = [
        AccountKind::Escrow,
        AccountKind::Jackpot,
        AccountKind::Reserve,
        AccountKind::Revenue,
        AccountKind::Clearing,
    ];

    /// As the database and the contract write it.
    pub fn as_str(self) -> &'static str {
        match self {
            AccountKind::Wallet => "wallet",
            AccountKind::Held => "held",
            AccountKind::Escrow => "escrow",
            AccountKind::Jackpot => "jackpot",
            AccountKind::Reserve => "reserve",
            AccountKind::Revenue => "revenue",
            AccountKind::Clearing => "clearing",
        }
    }

    fn parse(text: &str) -> Option<AccountKind> {
        AccountKind::ALL.into_iter().find(|kind| kind.as_str() == text)
    }
}

/// The sum of the accounts of one kind; of escrows and jackpots, those of one lottery.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct AccountBalance {
    pub kind: AccountKind,
    pub lottery: Option<LotteryId>,
    pub balance: Money,
}

/// All accounts, summed as in [`AccountBalance`], as the rows `place, kind, lottery, balance`. Every kind has a row, also
/// with no money in it. One statement is one snapshot, so the rows sum to zero.
pub const ACCOUNTS: &str = "(
    SELECT k.place, k.kind, NULL::text AS lottery, coalesce(sum(a.balance), 0)::bigint AS balance
    FROM (VALUES (1, 'wallet'), (2, 'held'), (5, 'reserve'), (6, 'revenue'), (7, 'clearing')) k (place, kind)
    LEFT JOIN accounts a ON a.kind = k.kind GROUP BY k.place, k.kind
    UNION ALL
    SELECT 3, 'escrow', l.id, coalesce(sum(a.balance), 0)::bigint
    FROM lotteries l LEFT JOIN draws d ON d.lottery = l.id LEFT JOIN accounts a ON a.id = d.id * 8 + 3 GROUP BY l.id
    UNION ALL
    SELECT 4, 'jackpot', l.id, a.balance FROM lotteries l JOIN accounts a ON a.id = l.seq * 8 + 4
) a";

/// The balances of all accounts.
pub async fn accounts(db: &Db) -> Result<Vec<AccountBalance>, DbError> {
    let sql = format!(
        "-- finance::accounts()
        SELECT a.kind, a.lottery, a.balance FROM {ACCOUNTS} ORDER BY a.place, a.lottery"
    );
    let account = |row: &Row| {
        Ok(AccountBalance {
            kind: AccountKind::parse(row.get("kind")).ok_or(DbError::Corrupt("account kind"))?,
            lottery: row.get::<_, Option<String>>("lottery").map(LotteryId),
            balance: Money::new(row.get("balance")),
        })
    };
    db.query_long(&sql, &[]).await?.iter().map(account).collect()
}

/// The sums of [`AccountKind::HOUSE`]: without the many wallets, for the metrics. Only draws that are not over have
/// something in their escrow.
pub async fn house(db: &Db) -> Result<Vec<(AccountKind, Money)>, DbError> {
    let sql = "-- finance::house()
        SELECT kind, balance FROM accounts WHERE id IN (0, 8, 16)
        UNION ALL
        SELECT 'jackpot', coalesce(sum(a.balance), 0)::bigint
        FROM lotteries l JOIN accounts a ON a.id = l.seq * 8 + 4
        UNION ALL
        SELECT 'escrow', coalesce(sum(a.balance), 0)::bigint FROM draws d JOIN accounts a ON a.id = d.id * 8 + 3
        WHERE d.status NOT IN ('completed', 'cancelled')";
    let balance = |row: &Row| {
        let kind = AccountKind::parse(row.get("kind")).ok_or(DbError::Corrupt("account kind"))?;
        Ok((kind, Money::new(row.get("balance"))))
    };
    db.query(sql, &[]).await?.iter().map(balance).collect()
}

/// The money of one draw. Until it is completed or cancelled, what is not moved out yet is in its escrow:
/// `sales + rollover_in + reserve = prizes + refunds + rollover_out + revenue + escrow`.
#[derive(Clone, PartialEq, Debug, Serialize)]
pub struct DrawFinance {
    pub draw_id: DrawId,
    pub lottery: LotteryId,
    pub number: i32,
    pub status: DrawStatus,
    pub currency: Currency,
    pub sales: Money,
    pub prizes: Money,
    pub refunds: Money,
    pub rollover_in: Money,
    pub rollover_out: Money,
    pub reserve: Money,
    pub revenue: Money,
}

/// The columns of [`DrawFinance`] from [`DRAWS`]; `$2` is the currency. An order changes `sold` and the escrow, a step of a
/// payout the escrow alone: so what the escrow has lost since the prizes were fixed, or the refunds began, was paid. Sales
/// that are not in the prize fund are revenue, and what the prizes and the rollover exceed the fund by came from the
/// reserve (`PrizeTable::settle`).
pub const DRAW_COLUMNS: &str = "d.id AS draw_id, d.lottery, d.number, d.status, $2::text AS currency,
    d.price * s.sold AS sales,
    coalesce(t.prizes - e.balance, 0) AS prizes,
    CASE WHEN c.draw_id IS NULL THEN 0 ELSE d.price * s.sold - e.balance END AS refunds,
    coalesce(r.jackpot, 0) AS rollover_in, coalesce(r.rollover, 0) AS rollover_out,
    coalesce(t.prizes + r.rollover - r.prize_fund, 0) AS reserve,
    coalesce(d.price * s.sold + r.jackpot - r.prize_fund, 0) AS revenue";

/// `t.prizes` is null until the prizes are fixed.
pub const DRAWS: &str = "draws d JOIN draw_sales s ON s.draw_id = d.id JOIN accounts e ON e.id = d.id * 8 + 3
    LEFT JOIN draw_results r ON r.draw_id = d.id LEFT JOIN draw_cancellations c ON c.draw_id = d.id
    LEFT JOIN LATERAL (SELECT sum(winners * prize)::bigint AS prizes FROM result_tiers WHERE draw_id = d.id) t ON true";

/// The money of the draws, newest first, with optional filters: an empty list of lotteries or statuses means all.
pub async fn draws(
    db: &Db,
    currency: Currency,
    lotteries: &[String],
    statuses: &[DrawStatus],
    page: Page<i64>,
) -> Result<PageRows<DrawFinance, i64>, DbError> {
    let sql = format!(
        "-- finance::draws(after, currency, lotteries, statuses, limit)
        SELECT {DRAW_COLUMNS} FROM {DRAWS}
        WHERE d.id < $1 AND ($3::text[] = '{{}}' OR d.lottery = ANY($3))
              AND ($4::text[] = '{{}}' OR d.status = ANY($4)) ORDER BY d.id DESC LIMIT $5"
    );
    let statuses: Vec<&str> = statuses.iter().map(|status| status.as_str()).collect();
    let (after, limit) = (page.after.unwrap_or(i64::MAX), page.limit + 1);
    let rows = db.query(&sql, &[&after, &currency.to_string(), &lotteries, &statuses, &limit]).await?;
    let draw = |row: &Row| {
        let money = |column| Money::new(row.get(column));
        Ok(DrawFinance {
            draw_id: DrawId(row.get("draw_id")),
            lottery: LotteryId(row.get("lottery")),
            number: row.get("number"),
            status: DrawStatus::parse(row.get("status")).ok_or(DbError::Corrupt("draw status"))?,
            currency,
            sales: money("sales"),
            prizes: money("prizes"),
            refunds: money("refunds"),
            rollover_in: money("rollover_in"),
            rollover_out: money("rollover_out"),
            reserve: money("reserve"),
            revenue: money("revenue"),
        })
    };
    let items = rows.iter().map(draw).collect::<Result<_, DbError>>()?;
    Ok(PageRows::cut(items, page.limit, |draw: &DrawFinance| draw.draw_id.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_table_that_grows_with_the_tickets_is_read() {
        for sql in [ACCOUNTS, DRAWS, DRAW_COLUMNS] {
            for table in ["tickets", "transfers", "payments", "ticket_states"] {
                assert!(!sql.contains(table), "{table}: {sql}");
            }
        }
    }
}
