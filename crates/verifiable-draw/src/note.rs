//! Signed notes of C2SP signed-note: a text, an empty line, and signature lines.
//!
//! What the text means is not known here: see `checkpoint`.

use crate::encoding::{decode_base64, encode_base64};
use crate::vkey::{SignedAt, VerifierKey, is_key_name};

/// Room for 16 post-quantum signatures of 5 kB each, as the specification asks for, and more.
pub const MAX_NOTE_BYTES: usize = 256 * 1024;
pub const MAX_SIGNATURES: usize = 64;
/// The id of the key, and at least one byte of signature.
const MIN_SIGNATURE_BYTES: usize = 5;

#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoteError {
    #[error("a note has at most {MAX_NOTE_BYTES} bytes, not {0}")]
    TooLong(usize),
    #[error("a note has at most {MAX_SIGNATURES} signatures")]
    TooManySignatures,
    #[error("a note is UTF-8 text without control characters other than newlines")]
    Characters,
    #[error("a note is a text, an empty line and signature lines, each with its newline")]
    Format,
    #[error("a signature line is `\u{2014} name base64`, and its name has no spaces and no `+`")]
    SignatureLine,
    #[error("the signature of the known key {name} does not fit the text")]
    BadSignature { name: String },
    #[error("the note has no signature of a known key")]
    NoKnownKey,
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub struct NoteSignature {
    pub name: String,
    pub key_id: [u8; 4],
    pub signature: Vec<u8>,
}

/// A note that was read, with signatures that nobody verified yet.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SignedNote {
    text: String,
    signatures: Vec<NoteSignature>,
}

/// A signature that was verified, with the key that verified it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct VerifiedSignature<'k> {
    pub key: &'k VerifierKey,
    pub signed_at: SignedAt,
}

impl SignedNote {
    pub fn parse(bytes: &[u8]) -> Result<Self, NoteError> {
        if bytes.len() > MAX_NOTE_BYTES {
            return Err(NoteError::TooLong(bytes.len()));
        }
        let note = std::str::from_utf8(bytes).map_err(|_| NoteError::Characters)?;
        if note.bytes().any(|byte| byte < b' ' && byte != b'\n') {
            return Err(NoteError::Characters);
        }
        let separator = note.rfind("\n\n").ok_or(NoteError::Format)?;
        let (text, signatures) = (&note[..=separator], &note[separator + 2..]);
        Ok(Self { text: text.to_owned(), signatures: parse_signatures(signatures)? })
    }

    /// The text with its last newline, and without the empty line before the signatures.
    pub fn text(&self) -> &str {
        &self.text
    }

    pub fn signatures(&self) -> &[NoteSignature] {
        &self.signatures
    }

    /// Adds signature lines, such as a witness answers them. The signatures are not verified.
    pub fn add_signatures(&mut self, lines: &str) -> Result<(), NoteError> {
        let added = parse_signatures(lines)?;
        if self.signatures.len() + added.len() > MAX_SIGNATURES {
            return Err(NoteError::TooManySignatures);
        }
        self.signatures.extend(added);
        Ok(())
    }

    /// Verifies every signature of the given keys, and ignores those of other keys. One wrong signature of a given key
    /// refuses the note, and so does a note without any.
    pub fn verify<'k>(
        &self,
        keys: impl IntoIterator<Item = &'k VerifierKey>,
    ) -> Result<Vec<VerifiedSignature<'k>>, NoteError> {
        let mut verified = Vec::new();
        for key in keys {
            let lines = self.signatures.iter();
            for line in lines.filter(|line| line.name == key.name() && line.key_id == key.id()) {
                let signed_at = key
                    .verify(&self.text, &line.signature)
                    .ok_or_else(|| NoteError::BadSignature { name: line.name.clone() })?;
                verified.push(VerifiedSignature { key, signed_at });
            }
        }
        if verified.is_empty() { Err(NoteError::NoKnownKey) } else { Ok(verified) }
    }
}

impl std::fmt::Display for SignedNote {
    /// The same bytes that were read.
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        writeln!(formatter, "{}", self.text)?;
        for line in &self.signatures {
            let bytes = [&line.key_id, line.signature.as_slice()].concat();
            writeln!(formatter, "\u{2014} {} {}", line.name, encode_base64(&bytes))?;
        }
        Ok(())
    }
}

fn parse_signatures(lines: &str) -> Result<Vec<NoteSignature>, NoteError> {
    let lines = lines.strip_suffix('\n').ok_or(NoteError::Format)?;
    let mut signatures = Vec::new();
    for line in lines.split('\n') {
        if signatures.len() == MAX_SIGNATURES {
            return Err(NoteError::TooManySignatures);
        }
        signatures.push(parse_signature(line).ok_or(NoteError::SignatureLine)?);
    }
    Ok(signatures)
}

fn parse_signature(line: &str) -> Option<NoteSignature> {
    let (name, encoded) = line.strip_prefix("\u{2014} ")?.split_once(' ')?;
    let bytes = decode_base64(encoded)?;
    let (key_id, signature) = bytes.split_first_chunk::<4>()?;
    (is_key_name(name) && bytes.len() >= MIN_SIGNATURE_BYTES).then(|| NoteSignature {
        name: name.to_owned(),
        key_id: *key_id,
        signature: signature.to_vec(),
    })
}
