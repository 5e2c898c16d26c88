//! Keys of signed notes: the public half as a vkey (`name+id+base64`), and the secret half that signs.
//!
//! Two of the signature types of C2SP signed-note are known: Ed25519 (0x01), which logs sign with, and the timestamped
//! Ed25519 cosignature (0x04) of witnesses.

use ed25519_dalek::{Signature, Signer, SigningKey, VerifyingKey};

use crate::cosignature;
use crate::encoding::{decode_base64, encode_base64, sha256};

pub const MAX_KEY_NAME_BYTES: usize = 255;
/// A name, the id in hexadecimal, and a type byte with 32 bytes of key in base64, joined by two plus signs.
const MAX_VKEY_BYTES: usize = MAX_KEY_NAME_BYTES + 1 + 8 + 1 + 44;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum SignatureType {
    /// A log's signature of the text.
    Ed25519 = 0x01,
    /// A witness' signature of the time and the text (tlog-cosignature).
    Cosignature = 0x04,
}

#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum VkeyError {
    #[error("a key name has 1 to {MAX_KEY_NAME_BYTES} bytes without spaces, control characters and `+`")]
    Name,
    #[error("a vkey is `name+id+key`: 8 lower-case hexadecimal digits, then base64 of a type and 32 bytes of key")]
    Format,
    #[error("signature type {0:#04x} is not supported: only 0x01 (Ed25519) and 0x04 (Ed25519 cosignature) are")]
    Type(u8),
    #[error("the id of the vkey is not that of its name, type and key")]
    Id,
    #[error("the 32 bytes are not a safe Ed25519 public key in its canonical encoding")]
    Key,
}

/// A key name of signed-note. Origins of checkpoints must be one too, as a log's key has the name of its origin.
pub(crate) fn is_key_name(name: &str) -> bool {
    (1..=MAX_KEY_NAME_BYTES).contains(&name.len())
        && !name.contains(|c: char| c.is_whitespace() || c.is_control() || c == '+')
}

/// A key of small order verifies signatures that nobody made. A key with two encodings could count as two witnesses.
fn is_safe(key: &VerifyingKey) -> bool {
    !key.is_weak() && key.to_edwards().compress().as_bytes() == key.as_bytes()
}

/// A public key that verifies the signature lines of its name and id.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct VerifierKey {
    name: String,
    id: [u8; 4],
    signature_type: SignatureType,
    key: VerifyingKey,
}

impl VerifierKey {
    pub fn new(name: &str, signature_type: SignatureType, key: &[u8; 32]) -> Result<Self, VkeyError> {
        if !is_key_name(name) {
            return Err(VkeyError::Name);
        }
        let key = VerifyingKey::from_bytes(key).ok().filter(is_safe).ok_or(VkeyError::Key)?;
        let hash = sha256(&[name.as_bytes(), b"\n", &[signature_type as u8], key.as_bytes()]);
        Ok(Self { name: name.to_owned(), id: [hash[0], hash[1], hash[2], hash[3]], signature_type, key })
    }

    pub fn parse(text: &str) -> Result<Self, VkeyError> {
        if text.len() > MAX_VKEY_BYTES {
            return Err(VkeyError::Format);
        }
        let (name, rest) = text.split_once('+').ok_or(VkeyError::Format)?;
        let (id, encoded) = rest.split_once('+').ok_or(VkeyError::Format)?;
        let bytes = decode_base64(encoded).ok_or(VkeyError::Format)?;
        let (type_byte, key) = bytes.split_first().ok_or(VkeyError::Format)?;
        let signature_type = match type_byte {
            0x01 => SignatureType::Ed25519,
            0x04 => SignatureType::Cosignature,
            other => return Err(VkeyError::Type(*other)),
        };
        let key = key.try_into().map_err(|_| VkeyError::Format)?;
        let parsed = Self::new(name, signature_type, key)?;
        if parsed.id_text() == id { Ok(parsed) } else { Err(VkeyError::Id) }
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    pub fn id(&self) -> [u8; 4] {
        self.id
    }

    pub fn signature_type(&self) -> SignatureType {
        self.signature_type
    }

    pub fn public_key(&self) -> &[u8; 32] {
        self.key.as_bytes()
    }

    fn id_text(&self) -> String {
        format!("{:08x}", u32::from_be_bytes(self.id))
    }

    /// The meaning of a valid signature of the text, or nothing for one that is not valid.
    pub(crate) fn verify(&self, text: &str, signature: &[u8]) -> Option<SignedAt> {
        match self.signature_type {
            SignatureType::Ed25519 => {
                let signature = Signature::from_slice(signature).ok()?;
                self.key.verify_strict(text.as_bytes(), &signature).ok()?;
                Some(SignedAt::NotStated)
            }
            SignatureType::Cosignature => {
                let (timestamp, signature) = cosignature::split(signature)?;
                let message = cosignature::signed_message(timestamp, text);
                self.key.verify_strict(message.as_bytes(), &Signature::from_bytes(signature)).ok()?;
                Some(SignedAt::Timestamp(timestamp))
            }
        }
    }
}

impl std::fmt::Display for VerifierKey {
    /// The vkey.
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let mut bytes = vec![self.signature_type as u8];
        bytes.extend_from_slice(self.key.as_bytes());
        write!(formatter, "{}+{}+{}", self.name, self.id_text(), encode_base64(&bytes))
    }
}

/// When a signature was made, as far as it says so: seconds since 1970 by the witness' clock.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum SignedAt {
    NotStated,
    Timestamp(u64),
}

/// A secret key that signs notes. It is erased from memory when dropped.
pub struct NoteSigner {
    key: SigningKey,
    verifier: VerifierKey,
}

impl NoteSigner {
    /// A log's key, from the 32 bytes of RFC 8032.
    pub fn new(name: &str, secret: &[u8; 32]) -> Result<Self, VkeyError> {
        let key = SigningKey::from_bytes(secret);
        let verifier = VerifierKey::new(name, SignatureType::Ed25519, key.verifying_key().as_bytes())?;
        Ok(Self { key, verifier })
    }

    pub fn verifier(&self) -> &VerifierKey {
        &self.verifier
    }

    /// The signature line of a text, with its newline. The text ends in a newline.
    pub fn signature_line(&self, text: &str) -> String {
        let mut bytes = [0; 68];
        bytes[..4].copy_from_slice(&self.verifier.id);
        bytes[4..].copy_from_slice(&self.key.sign(text.as_bytes()).to_bytes());
        format!("\u{2014} {} {}\n", self.verifier.name, encode_base64(&bytes))
    }
}

impl std::fmt::Debug for NoteSigner {
    /// Only the public half.
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "NoteSigner({})", self.verifier)
    }
}
