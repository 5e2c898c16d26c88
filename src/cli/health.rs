//! `lottery health`: whether the service with this configuration is ready, asked from the same machine. For
//! containers and scripts that have nothing else to ask with.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use super::CliError;
use crate::config::{Config, ServerConfig};
use crate::tls;

/// A service that takes longer is not ready.
const WAIT: Duration = Duration::from_secs(5);

/// Succeeds if the service says that it is ready.
pub async fn run(config: &Config) -> Result<(), CliError> {
    let at = reached(&config.server);
    let refused = |why: &dyn std::fmt::Display| CliError::Refused(format!("{at} is not ready: {why}"));
    let client = tls::http_client().tls_certs_only([]).no_proxy().timeout(WAIT).build();
    let client = client.map_err(|error| refused(&error))?;
    let answer = client.get(format!("http://{at}/health/ready")).send().await;
    match answer.map_err(|error| refused(&crate::db::describe(&error)))?.status() {
        status if status.is_success() => {
            println!("{at} is ready");
            Ok(())
        }
        status => Err(refused(&status)),
    }
}

/// Where a service that listens here can be asked: on every address means on this machine's own, too.
fn reached(server: &ServerConfig) -> String {
    match server.host.parse() {
        Ok(IpAddr::V4(Ipv4Addr::UNSPECIFIED)) => SocketAddr::from((Ipv4Addr::LOCALHOST, server.port)).to_string(),
        Ok(IpAddr::V6(Ipv6Addr::UNSPECIFIED)) => SocketAddr::from((Ipv6Addr::LOCALHOST, server.port)).to_string(),
        Ok(address) => SocketAddr::from((address, server.port)).to_string(),
        Err(_) => format!("{}:{}", server.host, server.port),
    }
}
