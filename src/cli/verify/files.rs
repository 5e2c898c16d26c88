//! Reads what a verifier gives: proofs of draws, receipts, keys, policies, beacons. Nothing is verified here.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use serde::Deserialize;
use serde_json::Value;
use verifiable_draw::beacon::BeaconChain;
use verifiable_draw::note::{MAX_NOTE_BYTES, SignedNote};
use verifiable_draw::policy::{MAX_POLICY_BYTES, Policy};
use verifiable_draw::transcript::receipt::OwnReceipt;
use verifiable_draw::transcript::{DrawTranscript, MAX_TRANSCRIPT_BYTES};
use verifiable_draw::vkey::VerifierKey;

use super::source::DrawUrl;
use crate::cli::CliError;

/// What drand answers is shorter.
const MAX_INFO_BYTES: usize = 64 * 1024;
/// The scheme of quicknet, the only one that is known.
const SCHEME: &str = "bls-unchained-g1-rfc9380";

/// What is to be verified.
pub enum VerifySubject {
    Url(DrawUrl),
    Transcript(Box<DrawTranscript>),
    Receipt(Box<OwnReceipt>),
}

impl VerifySubject {
    /// A URL, or a file, which tells by its contents what it is.
    pub fn read(text: &str) -> Result<VerifySubject, CliError> {
        if text.contains("://") {
            return DrawUrl::parse(text).map(VerifySubject::Url);
        }
        let path = Path::new(text);
        let bytes = read(path, MAX_TRANSCRIPT_BYTES)?;
        let wrong = |what: &dyn std::fmt::Display| CliError::Refused(format!("{text}: {what}"));
        let fields = match serde_json::from_slice::<Value>(&bytes) {
            Ok(Value::Object(fields)) => fields,
            _ => {
                let receipt = OwnReceipt::parse(&bytes).map_err(|error| {
                    wrong(&format!(
                        "{error}. A file to verify has the body of GET /draws/{{id}}/proof, the answer to an order, its \
                         receipt, or the text of a proof"
                    ))
                })?;
                return Ok(VerifySubject::Receipt(Box::new(receipt)));
            }
        };
        if let (Some(code), Some(detail)) = (fields.get("code"), fields.get("detail")) {
            return Err(wrong(&format!("this is an error that the service answered: {code}, {detail}")));
        }
        if ["proof", "receipt", "tickets"].iter().any(|field| fields.contains_key(*field)) {
            return Ok(VerifySubject::Receipt(Box::new(
                OwnReceipt::parse(&bytes).map_err(|error| wrong(&error))?,
            )));
        }
        Ok(VerifySubject::Transcript(Box::new(DrawTranscript::parse(&bytes).map_err(|error| wrong(&error))?)))
    }
}

/// The proof of a draw.
pub fn transcript(path: &Path) -> Result<DrawTranscript, CliError> {
    let bytes = read(path, MAX_TRANSCRIPT_BYTES)?;
    DrawTranscript::parse(&bytes).map_err(|error| CliError::Refused(format!("{}: {error}", path.display())))
}

pub fn key(text: &str) -> Result<VerifierKey, CliError> {
    VerifierKey::parse(text.trim()).map_err(|error| CliError::Refused(format!("--key: {error}")))
}

pub fn policy(path: &Path) -> Result<Policy, CliError> {
    let bytes = read(path, MAX_POLICY_BYTES)?;
    Policy::parse(&bytes).map_err(|error| CliError::Refused(format!("{}: {error}", path.display())))
}

/// A checkpoint. Whose it is, is verified later.
pub fn checkpoint(path: &Path) -> Result<SignedNote, CliError> {
    SignedNote::parse(&read(path, MAX_NOTE_BYTES)?)
        .map_err(|error| CliError::Refused(format!("{}: {error}", path.display())))
}

/// What drand's `/info` answers, as far as it is needed.
#[derive(Deserialize)]
struct ChainInfo {
    public_key: String,
    genesis_time: u64,
    period: u32,
    #[serde(rename = "groupHash", alias = "group_hash")]
    group_hash: String,
    hash: Option<String>,
    #[serde(rename = "schemeID", alias = "scheme")]
    scheme: Option<String>,
    metadata: Option<ChainMetadata>,
    id: Option<String>,
}

#[derive(Deserialize)]
struct ChainMetadata {
    #[serde(rename = "beaconID")]
    beacon_id: String,
}

/// A chain of rounds, from a file with what drand's `/info` answers.
pub fn beacon(path: &Path) -> Result<BeaconChain, CliError> {
    let wrong = |what: &dyn std::fmt::Display| CliError::Refused(format!("{}: {what}", path.display()));
    let info: ChainInfo = serde_json::from_slice(&read(path, MAX_INFO_BYTES)?)
        .map_err(|error| wrong(&format!("this is not what drand's /info answers: {error}")))?;
    if info.scheme.as_deref().is_some_and(|scheme| scheme != SCHEME) {
        return Err(wrong(&format!("only beacons of the scheme {SCHEME} can be verified")));
    }
    let id = info.metadata.map(|metadata| metadata.beacon_id).or(info.id).unwrap_or_default();
    let public_key = hex(&info.public_key).ok_or_else(|| wrong(&"public_key is not 96 bytes in hexadecimal"))?;
    let group_hash = hex(&info.group_hash).ok_or_else(|| wrong(&"groupHash is not 32 bytes in hexadecimal"))?;
    let chain = BeaconChain::new(public_key, info.genesis_time, info.period, &group_hash, &id);
    let chain = chain.map_err(|error| wrong(&error))?;
    match info.hash {
        Some(hash) if hex(&hash).as_ref() != Some(chain.hash()) => {
            Err(wrong(&"its hash is not that of its other fields"))
        }
        _ => Ok(chain),
    }
}

/// The signature of a round.
pub fn signature(text: &str) -> Result<[u8; 48], String> {
    hex(text).ok_or_else(|| "a round's signature is 48 bytes in hexadecimal".to_owned())
}

fn hex<const N: usize>(text: &str) -> Option<[u8; N]> {
    let digits = text.as_bytes();
    if digits.len() != 2 * N || !text.bytes().all(|digit| digit.is_ascii_hexdigit()) {
        return None;
    }
    let mut bytes = [0; N];
    for (place, byte) in bytes.iter_mut().enumerate() {
        *byte = u8::from_str_radix(&text[2 * place..2 * place + 2], 16).ok()?;
    }
    Some(bytes)
}

/// Reads a file of at most so many bytes.
pub fn read(path: &Path, limit: usize) -> Result<Vec<u8>, CliError> {
    let cannot =
        |what: &dyn std::fmt::Display| CliError::Refused(format!("cannot read {}: {what}", path.display()));
    let file = File::open(path).map_err(|error| cannot(&error))?;
    let mut bytes = Vec::new();
    file.take(limit as u64 + 1).read_to_end(&mut bytes).map_err(|error| cannot(&error))?;
    if bytes.len() > limit { Err(cannot(&format!("it has more than {limit} bytes"))) } else { Ok(bytes) }
}

#[cfg(test)]
mod tests {
    use super::*;

    const INFO: &str = r#"{"public_key":"83cf0f2896adee7eb8b5f01fcad3912212c437e0073e911fb90022d3e760183c8c4b450b6a0a6c3ac6a5776a2d1064510d1fec758c921cc22b0e17e63aaf4bcb5ed66304de9cf809bd274ca73bab4af5a6e9c76a4bc09e76eae8991ef5ece45a",
        "period":3,"genesis_time":1692803367,"hash":"52db9ba70e0cc0f6eaf7803dd07447a1f5477735fd3f661792ba94600c84e971",
        "groupHash":"f477d5c89f21a17c863a7f937c6a6d15859414d2be09cd448d4279af331c5d3e","schemeID":"bls-unchained-g1-rfc9380",
        "metadata":{"beaconID":"quicknet"}}"#;

    #[test]
    fn a_beacon_is_what_drand_says_of_it() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("info");
        let read = |text: &str| {
            std::fs::write(&path, text).unwrap();
            beacon(&path).map_err(|error| error.to_string())
        };
        assert_eq!(read(INFO), Ok(BeaconChain::quicknet()));
        for (from, to, says) in [
            ("\"period\":3", "\"period\":4", "its hash is not that of its other fields"),
            ("bls-unchained-g1-rfc9380", "pedersen-bls-chained", "only beacons of the scheme"),
            ("f477", "f47", "groupHash is not 32 bytes in hexadecimal"),
            ("83cf", "83cg", "public_key is not 96 bytes in hexadecimal"),
            ("period", "cycle", "this is not what drand's /info answers"),
        ] {
            let error = read(&INFO.replacen(from, to, 1)).unwrap_err();
            assert!(error.contains(says), "{error}");
        }
        assert_eq!(signature("00"), Err("a round's signature is 48 bytes in hexadecimal".to_owned()));
        assert_eq!(signature(&"é".repeat(48)).ok(), None);
    }
}
