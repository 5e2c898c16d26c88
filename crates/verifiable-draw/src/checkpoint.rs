//! Checkpoints of C2SP tlog-checkpoint: the head of a log as the text of a signed note.
//!
//! Stricter than the specification in one point: a checkpoint is only accepted from a key whose name is its origin. A
//! signature does not cover the name of its key, so otherwise one key for two logs could pass the head of one as that
//! of the other.

use crate::encoding::{HASH_TEXT_BYTES, decode_hash, encode_base64, parse_decimal};
use crate::merkle::Head;
use crate::note::{NoteError, SignedNote};
use crate::vkey::{NoteSigner, SignatureType, VerifierKey, is_key_name};

/// A text with more lines is refused.
pub const MAX_EXTENSION_LINES: usize = 16;

#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum CheckpointError {
    #[error("a checkpoint has the lines origin, size and root, and no empty ones")]
    Lines,
    #[error("an origin is a key name: 1 to 255 bytes without spaces, control characters and `+`")]
    Origin,
    #[error("the size of a log is a number without leading zeros")]
    Size,
    #[error("the root of a log is {HASH_TEXT_BYTES} characters of base64")]
    Root,
    #[error("a checkpoint has at most {MAX_EXTENSION_LINES} extension lines")]
    TooManyExtensions,
    #[error("the checkpoint of {origin} is not signed by a log key of this name")]
    OtherOrigin { origin: String },
    #[error(transparent)]
    Note(#[from] NoteError),
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Checkpoint {
    pub origin: String,
    pub head: Head,
    /// Opaque lines after the root. Our logs write none; those of others are kept and mean nothing.
    pub extensions: Vec<String>,
}

impl Checkpoint {
    /// The text of a note. It says nothing about who signed it.
    pub fn parse(text: &str) -> Result<Self, CheckpointError> {
        let lines = text.strip_suffix('\n').ok_or(CheckpointError::Lines)?;
        let mut lines = lines.split('\n');
        let mut next = || lines.next().filter(|line| !line.is_empty()).ok_or(CheckpointError::Lines);
        let (origin, size, root) = (next()?, next()?, next()?);
        if !is_key_name(origin) {
            return Err(CheckpointError::Origin);
        }
        let size = parse_decimal(size).ok_or(CheckpointError::Size)?;
        let root = decode_hash(root).ok_or(CheckpointError::Root)?;
        let extensions: Vec<String> = lines.by_ref().take(MAX_EXTENSION_LINES).map(str::to_owned).collect();
        if lines.next().is_some() {
            return Err(CheckpointError::TooManyExtensions);
        }
        if extensions.iter().any(String::is_empty) {
            return Err(CheckpointError::Lines);
        }
        Ok(Self { origin: origin.to_owned(), head: Head { size, root }, extensions })
    }

    /// Reads a note, requires a signature of one of the keys of its origin, and refuses it for a wrong one.
    pub fn open<'k>(
        note: &SignedNote,
        keys: impl IntoIterator<Item = &'k VerifierKey>,
    ) -> Result<Self, CheckpointError> {
        let checkpoint = Self::parse(note.text())?;
        let keys = keys.into_iter().filter(|key| key.signature_type() == SignatureType::Ed25519);
        let mut keys = keys.filter(|key| key.name() == checkpoint.origin).peekable();
        if keys.peek().is_none() {
            return Err(CheckpointError::OtherOrigin { origin: checkpoint.origin });
        }
        note.verify(keys)?;
        Ok(checkpoint)
    }
}

/// The text of a checkpoint of ours.
fn text_of_head(origin: &str, head: &Head) -> String {
    format!("{origin}\n{}\n{}\n", head.size, encode_base64(&head.root))
}

/// A checkpoint signed by the log's key. Its origin is the name of the key.
pub fn sign_head(head: &Head, signer: &NoteSigner) -> String {
    let text = text_of_head(signer.verifier().name(), head);
    let signature = signer.signature_line(&text);
    text + "\n" + &signature
}

/// Signs a checkpoint of `sign_head` with another key of the log, too: while a key is rotated both sign.
pub fn add_signature(checkpoint: &mut String, signer: &NoteSigner) {
    // The text of a checkpoint has no empty line, and ends before the first one.
    let text = checkpoint.split_once("\n\n").map_or("", |(text, _)| text);
    let line = signer.signature_line(&format!("{text}\n"));
    checkpoint.push_str(&line);
}

impl std::fmt::Display for Checkpoint {
    /// The text of the note, with its last newline.
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(&text_of_head(&self.origin, &self.head))?;
        self.extensions.iter().try_for_each(|line| writeln!(formatter, "{line}"))
    }
}
