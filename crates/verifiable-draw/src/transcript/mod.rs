//! Verifies a draw from what was published: the body of `GET /draws/{id}/proof`, the list of its orders (`list`), and the
//! receipts of orders (`receipt`).
//!
//! Everything here is computed from bytes that the caller has read. What was not given is not checked, and the report says
//! so.

mod checks;
mod entries;
mod heads;
pub mod list;
mod outcome;
pub mod receipt;
mod report;
mod voided;

use serde::{Deserialize, Deserializer};

pub use entries::{ProvenEntry, Timeline, read_entries};
pub use report::{DrawClaim, KeySource, StepResult, Stopped, VerificationReport, VerificationStep, WitnessedBy};
pub use voided::VoidCause;

use crate::Hash;
use crate::beacon::BeaconChain;
use crate::event::{Event, PublishedRules};
use crate::merkle::Head;
use crate::note::SignedNote;
use crate::policy::Policy;
use crate::vkey::VerifierKey;

/// A longer transcript is refused: 1,000 entries with their proofs and many witnesses fit.
pub const MAX_TRANSCRIPT_BYTES: usize = 64 * 1024 * 1024;
/// The service answers as many.
pub const MAX_TRANSCRIPT_ENTRIES: usize = 1_000;
/// Cosignatures of a seal that come later than this before the round do not count.
pub const QUORUM_MARGIN_SECONDS: u64 = 5;
/// A draw that has no end so long after its numbers were due has been withheld.
pub const OVERDUE_SECONDS: u64 = 24 * 60 * 60;

#[derive(Debug, thiserror::Error)]
pub enum TranscriptError {
    #[error("a transcript has at most {MAX_TRANSCRIPT_BYTES} bytes and {MAX_TRANSCRIPT_ENTRIES} entries")]
    TooLong,
    #[error("this is not the body of GET /draws/{{id}}/proof: {0}")]
    Json(#[from] serde_json::Error),
}

/// The body of `GET /draws/{id}/proof`.
#[derive(Clone, Deserialize, Debug)]
#[serde(deny_unknown_fields)]
pub struct DrawTranscript {
    pub draw_id: u64,
    /// The witness policy of the draw, verbatim.
    #[serde(deserialize_with = "present")]
    pub policy: Option<String>,
    pub entries: Vec<TranscriptEntry>,
}

/// An entry of the public log with its proof, both as texts.
#[derive(Clone, Deserialize, Debug)]
#[serde(deny_unknown_fields)]
pub struct TranscriptEntry {
    pub entry: String,
    pub proof: String,
}

/// `null`, but not absent.
fn present<'de, D: Deserializer<'de>>(from: D) -> Result<Option<String>, D::Error> {
    Option::deserialize(from)
}

impl DrawTranscript {
    pub fn parse(bytes: &[u8]) -> Result<Self, TranscriptError> {
        if bytes.len() > MAX_TRANSCRIPT_BYTES {
            return Err(TranscriptError::TooLong);
        }
        let transcript: Self = serde_json::from_slice(bytes)?;
        if transcript.entries.len() > MAX_TRANSCRIPT_ENTRIES {
            return Err(TranscriptError::TooLong);
        }
        Ok(transcript)
    }
}

/// What a verifier brings along.
#[derive(Default)]
pub struct VerifierOptions {
    /// Keys of the public log. Without any, the verifier's policy names them, or else the announced one.
    pub log_keys: Vec<VerifierKey>,
    /// Whether `log_keys` came from where the draw came from.
    pub keys_of_operator: bool,
    /// Changes of the log's keys, the oldest first: proofs of its entries `key_added` and `key_retired`. The keys that known
    /// ones vouch for are trusted, too. Without them, only the known ones are.
    pub key_changes: Vec<String>,
    pub policy: Option<Policy>,
    /// Beacons that are trusted beside quicknet.
    pub chains: Vec<BeaconChain>,
    /// What rests on the operator's word fails.
    pub strict: bool,
    /// Now, in Unix seconds: a draw may be overdue.
    pub now: Option<u64>,
    /// The transcript of the draw whose rollover came in.
    pub previous: Option<DrawTranscript>,
    /// Proofs that later heads of the public log continue earlier ones.
    pub consistency: Vec<ConsistencyProof>,
    /// What all entries of the public log say of the draw.
    pub whole_log: Option<WholeLog>,
    /// Checkpoints of the public log that somebody has kept: they must be of the same log, and their cosignatures count.
    pub checkpoints: Vec<SignedNote>,
    /// The signature of the round of a cancelled draw, to compute what it would have drawn.
    pub round_signature: Option<[u8; 48]>,
}

/// The public log, of which every entry was read.
pub struct WholeLog {
    /// The head that the entries hash to.
    pub head: Head,
    /// The indexes of the entries about the draw. Those after the first [`MAX_TRANSCRIPT_ENTRIES`] and one more may be missing:
    /// no proof has so many.
    pub of_draw: Vec<u64>,
}

/// Proves that a log of `new` entries continues one of `old`.
pub struct ConsistencyProof {
    pub old: u64,
    pub new: u64,
    pub hashes: Vec<Hash>,
}

/// What a transcript has shown.
pub struct DrawVerification {
    pub report: VerificationReport,
    pub claim: DrawClaim,
    pub key_source: KeySource,
    /// The newest key that the known ones vouch for, if one was followed.
    pub followed_key: Option<VerifierKey>,
    /// The heads of the public log that the entries are proved under, the smallest first.
    pub log_heads: Vec<Head>,
    /// The draw, as far as it could be read.
    pub draw: Option<VerifiedDraw>,
}

/// A draw whose entries are proved to be in the public log.
pub struct VerifiedDraw {
    pub id: u64,
    pub log_key: VerifierKey,
    pub rules: PublishedRules,
    /// The key of the draw's ticket log.
    pub ticket_log: VerifierKey,
    pub sealed: Option<SealedList>,
    /// The entry that ended the lottery's previous draw.
    pub after: Option<u64>,
    pub result: Option<DrawResult>,
    /// Why it was cancelled after its seal, if it was.
    pub voided: Option<VoidCause>,
}

/// The list of orders that was sealed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SealedList {
    pub head: Head,
    pub tickets: u64,
}

/// What was drawn.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct DrawResult {
    pub winning_numbers: Vec<u8>,
    /// The winning tickets of each tier, in the order of the rules.
    pub winners: Vec<u64>,
}

/// Verifies a transcript step by step.
pub fn verify_draw(transcript: &DrawTranscript, options: &VerifierOptions) -> DrawVerification {
    checks::verify(transcript, options)
}

impl DrawVerification {
    /// The last sentence: what is proved, or that nothing is.
    pub fn conclusion(&self) -> String {
        match self.report.failures() {
            0 => {
                let source = match self.key_source {
                    KeySource::Verifier => "",
                    KeySource::Operator => {
                        " The key of the log came from the operator, so this shows internal consistency only: compare \
                         the key with what others got, and give it with --key."
                    }
                };
                let followed = self.followed_key.as_ref().map_or_else(String::new, |key| {
                    format!(
                        " The log has other keys than the one that you know, which vouches for them: from now on, give \
                         --key {key}."
                    )
                });
                format!("VERIFIED: {}{source}{followed}", self.claim)
            }
            1 => "NOT VERIFIED: one step does not hold.".to_owned(),
            failures => format!("NOT VERIFIED: {failures} steps do not hold."),
        }
    }
}

/// The id of the draw that an entry completes, with what rolls over, if it completes one.
pub fn completed_draw(event: &Event) -> Option<(u64, u64)> {
    match event {
        Event::DrawCompleted { draw, rollover, .. } => Some((*draw, *rollover)),
        _ => None,
    }
}
