//! Reads whole tables for the operator's exports, row by row from one snapshot. This file knows the columns
//! of each export and not its file format. Secrets are never exported: neither password hashes nor tokens.

use std::pin::Pin;
use std::time::Duration;

use futures_util::stream::{Fuse, StreamExt, TryStreamExt};
use jiff::Timestamp;
use serde::{Serialize, Serializer};
use tokio_postgres::types::Type;
use tokio_postgres::{Client, Row, RowStream};
use uuid::Uuid;

use super::finance;
use crate::db::DbError;
use crate::domain::id::DrawId;
use crate::domain::money::Currency;

/// The time limit for the next row; before the first row the database sorts all of them.
const ROW_WAIT: Duration = Duration::from_secs(600);

/// The exports.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ExportTable {
    Draws,
    Tickets,
    Users,
    Payments,
    Transfers,
    Winners,
    /// The balances of all accounts.
    Finance,
    /// The money of each draw.
    FinanceDraws,
}

impl ExportTable {
    pub const ALL: [ExportTable; 8] = [
        ExportTable::Draws,
        ExportTable::Tickets,
        ExportTable::Users,
        ExportTable::Payments,
        ExportTable::Transfers,
        ExportTable::Winners,
        ExportTable::Finance,
        ExportTable::FinanceDraws,
    ];

    /// As the API and the command line write it.
    pub fn as_str(self) -> &'static str {
        match self {
            ExportTable::Draws => "draws",
            ExportTable::Tickets => "tickets",
            ExportTable::Users => "users",
            ExportTable::Payments => "payments",
            ExportTable::Transfers => "transfers",
            ExportTable::Winners => "winners",
            ExportTable::Finance => "finance",
            ExportTable::FinanceDraws => "finance_draws",
        }
    }

    /// The inverse of [`ExportTable::as_str`].
    pub fn parse(text: &str) -> Option<ExportTable> {
        ExportTable::ALL.into_iter().find(|table| table.as_str() == text)
    }

    /// Whether its rows belong to draws.
    pub fn is_by_draw(self) -> bool {
        self != ExportTable::Finance
    }

    /// Its columns, their tables, the condition for rows of the draw `$1` (if that is not null), and the
    /// order. Columns that are also in the API have the API's names.
    fn parts(self) -> [&'static str; 4] {
        match self {
            ExportTable::Draws => [
                "d.id, d.lottery, d.number, d.status, d.price, $2::text AS currency, d.sales_open_at,
                 d.sales_close_at, d.draw_at, s.sold AS tickets_sold,
                 CASE WHEN d.status IN ('scheduled', 'open') THEN (
                     SELECT count(*) FROM pool_tickets p WHERE p.draw_id = d.id AND NOT EXISTS (
                         SELECT FROM tickets t WHERE t.pool_ticket_id = p.id AND t.status IN ('reserved', 'paid')))
                      ELSE 0 END AS tickets_available,
                 CASE WHEN d.status IN ('cancelling', 'cancelled') THEN 0
                      ELSE (div(d.price::numeric * s.sold * d.fund_share, 10000)
                            + coalesce(r.jackpot, a.balance))::bigint END AS prize_fund,
                 d.fairness, r.pick AS winning_numbers, c.reason AS cancel_reason, r.drawn_at",
                // The numbers of a draw that was cancelled after them are none.
                "draws d JOIN draw_sales s ON s.draw_id = d.id JOIN lotteries l ON l.id = d.lottery
                 JOIN accounts a ON a.id = l.seq * 8 + 4 LEFT JOIN draw_cancellations c ON c.draw_id = d.id
                 LEFT JOIN draw_results r ON r.draw_id = d.id AND c.reason IS NULL",
                "d.id = $1",
                "d.id",
            ],
            ExportTable::Tickets => [
                "t.id, t.user_id, t.draw_id, t.lottery, t.number, t.pick AS numbers, t.origin, t.pool_ticket_id,
                 t.status, t.price, t.reserved_until, t.matches, t.prize, t.created_at",
                "ticket_states t",
                "t.draw_id = $1",
                "t.id",
            ],
            ExportTable::Users => [
                "u.id, u.username, u.email, u.name, u.role, u.status, u.created_at, a.balance",
                "users u JOIN accounts a ON a.id = u.id * 8 + 1",
                "EXISTS (SELECT FROM tickets t WHERE t.user_id = u.id AND t.draw_id = $1)",
                "u.id",
            ],
            ExportTable::Payments => [
                "p.id, p.user_id, p.kind, p.status, p.amount, $2::text AS currency, p.method, p.draw_id,
                 p.ticket_ids, p.failure_code, p.created_at, p.updated_at",
                "payment_states p",
                "p.draw_id = $1",
                "p.id",
            ],
            ExportTable::Transfers => [
                "t.id, nullif(t.user_id, 0) AS user_id, t.kind,
                 CASE WHEN t.user_id > 0 AND t.debit = t.user_id * 8 + 1 THEN -t.amount ELSE t.amount END AS amount,
                 t.balance_after, t.reference, concat_ws(' ', f.kind, f.user_id, f.draw_id, f.lottery) AS debit,
                 concat_ws(' ', i.kind, i.user_id, i.draw_id, i.lottery) AS credit, t.created_at",
                "transfers t JOIN accounts f ON f.id = t.debit JOIN accounts i ON i.id = t.credit",
                "(t.debit = $1 * 8 + 3 OR t.credit = $1 * 8 + 3)",
                "t.id",
            ],
            ExportTable::Winners => [
                "t.draw_id, t.lottery, t.id AS ticket_id, t.number, t.user_id, u.username, t.pick AS numbers,
                 t.matches, t.prize",
                "ticket_states t JOIN users u ON u.id = t.user_id",
                "t.draw_id = $1",
                "t.draw_id, t.number",
            ],
            ExportTable::Finance => [
                "a.kind, a.lottery, a.balance, $2::text AS currency",
                finance::ACCOUNTS,
                "false",
                "a.place, a.lottery",
            ],
            ExportTable::FinanceDraws => [finance::DRAW_COLUMNS, finance::DRAWS, "d.id = $1", "d.id"],
        }
    }

    fn sql(self) -> String {
        let [columns, from, of_draw, order] = self.parts();
        let won = if self == ExportTable::Winners { "AND t.status = 'won'" } else { "" };
        format!(
            "-- export::{}(draw, currency)
             SELECT {columns} FROM {from}
             WHERE $2::text IS NOT NULL AND ($1::bigint IS NULL OR {of_draw}) {won} ORDER BY {order}",
            self.as_str()
        )
    }
}

/// One value of a row.
#[derive(Clone, PartialEq, Debug)]
pub enum Cell {
    Null,
    Number(i64),
    Text(String),
    Time(Timestamp),
    Id(Uuid),
    Numbers(Vec<u8>),
    Ids(Vec<Uuid>),
}

impl Serialize for Cell {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Cell::Null => serializer.serialize_none(),
            Cell::Number(number) => number.serialize(serializer),
            Cell::Text(text) => text.serialize(serializer),
            Cell::Time(time) => time.serialize(serializer),
            Cell::Id(id) => id.serialize(serializer),
            Cell::Numbers(numbers) => numbers.serialize(serializer),
            Cell::Ids(ids) => ids.serialize(serializer),
        }
    }
}

/// A running export; it keeps its connection until it ends.
pub struct Export {
    pub columns: Vec<String>,
    rows: Pin<Box<Fuse<RowStream>>>,
    _client: Client,
}

impl Export {
    /// Begins an export of the whole table, or of the rows that belong to a draw. `None` if there is no such
    /// draw.
    pub async fn begin(
        client: Client,
        table: ExportTable,
        draw: Option<DrawId>,
        currency: Currency,
    ) -> Result<Option<Export>, DbError> {
        client.batch_execute("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY").await?;
        let id = draw.map(|draw| draw.0);
        let sql = "-- export::begin()
            SELECT FROM draws WHERE id = $1";
        if id.is_some() && client.query_opt(sql, &[&id]).await?.is_none() {
            return Ok(None);
        }
        let statement = client.prepare_typed(&table.sql(), &[Type::INT8, Type::TEXT]).await?;
        let columns = statement.columns().iter().map(|column| column.name().to_owned()).collect();
        let currency = currency.to_string();
        let params: [&(dyn tokio_postgres::types::ToSql + Sync); 2] = [&id, &currency];
        let rows = Box::pin(client.query_raw(&statement, params).await?.fuse());
        Ok(Some(Export { columns, rows, _client: client }))
    }

    /// The next row, in the order of the columns. The database sends more rows only as they are read.
    pub async fn next(&mut self) -> Result<Option<Vec<Cell>>, DbError> {
        let row = tokio::time::timeout(ROW_WAIT, self.rows.try_next());
        let row = row.await.map_err(|_| DbError::Timeout(ROW_WAIT))??;
        row.map(|row| (0..row.len()).map(|column| cell(&row, column)).collect()).transpose()
    }
}

/// A value by its column's type. A column whose name ends in `numbers` contains a pick's mask.
fn cell(row: &Row, column: usize) -> Result<Cell, DbError> {
    let (name, kind) = (row.columns()[column].name(), row.columns()[column].type_());
    Ok(match *kind {
        Type::INT8 if name.ends_with("numbers") => {
            let mask: Option<i64> = row.try_get(column)?;
            let numbers = |mask: i64| (0..64).filter(|bit| mask >> bit & 1 == 1).map(|bit| bit + 1).collect();
            mask.map_or(Cell::Null, |mask| Cell::Numbers(numbers(mask)))
        }
        Type::INT8 => row.try_get::<_, Option<i64>>(column)?.map_or(Cell::Null, Cell::Number),
        Type::INT4 => row.try_get::<_, Option<i32>>(column)?.map_or(Cell::Null, |it| Cell::Number(it.into())),
        Type::INT2 => row.try_get::<_, Option<i16>>(column)?.map_or(Cell::Null, |it| Cell::Number(it.into())),
        Type::TEXT => row.try_get::<_, Option<String>>(column)?.map_or(Cell::Null, Cell::Text),
        Type::TIMESTAMPTZ => row.try_get::<_, Option<Timestamp>>(column)?.map_or(Cell::Null, Cell::Time),
        Type::UUID => row.try_get::<_, Option<Uuid>>(column)?.map_or(Cell::Null, Cell::Id),
        Type::UUID_ARRAY => row.try_get::<_, Option<Vec<Uuid>>>(column)?.map_or(Cell::Null, Cell::Ids),
        _ => return Err(DbError::Corrupt("a column of a type that no export has")),
    })
}

/// How many rows an export will have, for the progress bar.
pub async fn estimate(client: &Client, table: ExportTable, draw: Option<DrawId>) -> Result<u64, DbError> {
    let sql = match table {
        ExportTable::Finance => "-- export::estimate(finance)
            SELECT 5 + 2 * count(*) FROM lotteries WHERE $1::bigint IS NULL",
        ExportTable::Draws | ExportTable::FinanceDraws => "-- export::estimate(draws)
            SELECT count(*) FROM draws WHERE $1::bigint IS NULL OR id = $1",
        ExportTable::Tickets => "-- export::estimate(tickets)
            SELECT count(*) FROM tickets WHERE $1::bigint IS NULL OR draw_id = $1",
        ExportTable::Users => "-- export::estimate(users)
            SELECT count(*) FROM users WHERE $1::bigint IS NULL OR id IN (SELECT user_id FROM tickets WHERE draw_id = $1)",
        ExportTable::Payments => "-- export::estimate(payments)
            SELECT count(*) FROM payments WHERE $1::bigint IS NULL OR draw_id = $1",
        ExportTable::Transfers => "-- export::estimate(transfers)
            SELECT count(*) FROM transfers
            WHERE $1::bigint IS NULL OR debit = $1 * 8 + 3 OR credit = $1 * 8 + 3",
        ExportTable::Winners => "-- export::estimate(winners)
            SELECT coalesce(sum(winners), 0)::bigint FROM result_tiers WHERE $1::bigint IS NULL OR draw_id = $1",
    };
    let rows: i64 = client.query_one(sql, &[&draw.map(|draw| draw.0)]).await?.get(0);
    Ok(rows.unsigned_abs())
}
