//! Receipts: proofs of C2SP tlog-proof (`c2sp.org/tlog-proof@v1`), which show without a network that a log has an entry.

use std::fmt::Write;

use crate::Hash;
use crate::checkpoint::{Checkpoint, CheckpointError};
use crate::encoding::{base64_text, decode_base64, decode_hash, parse_decimal};
use crate::merkle::verify::{MerkleError, verify_inclusion};
use crate::merkle::{MAX_PROOF_HASHES, hash_leaf};
use crate::note::{MAX_NOTE_BYTES, NoteError, SignedNote};
use crate::vkey::VerifierKey;

const HEADER: &str = "c2sp.org/tlog-proof@v1\n";
/// An entry of an entry bundle in base64 fits.
pub const MAX_EXTRA_BYTES: usize = u16::MAX as usize;
/// The note, the extra data in base64, and the hashes with the other lines.
pub const MAX_PROOF_BYTES: usize = MAX_NOTE_BYTES + MAX_EXTRA_BYTES.div_ceil(3) * 4 + MAX_PROOF_HASHES * 45 + 64;

#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum ProofError {
    #[error("a proof has at most {MAX_PROOF_BYTES} bytes")]
    TooLong,
    #[error("a proof is UTF-8 text")]
    Characters,
    #[error("the first line of a proof is `c2sp.org/tlog-proof@v1`")]
    Header,
    #[error("the extra data of a proof is 1 to {MAX_EXTRA_BYTES} bytes in base64")]
    Extra,
    #[error("a proof needs the line `index N`, with a number without leading zeros")]
    Index,
    #[error("after the index a proof has at most {MAX_PROOF_HASHES} hashes in base64 and an empty line")]
    Hashes,
    #[error("the proof has no extra data, in which its entry should be")]
    NoEntry,
    #[error(transparent)]
    Note(#[from] NoteError),
    #[error(transparent)]
    Checkpoint(#[from] CheckpointError),
    #[error(transparent)]
    Merkle(#[from] MerkleError),
}

/// A receipt that was read. Nothing in it is verified yet.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct InclusionReceipt {
    /// Our receipts hold the entry here. The checkpoint does not cover it: only its hash proves it.
    pub extra: Option<Vec<u8>>,
    pub index: u64,
    pub proof: Vec<Hash>,
    pub note: SignedNote,
}

impl InclusionReceipt {
    pub fn parse(bytes: &[u8]) -> Result<Self, ProofError> {
        if bytes.len() > MAX_PROOF_BYTES {
            return Err(ProofError::TooLong);
        }
        let text = std::str::from_utf8(bytes).map_err(|_| ProofError::Characters)?;
        let mut rest = text.strip_prefix(HEADER).ok_or(ProofError::Header)?;
        let mut extra = None;
        if let Some(line) = rest.strip_prefix("extra ") {
            let (line, after) = line.split_once('\n').ok_or(ProofError::Extra)?;
            let data = decode_base64(line).filter(|data| (1..=MAX_EXTRA_BYTES).contains(&data.len()));
            extra = Some(data.ok_or(ProofError::Extra)?);
            rest = after;
        }
        let (index, mut rest) =
            rest.strip_prefix("index ").and_then(|line| line.split_once('\n')).ok_or(ProofError::Index)?;
        let index = parse_decimal(index).ok_or(ProofError::Index)?;
        let mut proof = Vec::new();
        loop {
            let (line, after) = rest.split_once('\n').ok_or(ProofError::Hashes)?;
            rest = after;
            if line.is_empty() {
                break;
            }
            if proof.len() == MAX_PROOF_HASHES {
                return Err(ProofError::Hashes);
            }
            proof.push(decode_hash(line).ok_or(ProofError::Hashes)?);
        }
        Ok(Self { extra, index, proof, note: SignedNote::parse(rest.as_bytes())? })
    }

    /// Verifies that a log of these keys has the entry at the receipt's index, and returns the checkpoint that says so.
    pub fn verify<'k>(
        &self,
        entry: &[u8],
        keys: impl IntoIterator<Item = &'k VerifierKey>,
    ) -> Result<Checkpoint, ProofError> {
        let checkpoint = Checkpoint::open(&self.note, keys)?;
        verify_inclusion(&hash_leaf(entry), self.index, &self.proof, &checkpoint.head)?;
        Ok(checkpoint)
    }

    /// Verifies the entry that the receipt holds, and returns it too.
    pub fn verify_extra<'k>(
        &self,
        keys: impl IntoIterator<Item = &'k VerifierKey>,
    ) -> Result<(&[u8], Checkpoint), ProofError> {
        let entry = self.extra.as_deref().ok_or(ProofError::NoEntry)?;
        Ok((entry, self.verify(entry, keys)?))
    }
}

impl std::fmt::Display for InclusionReceipt {
    /// The same bytes that were read.
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let note = self.note.to_string();
        write_receipt(formatter, self.extra.as_deref(), self.index, &self.proof, &note)
    }
}

/// The text of a receipt. `note` is the signed checkpoint, verbatim.
pub fn receipt_text(extra: Option<&[u8]>, index: u64, proof: &[Hash], note: &str) -> String {
    let mut text = String::new();
    // Writing to a string does not fail.
    let _ = write_receipt(&mut text, extra, index, proof, note);
    text
}

/// The same, written piece by piece.
pub fn write_receipt(
    text: &mut impl Write,
    extra: Option<&[u8]>,
    index: u64,
    proof: &[Hash],
    note: &str,
) -> std::fmt::Result {
    text.write_str(HEADER)?;
    if let Some(extra) = extra {
        writeln!(text, "extra {}", base64_text(extra))?;
    }
    writeln!(text, "index {index}")?;
    for hash in proof {
        writeln!(text, "{}", base64_text(hash))?;
    }
    write!(text, "\n{note}")
}
