//! What a batch reads and writes: a constant number of statements whatever its size, prepared once and
//! sent together. Judges nothing.

use futures_util::future::{BoxFuture, FutureExt, TryFutureExt, try_join_all};
use jiff::Timestamp;
use serde_json::Value;
use tokio::try_join;
use tokio_postgres::types::ToSql;
use tokio_postgres::{Client, Error, Row, Statement};
use uuid::Uuid;

use super::{audit, ledger};
use crate::actors::persistence::transaction::WriterConnection;
use crate::db::read::keys::{kept, kind_code};
use crate::domain::audit::AuditEntry;
use crate::domain::batch_state::Prefetch;
use crate::domain::batch_state::{BatchState, DrawSales, NewKey, NewTicket, PaymentRow};
use crate::domain::id::{DrawId, PaymentId, UserId};
use crate::domain::ledger::AccountId;
use crate::domain::money::Money;
use crate::domain::payment::{Method, PaymentKind, PaymentStatus};
use crate::domain::record::KeyId;
use crate::domain::writer_cache::{ExpectedState, PrefetchResult};

type Param<'a> = &'a (dyn ToSql + Sync);

// A closed row takes no mark: its connection was given up, and nothing of it may come true any more.
const MARK: &str = "-- sales::mark(writer, mark)
    UPDATE writers SET mark = $2 WHERE id = $1 AND NOT closed";

const PREFETCH: &str = "-- sales::prefetch(draws, accounts)
    SELECT true AS is_draw, draw_id AS id, epoch AS a, sold AS b FROM draw_sales WHERE draw_id = ANY($1)
    UNION ALL SELECT false, id, balance, 0 FROM accounts WHERE id = ANY($2)";

const LOCK_PAYMENTS: &str = "-- sales::lock_payments(ids)
    SELECT id, user_id, kind, status, amount, method, failure_code, draw_id, lines, reserved_until, created_at,
           updated_at
    FROM payments WHERE id = ANY($1) ORDER BY id FOR UPDATE";

// LATERAL keeps the plan on the index, whatever the table's size was when it was made.
const FIND_KEYS: &str = "-- sales::find_keys(ids)
    SELECT k.* FROM unnest($1::uuid[]) AS n (id),
    LATERAL (SELECT id, request, status, payment_id, answer FROM idempotency_keys i WHERE i.id = n.id LIMIT 1) k";

// One statement for all that an ordinary purchase writes. `unnest` stands in the select list: there its
// arrays are walked side by side, while in FROM each would first be copied into a table of its own.
//
// DrawSales and balances are written over what the writer remembered, and over nothing else; so is the mark.
// Where that is not what stands there, the last line divides by zero, and the COMMIT behind it is a rollback.
const WRITE: &str = "-- sales::write(writer, draws, accounts, payments, tickets, transfers, keys)
    WITH marked AS (
        UPDATE writers SET mark = $40 WHERE id = $39 AND NOT closed RETURNING 1
    ), sold AS (
        UPDATE draw_sales s SET sold = n.sold
        FROM (SELECT unnest($1::bigint[]) AS id, unnest($2::bigint[]) AS sold, unnest($41::bigint[]) AS epoch,
                     unnest($42::bigint[]) AS before) n
        WHERE s.draw_id = n.id AND s.epoch = n.epoch AND s.sold = n.before RETURNING 1
    ), moved AS (
        UPDATE accounts a SET balance = n.balance
        FROM (SELECT unnest($3::bigint[]) AS id, unnest($4::bigint[]) AS balance, unnest($43::bigint[]) AS before) n
        WHERE a.id = n.id AND a.balance = n.before RETURNING 1
    ), ordered AS (
        INSERT INTO payments (id, user_id, kind, status, amount, method, failure_code, draw_id, lines,
                              reserved_until, created_at, updated_at)
        SELECT unnest($5::uuid[]), unnest($6::bigint[]), unnest($7::text[]), unnest($8::text[]),
               unnest($9::bigint[]), unnest($10::text[]), unnest($11::text[]), unnest($12::bigint[]),
               unnest($13::smallint[]), unnest($14::timestamptz[]), unnest($15::timestamptz[]),
               unnest($16::timestamptz[])
    ), issued AS (
        INSERT INTO tickets (user_id, id, payment_id, draw_id, number, pick, origin, pool_ticket_id, status)
        SELECT unnest($17::bigint[]), unnest($18::uuid[]), unnest($19::uuid[]), unnest($20::bigint[]),
               unnest($21::bigint[]), unnest($22::bigint[]), unnest($23::text[]), unnest($24::uuid[]),
               unnest($25::text[])
    ), kept AS (
        INSERT INTO idempotency_keys (id, request, payment_id, status, created_at, answer)
        SELECT unnest($26::uuid[]), unnest($27::uuid[]), unnest($28::uuid[]), unnest($29::smallint[]),
               unnest($30::timestamptz[]), unnest($44::text[])
    ), transferred AS (
        INSERT INTO transfers (user_id, debit, credit, amount, kind, reference, balance_after, created_at)
        SELECT unnest($31::bigint[]), unnest($32::bigint[]), unnest($33::bigint[]), unnest($34::bigint[]),
               unnest($35::text[]), unnest($36::uuid[]), unnest($37::bigint[]), unnest($38::timestamptz[])
    )
    SELECT 1 / (EXISTS (SELECT FROM marked) AND (SELECT count(*) FROM sold) = cardinality($1::bigint[])
                AND (SELECT count(*) FROM moved) = cardinality($3::bigint[]))::int";

const UPDATE_PAYMENTS: &str = "-- sales::update_payments(ids, statuses, amounts, methods, failures, updated)
    UPDATE payments p SET status = n.status, amount = n.amount, method = n.method, failure_code = n.failure_code,
                          updated_at = n.updated_at
    FROM unnest($1::uuid[], $2::text[], $3::bigint[], $4::text[], $5::text[], $6::timestamptz[])
         AS n (id, status, amount, method, failure_code, updated_at)
    WHERE p.id = n.id";

// The nested loop over the key is written out, for the same reason as LATERAL above.
const PAY_TICKETS: &str = "-- sales::pay_tickets(users, ids, numbers)
    UPDATE tickets t SET status = 'paid', number = n.number
    FROM unnest($1::bigint[], $2::uuid[], $3::bigint[]) AS n (user_id, id, number)
    WHERE t.user_id = n.user_id AND t.id = n.id AND t.status = 'reserved'";

const RELEASE_TICKETS: &str = "-- sales::release_tickets(users, ids, statuses)
    UPDATE tickets t SET status = n.status
    FROM unnest($1::bigint[], $2::uuid[], $3::text[]) AS n (user_id, id, status)
    WHERE t.user_id = n.user_id AND t.id = n.id AND t.status = 'reserved'";

// What a charge ended as. A deposit keeps its key when it begins and its answer when it ends.
const KEEP_ENDS: &str = "-- sales::keep_ends(ids, requests, payments, statuses, times, answers)
    INSERT INTO idempotency_keys (id, request, payment_id, status, created_at, answer)
    SELECT * FROM unnest($1::uuid[], $2::uuid[], $3::uuid[], $4::smallint[], $5::timestamptz[], $6::text[])
    ON CONFLICT (id) DO UPDATE SET answer = EXCLUDED.answer
    WHERE idempotency_keys.request = EXCLUDED.request";

/// Every plan is a nested loop over a key, and generic.
const SESSION: &str = "-- sales::session()
    SET enable_seqscan = off; SET enable_hashjoin = off; SET enable_mergejoin = off;
    SET plan_cache_mode = force_generic_plan; SET jit = off";

/// The prepared statements of a connection.
pub struct BatchStatements {
    prefetch: Statement,
    lock_payments: Statement,
    find_keys: Statement,
    mark: Statement,
    write: Statement,
    update_payments: Statement,
    pay_tickets: Statement,
    release_tickets: Statement,
    keep_ends: Statement,
    record_audit: Statement,
}

impl BatchStatements {
    pub async fn prepare(db: &Client) -> Result<BatchStatements, Error> {
        // A plan made while the tables are small must still be right when they are not; and it is made once,
        // not for each batch anew.
        db.batch_execute(SESSION).await?;
        Ok(BatchStatements {
            prefetch: db.prepare(PREFETCH).await?,
            lock_payments: db.prepare(LOCK_PAYMENTS).await?,
            find_keys: db.prepare(FIND_KEYS).await?,
            mark: db.prepare(MARK).await?,
            write: db.prepare(WRITE).await?,
            update_payments: db.prepare(UPDATE_PAYMENTS).await?,
            pay_tickets: db.prepare(PAY_TICKETS).await?,
            release_tickets: db.prepare(RELEASE_TICKETS).await?,
            keep_ends: db.prepare(KEEP_ENDS).await?,
            record_audit: db.prepare(audit::RECORD_ALL).await?,
        })
    }
}

/// A row for a new connection of the writer to mark its transactions in.
pub async fn new_writer(db: &Client) -> Result<i64, Error> {
    let sql = "-- sales::new_writer()
        INSERT INTO writers DEFAULT VALUES RETURNING id";
    Ok(db.query_one(sql, &[]).await?.get(0))
}

/// Closes a lost connection's row and says its last mark. It waits until a transaction that has marked the
/// row has ended, and one that has not marked it yet will not be committed.
pub async fn close_writer(db: &Client, writer: i64) -> Result<i64, Error> {
    let sql = "-- sales::close_writer(writer)
        UPDATE writers SET closed = true WHERE id = $1 RETURNING mark";
    Ok(db.query_one(sql, &[&writer]).await?.get(0))
}

/// Marks the transaction of a step. False if the connection's row was closed meanwhile.
pub async fn mark(session: &WriterConnection, mark: i64) -> Result<bool, Error> {
    Ok(session.client.execute(&session.statements.mark, &[&session.writer, &mark]).await? == 1)
}

/// Begins a transaction and reads what is missing, in one round trip.
pub async fn begin(session: &WriterConnection, missing: &Prefetch) -> Result<PrefetchResult, Error> {
    let (db, s) = (&session.client, &session.statements);
    let draw_ids: Vec<i64> = missing.draws.iter().map(|id| id.0).collect();
    let account_ids: Vec<i64> = missing.accounts.iter().map(|id| id.0).collect();
    let payment_ids: Vec<Uuid> = missing.payments.iter().map(|id| id.0).collect();
    let keys: Vec<Uuid> = missing.keys.iter().map(|key| key.0).collect();
    let nothing_new = draw_ids.is_empty() && account_ids.is_empty();
    // Polled in this order, so sent in this order.
    let (_, rows, payments, keys) = try_join!(
        biased;
        db.batch_execute("BEGIN"),
        some(db, &s.prefetch, nothing_new, [&draw_ids, &account_ids]),
        some(db, &s.lock_payments, payment_ids.is_empty(), [&payment_ids]),
        some(db, &s.find_keys, keys.is_empty(), [&keys]),
    )?;
    let mut found = PrefetchResult {
        payments: payments.iter().filter_map(|row| Some((PaymentId(row.get("id")), payment(row)?))).collect(),
        keys: keys.iter().map(|row| (KeyId(row.get("id")), kept(row))).collect(),
        ..PrefetchResult::default()
    };
    for row in &rows {
        let (is_draw, id, a, b): (bool, i64, i64, i64) = (row.get(0), row.get(1), row.get(2), row.get(3));
        if is_draw {
            found.draws.push((DrawId(id), DrawSales { epoch: a, sold: b }));
        } else {
            found.accounts.push((AccountId(id), Money::new(a)));
        }
    }
    Ok(found)
}

/// The rows of a statement that is not sent when it has nothing to ask for.
async fn some<const N: usize>(
    db: &Client,
    statement: &Statement,
    nothing: bool,
    params: [Param<'_>; N],
) -> Result<Vec<Row>, Error> {
    if nothing { Ok(Vec::new()) } else { db.query(statement, &params).await }
}

/// Writes what the state say over what was cache, and commits, in one round trip; `begun`: after BEGIN.
pub async fn finish(
    session: &WriterConnection,
    state: &BatchState,
    expected: &ExpectedState,
    mark: i64,
    begun: bool,
) -> Result<(), Error> {
    let (db, s) = (&session.client, &session.statements);
    let changes = &state.changes;
    let (draw_ids, sold_before, sales) = columns3(&expected.draws, |it| (it.0.0, it.1, it.2));
    let (epochs, sold): (Vec<i64>, Vec<i64>) = sales.into_iter().map(|it| (it.epoch, it.sold)).unzip();
    let (account_ids, balances_before, balances) =
        columns3(&expected.accounts, |it| (it.0.0, it.1.map(Money::minor), it.2.minor()));
    let transfers = ledger::TransferColumns::of(state.ledger.made());
    let new_payments = PaymentColumns::of(&changes.new_payments);
    let changed_payments = PaymentColumns::of(&changes.changed_payments);
    let tickets = TicketColumns::of(&changes.new_tickets);
    let (paid_users, paid_ids, paid_numbers) = columns3(&changes.paid_tickets, |it| (it.0.0, it.1.0, it.2));
    let (free_users, free_ids, free_as) =
        columns3(&changes.released_tickets, |it| (it.0.0, it.1.0, it.2.as_str()));
    let (keys, ends): (Vec<&NewKey>, Vec<&NewKey>) = changes.new_keys.iter().partition(|key| key.first);
    let (keys, ends) = (KeyColumns::of(&keys), KeyColumns::of(&ends));

    let mut write: Vec<Param<'_>> = vec![&draw_ids, &sold, &account_ids, &balances];
    write.extend(new_payments.all());
    write.extend(tickets.all());
    write.extend(keys.plain());
    write.extend(transfers.params());
    let rest: [Param<'_>; 6] = [&session.writer, &mark, &epochs, &sold_before, &balances_before, &keys.answers];
    write.extend(rest);
    let changed = &changed_payments;
    let (changed_params, ended_params) = (changed.changing(), ends.with_answers());
    let paid: [Param<'_>; 3] = [&paid_users, &paid_ids, &paid_numbers];
    let free: [Param<'_>; 3] = [&free_users, &free_ids, &free_as];
    let audit_entries = AuditColumns::of(&changes.audit_entries);
    let audit_params = audit_entries.all();
    let rare: [(&Statement, bool, &[Param<'_>]); 5] = [
        (&s.update_payments, changed.ids.is_empty(), &changed_params),
        (&s.pay_tickets, paid_ids.is_empty(), &paid),
        (&s.release_tickets, free_ids.is_empty(), &free),
        (&s.keep_ends, ends.ids.is_empty(), &ended_params),
        (&s.record_audit, changes.audit_entries.is_empty(), &audit_params),
    ];
    let rare: Vec<_> = rare.into_iter().filter(|(_, nothing, _)| !nothing).collect();
    if !begun && rare.is_empty() {
        // Alone, a statement is a transaction of its own.
        return db.execute(&s.write, &write).await.map(drop);
    }
    let mut sent: Vec<BoxFuture<'_, Result<u64, Error>>> = Vec::with_capacity(rare.len() + 3);
    if !begun {
        sent.push(db.batch_execute("BEGIN").map_ok(|()| 0).boxed());
    }
    sent.push(db.execute(&s.write, &write).boxed());
    sent.extend(rare.into_iter().map(|(statement, _, params)| db.execute(statement, params).boxed()));
    // A refused statement turns this COMMIT into a rollback.
    sent.push(db.batch_execute("COMMIT").map_ok(|()| 0).boxed());
    try_join_all(sent).await.map(drop)
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

fn columns3<T, A, B, C>(rows: &[T], split: impl Fn(&T) -> (A, B, C)) -> (Vec<A>, Vec<B>, Vec<C>) {
    let mut columns =
        (Vec::with_capacity(rows.len()), Vec::with_capacity(rows.len()), Vec::with_capacity(rows.len()));
    for row in rows {
        let (a, b, c) = split(row);
        columns.0.push(a);
        columns.1.push(b);
        columns.2.push(c);
    }
    columns
}

/// Payments, column by column.
#[derive(Default)]
struct PaymentColumns<'a> {
    ids: Vec<Uuid>,
    users: Vec<i64>,
    kinds: Vec<&'static str>,
    statuses: Vec<&'static str>,
    amounts: Vec<i64>,
    methods: Vec<Option<&'static str>>,
    failures: Vec<Option<&'a str>>,
    draws: Vec<Option<i64>>,
    lines: Vec<Option<i16>>,
    reserved: Vec<Option<Timestamp>>,
    created: Vec<Timestamp>,
    updated: Vec<Timestamp>,
}

impl<'a> PaymentColumns<'a> {
    fn of(rows: impl IntoIterator<Item = (&'a PaymentId, &'a PaymentRow)>) -> PaymentColumns<'a> {
        let mut columns = PaymentColumns::default();
        for (id, row) in rows {
            columns.ids.push(id.0);
            columns.users.push(row.user.0);
            columns.kinds.push(row.kind.as_str());
            columns.statuses.push(row.status.as_str());
            columns.amounts.push(row.amount.minor());
            columns.methods.push(row.method.map(Method::as_str));
            columns.failures.push(row.failure_code.as_deref());
            columns.draws.push(row.draw.map(|draw| draw.0));
            columns.lines.push(row.lines);
            columns.reserved.push(row.reserved_until);
            columns.created.push(row.created_at);
            columns.updated.push(row.updated_at);
        }
        columns
    }

    fn all(&self) -> Vec<Param<'_>> {
        vec![
            &self.ids,
            &self.users,
            &self.kinds,
            &self.statuses,
            &self.amounts,
            &self.methods,
            &self.failures,
            &self.draws,
            &self.lines,
            &self.reserved,
            &self.created,
            &self.updated,
        ]
    }

    /// The columns that change after a payment was made.
    fn changing(&self) -> Vec<Param<'_>> {
        vec![&self.ids, &self.statuses, &self.amounts, &self.methods, &self.failures, &self.updated]
    }
}

/// New tickets, column by column.
#[derive(Default)]
struct TicketColumns {
    users: Vec<i64>,
    ids: Vec<Uuid>,
    payments: Vec<Uuid>,
    draws: Vec<i64>,
    numbers: Vec<Option<i64>>,
    picks: Vec<i64>,
    origins: Vec<&'static str>,
    pool: Vec<Option<Uuid>>,
    statuses: Vec<&'static str>,
}

impl TicketColumns {
    fn of(rows: &[NewTicket]) -> TicketColumns {
        let mut columns = TicketColumns::default();
        for row in rows {
            columns.users.push(row.user.0);
            columns.ids.push(row.line.ticket.0);
            columns.payments.push(row.payment.0);
            columns.draws.push(row.draw.0);
            columns.numbers.push(row.number);
            columns.picks.push(row.line.pick.mask());
            columns.origins.push(row.line.origin.as_str());
            columns.pool.push(row.line.pool_ticket.map(|id| id.0));
            columns.statuses.push(if row.number.is_some() { "paid" } else { "reserved" });
        }
        columns
    }

    fn all(&self) -> Vec<Param<'_>> {
        vec![
            &self.users,
            &self.ids,
            &self.payments,
            &self.draws,
            &self.numbers,
            &self.picks,
            &self.origins,
            &self.pool,
            &self.statuses,
        ]
    }
}

/// What admins did, column by column.
#[derive(Default)]
struct AuditColumns<'a> {
    times: Vec<Timestamp>,
    actors: Vec<Option<i64>>,
    actions: Vec<&'static str>,
    subjects: Vec<String>,
    details: Vec<&'a Value>,
}

impl<'a> AuditColumns<'a> {
    fn of(rows: &'a [AuditEntry]) -> AuditColumns<'a> {
        let mut columns = AuditColumns::default();
        for row in rows {
            columns.times.push(row.at);
            columns.actors.push(row.actor.map(|actor| actor.0));
            columns.actions.push(row.action.as_str());
            columns.subjects.push(row.subject.to_string());
            columns.details.push(&row.detail);
        }
        columns
    }

    fn all(&self) -> Vec<Param<'_>> {
        vec![&self.times, &self.actors, &self.actions, &self.subjects, &self.details]
    }
}

/// Successes to keep, column by column.
#[derive(Default)]
struct KeyColumns {
    ids: Vec<Uuid>,
    requests: Vec<Uuid>,
    payments: Vec<Uuid>,
    answers: Vec<Option<String>>,
    statuses: Vec<i16>,
    times: Vec<Timestamp>,
}

impl KeyColumns {
    fn of(rows: &[&NewKey]) -> KeyColumns {
        let mut columns = KeyColumns::default();
        for row in rows {
            columns.ids.push(row.key.id.0);
            columns.requests.push(row.key.request);
            columns.payments.push(row.payment.0);
            // A payment is plain fields: it always has a JSON text.
            columns.answers.push(row.answer.as_ref().and_then(|answer| serde_json::to_string(answer).ok()));
            columns.statuses.push(kind_code(row.kind));
            columns.times.push(row.at);
        }
        columns
    }

    fn plain(&self) -> Vec<Param<'_>> {
        vec![&self.ids, &self.requests, &self.payments, &self.statuses, &self.times]
    }

    fn with_answers(&self) -> Vec<Param<'_>> {
        let mut columns = self.plain();
        columns.push(&self.answers);
        columns
    }
}
