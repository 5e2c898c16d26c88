//! Compares the triggers, functions, constraints and indexes of a database with those that the migrations make, by
//! name, state and source. A disabled trigger or a dropped constraint lets wrong rows in later, so `lottery check`
//! reports it before there are any. Views are not compared: Postgres writes their source in a way that depends on
//! its version.

use std::collections::BTreeMap;

use tokio_postgres::Client;

use crate::db::DbError;

/// One line for each object: kind, name, state and the hash of its source, separated by single spaces. A test makes
/// this list from the migrations (`RENEW_SCHEMA_OBJECTS=1`).
const EXPECTED: &str = include_str!("schema_objects.txt");

/// What differs, one text for each object. Additional functions and indexes are no difference: extensions have
/// functions, and an operator may want an index.
pub async fn differences(client: &Client) -> Result<Vec<String>, DbError> {
    let found = list(client).await?;
    let found: BTreeMap<_, _> = found.iter().map(|line| name_and_source(line)).collect();
    let expected: BTreeMap<_, _> = EXPECTED.lines().map(name_and_source).collect();
    let changed = expected.iter().filter_map(|(name, source)| match found.get(name) {
        None => Some(format!("{name} is missing")),
        Some(found) => (found != source).then(|| format!("{name} is {found}, where {source} should be")),
    });
    let unknown = found.keys().filter(|name| {
        !expected.contains_key(*name) && (name.starts_with("trigger ") || name.starts_with("constraint "))
    });
    Ok(changed.chain(unknown.map(|name| format!("{name} is unknown"))).collect())
}

/// The objects of the database, as in `EXPECTED`.
pub async fn list(client: &Client) -> Result<Vec<String>, DbError> {
    // The name of the schema is cut from the sources, since a restore may have chosen another one. The sources are
    // written in Postgres's pretty form, which has only the parentheses that change the meaning: otherwise
    // `((a AND b) AND c)` would be `(a AND b AND c)` after a restore from a dump. A foreign key is disabled by its
    // internal triggers.
    let sql = "-- schema_objects::list()
        WITH here AS (
            SELECT oid AS schema, quote_ident(nspname) || '.' AS prefix FROM pg_namespace
            WHERE nspname = current_schema()
        ), tables AS (
            SELECT c.oid, c.relname FROM pg_class c JOIN here ON c.relnamespace = here.schema
            WHERE c.relname <> 'refinery_schema_history'
        ), objects AS (
            SELECT 'trigger ' || c.relname || '.' || t.tgname AS name,
                   CASE t.tgenabled WHEN 'O' THEN 'enabled' WHEN 'D' THEN 'disabled' ELSE 'replica' END AS state,
                   pg_get_triggerdef(t.oid, true) AS source
            FROM pg_trigger t JOIN tables c ON c.oid = t.tgrelid WHERE NOT t.tgisinternal
            UNION ALL
            SELECT 'function ' || p.proname, CASE WHEN p.prosecdef THEN 'definer' ELSE 'invoker' END,
                   concat_ws(' ', pg_get_function_arguments(p.oid), l.lanname, p.provolatile, p.proconfig, p.prosrc)
            FROM pg_proc p JOIN here ON p.pronamespace = here.schema JOIN pg_language l ON l.oid = p.prolang
            UNION ALL
            SELECT 'constraint ' || c.relname || '.' || k.conname,
                   CASE WHEN NOT k.convalidated THEN 'unvalidated'
                        WHEN EXISTS (SELECT FROM pg_trigger t WHERE t.tgconstraint = k.oid AND t.tgenabled <> 'O')
                        THEN 'disabled' ELSE 'enabled' END,
                   pg_get_constraintdef(k.oid, true)
            FROM pg_constraint k JOIN tables c ON c.oid = k.conrelid WHERE k.contype IN ('c', 'f', 'p', 'u', 'x')
            UNION ALL
            SELECT 'index ' || i.relname, CASE WHEN x.indisvalid THEN 'enabled' ELSE 'invalid' END,
                   pg_get_indexdef(i.oid, 0, true)
            FROM pg_index x JOIN pg_class i ON i.oid = x.indexrelid JOIN tables c ON c.oid = x.indrelid
        )
        SELECT name || ' ' || state || ' ' || md5(replace(source, prefix, '')) AS line
        FROM objects, here ORDER BY name COLLATE \"C\"";
    let rows = client.query(sql, &[]).await?;
    Ok(rows.iter().map(|row| row.get("line")).collect())
}

/// Splits a line into kind and name, and state and hash.
fn name_and_source(line: &str) -> (&str, &str) {
    let second = line.match_indices(' ').nth(1).map_or(line.len(), |(at, _)| at);
    (&line[..second], line[second..].trim_start())
}
