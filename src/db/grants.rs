//! What the role that the service logs in as may do with each table. Grants are no migration: the tables' owner
//! applies them at each start, so this list is all there is to read and to change.
//!
//! A new table or view needs a line here, and a new statement may need a privilege. Triggers and foreign keys need
//! none for the role (foreign keys are checked as the table's owner), and an identity column needs none for its
//! sequence. `SELECT … FOR UPDATE` needs UPDATE for one column at least.

use tokio_postgres::Client;

use super::connect::connect;
use super::error::DbError;
use super::schema::lock;
use super::tls::Target;

/// Each table, view and sequence with the role's privileges. What is decided once (a seal, the drawn numbers, a transfer, a
/// ticket's numbers, a draw's price) has no UPDATE, and nothing that money depends on has a DELETE: of payments and
/// tickets, triggers let only orders go that ended unpaid.
pub const GRANTS: &[(&str, &str)] = &[
    ("accounts", "SELECT, INSERT, UPDATE (balance)"),
    ("active", "SELECT, UPDATE (node)"),
    ("audit_chain", "SELECT, UPDATE (position, hash)"),
    ("audit_log", "SELECT, INSERT"),
    ("beacon_chains", "SELECT, INSERT"),
    (
        "charges",
        "SELECT, INSERT (payment_id, begun_at, user_id, amount, ended_at, outcome, failure_code, late, issue), UPDATE
         (ended_at, outcome, failure_code, late, issue, dispute, disputed_at, refunded)",
    ),
    (
        "draw_cancellations",
        "SELECT, INSERT (draw_id, reason, cancelled_at), UPDATE (cursor, window_end, paid_user, paid_reference)",
    ),
    (
        "draw_results",
        "SELECT, INSERT (draw_id, pick, drawn_at, jackpot, after_entry, signature), UPDATE (prize_fund, rollover, cursor, window_end,
         paid_user, paid_reference)",
    ),
    ("draw_sales", "SELECT, INSERT, UPDATE (epoch, sold, edge)"),
    ("draw_seals", "SELECT, INSERT"),
    ("draw_tiers", "SELECT, INSERT"),
    // The ids of draws that the public log names are passed over.
    ("draws_id_seq", "UPDATE"),
    ("draws", "SELECT, INSERT, UPDATE (status, sales_open_at, sales_close_at, draw_at, fairness, chain, round)"),
    ("idempotency_keys", "SELECT, INSERT, UPDATE (answer), DELETE"),
    ("housekeeping", "SELECT, INSERT, UPDATE (place)"),
    ("installation", "SELECT, INSERT"),
    ("log_identity", "SELECT, INSERT"),
    ("log_cosignatures", "SELECT, INSERT"),
    ("log_edge", "SELECT, UPDATE (edge)"),
    ("log_entries", "SELECT, INSERT"),
    ("log_key_generations", "SELECT, UPDATE (oldest, newest)"),
    ("log_imports", "SELECT, INSERT"),
    ("log_macs", "SELECT"),
    ("log_tiles", "SELECT, INSERT"),
    ("lotteries", "SELECT, INSERT, UPDATE (last_draw)"),
    ("nodes", "SELECT, INSERT (id, host, url, version), UPDATE (beat, seen_at, dead), DELETE"),
    ("password_resets", "SELECT, INSERT, UPDATE (hash, expires_at), DELETE"),
    ("payment_states", "SELECT"),
    ("payments", "SELECT, INSERT, UPDATE (status, amount, method, failure_code, updated_at), DELETE"),
    ("planned_draws", "SELECT, INSERT"),
    ("pool_tickets", "SELECT, INSERT"),
    ("refinery_schema_history", "SELECT"),
    ("refresh_tokens", "SELECT, INSERT, UPDATE (spent_at), DELETE"),
    ("result_tiers", "SELECT, INSERT, UPDATE (winners, prize)"),
    ("rolled_back_draws", "SELECT, INSERT, UPDATE (goes_on, entry)"),
    ("sandbox_charges", "SELECT, INSERT, DELETE"),
    ("schema_compatibility", "SELECT"),
    ("sessions", "SELECT, INSERT, UPDATE (used_at, address, family), DELETE"),
    ("ticket_log_tiles", "SELECT, INSERT"),
    ("ticket_states", "SELECT"),
    ("tickets", "SELECT, INSERT, UPDATE (status, number), DELETE"),
    ("transfers", "SELECT, INSERT"),
    ("users", "SELECT, INSERT, UPDATE (password_hash, role, status)"),
    ("witness_policies", "SELECT, INSERT"),
    ("writers", "SELECT, INSERT (id, node), UPDATE (mark, closed), DELETE"),
];

/// The login of a session, as far as the schema is concerned.
#[derive(Debug)]
pub struct DatabaseLogin {
    pub role: String,
    /// Whether it can change the tables themselves: as their owner, a member of that role, or a superuser.
    pub owns_tables: bool,
}

/// The login with which the service works on the database.
pub async fn login(service: impl Into<Target>) -> Result<DatabaseLogin, DbError> {
    let sql = "-- grants::login(tables)
        SELECT current_user::text AS role, coalesce(bool_or(pg_has_role(relowner, 'MEMBER')), false) AS owns_tables
        FROM pg_class WHERE relnamespace = current_schema()::regnamespace AND relname = ANY ($1)";
    let row = connect(service).await?.query_one(sql, &[&tables()]).await?;
    Ok(DatabaseLogin { role: row.get("role"), owns_tables: row.get("owns_tables") })
}

/// Gives the role exactly the privileges of the list, as the tables' owner, in one transaction: a service that runs
/// keeps what it has. Writes nothing if the role has them; returns whether it wrote.
pub async fn grant(owner: impl Into<Target>, role: &str) -> Result<bool, DbError> {
    let client = connect(owner).await?;
    lock(&client).await?;
    check_owner(&client).await?;
    let sql = "-- grants::grant(role)
        SELECT format('%I', $1::text) AS role, format('%I', current_schema()) AS schema";
    let names = client.query_one(sql, &[&role]).await?;
    client.batch_execute("BEGIN").await?;
    let before = privileges(&client).await?;
    client.batch_execute(&statements(names.get("role"), names.get("schema"))).await?;
    let changed = privileges(&client).await? != before;
    client.batch_execute(if changed { "COMMIT" } else { "ROLLBACK" }).await?;
    Ok(changed)
}

fn tables() -> Vec<&'static str> {
    GRANTS.iter().map(|(table, _)| *table).collect()
}

/// The names are quoted as SQL needs them.
fn statements(role: &str, schema: &str) -> String {
    // In a cluster that Postgres 14 made, anybody may create tables in the schema `public`.
    let mut statements = format!(
        "REVOKE CREATE ON SCHEMA {schema} FROM PUBLIC; REVOKE ALL ON SCHEMA {schema} FROM {role};
         GRANT USAGE ON SCHEMA {schema} TO {role}; GRANT EXECUTE ON ALL FUNCTIONS IN SCHEMA {schema} TO {role};"
    );
    for (table, privileges) in GRANTS {
        statements += &format!("REVOKE ALL ON {table} FROM {role}; GRANT {privileges} ON {table} TO {role};\n");
    }
    statements
}

/// Refuses a login that cannot grant, before it has tried.
async fn check_owner(client: &Client) -> Result<(), DbError> {
    let sql = "-- grants::check_owner(tables)
        SELECT current_user::text AS role, relname::text AS table FROM pg_class
        WHERE relnamespace = current_schema()::regnamespace AND relname = ANY ($1)
            AND NOT pg_has_role(relowner, 'USAGE') ORDER BY relname LIMIT 1";
    match client.query_opt(sql, &[&tables()]).await? {
        None => Ok(()),
        Some(row) => Err(DbError::NotOwner { role: row.get("role"), table: row.get("table") }),
    }
}

/// Every privilege on the schema, its tables, their columns and its functions.
async fn privileges(client: &Client) -> Result<Vec<String>, DbError> {
    let sql = "-- grants::privileges()
        WITH it AS (SELECT current_schema()::regnamespace AS schema)
        SELECT 'schema ' || item FROM it JOIN pg_namespace n ON n.oid = it.schema, unnest(nspacl) item
        UNION ALL SELECT relname || ' ' || item FROM it JOIN pg_class ON relnamespace = it.schema, unnest(relacl) item
        UNION ALL SELECT relname || '.' || attname || ' ' || item
        FROM it JOIN pg_class c ON relnamespace = it.schema JOIN pg_attribute ON attrelid = c.oid, unnest(attacl) item
        UNION ALL SELECT p.oid || ' ' || item FROM it JOIN pg_proc p ON pronamespace = it.schema, unnest(proacl) item
        ORDER BY 1";
    Ok(client.query(sql, &[]).await?.iter().map(|row| row.get(0)).collect())
}
