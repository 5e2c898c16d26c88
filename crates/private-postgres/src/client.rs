//! Connections to the private server, over its unix socket. It keeps none of them.

use std::path::Path;
use std::time::Duration;

use tokio_postgres::{Client, Config, Error, NoTls};

use crate::socket;

const CONNECT_LIMIT: Duration = Duration::from_secs(10);

pub(crate) fn config(socket_dir: &Path, user: &str, database: &str) -> Config {
    let mut config = Config::new();
    config.host_path(socket_dir).port(socket::PORT).user(user).dbname(database);
    config
}

pub(crate) async fn connect(config: &Config) -> Result<Client, Error> {
    let mut config = config.clone();
    let (client, connection) = config.connect_timeout(CONNECT_LIMIT).connect(NoTls).await?;
    tokio::spawn(connection);
    Ok(client)
}
