//! The schema of the database: the migrations of this version, and which databases they may be applied to.

use std::fmt;

use refinery::Migration;
use tokio_postgres::Client;
use tokio_postgres::error::SqlState;

use super::connect::connect;
use super::error::DbError;
use super::tls::Target;

mod migrations {
    refinery::embed_migrations!("migrations");
}

/// The advisory lock that lets one process migrate at a time.
const MIGRATION_LOCK: i64 = 0x6c6f_7474_6572_7900;

/// What [`migrate`] did.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Migrated {
    /// The schema is this version's. This many migrations were applied.
    Applied(usize),
    /// The schema is a newer version's, on which this version may work. Nothing was changed.
    Newer { found: i32, known: i32 },
}

impl fmt::Display for Migrated {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Migrated::Applied(count) => write!(f, "{count} migrations applied"),
            Migrated::Newer { found, known } => write!(
                f,
                "nothing to migrate: the schema of this database is V{found}, made by a newer version of the service, \
                 and this version (V{known}) may work on it"
            ),
        }
    }
}

/// Brings the schema up to date. Several processes may call it at the same time. It changes nothing in a database
/// whose schema is not an earlier state of this version's.
pub async fn migrate(target: impl Into<Target>) -> Result<Migrated, DbError> {
    let mut client = connect(target).await?;
    lock(&client).await?;
    let runner = migrations::migrations::runner();
    let applied = applied(&client).await?;
    if let Some(found) = check_history(&client, &applied, runner.get_migrations()).await? {
        return Ok(Migrated::Newer { found, known: newest(runner.get_migrations()) });
    }
    if applied.len() == runner.get_migrations().len() {
        // The runner would first create the table of the history, which only the schema's owner may try.
        return Ok(Migrated::Applied(0));
    }
    check_may_create(&client, &applied).await?;
    let report = runner.run_async(&mut client).await?;
    Ok(Migrated::Applied(report.applied_migrations().len()))
}

/// Refuses a database that is not up to date, for a login that only reads. A newer schema on which this version may
/// work is up to date. Changes nothing.
pub async fn check_up_to_date(target: impl Into<Target>) -> Result<(), DbError> {
    let (client, runner) = (connect(target).await?, migrations::migrations::runner());
    let applied = applied(&client).await?;
    let newer = check_history(&client, &applied, runner.get_migrations()).await?;
    if newer.is_none() && applied.len() < runner.get_migrations().len() {
        return Err(DbError::OldSchema { found: newest_of(&applied), known: newest(runner.get_migrations()) });
    }
    Ok(())
}

/// Lets one process at a time change the schema or its privileges. Postgres releases the lock when the connection
/// ends.
pub async fn lock(client: &Client) -> Result<(), DbError> {
    client.execute("SELECT pg_advisory_lock($1)", &[&MIGRATION_LOCK]).await?;
    Ok(())
}

async fn check_may_create(client: &Client, applied: &[Applied]) -> Result<(), DbError> {
    let sql = "-- schema::check_may_create()
        SELECT current_user::text, has_schema_privilege(current_schema(), 'CREATE')";
    let row = client.query_one(sql, &[]).await?;
    // Without a schema in the search path there is no privilege; the runner's error says that.
    if row.get::<_, Option<bool>>(1) != Some(false) {
        return Ok(());
    }
    let known = newest(migrations::migrations::runner().get_migrations());
    Err(DbError::MayNotMigrate { role: row.get(0), found: newest_of(applied), known })
}

fn newest_of(applied: &[Applied]) -> i32 {
    applied.iter().map(|migration| migration.version).max().unwrap_or(0)
}

fn newest(known: &[Migration]) -> i32 {
    known.iter().map(Migration::version).max().unwrap_or(0)
}

/// A migration in the database's history. The checksum covers its name, its version and its SQL.
#[derive(Debug)]
struct Applied {
    version: i32,
    checksum: String,
}

/// The migrations that the database has, in order. refinery's own query for them creates the table of the history
/// first, so this one asks whether it exists.
async fn applied(db: &Client) -> Result<Vec<Applied>, DbError> {
    let exists = "-- schema::applied()
        SELECT to_regclass('refinery_schema_history') IS NOT NULL";
    if !db.query_one(exists, &[]).await?.get::<_, bool>(0) {
        return Ok(Vec::new());
    }
    let history = "-- schema::applied()
        SELECT version, coalesce(checksum, '') AS checksum FROM refinery_schema_history ORDER BY version";
    let rows = db.query(history, &[]).await.map_err(unreadable)?;
    Ok(rows.iter().map(|row| Applied { version: row.get("version"), checksum: row.get("checksum") }).collect())
}

/// The history is a table that each role of the service may read.
fn unreadable(error: tokio_postgres::Error) -> DbError {
    match error.code() {
        Some(&SqlState::INSUFFICIENT_PRIVILEGE) => DbError::NoPrivileges,
        _ => error.into(),
    }
}

/// The version of the schema, if it is newer than this version's.
pub async fn newer_schema(client: &Client) -> Result<Option<i32>, DbError> {
    let found = newest_of(&applied(client).await?);
    Ok((found > newest(migrations::migrations::runner().get_migrations())).then_some(found))
}

/// Refuses a database that this version may not work on. Returns the version of a newer schema that it may work on;
/// `None` if the schema is this version's or an earlier one.
async fn check_history(client: &Client, applied: &[Applied], known: &[Migration]) -> Result<Option<i32>, DbError> {
    let found = newest_of(applied);
    check_known(applied, known)?;
    if found <= newest(known) {
        return Ok(None);
    }
    check_range(oldest_program(client).await?, found, newest(known))?;
    Ok(Some(found))
}

/// Refuses a database that has other migrations than this version. The unreleased versions of the service had other
/// migrations under the same numbers. A newer version has the same migrations and more.
fn check_known(applied: &[Applied], known: &[Migration]) -> Result<(), DbError> {
    let is_known = |applied: &Applied| {
        let same = |known: &&Migration| known.version() == applied.version;
        known.iter().find(same).is_some_and(|known| known.checksum().to_string() == applied.checksum)
    };
    if !applied.iter().filter(|migration| migration.version <= newest(known)).all(is_known) {
        return Err(DbError::UnreleasedSchema { found: newest_of(applied) });
    }
    Ok(())
}

/// Refuses a newer schema that names no range, or one that begins after this version.
fn check_range(oldest: Option<i32>, found: i32, known: i32) -> Result<(), DbError> {
    match oldest {
        Some(oldest) if oldest <= known => Ok(()),
        _ => Err(DbError::NewerSchema { found, oldest: oldest.unwrap_or(found), known }),
    }
}

/// The newest migration that a program must at least have to work on this database. `None`: it does not say.
async fn oldest_program(client: &Client) -> Result<Option<i32>, DbError> {
    let exists = "-- schema::oldest_program()
        SELECT to_regclass('schema_compatibility') IS NOT NULL";
    if !client.query_one(exists, &[]).await?.get::<_, bool>(0) {
        return Ok(None);
    }
    let oldest = "-- schema::oldest_program()
        SELECT oldest_program FROM schema_compatibility";
    let row = client.query_opt(oldest, &[]).await.map_err(unreadable)?;
    Ok(row.map(|row| row.get(0)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn migrations(files: &[(&str, &str)]) -> Vec<Migration> {
        files.iter().map(|(name, sql)| Migration::unapplied(name, sql).unwrap()).collect()
    }

    fn history(of: &[Migration]) -> Vec<Applied> {
        of.iter().map(|it| Applied { version: it.version(), checksum: it.checksum().to_string() }).collect()
    }

    #[test]
    fn an_empty_database_and_an_earlier_state_of_this_version_are_accepted() {
        let known = migrations(&[("V1__schema", "SELECT 1"), ("V2__more", "SELECT 2")]);
        for applied in 0..=2 {
            assert!(check_known(&history(&known[..applied]), &known).is_ok(), "{applied}");
        }
    }

    #[test]
    fn the_same_version_with_another_text_is_refused() {
        let known = migrations(&[("V1__schema", "SELECT 1"), ("V2__more", "SELECT 2")]);
        let unreleased = migrations(&[("V1__schema", "SELECT 0"), ("V2__hot_tables", ""), ("V3__payouts", "")]);
        for applied in 1..=3 {
            let refused = check_known(&history(&unreleased[..applied]), &known);
            let Err(DbError::UnreleasedSchema { found }) = refused else { panic!("{refused:?}") };
            assert_eq!(found, applied as i32);
        }
    }

    #[test]
    fn a_newer_schema_is_accepted_from_the_oldest_program_on_that_it_names() {
        let newer = migrations(&[("V1__schema", "SELECT 1"), ("V2__more", "SELECT 2"), ("V3__later", "SELECT 3")]);
        assert!(check_known(&history(&newer), &newer[..2]).is_ok());
        for (oldest, accepted) in [(Some(1), true), (Some(2), true), (Some(3), false), (None, false)] {
            let checked = check_range(oldest, 3, 2);
            assert_eq!(checked.is_ok(), accepted, "{oldest:?} {checked:?}");
        }
    }
}
