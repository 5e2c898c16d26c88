//! The keys of a public log that a verifier trusts: those that it knows, and those that they vouch for. A log announces
//! another key of its own with the entry `key_added`; a head that a trusted key signed and that has this entry vouches for the new
//! key. After `key_retired`, the key that it names signs no later heads.

use crate::checkpoint::{Checkpoint, CheckpointError};
use crate::event::{Event, EventError};
use crate::note::{NoteError, SignedNote};
use crate::proof::{InclusionReceipt, ProofError};
use crate::vkey::{SignatureType, VerifierKey, VkeyError};

#[derive(Debug, thiserror::Error)]
pub enum TrustError {
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    #[error(
        "entry {index} of the log has retired the key {key}, and a head with {size} entries has no other known signature"
    )]
    Retired { key: String, index: u64, size: u64 },
    #[error("the log adds a key that is no key of this log, {vkey}: {why}")]
    OtherLog { vkey: String, why: String },
    #[error("the log adds the key {0} a second time")]
    AddedTwice(String),
    #[error("a change of the log's keys cannot be read: {0}")]
    Proof(#[from] ProofError),
    #[error("a change of the log's keys cannot be read: {0}")]
    Event(#[from] EventError),
    #[error("the proof of a change of the log's keys has an entry that is none")]
    NoChange,
}

/// A key, and the index of the entry that retired it.
#[derive(Clone, PartialEq, Eq, Debug)]
struct TrustedKey {
    key: VerifierKey,
    retired_by: Option<u64>,
}

/// The keys that heads of one log, or of a few, may be signed with.
#[derive(Clone, PartialEq, Eq, Default, Debug)]
pub struct TrustedKeys(Vec<TrustedKey>);

/// A change of a log's keys that was followed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct FollowedChange {
    pub index: u64,
    pub change: KeyChangeKind,
    /// The key that has signed the head with the entry.
    pub signed_by: VerifierKey,
    /// This head.
    pub checkpoint: Checkpoint,
    pub note: SignedNote,
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub enum KeyChangeKind {
    Added(VerifierKey),
    Retired(VerifierKey),
}

impl TrustedKeys {
    pub fn new(keys: impl IntoIterator<Item = VerifierKey>) -> Self {
        Self(keys.into_iter().map(|key| TrustedKey { key, retired_by: None }).collect())
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub fn all(&self) -> impl Iterator<Item = &VerifierKey> {
        self.0.iter().map(|trusted| &trusted.key)
    }

    /// Entry `index` adds a key of the same log.
    ///
    /// # Errors
    /// It is no key of a log that is known, or it was added before.
    pub fn add(&mut self, vkey: &str) -> Result<VerifierKey, TrustError> {
        let other =
            |why: &dyn std::fmt::Display| TrustError::OtherLog { vkey: vkey.to_owned(), why: why.to_string() };
        let key = VerifierKey::parse(vkey).map_err(|error: VkeyError| other(&error))?;
        if key.signature_type() != SignatureType::Ed25519 || self.all().all(|known| known.name() != key.name()) {
            return Err(other(&"a log's key has the name of the log, and signs it"));
        }
        if self.all().any(|known| *known == key) {
            return Err(TrustError::AddedTwice(vkey.to_owned()));
        }
        self.0.push(TrustedKey { key: key.clone(), retired_by: None });
        Ok(key)
    }

    /// Entry `index` retires a key. `None`: the key is not known.
    pub fn retire(&mut self, vkey: &str, index: u64) -> Option<VerifierKey> {
        let trusted = self.0.iter_mut().find(|trusted| trusted.key.to_string() == vkey)?;
        trusted.retired_by.get_or_insert(index);
        Some(trusted.key.clone())
    }

    /// Reads a head that one of the keys has signed which was not retired then, and returns it with this key. One wrong
    /// signature of any of the keys refuses it.
    pub fn open(&self, note: &SignedNote) -> Result<(Checkpoint, &VerifierKey), TrustError> {
        let checkpoint = Checkpoint::open(note, self.all())?;
        let size = checkpoint.head.size;
        let mut retired = None;
        for TrustedKey { key, retired_by } in self.0.iter().filter(|it| it.key.name() == checkpoint.origin) {
            if note.verify([key]).is_err() {
                continue;
            }
            match retired_by {
                Some(index) if size > *index => retired = Some((key, *index)),
                _ => return Ok((checkpoint, key)),
            }
        }
        Err(match retired {
            Some((key, index)) => TrustError::Retired { key: key.to_string(), index, size },
            None => CheckpointError::Note(NoteError::NoKnownKey).into(),
        })
    }

    /// Verifies that the log has an entry, as `open` does the head.
    pub fn open_receipt(
        &self,
        receipt: &InclusionReceipt,
        entry: &[u8],
    ) -> Result<(Checkpoint, &VerifierKey), TrustError> {
        let (checkpoint, signed_by) = self.open(&receipt.note)?;
        receipt.verify(entry, [signed_by])?;
        Ok((checkpoint, signed_by))
    }

    /// Follows a change of the log's keys, which is proved to be under a head that one of the keys signed. `None`: no known
    /// key has signed it, or it retires an unknown one, so it is of keys before the known ones; or it adds a known key.
    pub fn follow(&mut self, proof: &str) -> Result<Option<FollowedChange>, TrustError> {
        let receipt = InclusionReceipt::parse(proof.as_bytes())?;
        let entry = receipt.extra.as_deref().ok_or(ProofError::NoEntry)?;
        let (checkpoint, signed_by) = match self.open_receipt(&receipt, entry) {
            Err(TrustError::Checkpoint(CheckpointError::Note(NoteError::NoKnownKey))) => return Ok(None),
            opened => opened?,
        };
        let (signed_by, index) = (signed_by.clone(), receipt.index);
        let change = match Event::parse(entry)? {
            Event::KeyAdded { vkey, .. } if self.all().any(|key| key.to_string() == vkey) => return Ok(None),
            Event::KeyAdded { vkey, .. } => KeyChangeKind::Added(self.add(&vkey)?),
            Event::KeyRetired { vkey, .. } => match self.retire(&vkey, index) {
                Some(key) => KeyChangeKind::Retired(key),
                None => return Ok(None),
            },
            _ => return Err(TrustError::NoChange),
        };
        Ok(Some(FollowedChange { index, change, signed_by, checkpoint, note: receipt.note }))
    }
}
