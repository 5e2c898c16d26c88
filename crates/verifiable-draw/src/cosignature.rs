//! Timestamped Ed25519 cosignatures of C2SP tlog-cosignature: which bytes a witness signs.
//!
//! Verifying one is part of verifying a note with the witness' key (`vkey`). The ML-DSA-44 kind is not supported.

use ed25519_dalek::{Signer, SigningKey};

use crate::encoding::encode_base64;
use crate::vkey::{SignatureType, VerifierKey, VkeyError};

/// tlog-cosignature: a timestamp must not exceed 2^63 - 1.
pub const MAX_TIMESTAMP: u64 = i64::MAX as u64;

/// What a witness signs: the time, and the whole text of the checkpoint.
pub(crate) fn signed_message(timestamp: u64, text: &str) -> String {
    format!("cosignature/v1\ntime {timestamp}\n{text}")
}

/// The time and the Ed25519 signature of a signature line, without the key id.
pub(crate) fn split(bytes: &[u8]) -> Option<(u64, &[u8; 64])> {
    let (timestamp, signature) = bytes.split_first_chunk::<8>()?;
    let timestamp = u64::from_be_bytes(*timestamp);
    (timestamp <= MAX_TIMESTAMP).then_some(timestamp).zip(signature.try_into().ok())
}

/// A witness that signs every text, for tests of programs that ask witnesses: a real one first checks consistency.
pub struct Cosigner {
    key: SigningKey,
    verifier: VerifierKey,
}

impl Cosigner {
    pub fn new(name: &str, secret: &[u8; 32]) -> Result<Self, VkeyError> {
        let key = SigningKey::from_bytes(secret);
        let verifier = VerifierKey::new(name, SignatureType::Cosignature, key.verifying_key().as_bytes())?;
        Ok(Self { key, verifier })
    }

    pub fn verifier(&self) -> &VerifierKey {
        &self.verifier
    }

    /// The signature line of a checkpoint's text, with its newline.
    pub fn signature_line(&self, text: &str, timestamp: u64) -> String {
        let mut bytes = self.verifier.id().to_vec();
        bytes.extend_from_slice(&timestamp.to_be_bytes());
        bytes.extend_from_slice(&self.key.sign(signed_message(timestamp, text).as_bytes()).to_bytes());
        format!("\u{2014} {} {}\n", self.verifier.name(), encode_base64(&bytes))
    }
}
