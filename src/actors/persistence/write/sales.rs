//! The statements of a batch. Their number does not depend on the size of the batch; they are prepared once and
//! sent together. This file decides nothing.

use std::collections::BTreeMap;

use futures_util::future::{BoxFuture, FutureExt, TryFutureExt, try_join_all};
use tokio::try_join;
use tokio_postgres::{Client, Error, Row, Statement};

use super::params::Params;
use super::{audit, charges, ledger};
use crate::actors::persistence::connection::WriterConnection;
use crate::db::read::keys::{kept, kind_code};
use crate::domain::id::{DrawId, PaymentId, TicketId, UserId};
use crate::domain::ledger::{AccountId, Transfer};
use crate::domain::money::Money;
use crate::domain::payment::{Method, PaymentKind, PaymentStatus};
use crate::domain::prefetch::Prefetch;
use crate::domain::record::{KeyId, Line, Order};
use crate::domain::rows::{Changes, DrawSalesRow, NewKey, PaymentRow, Release};
use crate::domain::ticket_log::TileRow;
use crate::domain::writer::{BatchRecord, BatchWrite, Mark};
use crate::domain::writer_cache::{ExpectedDraw, ExpectedState, PrefetchResult};

/// The SQLSTATE of a batch whose expected state differs from the database: the mark, a draw or a balance. The
/// function `require_current_cache` raises it (migrations/V1__schema.sql).
pub const CACHE_OUTDATED: &str = "LT001";

const PREFETCH: &str = "-- sales::prefetch(draws, accounts)
    SELECT true AS is_draw, draw_id AS id, epoch AS a, sold AS b, edge FROM draw_sales WHERE draw_id = ANY($1)
    UNION ALL SELECT false, id, balance, 0, NULL FROM accounts WHERE id = ANY($2)";

fn prefetch_params(missing: &Prefetch) -> Params<'_> {
    Params::with_capacity(2)
        .column(missing.draws.iter().map(|id| id.0))
        .column(missing.accounts.iter().map(|id| id.0))
}

const LOCK_PAYMENTS: &str = "-- sales::lock_payments(ids)
    SELECT id, user_id, kind, status, amount, method, failure_code, draw_id, lines, reserved_until, created_at,
           updated_at
    FROM payments WHERE id = ANY($1) ORDER BY id FOR UPDATE";

fn lock_payments_params(missing: &Prefetch) -> Params<'_> {
    Params::with_capacity(1).column(missing.payments.iter().map(|id| id.0))
}

// LATERAL makes the plan use the index, whatever the size of the table was when the plan was made.
const FIND_KEYS: &str = "-- sales::find_keys(ids)
    SELECT k.* FROM unnest($1::uuid[]) AS n (id),
    LATERAL (SELECT id, request, status, payment_id, answer FROM idempotency_keys i WHERE i.id = n.id LIMIT 1) k";

fn find_keys_params(missing: &Prefetch) -> Params<'_> {
    Params::with_capacity(1).column(missing.keys.iter().map(|key| key.0))
}

// Everything that an ordinary purchase writes, in one statement. `unnest` is in the select list: there Postgres
// reads its arrays side by side. In FROM, Postgres would first copy each array into a table of its own.
//
// `marked`, `sold` and `moved` update only rows that are as the writer's cache has them, ticket logs included. If one of
// them updates fewer rows than it was given, the last line raises CACHE_OUTDATED, and the whole batch is rolled back.
const WRITE: &str = "-- sales::write(marked, sold, moved, ordered, issued, kept, transferred, tiled)
    WITH marked AS (
        UPDATE writers SET mark = $1 WHERE id = $2 AND NOT closed RETURNING 1
    ), sold AS (
        UPDATE draw_sales s SET sold = n.sold, edge = n.edge
        FROM (SELECT unnest($3::bigint[]) AS id, unnest($4::bigint[]) AS sold, unnest($5::bigint[]) AS epoch,
                     unnest($6::bigint[]) AS sold_before, unnest($7::bytea[]) AS edge,
                     unnest($8::bytea[]) AS edge_before) n
        WHERE s.draw_id = n.id AND s.epoch = n.epoch AND s.sold = n.sold_before
              AND s.edge IS NOT DISTINCT FROM n.edge_before RETURNING 1
    ), moved AS (
        UPDATE accounts a SET balance = n.balance
        FROM (SELECT unnest($9::bigint[]) AS id, unnest($10::bigint[]) AS balance, unnest($11::bigint[]) AS before) n
        WHERE a.id = n.id AND a.balance = n.before RETURNING 1
    ), ordered AS (
        INSERT INTO payments (id, user_id, kind, status, amount, method, failure_code, draw_id, lines,
                              reserved_until, created_at, updated_at)
        SELECT unnest($12::uuid[]), unnest($13::bigint[]), unnest($14::text[]), unnest($15::text[]),
               unnest($16::bigint[]), unnest($17::text[]), unnest($18::text[]), unnest($19::bigint[]),
               unnest($20::smallint[]), unnest($21::timestamptz[]), unnest($22::timestamptz[]),
               unnest($23::timestamptz[])
    ), issued AS (
        INSERT INTO tickets (user_id, id, payment_id, draw_id, number, pick, origin, pool_ticket_id, status)
        SELECT unnest($24::bigint[]), unnest($25::uuid[]), unnest($26::uuid[]), unnest($27::bigint[]),
               unnest($28::bigint[]), unnest($29::bigint[]), unnest($30::text[]), unnest($31::uuid[]),
               unnest($32::text[])
    ), kept AS (
        INSERT INTO idempotency_keys (id, request, payment_id, status, created_at, answer)
        SELECT unnest($33::uuid[]), unnest($34::uuid[]), unnest($35::uuid[]), unnest($36::smallint[]),
               unnest($37::timestamptz[]), unnest($38::text[])
    ), transferred AS (
        INSERT INTO transfers (user_id, debit, credit, amount, kind, reference, balance_after, created_at)
        SELECT unnest($39::bigint[]), unnest($40::bigint[]), unnest($41::bigint[]), unnest($42::bigint[]),
               unnest($43::text[]), unnest($44::uuid[]), unnest($45::bigint[]), unnest($46::timestamptz[])
    ), tiled AS (
        INSERT INTO ticket_log_tiles (draw_id, level, tile, last_number, root)
        SELECT unnest($47::bigint[]), unnest($48::smallint[]), unnest($49::bigint[]), unnest($50::bigint[]),
               unnest($51::bytea[])
    )
    SELECT require_current_cache(EXISTS (SELECT FROM marked)
                                 AND (SELECT count(*) FROM sold) = cardinality($3::bigint[])
                                 AND (SELECT count(*) FROM moved) = cardinality($9::bigint[]))";

fn write_params<'a>(
    mark: Mark,
    expected: &'a ExpectedState,
    changes: &'a Changes,
    new_tickets: &[(&'a Order, &'a Line, Option<i64>)],
    first_keys: &[&'a NewKey],
    transfers: &[Transfer],
) -> Params<'a> {
    let (draws, accounts) = (&expected.draws, &expected.accounts);
    let marked = Params::with_capacity(51).value(mark.number).value(mark.writer);
    let sold = marked
        .column(draws.iter().map(|draw| draw.id.0))
        .column(draws.iter().map(|draw| draw.sales.sold))
        .column(draws.iter().map(|draw| draw.sales.epoch))
        .column(draws.iter().map(|draw| draw.sold_before))
        .column(draws.iter().map(|draw| Some(draw.log.as_ref()?.after.as_slice())))
        .column(draws.iter().map(|draw| Some(draw.log.as_ref()?.before.as_slice())));
    let moved = sold
        .column(accounts.iter().map(|(id, _, _)| id.0))
        .column(accounts.iter().map(|(_, _, balance)| balance.minor()))
        .column(accounts.iter().map(|(_, before, _)| before.map(Money::minor)));
    let ordered = ordered_params(moved, &changes.new_payments);
    let issued = issued_params(ordered, new_tickets);
    let kept = key_params(issued, first_keys);
    tile_params(ledger::transfer_params(kept, transfers), draws)
}

/// The tiles of ticket logs that the batch completes: nearly always none.
fn tile_params<'a>(params: Params<'a>, draws: &'a [ExpectedDraw]) -> Params<'a> {
    let tiles = |draw: &'a ExpectedDraw| draw.log.iter().flat_map(|log| &log.tiles).map(|tile| (draw.id, tile));
    let tiles: Vec<(DrawId, &TileRow)> = draws.iter().flat_map(tiles).collect();
    params
        .column(tiles.iter().map(|(draw, _)| draw.0))
        .column(tiles.iter().map(|(_, tile)| tile.level))
        .column(tiles.iter().map(|(_, tile)| tile.tile))
        .column(tiles.iter().map(|(_, tile)| tile.last_number))
        .column(tiles.iter().map(|(_, tile)| tile.root.as_slice()))
}

fn ordered_params<'a>(params: Params<'a>, payments: &'a BTreeMap<PaymentId, PaymentRow>) -> Params<'a> {
    params
        .column(payments.keys().map(|id| id.0))
        .column(payments.values().map(|row| row.user.0))
        .column(payments.values().map(|row| row.kind.as_str()))
        .column(payments.values().map(|row| row.status.as_str()))
        .column(payments.values().map(|row| row.amount.minor()))
        .column(payments.values().map(|row| row.method.map(Method::as_str)))
        .column(payments.values().map(|row| row.failure_code.as_deref()))
        .column(payments.values().map(|row| row.draw.map(|draw| draw.0)))
        .column(payments.values().map(|row| row.lines))
        .column(payments.values().map(|row| row.reserved_until))
        .column(payments.values().map(|row| row.created_at))
        .column(payments.values().map(|row| row.updated_at))
}

fn issued_params<'a>(params: Params<'a>, tickets: &[(&'a Order, &'a Line, Option<i64>)]) -> Params<'a> {
    params
        .column(tickets.iter().map(|(order, _, _)| order.user.0))
        .column(tickets.iter().map(|(_, line, _)| line.ticket.0))
        .column(tickets.iter().map(|(order, _, _)| order.payment.0))
        .column(tickets.iter().map(|(order, _, _)| order.fence.draw.0))
        .column(tickets.iter().map(|(_, _, number)| *number))
        .column(tickets.iter().map(|(_, line, _)| line.pick.mask()))
        .column(tickets.iter().map(|(_, line, _)| line.origin.as_str()))
        .column(tickets.iter().map(|(_, line, _)| line.pool_ticket.map(|id| id.0)))
        .column(tickets.iter().map(|(_, _, number)| if number.is_some() { "paid" } else { "reserved" }))
}

/// The columns of keys, for `kept` in [`WRITE`] and for [`KEEP_ENDS`].
fn key_params<'a>(params: Params<'a>, keys: &[&'a NewKey]) -> Params<'a> {
    params
        .column(keys.iter().map(|row| row.key.id.0))
        .column(keys.iter().map(|row| row.key.request))
        .column(keys.iter().map(|row| row.payment.0))
        .column(keys.iter().map(|row| kind_code(row.kind)))
        .column(keys.iter().map(|row| row.at))
        // This cannot fail: a payment has only plain fields.
        .column(keys.iter().map(|row| serde_json::to_string(row.answer.as_ref()?).ok()))
}

const UPDATE_PAYMENTS: &str = "-- sales::update_payments(ids, statuses, amounts, methods, failures, updated)
    UPDATE payments p SET status = n.status, amount = n.amount, method = n.method, failure_code = n.failure_code,
                          updated_at = n.updated_at
    FROM unnest($1::uuid[], $2::text[], $3::bigint[], $4::text[], $5::text[], $6::timestamptz[])
         AS n (id, status, amount, method, failure_code, updated_at)
    WHERE p.id = n.id";

fn update_payments_params(payments: &BTreeMap<PaymentId, PaymentRow>) -> Params<'_> {
    Params::with_capacity(6)
        .column(payments.keys().map(|id| id.0))
        .column(payments.values().map(|row| row.status.as_str()))
        .column(payments.values().map(|row| row.amount.minor()))
        .column(payments.values().map(|row| row.method.map(Method::as_str)))
        .column(payments.values().map(|row| row.failure_code.as_deref()))
        .column(payments.values().map(|row| row.updated_at))
}

// The nested loop over the key is explicit, for the same reason as LATERAL above.
const PAY_TICKETS: &str = "-- sales::pay_tickets(users, ids, numbers)
    UPDATE tickets t SET status = 'paid', number = n.number
    FROM unnest($1::bigint[], $2::uuid[], $3::bigint[]) AS n (user_id, id, number)
    WHERE t.user_id = n.user_id AND t.id = n.id AND t.status = 'reserved'";

fn pay_tickets_params<'a>(tickets: &[(UserId, TicketId, i64)]) -> Params<'a> {
    Params::with_capacity(3)
        .column(tickets.iter().map(|(user, _, _)| user.0))
        .column(tickets.iter().map(|(_, id, _)| id.0))
        .column(tickets.iter().map(|(_, _, number)| *number))
}

const RELEASE_TICKETS: &str = "-- sales::release_tickets(users, ids, statuses)
    UPDATE tickets t SET status = n.status
    FROM unnest($1::bigint[], $2::uuid[], $3::text[]) AS n (user_id, id, status)
    WHERE t.user_id = n.user_id AND t.id = n.id AND t.status = 'reserved'";

fn release_tickets_params<'a>(tickets: &[(UserId, TicketId, Release)]) -> Params<'a> {
    Params::with_capacity(3)
        .column(tickets.iter().map(|(user, _, _)| user.0))
        .column(tickets.iter().map(|(_, id, _)| id.0))
        .column(tickets.iter().map(|(_, _, release)| release.as_str()))
}

// Stores the outcome of a charge. A deposit stores its key when it begins and its answer when it ends.
const KEEP_ENDS: &str = "-- sales::keep_ends(ids, requests, payments, statuses, times, answers)
    INSERT INTO idempotency_keys (id, request, payment_id, status, created_at, answer)
    SELECT * FROM unnest($1::uuid[], $2::uuid[], $3::uuid[], $4::smallint[], $5::timestamptz[], $6::text[])
    ON CONFLICT (id) DO UPDATE SET answer = EXCLUDED.answer
    WHERE idempotency_keys.request = EXCLUDED.request";

fn keep_ends_params<'a>(ended_keys: &[&'a NewKey]) -> Params<'a> {
    key_params(Params::with_capacity(6), ended_keys)
}

/// The statements of a batch.
pub const STATEMENTS: [&str; 11] = [
    PREFETCH,
    LOCK_PAYMENTS,
    charges::LOCK,
    FIND_KEYS,
    WRITE,
    UPDATE_PAYMENTS,
    PAY_TICKETS,
    RELEASE_TICKETS,
    KEEP_ENDS,
    charges::WRITE,
    audit::RECORD_ALL,
];

/// Begins a transaction and reads what is missing, in one round trip.
pub async fn prefetch(connection: &WriterConnection, missing: &Prefetch) -> Result<PrefetchResult, Error> {
    let db = &connection.client;
    let statement = connection.prepare(PREFETCH).await?;
    let lock_payments = connection.prepare(LOCK_PAYMENTS).await?;
    let find_keys = connection.prepare(FIND_KEYS).await?;
    let nothing_new = missing.draws.is_empty() && missing.accounts.is_empty();
    // Polled in this order, so sent in this order.
    let (_, rows, payments, keys, charges) = try_join!(
        biased;
        db.batch_execute("BEGIN"),
        some(db, &statement, nothing_new, prefetch_params(missing)),
        some(db, &lock_payments, missing.payments.is_empty(), lock_payments_params(missing)),
        some(db, &find_keys, missing.keys.is_empty(), find_keys_params(missing)),
        charges::lock(connection, &missing.charges),
    )?;
    let mut found = PrefetchResult {
        payments: payments.iter().filter_map(|row| Some((PaymentId(row.get("id")), payment(row)?))).collect(),
        keys: keys.iter().map(|row| (KeyId(row.get("id")), kept(row))).collect(),
        charges,
        ..PrefetchResult::default()
    };
    for row in &rows {
        let (is_draw, id, a, b): (bool, i64, i64, i64) = (row.get(0), row.get(1), row.get(2), row.get(3));
        if is_draw {
            found.draws.push((DrawId(id), DrawSalesRow { epoch: a, sold: b, edge: row.get(4) }));
        } else {
            found.accounts.push((AccountId(id), Money::new(a)));
        }
    }
    Ok(found)
}

/// Runs a query, or returns no rows if `nothing` says that there is nothing to ask for.
async fn some(db: &Client, statement: &Statement, nothing: bool, params: Params<'_>) -> Result<Vec<Row>, Error> {
    if nothing { Ok(Vec::new()) } else { params.query(db, statement).await }
}

/// Writes what follows from the records of a batch, if the database has the expected state, and commits, in one
/// round trip.
pub async fn write<R: BatchRecord>(
    connection: &WriterConnection,
    records: &[R],
    batch: &BatchWrite,
) -> Result<(), Error> {
    let BatchWrite { mark, begun, state, expected, .. } = batch;
    let (db, changes) = (&connection.client, &state.changes);
    let (first_keys, ended_keys): (Vec<&NewKey>, Vec<&NewKey>) =
        changes.new_keys.iter().partition(|key| key.first);
    let statement = connection.prepare(WRITE).await?;
    let tickets: Vec<_> = batch.new_tickets(records.iter().map(BatchRecord::record)).collect();
    let params = write_params(*mark, expected, changes, &tickets, &first_keys, state.ledger.made());
    let mut rare = Vec::new();
    for (sql, params) in rare_statements(changes, &ended_keys) {
        rare.push((connection.prepare(sql).await?, params));
    }
    if !begun && rare.is_empty() {
        // A single statement is a transaction of its own.
        return params.execute(db, &statement).await.map(drop);
    }
    let mut sent: Vec<BoxFuture<'_, Result<u64, Error>>> = Vec::with_capacity(rare.len() + 3);
    if !begun {
        sent.push(db.batch_execute("BEGIN").map_ok(|()| 0).boxed());
    }
    sent.push(params.execute(db, &statement).boxed());
    for (statement, params) in rare {
        sent.push(async move { params.execute(db, &statement).await }.boxed());
    }
    // If a statement was refused, this COMMIT rolls back.
    sent.push(db.batch_execute("COMMIT").map_ok(|()| 0).boxed());
    try_join_all(sent).await.map(drop)
}

/// The statements that few batches need: those that have something to write.
fn rare_statements<'a>(changes: &'a Changes, ended_keys: &[&'a NewKey]) -> Vec<(&'static str, Params<'a>)> {
    let Changes { changed_payments, paid_tickets, released_tickets, audit_entries, .. } = changes;
    let mut rare = Vec::new();
    if !changed_payments.is_empty() {
        rare.push((UPDATE_PAYMENTS, update_payments_params(changed_payments)));
    }
    if !changes.charges.is_empty() {
        rare.push((charges::WRITE, charges::write_params(&changes.charges)));
    }
    if !paid_tickets.is_empty() {
        rare.push((PAY_TICKETS, pay_tickets_params(paid_tickets)));
    }
    if !released_tickets.is_empty() {
        rare.push((RELEASE_TICKETS, release_tickets_params(released_tickets)));
    }
    if !ended_keys.is_empty() {
        rare.push((KEEP_ENDS, keep_ends_params(ended_keys)));
    }
    if !audit_entries.is_empty() {
        rare.push((audit::RECORD_ALL, audit::record_all_params(audit_entries)));
    }
    rare
}

fn payment(row: &Row) -> Option<PaymentRow> {
    Some(PaymentRow {
        user: UserId(row.get("user_id")),
        kind: PaymentKind::parse(row.get("kind"))?,
        status: PaymentStatus::parse(row.get("status"))?,
        amount: Money::new(row.get("amount")),
        method: row.get::<_, Option<&str>>("method").and_then(Method::parse),
        failure_code: row.get("failure_code"),
        draw: row.get::<_, Option<i64>>("draw_id").map(DrawId),
        lines: row.get("lines"),
        reserved_until: row.get("reserved_until"),
        created_at: row.get("created_at"),
        updated_at: row.get("updated_at"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_statement_of_a_batch_uses_all_its_parameters_in_order() {
        let mark = Mark { writer: 1, number: 1 };
        let missing = Prefetch::default();
        let expected = ExpectedState { draws: Vec::new(), accounts: Vec::new() };
        let changes = Changes::default();
        let statements = [
            (PREFETCH, prefetch_params(&missing)),
            (LOCK_PAYMENTS, lock_payments_params(&missing)),
            (FIND_KEYS, find_keys_params(&missing)),
            (WRITE, write_params(mark, &expected, &changes, &[], &[], &[])),
            (UPDATE_PAYMENTS, update_payments_params(&changes.changed_payments)),
            (PAY_TICKETS, pay_tickets_params(&changes.paid_tickets)),
            (RELEASE_TICKETS, release_tickets_params(&changes.released_tickets)),
            (KEEP_ENDS, keep_ends_params(&[])),
            (audit::RECORD_ALL, audit::record_all_params(&changes.audit_entries)),
        ];
        for (sql, params) in statements {
            params.assert_fit(sql);
        }
    }
}
