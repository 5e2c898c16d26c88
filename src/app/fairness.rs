//! How draws are announced, and who is asked for rounds of the beacon, as the settings say.

use std::sync::Arc;

use metrics::Counter;
use verifiable_draw::beacon::BeaconChain;

use super::AppError;
use super::settings::signed;
use crate::beacon::{self, DEFAULT_ENDPOINTS, DrandClient, RoundSource};
use crate::config::{ChainConfig, Config, FairnessSetting};
use crate::domain::draw::FairnessTerms;
use crate::domain::lottery::Fairness;

pub fn terms(config: &Config) -> Result<FairnessTerms, AppError> {
    let it = &config.fairness;
    let mode = match it.mode {
        FairnessSetting::CommitReveal => Fairness::CommitReveal,
        FairnessSetting::Beacon => Fairness::Beacon,
    };
    let chain = it.beacon_chain.as_ref().map_or_else(|| Ok(BeaconChain::quicknet()), chain);
    let chain = chain.map_err(|what| AppError::Setting { key: "fairness.beacon_chain".to_owned(), what })?;
    Ok(FairnessTerms { mode, chain: Arc::new(chain), margin: signed(it.margin) })
}

/// The beacons that an announcement may name.
pub fn known_chains(config: &Config) -> Result<Vec<Arc<BeaconChain>>, AppError> {
    Ok(vec![terms(config)?.chain, Arc::new(BeaconChain::quicknet())])
}

fn chain(it: &ChainConfig) -> Result<BeaconChain, String> {
    fn bytes<const N: usize>(name: &str, text: &str) -> Result<[u8; N], String> {
        beacon::from_hex(text).ok_or_else(|| format!("{name} must be {N} bytes in hexadecimal digits"))
    }
    let hash: [u8; 32] = bytes("hash", &it.hash)?;
    let (key, group) = (bytes("public_key", &it.public_key)?, bytes("group_hash", &it.group_hash)?);
    let chain = BeaconChain::new(key, it.genesis_time, it.period, &group, &it.beacon_id);
    let chain = chain.map_err(|error| format!("{error}; the scheme must be bls-unchained-g1-rfc9380"))?;
    if *chain.hash() == hash {
        return Ok(chain);
    }
    let made = beacon::hex(chain.hash());
    Err(format!("its hash is not that of its other fields, which is {made}: copy all of them from drand's /info"))
}

/// The configured servers. They are asked only for draws that were announced with a beacon.
pub fn round_source(config: &Config, failures: Counter) -> Result<Arc<dyn RoundSource>, AppError> {
    let configured = &config.fairness.beacon_endpoints;
    let defaults = || DEFAULT_ENDPOINTS.map(str::to_owned).to_vec();
    let endpoints = if configured.is_empty() { defaults() } else { configured.clone() };
    let client = DrandClient::new(&endpoints, failures).map_err(|error| AppError::Setting {
        key: "fairness.beacon_endpoints".to_owned(),
        what: format!("no HTTP client can be made: {error}"),
    })?;
    Ok(Arc::new(client))
}
