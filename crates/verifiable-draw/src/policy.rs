//! Trust policies of C2SP tlog-policy: which logs are known, and which witnesses must have cosigned a checkpoint.
//!
//! Names are bytes, as the specification wants. URLs are kept for the program that asks the witnesses.

use std::collections::{BTreeMap, BTreeSet};

use crate::checkpoint::{Checkpoint, CheckpointError};
use crate::encoding::parse_decimal;
use crate::note::{NoteError, SignedNote};
use crate::vkey::{SignatureType, SignedAt, VerifierKey, VkeyError};

pub const MAX_POLICY_BYTES: usize = 64 * 1024;
/// Of logs, and of witnesses and groups together. The specification asks for at least 32 of each.
pub const MAX_POLICY_NAMES: usize = 128;

#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum PolicyError {
    #[error("a policy has at most {MAX_POLICY_BYTES} bytes")]
    TooLong,
    #[error("a policy has at most {MAX_POLICY_NAMES} logs, and as many witnesses and groups together")]
    TooManyNames,
    #[error("the last line of the policy has no newline")]
    NoNewline,
    #[error("a policy needs one line `quorum NAME` or `quorum none`")]
    NoQuorum,
    #[error("line {line} of the policy: {problem}")]
    Line { line: usize, problem: PolicyProblem },
}

#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum PolicyProblem {
    #[error("control characters other than tab and newline are not allowed")]
    Control,
    #[error(
        "expected `log VKEY [URL]`, `witness NAME VKEY [URL]`, `group NAME all|any|K NAME...` or `quorum NAME`"
    )]
    Syntax,
    #[error(transparent)]
    Vkey(#[from] VkeyError),
    #[error("a log signs with a key of type 0x01, and a witness with one of type 0x04")]
    KeyType,
    #[error("the key is in the policy already")]
    DuplicateKey,
    #[error("the name is defined already, or is `none`")]
    DuplicateName,
    #[error("the name is not defined above")]
    UnknownName,
    #[error("the name is a member of a group already")]
    DuplicateMember,
    #[error("of n members 1 to n are required")]
    Threshold,
    #[error("the policy has a quorum already")]
    SecondQuorum,
}

#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum QuorumError {
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    #[error("too few witnesses have cosigned the checkpoint in time")]
    NoQuorum,
}

#[derive(Clone, Debug)]
pub struct PolicyLog {
    pub key: VerifierKey,
    pub url: Option<Vec<u8>>,
}

#[derive(Clone, Debug)]
pub struct Witness {
    pub key: VerifierKey,
    pub url: Option<Vec<u8>>,
}

#[derive(Clone, Debug)]
enum Member {
    /// One of `Policy::witnesses`.
    Witness(usize),
    /// At least `threshold` of the members, which stand above this one.
    Group { threshold: usize, members: Vec<usize> },
}

#[derive(Clone, Debug)]
pub struct Policy {
    logs: Vec<PolicyLog>,
    witnesses: Vec<Witness>,
    /// What a quorum can consist of, in the order of the lines.
    members: Vec<Member>,
    /// `None`: no cosignature is required.
    quorum: Option<usize>,
}

/// The earliest cosignature of a witness.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct WitnessTime {
    pub witness: String,
    pub timestamp: u64,
}

impl Policy {
    pub fn parse(bytes: &[u8]) -> Result<Self, PolicyError> {
        if bytes.len() > MAX_POLICY_BYTES {
            return Err(PolicyError::TooLong);
        }
        let lines = bytes.strip_suffix(b"\n").ok_or(PolicyError::NoNewline)?;
        let mut parser = Parser::default();
        for (index, line) in lines.split(|byte| *byte == b'\n').enumerate() {
            parser.read_line(line).map_err(|problem| PolicyError::Line { line: index + 1, problem })?;
            if parser.logs.len().max(parser.members.len()) > MAX_POLICY_NAMES {
                return Err(PolicyError::TooManyNames);
            }
        }
        let quorum = parser.quorum.ok_or(PolicyError::NoQuorum)?;
        Ok(Self { logs: parser.logs, witnesses: parser.witnesses, members: parser.members, quorum })
    }

    pub fn logs(&self) -> &[PolicyLog] {
        &self.logs
    }

    pub fn witnesses(&self) -> &[Witness] {
        &self.witnesses
    }

    pub fn requires_witnesses(&self) -> bool {
        self.quorum.is_some()
    }

    /// Accepts a checkpoint that is signed by a log of the policy and cosigned by its quorum. Cosignatures count only
    /// if their time is before `before`, where one is given.
    pub fn open(
        &self,
        note: &SignedNote,
        before: Option<u64>,
    ) -> Result<(Checkpoint, Vec<WitnessTime>), QuorumError> {
        let checkpoint = Checkpoint::open(note, self.logs.iter().map(|log| &log.key))?;
        let times = self.quorum_times(note, before)?;
        Ok((checkpoint, times))
    }

    /// The witnesses that cosigned in time, if they are a quorum. The log's own signature is not looked at: for a log
    /// whose key is known from elsewhere.
    pub fn quorum_times(&self, note: &SignedNote, before: Option<u64>) -> Result<Vec<WitnessTime>, QuorumError> {
        let verified = match note.verify(self.witnesses.iter().map(|witness| &witness.key)) {
            Err(NoteError::NoKnownKey) => Vec::new(),
            other => other.map_err(CheckpointError::from)?,
        };
        let mut earliest: BTreeMap<&[u8; 32], (&str, u64)> = BTreeMap::new();
        for signature in verified {
            if let SignedAt::Timestamp(timestamp) = signature.signed_at {
                let first =
                    earliest.entry(signature.key.public_key()).or_insert((signature.key.name(), timestamp));
                first.1 = first.1.min(timestamp);
            }
        }
        earliest.retain(|_, (_, timestamp)| before.is_none_or(|before| *timestamp < before));
        if !self.is_quorum(&earliest.keys().copied().collect()) {
            return Err(QuorumError::NoQuorum);
        }
        let times = earliest.into_values();
        Ok(times.map(|(name, timestamp)| WitnessTime { witness: name.to_owned(), timestamp }).collect())
    }

    fn is_quorum(&self, cosigners: &BTreeSet<&[u8; 32]>) -> bool {
        let mut witnessed: Vec<bool> = Vec::with_capacity(self.members.len());
        for member in &self.members {
            witnessed.push(match member {
                Member::Witness(witness) => cosigners.contains(self.witnesses[*witness].key.public_key()),
                // Members stand above their group, so they are decided already.
                Member::Group { threshold, members } => {
                    members.iter().filter(|member| witnessed[**member]).count() >= *threshold
                }
            });
        }
        self.quorum.is_none_or(|quorum| witnessed[quorum])
    }
}

#[derive(Default)]
struct Parser {
    logs: Vec<PolicyLog>,
    witnesses: Vec<Witness>,
    members: Vec<Member>,
    names: BTreeMap<Vec<u8>, usize>,
    grouped: BTreeSet<usize>,
    log_keys: BTreeSet<[u8; 32]>,
    witness_keys: BTreeSet<[u8; 32]>,
    quorum: Option<Option<usize>>,
}

impl Parser {
    fn read_line(&mut self, line: &[u8]) -> Result<(), PolicyProblem> {
        if line.iter().any(|byte| *byte != b'\t' && byte.is_ascii_control()) {
            return Err(PolicyProblem::Control);
        }
        let words = line.split(|byte| *byte == b' ' || *byte == b'\t').filter(|word| !word.is_empty());
        let words: Vec<&[u8]> = words.collect();
        match words.as_slice() {
            [] => Ok(()),
            [first, ..] if first.starts_with(b"#") => Ok(()),
            [b"log", key, url @ ..] if url.len() <= 1 => {
                let key = parse_key(key, SignatureType::Ed25519, &mut self.log_keys)?;
                self.logs.push(PolicyLog { key, url: url.first().map(|url| url.to_vec()) });
                Ok(())
            }
            [b"witness", name, key, url @ ..] if url.len() <= 1 => {
                let key = parse_key(key, SignatureType::Cosignature, &mut self.witness_keys)?;
                self.define(name, Member::Witness(self.witnesses.len()))?;
                self.witnesses.push(Witness { key, url: url.first().map(|url| url.to_vec()) });
                Ok(())
            }
            [b"group", name, threshold, members @ ..] if !members.is_empty() => {
                let group = self.group(threshold, members)?;
                self.define(name, group)
            }
            [b"quorum", name] => {
                let quorum = if *name == b"none" { None } else { Some(self.find(name)?) };
                if self.quorum.replace(quorum).is_some() { Err(PolicyProblem::SecondQuorum) } else { Ok(()) }
            }
            _ => Err(PolicyProblem::Syntax),
        }
    }

    fn group(&mut self, threshold: &[u8], names: &[&[u8]]) -> Result<Member, PolicyProblem> {
        let mut members = Vec::with_capacity(names.len());
        for name in names {
            let member = self.find(name)?;
            if !self.grouped.insert(member) {
                return Err(PolicyProblem::DuplicateMember);
            }
            members.push(member);
        }
        let threshold = match threshold {
            b"any" => Some(1),
            b"all" => Some(members.len()),
            number => std::str::from_utf8(number).ok().and_then(parse_decimal).and_then(|k| k.try_into().ok()),
        };
        let threshold = threshold.filter(|threshold| (1..=members.len()).contains(threshold));
        Ok(Member::Group { threshold: threshold.ok_or(PolicyProblem::Threshold)?, members })
    }

    fn define(&mut self, name: &[u8], member: Member) -> Result<(), PolicyProblem> {
        if name == b"none" || self.names.contains_key(name) {
            return Err(PolicyProblem::DuplicateName);
        }
        self.names.insert(name.to_vec(), self.members.len());
        self.members.push(member);
        Ok(())
    }

    fn find(&self, name: &[u8]) -> Result<usize, PolicyProblem> {
        self.names.get(name).copied().ok_or(PolicyProblem::UnknownName)
    }
}

fn parse_key(
    word: &[u8],
    signature_type: SignatureType,
    keys: &mut BTreeSet<[u8; 32]>,
) -> Result<VerifierKey, PolicyProblem> {
    let key = VerifierKey::parse(std::str::from_utf8(word).map_err(|_| VkeyError::Format)?)?;
    if key.signature_type() != signature_type {
        return Err(PolicyProblem::KeyType);
    }
    // The same key under another name would let one witness count twice.
    if keys.insert(*key.public_key()) { Ok(key) } else { Err(PolicyProblem::DuplicateKey) }
}
