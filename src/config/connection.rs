//! How a database's URL is read: as the driver reads it, but without `sslmode` a server on another host is verified.
//!
//! libpq's default for `sslmode` is `prefer`: it encrypts if the server can, and accepts any certificate. Whoever can
//! answer in the server's place would then get the password and the money's rows.

use std::net::IpAddr;

use tokio_postgres::Config;
use tokio_postgres::config::{Host, SslMode};

/// The connection that a URL, or libpq's keywords and values, stand for.
pub fn connection(url: &str) -> Result<Config, tokio_postgres::Error> {
    let mut config: Config = url.parse()?;
    if !names_sslmode(url) && !is_local(&config) {
        config.ssl_mode(SslMode::Require);
    }
    Ok(config)
}

/// Whether the text, which the driver can read, says what `sslmode` is.
fn names_sslmode(text: &str) -> bool {
    match text.split_once("://") {
        Some((_, rest)) => {
            let behind_user = rest.split_once('@').map_or(rest, |(_, rest)| rest);
            let query = behind_user.split_once('?').map_or("", |(_, query)| query);
            form_urlencoded::parse(query.as_bytes()).any(|(key, _)| key == "sslmode")
        }
        // A later value wins, so a default in front shows only if there is none.
        None => {
            let with_default =
                |mode: &str| format!("sslmode={mode} {text}").parse().map(|it: Config| it.get_ssl_mode());
            matches!((with_default("disable"), with_default("require")), (Ok(one), Ok(other)) if one == other)
        }
    }
}

/// Whether the server is on this machine: behind a unix socket, or at a loopback address.
fn is_local(config: &Config) -> bool {
    if !config.get_hostaddrs().is_empty() {
        return config.get_hostaddrs().iter().all(IpAddr::is_loopback);
    }
    config.get_hosts().iter().all(|host| match host {
        Host::Unix(_) => true,
        Host::Tcp(name) => name == "localhost" || name.parse().is_ok_and(|address: IpAddr| address.is_loopback()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_on_another_host_is_verified_unless_its_url_says_otherwise() {
        use SslMode::{Disable, Prefer, Require};
        for (url, mode) in [
            ("postgres://u:p@db.example/lottery", Require),
            ("postgres://u:p@10.0.0.7:5432/lottery?connect_timeout=5", Require),
            ("postgres://u:sslmode=disable@db.example/lottery", Require),
            ("postgres://u:p?sslmode=disable@db.example/lottery", Require),
            ("postgres://db.example/lottery?application_name=sslmode", Require),
            ("postgres://db.example/lottery?application_name=x&sslmode=prefer", Prefer),
            ("postgres://db.example/lottery?sslmode=disable", Disable),
            ("postgres://db.example/lottery?sslmode=require", Require),
            ("postgres://localhost,db.example/lottery", Require),
            ("postgres://localhost/lottery", Prefer),
            ("postgres://127.0.0.9/lottery", Prefer),
            ("postgres://[::1]/lottery", Prefer),
            ("postgres://u@%2Frun%2Fpostgresql/lottery", Prefer),
            ("postgres:///lottery?host=/run/postgresql", Prefer),
            ("host=/run/postgresql dbname=lottery", Prefer),
            ("host=db.example dbname=lottery", Require),
            ("host=db.example dbname=lottery sslmode=prefer", Prefer),
            ("host=db.example password='sslmode=prefer' dbname=lottery", Require),
            ("host=db.example hostaddr=127.0.0.1", Prefer),
            ("host=localhost hostaddr=10.0.0.7", Require),
        ] {
            assert_eq!(connection(url).map(|it| it.get_ssl_mode()).ok(), Some(mode), "{url}");
        }
        assert!(connection("postgres://db.example/lottery?sslmode=maybe").is_err());
    }
}
