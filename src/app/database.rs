//! Opens the database of a command: the private server, which it starts or joins, or the one at the configured URL.
//! Brings its schema up to date, and
//! refuses one that cannot be served. Reads and writes no rows.

use private_postgres::PostgresServer;
use secrecy::{ExposeSecret, SecretString};

use super::AppError;
use crate::config::{self, Config};
use crate::db::{self, Migrated, Target};

/// The database of a command: the private server, or the one at the configured URL.
pub struct Database {
    /// As the service's role.
    pub target: Target,
    /// As the owner of the tables. `None`: no login was configured for it.
    owner: Option<Target>,
    server: Option<PostgresServer>,
}

/// Who opens the database.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum DatabaseUse {
    /// The service.
    Serve,
    /// A command that may run at the same time as the service, and that makes the database if there is none.
    Change,
    /// The same, but without a database it has nothing to do: it must not make one in a wrong directory.
    Read,
}

impl Database {
    /// Opens the database at the configured URL, or starts the private server.
    pub async fn open(config: &Config, used: DatabaseUse) -> Result<Database, AppError> {
        let it = &config.database;
        let target = |key, url: &SecretString| {
            let url = config::connection(url.expose_secret()).map_err(|cause| AppError::Url { key, cause })?;
            Ok::<_, AppError>(Target::new(url, it.tls_ca.as_deref())?)
        };
        if let Some(url) = &it.url {
            let owner = it.owner_url.as_ref().map(|url| target("database.owner_url", url)).transpose()?;
            let target = target("database.url", url)?;
            tracing::info!("connecting to the database at {}", target.host_names());
            return Ok(Database { target, owner, server: None });
        }
        let mut options = db::private_server_options(&config.data_dir);
        options.install = config.database.install;
        options.create = used != DatabaseUse::Read;
        let server = match used {
            DatabaseUse::Serve => PostgresServer::start(&options).await?,
            DatabaseUse::Change | DatabaseUse::Read => PostgresServer::start_or_join(&options).await?,
        };
        let (target, owner) = (server.connection_as(db::SERVICE_ROLE), server.connection());
        Ok(Database { target: target.into(), owner: Some(owner.into()), server: Some(server) })
    }

    /// Makes the database fit for a service to serve on it, or refuses it.
    pub async fn prepare(&self, allow_unsafe: bool) -> Result<(), AppError> {
        check_durability(&self.target, allow_unsafe).await?;
        // Before the schema changes: an earlier version may work with the one that is there.
        db::check_no_earlier_service(&self.target).await?;
        match self.migrate().await? {
            Migrated::Applied(applied) => tracing::info!(applied, "the schema is up to date"),
            newer => tracing::warn!("{newer}"),
        }
        Ok(())
    }

    /// Brings the schema up to date and grants the service's role what it needs, both as the owner. Without a login for
    /// the owner, the service's own one migrates, if it can. A newer schema and its grants are left as they are.
    pub async fn migrate(&self) -> Result<Migrated, AppError> {
        let migrated = db::migrate(self.owner.as_ref().unwrap_or(&self.target)).await?;
        let login = db::login(&self.target).await?;
        match &self.owner {
            Some(_) if login.owns_tables => return Err(AppError::ServiceOwnsTables(login.role)),
            Some(owner) => {
                // The newer version has granted what it needs, which this one does not know.
                let own = matches!(migrated, Migrated::Applied(_));
                if own && db::grant(owner, &login.role).await? {
                    tracing::info!(role = login.role, "the service's role has new privileges");
                }
                // Both URLs must lead to one database.
                db::check_up_to_date(&self.target).await?;
            }
            None if login.owns_tables => tracing::warn!(
                role = login.role,
                "the service's login can change the schema and the audit log: give it a role of its own, and the \
                 owner's login as database.owner_url"
            ),
            None => {}
        }
        Ok(migrated)
    }

    /// Stops the private server, if `open` started it.
    pub async fn close(self) -> Result<(), AppError> {
        match self.server {
            Some(server) => Ok(server.stop().await?),
            None => Ok(()),
        }
    }

    /// Whether no other service can reach the database: the private server belongs to this process.
    pub fn is_exclusive(&self) -> bool {
        self.server.is_some()
    }

    /// Waits until the private server has failed for good; for ever, if there is none.
    pub async fn lost(&mut self) {
        match &mut self.server {
            Some(server) => server.lost().await,
            None => std::future::pending().await,
        }
    }
}

/// Refuses a server that can lose what it has committed, unless the configuration allows it.
async fn check_durability(target: &Target, allow_unsafe: bool) -> Result<(), AppError> {
    let settings = db::unsafe_settings(target).await?.join(" = off and ");
    match settings.as_str() {
        "" => Ok(()),
        _ if allow_unsafe => {
            tracing::warn!(off = settings, "a crash of the database's machine can lose or damage what was sold");
            Ok(())
        }
        _ => Err(AppError::UnsafeDatabase(settings)),
    }
}
