//! The keys of the logs, from the master secret and the recorded name; the first start records both. A start with
//! another master secret is refused.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;

use tokio_postgres::Client;
use verifiable_draw::keys::MasterSecret;

use super::AppError;
use crate::actors::persistence;
use crate::auth::master_secret::{self, MasterSecretBytes};
use crate::clock::{Clock, Ids};
use crate::config::Config;
use crate::db::Db;
use crate::db::read::public_log;
use crate::domain::log_keys::{LogIdentity, LogKeys, LogOrigin, fingerprint};
use crate::domain::ticket_log::TicketLogs;

/// Where a master secret was found.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum SecretOrigin {
    Setting,
    File(PathBuf),
}

impl fmt::Display for SecretOrigin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            SecretOrigin::Setting => f.write_str("fairness.master_secret"),
            SecretOrigin::File(path) => path.display().fmt(f),
        }
    }
}

pub async fn log_keys(config: &Config, db: &Db, clock: &Clock) -> Result<LogKeys, AppError> {
    let client = db.client().await?;
    let recorded = public_log::identity(&client).await?;
    drop(client);
    let (secret, origin) = find_secret(config, recorded.is_some())?;
    let public = config.server.public_url.as_deref().and_then(LogOrigin::of_url);
    let new = LogIdentity {
        origin: public.clone().unwrap_or_else(|| LogOrigin::of_installation(Ids::new().next(clock.now()))),
        fingerprint: fingerprint(&secret),
    };
    let recorded = match recorded {
        Some(recorded) => recorded,
        None => persistence::record_log_identity(db, &new, clock.now()).await?,
    };
    if recorded.fingerprint != new.fingerprint {
        return Err(AppError::OtherMasterSecret(origin));
    }
    if public.is_some_and(|public| public != recorded.origin) {
        tracing::warn!(log = %recorded.origin, "the logs keep the name of the first start; server.public_url says another");
    }
    Ok(LogKeys::new(MasterSecret::new(*secret), recorded.origin))
}

/// The keys of the logs of a database on which the service was started before.
pub async fn existing_log_keys(config: &Config, db: &Client) -> Result<LogKeys, AppError> {
    let recorded = public_log::identity(db).await?.ok_or(AppError::NoLogs)?;
    let (secret, origin) = find_secret(config, true)?;
    if recorded.fingerprint != fingerprint(&secret) {
        return Err(AppError::OtherMasterSecret(origin));
    }
    Ok(LogKeys::new(MasterSecret::new(*secret), recorded.origin))
}

/// The ticket logs of this database, to compare them with its tickets. `None`: the service was never started on it, or its
/// master secret is not here.
pub async fn ticket_logs_to_check(config: &Config, db: &Client) -> Result<Option<TicketLogs>, AppError> {
    let Some(recorded) = public_log::identity(db).await? else { return Ok(None) };
    let secret = match find_secret(config, true) {
        Err(AppError::NoMasterSecret) => return Ok(None),
        found => found?.0,
    };
    let is_same = fingerprint(&secret) == recorded.fingerprint;
    Ok(is_same.then(|| TicketLogs::new(Arc::new(LogKeys::new(MasterSecret::new(*secret), recorded.origin)))))
}

/// The configured master secret, or the stored one. It is made only for a database that knows none.
fn find_secret(config: &Config, is_recorded: bool) -> Result<(MasterSecretBytes, SecretOrigin), AppError> {
    if let Some(configured) = &config.fairness.master_secret {
        let invalid = |what: master_secret::NoMasterSecret| AppError::Setting {
            key: "fairness.master_secret".to_owned(),
            what: what.to_string(),
        };
        return Ok((master_secret::parse(configured).map_err(invalid)?, SecretOrigin::Setting));
    }
    let secret = if is_recorded {
        master_secret::load(&config.data_dir)?.ok_or(AppError::NoMasterSecret)?
    } else {
        master_secret::load_or_create(&config.data_dir)?
    };
    Ok((secret, SecretOrigin::File(master_secret::path(&config.data_dir))))
}
