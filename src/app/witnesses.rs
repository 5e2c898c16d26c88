//! The witnesses of the public log: reads the policy that names them, and makes their tasks.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;
use std::sync::Arc;

use verifiable_draw::policy::MAX_POLICY_BYTES;
use verifiable_draw::vkey::VerifierKey;

use super::AppError;
use crate::actors::persistence::Persistence;
use crate::actors::public_log::PublicLog;
use crate::actors::witnesses::{LogWitness, LogWitnesses};
use crate::config::Config;
use crate::db::read::witnesses;
use crate::db::{Db, DbError};
use crate::domain::log_keys::PublicLogSigner;
use crate::domain::witness_policy::{WitnessAddress, WitnessPolicy};
use crate::http::Metrics;
use crate::witness::WitnessClient;

fn setting(what: String) -> AppError {
    AppError::Setting { key: "fairness.policy".to_owned(), what }
}

/// The policy of the log with these keys. `None`: no policy is configured.
pub fn configured(config: &Config, log: &PublicLogSigner) -> Result<Option<Arc<WitnessPolicy>>, AppError> {
    let Some(path) = &config.fairness.policy else { return Ok(None) };
    let bytes = read(path).map_err(|error| setting(format!("cannot read {}: {error}", path.display())))?;
    let policy = WitnessPolicy::parse(&bytes, log.verifiers());
    let policy = policy.map_err(|fault| setting(format!("{}: {fault}", path.display())))?;
    Ok(Some(Arc::new(policy)))
}

/// The file, or one byte more than a policy may have.
fn read(path: &Path) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path)?.take(MAX_POLICY_BYTES as u64 + 1).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// The clients of the witnesses of a policy.
pub fn clients(policy: Option<&WitnessPolicy>, log: &VerifierKey) -> Result<Vec<WitnessClient>, AppError> {
    let all = policy.map(WitnessPolicy::witnesses).unwrap_or_default();
    all.iter().map(|witness| client(witness, log)).collect()
}

fn client(witness: &WitnessAddress, log: &VerifierKey) -> Result<WitnessClient, AppError> {
    WitnessClient::new(witness, log)
        .map_err(|error| setting(format!("the witness {}: {}", witness.key.name(), error.without_url())))
}

/// All witnesses that are asked: those of the policy, and those of the policies that active draws were announced with.
pub async fn log_witnesses(
    current: Vec<WitnessClient>,
    metrics: &Metrics,
    (db, log, persistence): (&Db, &PublicLog, &Persistence),
) -> Result<LogWitnesses, DbError> {
    let with_metrics = |client: WitnessClient, is_current| {
        let metrics = metrics.witness(client.key().name());
        LogWitness { client, metrics, is_current }
    };
    let mut all: Vec<LogWitness> = current.into_iter().map(|client| with_metrics(client, true)).collect();
    for bytes in witnesses::policies_of_active_draws(db).await? {
        // It was accepted once.
        let Ok(policy) = WitnessPolicy::read(&bytes) else { continue };
        for witness in policy.witnesses() {
            if !all.iter().any(|it| it.client.key() == &witness.key)
                && let Ok(client) = WitnessClient::new(witness, log.key())
            {
                all.push(with_metrics(client, false));
            }
        }
    }
    Ok(LogWitnesses { db: db.clone(), log: log.clone(), persistence: persistence.clone(), witnesses: all })
}
