//! `lottery health`: asks the service with this configuration, on the same machine, whether it is ready. For
//! containers and scripts without an HTTP client.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use super::{CliError, print};
use crate::config::{Config, ServerConfig};
use crate::tls;

/// A service that takes longer than this is not ready.
const WAIT: Duration = Duration::from_secs(5);

/// Succeeds if the service answers that it is ready.
pub async fn run(config: &Config) -> Result<(), CliError> {
    let at = reached(&config.server);
    let refused = |why: &dyn std::fmt::Display| CliError::Refused(format!("{at} is not ready: {why}"));
    let client = tls::http_client().tls_certs_only([]).no_proxy().timeout(WAIT).build();
    let client = client.map_err(|error| refused(&error))?;
    let answer = client.get(format!("http://{at}/health/ready")).send().await;
    match answer.map_err(|error| refused(&crate::db::describe(&error)))?.status() {
        status if status.is_success() => print(&format!("{at} is ready\n")),
        status => Err(refused(&status)),
    }
}

/// The address to ask. A service that listens on all addresses is asked on the loopback address.
fn reached(server: &ServerConfig) -> String {
    match server.host.parse() {
        Ok(address) => local(SocketAddr::new(address, server.port)).to_string(),
        Err(_) => format!("{}:{}", server.host, server.port),
    }
}

/// Where programs on this machine find a service that listens on this address.
pub fn local(address: SocketAddr) -> SocketAddr {
    match address.ip() {
        IpAddr::V4(Ipv4Addr::UNSPECIFIED) => (Ipv4Addr::LOCALHOST, address.port()).into(),
        IpAddr::V6(Ipv6Addr::UNSPECIFIED) => (Ipv6Addr::LOCALHOST, address.port()).into(),
        _ => address,
    }
}
