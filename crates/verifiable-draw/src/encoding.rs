//! The encodings that the formats share: base64, decimal numbers without leading zeros, labelled SHA-256.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use sha2::{Digest, Sha256};

use crate::Hash;

/// The length of a base64-encoded SHA-256 hash.
pub(crate) const HASH_TEXT_BYTES: usize = 44;

pub(crate) fn encode_base64(bytes: &[u8]) -> String {
    STANDARD.encode(bytes)
}

/// Appends the same. A sale encodes a dozen hashes for each order, so this is the quicker crate of the two; it cannot be told
/// to refuse a second encoding of the same bytes, so the other one decodes.
pub(crate) fn push_base64(text: &mut Vec<u8>, bytes: &[u8]) {
    base64_simd::STANDARD.encode_append(bytes, text);
}

/// Only the one encoding that `encode_base64` writes: with padding, and with zero bits after the last byte.
pub(crate) fn decode_base64(text: &str) -> Option<Vec<u8>> {
    STANDARD.decode(text).ok()
}

pub(crate) fn decode_hash(text: &str) -> Option<Hash> {
    decode_base64(text)?.try_into().ok()
}

/// Lower-case hexadecimal digits.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Digits without a sign and without leading zeros: `u64::from_str` alone takes `+7` and `007`.
pub(crate) fn parse_decimal(text: &str) -> Option<u64> {
    let canonical = text == "0" || text.starts_with(|first: char| ('1'..='9').contains(&first));
    if canonical { text.parse().ok() } else { None }
}

pub(crate) fn sha256(parts: &[&[u8]]) -> Hash {
    let mut hasher = Sha256::new();
    for part in parts {
        hasher.update(part);
    }
    hasher.finalize().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_number_has_one_text() {
        assert_eq!(parse_decimal("0"), Some(0));
        assert_eq!(parse_decimal("18446744073709551615"), Some(u64::MAX));
        for text in ["", "00", "01", "+1", "-1", " 1", "1 ", "1a", "18446744073709551616", "١"] {
            assert_eq!(parse_decimal(text), None, "{text:?}");
        }
    }

    #[test]
    fn one_hash_has_one_text() {
        let text = encode_base64(&[0xff; 32]);
        assert_eq!(text.len(), HASH_TEXT_BYTES);
        assert_eq!(decode_hash(&text), Some([0xff; 32]));
        let other_last_bits = text.replace("8=", "9=");
        assert_ne!(other_last_bits, text);
        for wrong in [other_last_bits.as_str(), text.trim_end_matches('='), "", "AAAA"] {
            assert_eq!(decode_hash(wrong), None, "{wrong}");
        }
    }
}
