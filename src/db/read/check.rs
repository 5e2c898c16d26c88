//! Checks whether the whole database keeps its invariants, in one snapshot: each of `INVARIANTS`, and then
//! the schema, the public log and the ticket logs, and the winners, prizes and money of every draw, which the domain computes again. Large results are compared
//! in SQL or read row by row; only the first rows that break an invariant are kept in memory.

use std::fmt;

use futures_util::TryStreamExt;
use tokio_postgres::{Client, Row};

use super::invariants::INVARIANTS;
use super::rules::rules;
use super::{log_check, public_log_check, schema_objects};
use crate::db::{DbError, newer_schema};
use crate::domain::lottery::Rules;
use crate::domain::money::Money;
use crate::domain::prize::Settlement;
use crate::domain::ticket_log::TicketLogs;

/// How many rows of a violation are shown.
const SHOWN: usize = 10;
/// The name of the invariant about the schema itself.
const SCHEMA: &str = "the triggers, functions, constraints and indexes are those of this version, and enabled";
/// The name of the invariant that the domain checks.
const DRAW_MONEY: &str = "a draw's winners, prizes and money are what its tickets and its rules say";

/// The name of the invariant about ticket logs.
const TICKET_LOGS: &str = "a draw's ticket log, its tiles and its seal are those of its paid orders";

/// The name of the invariant about the public log.
const PUBLIC_LOG: &str = "the public log is one tree of entries, and they say of each draw what its rows say";

/// An invariant that does not hold.
#[derive(Clone, PartialEq, Debug)]
pub struct Violation {
    pub invariant: &'static str,
    /// The first rows that break it, as JSON or as text.
    pub rows: Vec<String>,
    /// Whether there are more such rows.
    pub more: bool,
}

impl Violation {
    fn of(invariant: &'static str, mut rows: Vec<String>) -> Option<Violation> {
        let more = rows.len() > SHOWN;
        rows.truncate(SHOWN);
        (!rows.is_empty()).then_some(Violation { invariant, rows, more })
    }
}

impl fmt::Display for Violation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "BROKEN: {}", self.invariant)?;
        self.rows.iter().try_for_each(|row| write!(f, "\n    {row}"))?;
        if self.more { write!(f, "\n    and more") } else { Ok(()) }
    }
}

/// How much was checked, and what was found.
#[derive(Clone, PartialEq, Debug)]
pub struct Report {
    pub users: i64,
    pub draws: i64,
    pub tickets: i64,
    pub payments: i64,
    pub transfers: i64,
    /// The version of the schema, if it is newer than this program's: then its objects were not compared.
    pub newer_schema: Option<i32>,
    /// Whether the ticket logs were compared with the tickets, and the drawn numbers with what they follow from: both need
    /// the master secret.
    pub ticket_logs: bool,
    pub violations: Vec<Violation>,
}

/// The progress of a check.
pub struct CheckProgress {
    pub done: usize,
    pub of: usize,
    /// The invariant that is checked next.
    pub invariant: &'static str,
}

/// Checks everything in one snapshot, so that writes during the check do not matter. The connection must not
/// be in a transaction, and is in none afterwards; after an error it must not be used any more. Without `logs`, ticket
/// logs are not compared.
pub async fn check(
    client: &Client,
    logs: Option<&TicketLogs>,
    on_progress: impl FnMut(CheckProgress),
) -> Result<Report, DbError> {
    client.batch_execute("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY").await?;
    let report = check_in_transaction(client, logs, on_progress).await?;
    client.batch_execute("COMMIT").await?;
    Ok(report)
}

/// Does the same in the transaction that the caller has begun.
pub async fn check_in_transaction(
    client: &Client,
    logs: Option<&TicketLogs>,
    mut on_progress: impl FnMut(CheckProgress),
) -> Result<Report, DbError> {
    let mut report = counts(client).await?;
    let of = INVARIANTS.len() + 3 + usize::from(logs.is_some());
    for (done, statement) in INVARIANTS.iter().enumerate() {
        let invariant = sentence(statement);
        on_progress(CheckProgress { done, of, invariant });
        // As a rule nothing is found, so that the statement runs to its end. MATERIALIZED keeps the planner from a
        // nested loop, which would find the first rows soon and need hours for all.
        let sql = format!(
            "WITH found AS MATERIALIZED (\n{statement}\n) SELECT row_to_json(found)::text FROM found LIMIT {}",
            SHOWN + 1
        );
        let rows = client.query(&sql, &[]).await?;
        report.violations.extend(Violation::of(invariant, rows.iter().map(|row| row.get(0)).collect()));
    }
    on_progress(CheckProgress { done: INVARIANTS.len(), of, invariant: SCHEMA });
    report.newer_schema = newer_schema(client).await?;
    if report.newer_schema.is_none() {
        report.violations.extend(Violation::of(SCHEMA, schema_objects::differences(client).await?));
    }
    on_progress(CheckProgress { done: INVARIANTS.len() + 1, of, invariant: DRAW_MONEY });
    report.violations.extend(Violation::of(DRAW_MONEY, draw_money(client).await?));
    on_progress(CheckProgress { done: INVARIANTS.len() + 2, of, invariant: PUBLIC_LOG });
    let found = public_log_check::differences(client, logs, SHOWN + 1).await?;
    report.violations.extend(Violation::of(PUBLIC_LOG, found));
    if let Some(logs) = logs {
        on_progress(CheckProgress { done: of - 1, of, invariant: TICKET_LOGS });
        let found = log_check::differences(client, logs, SHOWN + 1).await?;
        report.violations.extend(Violation::of(TICKET_LOGS, found));
        report.ticket_logs = true;
    }
    Ok(report)
}

/// The first line of a statement is the invariant's name.
fn sentence(statement: &'static str) -> &'static str {
    statement.lines().next().map_or("", |line| line.trim_start_matches("-- "))
}

async fn counts(client: &Client) -> Result<Report, DbError> {
    let sql = "-- check::counts()
        SELECT (SELECT count(*) FROM users), (SELECT count(*) FROM draws), (SELECT count(*) FROM tickets),
               (SELECT count(*) FROM payments), (SELECT count(*) FROM transfers)";
    let row = client.query_one(sql, &[]).await?;
    let [users, draws, tickets, payments, transfers] = std::array::from_fn(|column| row.get(column));
    let (newer_schema, ticket_logs, violations) = (None, false, Vec::new());
    Ok(Report { users, draws, tickets, payments, transfers, newer_schema, ticket_logs, violations })
}

/// The draws whose money is not what the domain computes. One row more than is shown tells that there are
/// more.
async fn draw_money(client: &Client) -> Result<Vec<String>, DbError> {
    let sql = "-- check::draw_money()
        WITH hits AS (
            SELECT t.draw_id, bit_count((t.pick & r.pick)::bit(64)) AS matches, count(*) AS tickets
            FROM tickets t JOIN draw_results r ON r.draw_id = t.draw_id WHERE t.status = 'paid' GROUP BY 1, 2
        ), tiers AS (
            SELECT dt.draw_id, array_agg(dt.matches ORDER BY dt.matches DESC) AS matches,
                   array_agg(dt.amount ORDER BY dt.matches DESC) AS amounts,
                   array_agg(dt.share ORDER BY dt.matches DESC) AS shares,
                   array_agg(dt.minimum ORDER BY dt.matches DESC) AS minimums,
                   array_agg(rt.winners ORDER BY dt.matches DESC) AS winners,
                   array_agg(rt.prize ORDER BY dt.matches DESC) AS prizes,
                   array_agg(coalesce(h.tickets, 0) ORDER BY dt.matches DESC) AS hits
            FROM draw_tiers dt LEFT JOIN result_tiers rt ON (rt.draw_id, rt.matches) = (dt.draw_id, dt.matches)
            LEFT JOIN hits h ON (h.draw_id, h.matches) = (dt.draw_id, dt.matches) GROUP BY dt.draw_id
        ), moved AS (
            SELECT (CASE WHEN credit % 8 = 3 THEN credit ELSE debit END) / 8 AS draw_id,
                   sum(amount) FILTER (WHERE kind = 'purchase') AS sales,
                   sum(amount) FILTER (WHERE kind = 'jackpot') AS jackpot,
                   sum(amount) FILTER (WHERE kind = 'reserve') AS reserve,
                   sum(amount) FILTER (WHERE kind = 'prize') AS prizes,
                   sum(amount) FILTER (WHERE kind = 'rollover') AS rollover,
                   sum(amount) FILTER (WHERE kind = 'revenue') AS revenue,
                   sum(amount) FILTER (WHERE kind = 'refund') AS refunds
            FROM transfers WHERE credit % 8 = 3 OR debit % 8 = 3 GROUP BY 1
        )
        SELECT d.id, d.lottery, d.status, d.pick, d.of, d.price, d.fund_share, s.sold, r.jackpot, r.prize_fund, r.rollover,
               t.matches, t.amounts, t.shares, t.minimums, t.winners, t.prizes, t.hits,
               ARRAY[m.sales, m.jackpot, m.reserve, m.prizes, m.rollover, m.revenue, m.refunds]::bigint[] AS moved
        FROM draws d JOIN draw_sales s ON s.draw_id = d.id LEFT JOIN draw_results r ON r.draw_id = d.id
        LEFT JOIN tiers t ON t.draw_id = d.id LEFT JOIN moved m ON m.draw_id = d.id ORDER BY d.id";
    let no_params: [&(dyn tokio_postgres::types::ToSql + Sync); 0] = [];
    let mut rows = std::pin::pin!(client.query_raw(sql, no_params).await?);
    let mut found = Vec::new();
    while let Some(row) = rows.try_next().await? {
        if found.len() > SHOWN {
            continue;
        }
        let id: i64 = row.get("id");
        match check_draw(&row) {
            Ok(()) => {}
            Err(what) => found.push(format!("draw {id}: {what}")),
        }
    }
    Ok(found)
}

/// The sums that went into a draw's escrow and out of it, by the kind of transfer.
struct EscrowMoves {
    sales: i64,
    jackpot: i64,
    reserve: i64,
    prizes: i64,
    rollover: i64,
    revenue: i64,
    refunds: i64,
}

/// Compares one draw with its rules; returns what differs.
fn check_draw(row: &Row) -> Result<(), String> {
    let moved: Vec<Option<i64>> = row.get("moved");
    let moved: Vec<i64> = moved.into_iter().map(Option::unwrap_or_default).collect();
    let [sales, jackpot, reserve, prizes, rollover, revenue, refunds] = moved[..] else {
        return Err("its transfers cannot be read".to_owned());
    };
    let moved = EscrowMoves { sales, jackpot, reserve, prizes, rollover, revenue, refunds };
    let rules = rules(row).map_err(|error| error.to_string())?;
    let sold: i64 = row.get("sold");
    let due = rules.price.checked_mul(sold.unsigned_abs()).ok_or("its sales do not fit")?;
    equal("of sales in the escrow", moved.sales, due.minor())?;
    equal("of jackpot moved in", moved.jackpot, row.get::<_, Option<i64>>("jackpot").unwrap_or(0))?;
    let Some(fund) = row.get::<_, Option<i64>>("prize_fund") else {
        // The winners are not counted yet, or the draw was cancelled: then its jackpot has gone back.
        let is_cancelled = matches!(row.get("status"), "cancelling" | "cancelled");
        equal("of jackpot given back", moved.rollover, if is_cancelled { moved.jackpot } else { 0 })?;
        let moved = EscrowMoves { rollover: 0, ..moved };
        return equal("moved out as prizes", moved.prizes + moved.rollover + moved.revenue + moved.reserve, 0);
    };
    let settled = settle(&rules, row, due)?;
    let counted: Vec<Option<i64>> = row.get("winners");
    let fixed: Vec<Option<i64>> = row.get("prizes");
    for ((tier, counted), fixed) in settled.tiers.iter().zip(counted).zip(fixed) {
        let with = |what: &str| format!("{what} with {} matches", tier.matches);
        equal(&with("winners"), counted.unwrap_or(-1), i64::try_from(tier.winners).unwrap_or(-1))?;
        equal(&with("for each"), fixed.unwrap_or(-1), tier.prize.minor())?;
    }
    equal("of prize fund", fund, settled.prize_fund.minor())?;
    equal("of rollover written", row.get::<_, Option<i64>>("rollover").unwrap_or(-1), settled.rollover.minor())?;
    equal("of rollover moved", moved.rollover, settled.rollover.minor())?;
    equal("of revenue", moved.revenue, settled.revenue.minor())?;
    equal("from the reserve", moved.reserve, settled.from_reserve.minor())?;
    equal("of refunds", moved.refunds, 0)?;
    if row.get::<_, &str>("status") == "completed" {
        equal("of prizes paid", moved.prizes, settled.prizes.minor())?;
    }
    Ok(())
}

fn equal(what: &str, found: i64, due: i64) -> Result<(), String> {
    if found == due { Ok(()) } else { Err(format!("{found} {what}, where {due} should be")) }
}

/// The settlement by the draw's own rules, for the tickets in the database.
fn settle(rules: &Rules, row: &Row, sales: Money) -> Result<Settlement, String> {
    let hits: Vec<i64> = row.get("hits");
    let hits: Vec<u64> = hits.into_iter().map(i64::unsigned_abs).collect();
    let jackpot = Money::new(row.get::<_, Option<i64>>("jackpot").unwrap_or(0));
    // The domain panics on negative amounts, but no row may cause a panic.
    if sales < Money::ZERO || jackpot < Money::ZERO {
        return Err("money taken is below zero".to_owned());
    }
    rules.prizes.settle(sales, rules.fund_share, jackpot, &hits).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_invariant_has_its_own_sentence() {
        let names: std::collections::BTreeSet<&str> =
            INVARIANTS.iter().map(|statement| sentence(statement)).collect();
        assert_eq!(names.len(), INVARIANTS.len());
        assert!(INVARIANTS.iter().all(|statement| statement.starts_with("-- ")));
    }

    #[test]
    fn only_the_first_rows_are_shown() {
        let rows = |count: usize| (0..count).map(|row| row.to_string()).collect::<Vec<_>>();
        assert_eq!(Violation::of(DRAW_MONEY, rows(0)), None);
        let found = |count| Violation::of(DRAW_MONEY, rows(count)).map(|found| (found.rows.len(), found.more));
        assert_eq!([found(SHOWN), found(SHOWN + 1)], [Some((SHOWN, false)), Some((SHOWN, true))]);
    }
}
