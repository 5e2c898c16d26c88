//! The lock by which only one service works on a database: an advisory lock of Postgres, in a session of its own.
//! Postgres releases it when the session ends, so nobody has to clean up after a service that was killed. This file
//! does not stop the service that has lost its lock.

use std::time::Duration;

use tokio::task::JoinHandle;
use tokio::time::{sleep, timeout};
use tokio_postgres::Client;
use tokio_postgres::error::SqlState;

use super::connect::connect_with_task;
use super::error::{DbError, describe};
use super::tls::Target;

/// The advisory lock. `docs/operations.md` shows how to find its session.
const SERVICE_LOCK: i64 = 0x6c6f_7474_6572_7901;

/// How long a service that starts waits for the lock: the one before it may be about to end.
const LOCK_WAIT: Duration = Duration::from_secs(10);
/// How long a service that has lost the lock waits while another one holds it. It is longer than the server needs to
/// notice a dead connection, because the holder may be this service's own lost session.
const RETAKE_WAIT: Duration = Duration::from_secs(20);
/// The time limit for everything but the wait for the lock: to connect, and to apply the settings.
const CONNECT_WAIT: Duration = Duration::from_secs(5);
/// The pause between two tries to connect, doubled from the first to the longest.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// After how many seconds without traffic each side asks whether the other is still there, in which intervals it
/// repeats the question, and after how many questions without an answer it gives the connection up.
const KEEPALIVE_IDLE: u16 = 10;
const KEEPALIVE_INTERVAL: u16 = 2;
const KEEPALIVE_COUNT: u16 = 3;
const _: () = assert!(((KEEPALIVE_IDLE + KEEPALIVE_INTERVAL * KEEPALIVE_COUNT) as u64) < RETAKE_WAIT.as_secs());

/// The lock, and the session that holds it. Dropping it releases the lock.
pub struct ServiceLock {
    target: Target,
    session: LockSession,
}

struct LockSession {
    /// Dropping the client ends the session.
    _client: Client,
    /// The task that serves the connection; it ends with it.
    connection: JoinHandle<()>,
}

impl ServiceLock {
    /// Takes the lock.
    ///
    /// # Errors
    /// [`DbError::InUse`], if another service holds it for longer than a start waits.
    pub async fn take(target: &Target) -> Result<ServiceLock, DbError> {
        let target = session_target(target);
        let session = lock(&target, LOCK_WAIT).await?;
        Ok(ServiceLock { target, session })
    }

    /// Keeps the lock: whenever its session is lost, the lock is taken again as soon as the database answers. Returns
    /// only when another service holds it meanwhile, and then the caller must stop. What this service writes until
    /// then is refused by the epochs of the draws that the other one has loaded.
    pub async fn lost(&mut self) {
        loop {
            if !self.session.connection.is_finished() {
                // Whether the task ends with the connection or by a panic, the session is lost.
                let _ = (&mut self.session.connection).await;
            }
            tracing::warn!("the connection that holds the lock on the database is lost: the lock is taken again");
            match self.retake().await {
                Some(session) => {
                    self.session = session;
                    // The database may be at another host now, and the server before may still answer reads.
                    self.target.end_connections();
                }
                None => return,
            }
            tracing::info!("the lock on the database is taken again");
        }
    }

    /// Tries to take the lock until the database answers. `None`: another service holds it.
    async fn retake(&self) -> Option<LockSession> {
        let mut pause = FIRST_PAUSE;
        loop {
            match lock(&self.target, RETAKE_WAIT).await {
                Ok(session) => return Some(session),
                Err(DbError::InUse) => return None,
                Err(error) => {
                    tracing::debug!(error = describe(&error), "the lock on the database is not taken yet")
                }
            }
            sleep(pause).await;
            pause = LONGEST_PAUSE.min(pause * 2);
        }
    }
}

/// The target with what only this session needs: a name by which an operator finds it, and keepalives, because a
/// session that sends nothing does not notice a dead connection by itself.
fn session_target(target: &Target) -> Target {
    let mut target = target.lasting();
    let seconds = |count: u16| Duration::from_secs(count.into());
    target
        .config
        .application_name(format!("lottery lock, process {}", std::process::id()))
        .keepalives(true)
        .keepalives_idle(seconds(KEEPALIVE_IDLE))
        .keepalives_interval(seconds(KEEPALIVE_INTERVAL))
        .keepalives_retries(KEEPALIVE_COUNT.into());
    target
}

/// A new session that holds the lock. It waits for a lock that another session holds.
async fn lock(target: &Target, wait: Duration) -> Result<LockSession, DbError> {
    let limit = CONNECT_WAIT + wait;
    timeout(limit, try_lock(target, wait)).await.unwrap_or(Err(DbError::Timeout(limit)))
}

async fn try_lock(target: &Target, wait: Duration) -> Result<LockSession, DbError> {
    let (client, connection) = connect_with_task(target).await?;
    // The session is idle for as long as the service runs, and the server must neither end it for that, nor keep it
    // when the service's machine is dead.
    let settings = "-- service_lock::settings(lock_timeout, idle, interval, count)
        SELECT set_config('lock_timeout', $1, false), set_config('statement_timeout', '0', false),
            set_config('idle_session_timeout', '0', false), set_config('tcp_keepalives_idle', $2, false),
            set_config('tcp_keepalives_interval', $3, false), set_config('tcp_keepalives_count', $4, false)";
    let milliseconds = wait.as_millis().to_string();
    let keepalives = [KEEPALIVE_IDLE, KEEPALIVE_INTERVAL, KEEPALIVE_COUNT].map(|value| value.to_string());
    client.query_one(settings, &[&milliseconds, &keepalives[0], &keepalives[1], &keepalives[2]]).await?;
    let sql = "-- service_lock::lock(key)
        SELECT pg_advisory_lock($1)";
    match client.query_one(sql, &[&SERVICE_LOCK]).await {
        Ok(_) => Ok(LockSession { _client: client, connection }),
        Err(error) if error.code() == Some(&SqlState::LOCK_NOT_AVAILABLE) => Err(DbError::InUse),
        Err(error) => Err(error.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dead_connection_is_noticed_and_an_operator_finds_the_session() {
        let target = session_target(&tokio_postgres::Config::new().keepalives(false).clone().into());
        let config = &target.config;
        assert!(config.get_keepalives());
        assert_eq!(config.get_keepalives_idle(), Duration::from_secs(10));
        let name = format!("lottery lock, process {}", std::process::id());
        assert_eq!(config.get_application_name(), Some(name.as_str()));
    }
}
