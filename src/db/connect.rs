//! Opens a connection: to the host of the database that takes writes. The task that serves a connection also ends it
//! when what it says cannot be relied on any more.

use std::future::{Future, pending, poll_fn};
use std::pin::pin;
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tokio_postgres::error::{DbError as Notice, Severity};
use tokio_postgres::tls::MakeTlsConnect;
use tokio_postgres::{AsyncMessage, Client, Config, Connection, Socket};
use tokio_postgres_rustls::MakeRustlsConnect;

use super::error::{DbError, describe};
use super::hosts;
use super::tls::Target;

/// Opens a connection outside the pool. A task serves it until the client is dropped.
pub async fn connect(target: impl Into<Target>) -> Result<Client, DbError> {
    let (client, _) = connect_with_task(target).await?;
    Ok(client)
}

/// The same with the task, which ends with the connection.
pub async fn connect_with_task(target: impl Into<Target>) -> Result<(Client, JoinHandle<()>), DbError> {
    let target = target.into();
    // Before it is opened: a signal that comes meanwhile means this connection, too.
    let ended = target.ended();
    let (client, connection) = open(&target).await?;
    Ok((client, tokio::spawn(serve(connection, ended))))
}

type Opened = (Client, Connection<Socket, <MakeRustlsConnect as MakeTlsConnect<Socket>>::Stream>);

/// Tries the hosts one by one, and first the one that worked last.
async fn open(target: &Target) -> Result<Opened, DbError> {
    let Target { config, hosts, .. } = target;
    let (count, wait) = (hosts::count(config), hosts::wait(config));
    if count <= 1 {
        let opened = open_host(target, config, wait).await;
        return opened.map_err(|error| error.at_host(hosts::name(config, 0)));
    }
    let mut failures = Vec::new();
    for index in hosts.order(count) {
        let (alone, name) = (hosts::alone(config, index), hosts::name(config, index));
        let error = match open_host(target, &alone, wait).await {
            Ok(opened) => {
                hosts.worked(index);
                if !failures.is_empty() {
                    tracing::info!(
                        host = name,
                        passed_over = failures.join("; "),
                        "the database is at another host"
                    );
                }
                return Ok(opened);
            }
            Err(error) => error,
        };
        hosts.failed(index, count);
        failures.push(format!("{name}: {}", describe(&error)));
    }
    Err(DbError::NoPrimary(failures.join("; ")))
}

/// Tries one host for a limited time. The driver's own `connect_timeout` ends with the TCP connection, which a frozen
/// server's machine still accepts.
async fn open_host(target: &Target, host: &Config, wait: Duration) -> Result<Opened, DbError> {
    // In a box: this future is part of almost every other one of the service, and the compiler limits their depth.
    let connecting = Box::pin(host.connect(target.tls.clone()));
    let opened = timeout(wait, connecting).await;
    Ok(opened.map_err(|_| DbError::Timeout(wait))??)
}

/// Serves the connection until it ends, or until it must end. Its client then gets no answer, as if the server had
/// closed the connection, and finds out what was committed over another one.
async fn serve<S, T>(mut connection: Connection<S, T>, ended: impl Future<Output = watch::Receiver<()>>)
where
    S: AsyncRead + AsyncWrite + Unpin,
    T: AsyncRead + AsyncWrite + Unpin,
{
    let mut ended = pin!(ended);
    loop {
        let message = tokio::select! {
            biased;
            message = poll_fn(|cx| connection.poll_message(cx)) => message,
            signal = &mut ended => {
                tracing::debug!("a database connection is ended with all others");
                drop(connection);
                // Its sender waits until all receivers are dropped.
                return drop(signal);
            }
        };
        match message {
            Some(Ok(AsyncMessage::Notice(notice))) if is_unconfirmed_commit(&notice) => {
                return tracing::warn!("a commit did not wait for the standby: its connection is ended");
            }
            Some(Ok(_)) => {}
            // The user of the client gets the error as well; here it only ends the task.
            Some(Err(error)) => return tracing::debug!(error = describe(&error), "a database connection ended"),
            None => return,
        }
    }
}

/// Whether the server says that a commit did not wait for the synchronous standby, because the wait was cancelled
/// (`pg_cancel_backend`, for example). The commit itself is then answered as a success, and the standby may not have it.
/// The name of the function in the server is the same in each version, and is not translated as the text is.
fn is_unconfirmed_commit(notice: &Notice) -> bool {
    notice.parsed_severity() == Some(Severity::Warning) && notice.routine() == Some("SyncRepWaitForLSN")
}

impl Target {
    /// Becomes ready when the connections that begin now shall end. The receiver is dropped when that is done.
    fn ended(&self) -> impl Future<Output = watch::Receiver<()>> + Send + 'static {
        let signal = (!self.lasting).then(|| self.hosts.end_signal());
        async move {
            let Some(mut signal) = signal else { return pending().await };
            // If the target is gone, nobody can send the signal any more.
            match signal.changed().await {
                Ok(()) => signal,
                Err(_) => pending().await,
            }
        }
    }
}
