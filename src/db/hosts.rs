//! The hosts of a database's URL: the limits of a connection to each, in which order they are tried, and the signal
//! that ends all connections. This file opens no connection.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::timeout;
use tokio_postgres::Config;
use tokio_postgres::config::{Host, TargetSessionAttrs};

/// How long one of several hosts may take until it has accepted a connection and has said that it takes writes. A host
/// that is frozen accepts the connection and says nothing. A `connect_timeout` in the URL counts instead. It is short:
/// until another host is the primary, the lost one is tried again and again, and each try delays the others by this time.
const HOST_WAIT: Duration = Duration::from_millis(500);
/// The same for the only host of a URL: no other one could answer instead, so a slow one gets the time that it needs.
const ONLY_HOST_WAIT: Duration = Duration::from_secs(10);
/// The port of a URL that names none.
const DEFAULT_PORT: u16 = 5432;

/// How long what was sent may remain unacknowledged by the other machine. A value in the URL counts instead, as for
/// the keepalives.
const TCP_USER_TIMEOUT: Duration = Duration::from_secs(3);
/// After how long without traffic the other machine is asked whether it is still there, how often the question is
/// repeated, and how many questions without an answer end the connection.
const KEEPALIVE_IDLE: Duration = Duration::from_secs(2);
const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(1);
const KEEPALIVE_RETRIES: u32 = 3;
/// The driver's value if the URL names none.
const UNSET_KEEPALIVE_IDLE: Duration = Duration::from_secs(2 * 60 * 60);

/// How long an end of all connections waits for them. One that is open ends at once; one that is being opened may take
/// longer, and ends when it is open.
const END_WAIT: Duration = Duration::from_millis(200);

/// What the connections to one database share.
#[derive(Debug, Default)]
pub struct Hosts {
    /// The host to try first: the last one that worked, or the one after the last one that did not.
    first: AtomicUsize,
    /// Ends the connections that were begun before it is replaced. Each of them keeps a receiver.
    end: Mutex<watch::Sender<()>>,
}

impl Hosts {
    /// The hosts in the order in which they are tried, by their place in the URL.
    pub fn order(&self, count: usize) -> impl Iterator<Item = usize> {
        let first = self.first.load(Ordering::Relaxed);
        (first..first + count).map(move |index| index % count)
    }

    /// This host works.
    pub fn worked(&self, index: usize) {
        self.first.store(index, Ordering::Relaxed);
    }

    /// This host does not work. If the caller gives up before it has tried all of them, its next try goes on behind
    /// this host.
    pub fn failed(&self, index: usize, count: usize) {
        let next = (index + 1) % count;
        // Another task has changed it otherwise, and knows more.
        let _ = self.first.compare_exchange(index, next, Ordering::Relaxed, Ordering::Relaxed);
    }

    /// The host to try first does not do what is asked of it, although it accepts connections.
    pub fn skip_first(&self, count: usize) {
        if count > 1 {
            self.failed(self.first.load(Ordering::Relaxed) % count, count);
        }
    }

    /// The signal for a connection that begins now.
    pub fn end_signal(&self) -> watch::Receiver<()> {
        self.end.lock().unwrap_or_else(PoisonError::into_inner).subscribe()
    }

    /// Ends the connections that have begun, and waits until they are closed, so that nobody is lent one of them later.
    pub async fn end_connections(&self) {
        let begun = std::mem::take(&mut *self.end.lock().unwrap_or_else(PoisonError::into_inner));
        begun.send_replace(());
        let _ = timeout(END_WAIT, begun.closed()).await;
    }
}

/// The number of hosts. Lists that do not fit together count as one, which the driver refuses.
pub fn count(config: &Config) -> usize {
    let (names, addresses, ports) =
        (config.get_hosts().len(), config.get_hostaddrs().len(), config.get_ports().len());
    let count = names.max(addresses);
    let fit = [names, addresses].iter().all(|len| [0, count].contains(len)) && [0, 1, count].contains(&ports);
    if fit { count } else { 1 }
}

/// The configuration with one of its several hosts alone. The host must take writes, unless the URL says otherwise.
pub fn alone(config: &Config, index: usize) -> Config {
    let mut alone = Config::new();
    match config.get_hosts().get(index) {
        Some(Host::Tcp(name)) => drop(alone.host(name)),
        Some(Host::Unix(directory)) => drop(alone.host_path(directory)),
        None => {}
    }
    config.get_hostaddrs().get(index).map(|address| alone.hostaddr(*address));
    port(config, index).map(|port| alone.port(port));
    config.get_user().map(|user| alone.user(user));
    config.get_password().map(|password| alone.password(password));
    config.get_dbname().map(|name| alone.dbname(name));
    config.get_options().map(|options| alone.options(options));
    config.get_application_name().map(|name| alone.application_name(name));
    config.get_connect_timeout().map(|limit| alone.connect_timeout(*limit));
    config.get_tcp_user_timeout().map(|limit| alone.tcp_user_timeout(*limit));
    config.get_keepalives_interval().map(|interval| alone.keepalives_interval(interval));
    config.get_keepalives_retries().map(|retries| alone.keepalives_retries(retries));
    let writable = match config.get_target_session_attrs() {
        TargetSessionAttrs::Any => TargetSessionAttrs::ReadWrite,
        chosen => chosen,
    };
    alone
        .ssl_mode(config.get_ssl_mode())
        .ssl_negotiation(config.get_ssl_negotiation())
        .keepalives(config.get_keepalives())
        .keepalives_idle(config.get_keepalives_idle())
        .target_session_attrs(writable)
        .channel_binding(config.get_channel_binding())
        .load_balance_hosts(config.get_load_balance_hosts());
    alone
}

fn port(config: &Config, index: usize) -> Option<u16> {
    let ports = config.get_ports();
    ports.get(index).or(ports.first()).copied()
}

/// A host as people write it, with its port.
pub fn name(config: &Config, index: usize) -> String {
    let port = port(config, index).unwrap_or(DEFAULT_PORT);
    match (config.get_hosts().get(index), config.get_hostaddrs().get(index)) {
        (Some(Host::Tcp(name)), _) => format!("{name}:{port}"),
        (Some(Host::Unix(directory)), _) => directory.display().to_string(),
        (None, Some(address)) => SocketAddr::new(*address, port).to_string(),
        (None, None) => String::new(),
    }
}

/// The time limit for a host.
pub fn wait(config: &Config) -> Duration {
    let unless_said = if count(config) > 1 { HOST_WAIT } else { ONLY_HOST_WAIT };
    config.get_connect_timeout().copied().unwrap_or(unless_said)
}

/// Sets what the URL does not say of dead connections: without it, the operating system notices one after hours.
pub fn set_timeouts(config: &mut Config) {
    if config.get_tcp_user_timeout().is_none() {
        config.tcp_user_timeout(TCP_USER_TIMEOUT);
    }
    if config.get_keepalives_idle() == UNSET_KEEPALIVE_IDLE {
        config.keepalives_idle(KEEPALIVE_IDLE);
    }
    if config.get_keepalives_interval().is_none() {
        config.keepalives_interval(KEEPALIVE_INTERVAL);
    }
    if config.get_keepalives_retries().is_none() {
        config.keepalives_retries(KEEPALIVE_RETRIES);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(url: &str) -> Config {
        url.parse().unwrap()
    }

    #[test]
    fn one_host_alone_keeps_everything_that_the_url_says() {
        let all = "user=u password=p dbname=d options=-cgeqo=off application_name=a sslmode=require \
            sslnegotiation=direct connect_timeout=7 tcp_user_timeout=8 keepalives=0 keepalives_idle=9 \
            keepalives_interval=10 keepalives_retries=11 target_session_attrs=read-only channel_binding=require \
            load_balance_hosts=random";
        let several = config(&format!("host=a,b,/c hostaddr=127.0.0.1,127.0.0.2,127.0.0.3 port=1,2,3 {all}"));
        assert_eq!(count(&several), 3);
        for (index, host) in [
            "host=a hostaddr=127.0.0.1 port=1",
            "host=b hostaddr=127.0.0.2 port=2",
            "host=/c hostaddr=127.0.0.3 port=3",
        ]
        .into_iter()
        .enumerate()
        {
            assert_eq!(alone(&several, index), config(&format!("{host} {all}")));
        }
    }

    #[test]
    fn each_of_several_hosts_must_take_writes_and_a_port_may_be_for_all() {
        let several = config("host=a,b port=6432 user=u");
        let second = config("host=b port=6432 user=u target_session_attrs=read-write");
        assert_eq!(alone(&several, 1), second);
        assert_eq!((name(&several, 1), wait(&several)), ("b:6432".to_owned(), HOST_WAIT));
        let addresses = config("hostaddr=127.0.0.1,127.0.0.2 connect_timeout=4");
        assert_eq!((count(&addresses), name(&addresses, 1)), (2, "127.0.0.2:5432".to_owned()));
        assert_eq!(wait(&addresses), Duration::from_secs(4));
        assert_eq!(wait(&config("host=a")), ONLY_HOST_WAIT);
    }

    #[test]
    fn lists_that_do_not_fit_together_are_left_to_the_driver() {
        for url in ["host=a,b hostaddr=127.0.0.1,127.0.0.2,127.0.0.3", "host=a,b,c port=1,2", "host=a"] {
            assert_eq!(count(&config(url)), 1, "{url}");
        }
    }

    #[test]
    fn the_host_that_worked_is_tried_first_and_one_that_failed_last() {
        let hosts = Hosts::default();
        let order = || hosts.order(3).collect::<Vec<_>>();
        assert_eq!(order(), [0, 1, 2]);
        hosts.failed(0, 3);
        assert_eq!(order(), [1, 2, 0]);
        hosts.failed(0, 3);
        assert_eq!(order(), [1, 2, 0], "another task has found that out before");
        hosts.worked(2);
        assert_eq!(order(), [2, 0, 1]);
        hosts.skip_first(3);
        assert_eq!(order(), [0, 1, 2]);
        hosts.skip_first(1);
        assert_eq!(order(), [0, 1, 2], "there is no other one");
    }

    #[test]
    fn what_the_url_says_of_dead_connections_counts() {
        let mut said =
            config("host=a tcp_user_timeout=60 keepalives_idle=61 keepalives_interval=62 keepalives_retries=63");
        let before = said.clone();
        set_timeouts(&mut said);
        assert_eq!(said, before);
        let mut unsaid = config("host=a");
        set_timeouts(&mut unsaid);
        let all = "host=a tcp_user_timeout=3 keepalives_idle=2 keepalives_interval=1 keepalives_retries=3";
        assert_eq!(unsaid, config(all));
    }
}
