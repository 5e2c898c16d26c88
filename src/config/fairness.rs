//! The settings of how the numbers of draws come about. What the fields of a chain mean is not checked here.

use std::path::PathBuf;
use std::time::Duration;

use secrecy::SecretString;
use serde::{Deserialize, Deserializer};

use super::number::duration;

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FairnessConfig {
    pub mode: FairnessSetting,
    /// `None`: the data directory has it.
    pub master_secret: Option<SecretString>,
    /// A file of the format C2SP tlog-policy. `None`: the public log has no witnesses.
    pub policy: Option<PathBuf>,
    /// How long before the beacon's round the sale of a draw ends, at least.
    #[serde(deserialize_with = "duration")]
    pub margin: Duration,
    /// Empty: the public ones.
    pub beacon_endpoints: Vec<String>,
    /// `None`: drand's quicknet.
    #[serde(deserialize_with = "chain")]
    pub beacon_chain: Option<ChainConfig>,
}

/// How the numbers of draws come about that are opened from now on.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Deserialize)]
#[serde(try_from = "String")]
pub enum FairnessSetting {
    CommitReveal,
    Beacon,
}

impl TryFrom<String> for FairnessSetting {
    type Error = &'static str;

    fn try_from(text: String) -> Result<FairnessSetting, &'static str> {
        match text.as_str() {
            "commit_reveal" => Ok(FairnessSetting::CommitReveal),
            "beacon" => Ok(FairnessSetting::Beacon),
            _ => Err("must be `commit_reveal` or `beacon`"),
        }
    }
}

/// A chain, as drand's `/info` describes it. Bytes are hexadecimal digits.
#[derive(Clone, PartialEq, Eq, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ChainConfig {
    pub hash: String,
    pub public_key: String,
    pub genesis_time: u64,
    pub period: u32,
    pub group_hash: String,
    pub beacon_id: String,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum TableOrText {
    Table(ChainConfig),
    Text(String),
}

fn chain<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<ChainConfig>, D::Error> {
    let wrong = || {
        serde::de::Error::custom(
            "must be {hash: …, public_key: …, genesis_time: …, period: …, group_hash: …, beacon_id: …}, as drand's /info says",
        )
    };
    match Option::<TableOrText>::deserialize(deserializer).map_err(|_| wrong())? {
        None => Ok(None),
        Some(TableOrText::Table(table)) => Ok(Some(table)),
        Some(TableOrText::Text(json)) => serde_json::from_str(&json).map(Some).map_err(|_| wrong()),
    }
}
