//! Receipts: proofs of C2SP tlog-proof (`c2sp.org/tlog-proof@v1`), which show without a network that a log has an entry.

use crate::Hash;
use crate::checkpoint::{Checkpoint, CheckpointError};
use crate::encoding::{HASH_TEXT_BYTES, decode_base64, decode_hash, parse_decimal, push_base64};
use crate::merkle::verify::{MerkleError, verify_inclusion};
use crate::merkle::{MAX_PROOF_HASHES, hash_leaf};
use crate::note::{MAX_NOTE_BYTES, NoteError, SignedNote};
use crate::vkey::VerifierKey;

const HEADER: &str = "c2sp.org/tlog-proof@v1";
/// The header and the index with their line ends, about.
const SHORT_LINES_BYTES: usize = 64;
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
        let mut rest =
            text.strip_prefix(HEADER).and_then(|rest| rest.strip_prefix('\n')).ok_or(ProofError::Header)?;
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
        formatter.write_str(&receipt_text(self.extra.as_deref(), self.index, &self.proof, &self.note.to_string()))
    }
}

/// The text of a receipt. `note` is the signed checkpoint, verbatim.
pub fn receipt_text(extra: Option<&[u8]>, index: u64, proof: &[Hash], note: &str) -> String {
    let mut text = Vec::new();
    write_receipt(&mut text, extra, index, proof, note, "\n");
    String::from_utf8(text).expect("all but the note is ASCII, and the note is UTF-8")
}

/// Appends the same text with another end of each line. With `\\n` it is the content of a JSON string, if that is true of
/// `note` already: all else is base64, digits and names of lines. A sale writes one for each order, so this avoids `fmt`.
pub fn write_receipt(
    text: &mut Vec<u8>,
    extra: Option<&[u8]>,
    index: u64,
    proof: &[Hash],
    note: &str,
    line_end: &str,
) {
    let extra_bytes = extra.map_or(0, |extra| extra.len().div_ceil(3) * 4);
    let line_bytes = HASH_TEXT_BYTES + line_end.len();
    text.reserve(SHORT_LINES_BYTES + extra_bytes + (proof.len() + 1) * line_bytes + note.len());
    text.extend_from_slice(HEADER.as_bytes());
    text.extend_from_slice(line_end.as_bytes());
    if let Some(extra) = extra {
        text.extend_from_slice(b"extra ");
        push_base64(text, extra);
        text.extend_from_slice(line_end.as_bytes());
    }
    text.extend_from_slice(b"index ");
    text.extend_from_slice(index.to_string().as_bytes());
    text.extend_from_slice(line_end.as_bytes());
    for hash in proof {
        push_base64(text, hash);
        text.extend_from_slice(line_end.as_bytes());
    }
    text.extend_from_slice(line_end.as_bytes());
    text.extend_from_slice(note.as_bytes());
}
