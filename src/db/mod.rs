//! The database: the connection pool that reads use, the migrations, and the options of the private server. The
//! statements that only read are in [`read`]. The statements that write, and those that read within a write
//! transaction, are in the persistence actor's module.

mod connect;
mod durability;
mod error;
mod grants;
mod hosts;
mod manager;
mod node_session;
pub mod read;
mod schema;
mod tls;

use std::path::PathBuf;
use std::pin::pin;
use std::time::Duration;

use deadpool::Runtime;
use deadpool::managed::{Object, Pool, PoolError};
use futures_util::TryStreamExt;
use private_postgres::PostgresOptions;
use tokio_postgres::Row;
use tokio_postgres::types::ToSql;

use manager::ConnectionManager;

pub use connect::connect;
pub use durability::{WRITING_SESSION, unsafe_settings};
pub use error::{DbError, describe, is_transient};
pub use grants::{DatabaseLogin, GRANTS, grant, login};
pub use node_session::{SESSION_PREFIX, check_no_earlier_service, connect_node};
pub use schema::{Migrated, check_up_to_date, migrate, newer_schema};
pub use tls::{Target, TlsError};

/// How long a read waits for a connection before it fails.
const POOL_WAIT: Duration = Duration::from_secs(5);
/// The time limit for a read, and for one whose work grows with a whole draw. Without the limit, a database
/// that hangs and keeps its connections open would keep clients waiting for ever.
const READ_WAIT: Duration = Duration::from_secs(5);
const LONG_READ_WAIT: Duration = Duration::from_secs(600);

/// The name of the private server's database and of its owner.
const PRIVATE_NAME: &str = "lottery";
/// The private server's role for the service.
pub const SERVICE_ROLE: &str = "lottery_service";
/// The SQL function `bit_count`, which finds the winners, is new in Postgres 14.
const MIN_MAJOR: u32 = 14;

/// The options of the private Postgres in a data directory.
pub fn private_server_options(data_dir: impl Into<PathBuf>) -> PostgresOptions {
    let login_roles = vec![SERVICE_ROLE.to_owned()];
    PostgresOptions { login_roles, min_major: MIN_MAJOR, ..PostgresOptions::new(PRIVATE_NAME, data_dir) }
}

/// A connection of the pool.
pub type PooledClient = Object<ConnectionManager>;

/// The connection pool for reads.
#[derive(Clone)]
pub struct Db {
    pool: Pool<ConnectionManager>,
    target: Target,
}

/// The pool's connections: how many are open, how many of these are idle, and how many tasks wait for one.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Connections {
    pub open: usize,
    pub idle: usize,
    pub waited_for: usize,
}

impl Db {
    /// A pool of at most `size` connections. They are opened when they are needed.
    pub fn new(target: impl Into<Target>, size: usize) -> Result<Db, DbError> {
        let target = target.into();
        let pool = Pool::builder(ConnectionManager(target.clone()))
            .max_size(size)
            .wait_timeout(Some(POOL_WAIT))
            .create_timeout(Some(POOL_WAIT))
            .recycle_timeout(Some(POOL_WAIT))
            .runtime(Runtime::Tokio1)
            .build()?;
        Ok(Db { pool, target })
    }

    /// A connection from the pool, for the few statements of one transaction.
    pub async fn client(&self) -> Result<PooledClient, DbError> {
        self.pool.get().await.map_err(|error| match error {
            PoolError::Backend(error) => DbError::NoConnection(Box::new(error)),
            // Another cause is not reached: the pool has a runtime and no hooks, and is never closed.
            _ => DbError::Timeout(POOL_WAIT),
        })
    }

    /// The database of the pool.
    pub fn target(&self) -> &Target {
        &self.target
    }

    /// The state of the pool now.
    pub fn connections(&self) -> Connections {
        let status = self.pool.status();
        Connections { open: status.size, idle: status.available, waited_for: status.waiting }
    }

    /// A connection outside the pool, for work that needs one for a long time.
    pub async fn dedicated(&self) -> Result<tokio_postgres::Client, DbError> {
        let connecting = tokio::time::timeout(POOL_WAIT, connect(&self.target));
        connecting.await.unwrap_or(Err(DbError::Timeout(POOL_WAIT)))
    }

    /// All rows of a statement. The statement is prepared once for each connection.
    async fn query(&self, sql: &str, params: &[&(dyn ToSql + Sync)]) -> Result<Vec<Row>, DbError> {
        self.read(READ_WAIT, sql, params).await
    }

    /// All rows of a statement that reads a whole draw, or more.
    async fn query_long(&self, sql: &str, params: &[&(dyn ToSql + Sync)]) -> Result<Vec<Row>, DbError> {
        self.read(LONG_READ_WAIT, sql, params).await
    }

    /// Passes the rows of a statement that reads a whole draw to `take`, one by one: all rows at once would
    /// need too much memory, because the driver's form of a row is many times larger than its values.
    async fn for_each_row(
        &self,
        sql: &str,
        params: &[&(dyn ToSql + Sync)],
        mut take: impl FnMut(&Row) -> Result<(), DbError>,
    ) -> Result<(), DbError> {
        let rows = async |client: &PooledClient| {
            let statement = client.prepare_cached(sql).await?;
            let mut rows = pin!(client.query_raw(&statement, params.iter().copied()).await?);
            while let Some(row) = rows.try_next().await? {
                take(&row)?;
            }
            Ok(())
        };
        self.with_timeout(LONG_READ_WAIT, rows).await
    }

    /// The only row of a statement, or `None`.
    async fn query_opt(&self, sql: &str, params: &[&(dyn ToSql + Sync)]) -> Result<Option<Row>, DbError> {
        let mut rows = self.query(sql, params).await?;
        if rows.len() > 1 { Err(DbError::Corrupt("more than one row")) } else { Ok(rows.pop()) }
    }

    async fn read(&self, wait: Duration, sql: &str, params: &[&(dyn ToSql + Sync)]) -> Result<Vec<Row>, DbError> {
        match self.read_once(wait, sql, params).await {
            // Its session was ended, perhaps because the database has moved: a new session may answer.
            Err(error @ DbError::Postgres(_)) if error.is_transient() => self.read_once(wait, sql, params).await,
            rows => rows,
        }
    }

    async fn read_once(
        &self,
        wait: Duration,
        sql: &str,
        params: &[&(dyn ToSql + Sync)],
    ) -> Result<Vec<Row>, DbError> {
        let rows =
            async |client: &PooledClient| Ok(client.query(&client.prepare_cached(sql).await?, params).await?);
        self.with_timeout(wait, rows).await
    }

    /// Reads on a connection of the pool, with a time limit.
    async fn with_timeout<T>(
        &self,
        wait: Duration,
        read: impl AsyncFnOnce(&PooledClient) -> Result<T, DbError>,
    ) -> Result<T, DbError> {
        let client = self.client().await?;
        match tokio::time::timeout(wait, read(&client)).await {
            Ok(read) => read,
            Err(_) => {
                // The connection still waits for the answer: it must not go back to the pool.
                drop(Object::take(client));
                Err(DbError::Timeout(wait))
            }
        }
    }
}
