//! JSON Web Tokens (RFC 7519) as this service issues them: signed with HMAC-SHA256, and always with the same header.
//! Knows nothing of what the claims mean.
//!
//! `jsonwebtoken` signs and verifies. A token with any other header is not ours, so no header is ever parsed, and no
//! token can choose its algorithm (RFC 8725, section 3.1); a full decode of a token takes twice as long as this.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, KeyInit, Mac};
use jsonwebtoken::crypto::{CryptoProvider, JwtSigner, JwtVerifier, KeyUtils};
use jsonwebtoken::errors::{Error, ErrorKind};
use jsonwebtoken::signature::{Error as SignatureMismatch, Signer, Verifier};
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, crypto};
use serde::Serialize;
use serde::de::DeserializeOwned;
use sha2::Sha256;

/// `{"typ":"JWT","alg":"HS256"}` in base64url, and the full stop after it.
const HEADER: &str = "eyJ0eXAiOiJKV1QiLCJhbGciOiJIUzI1NiJ9.";

/// The only algorithm that this service uses, for `jsonwebtoken`, which leaves the cryptography to its user. The
/// backends that come with it bring RSA and elliptic curves into the build.
static HS256: CryptoProvider = CryptoProvider {
    signer_factory: |algorithm, key| Ok(Box::new(Hs256::new(*algorithm, key.as_bytes())?)),
    verifier_factory: |algorithm, key| Ok(Box::new(Hs256::new(*algorithm, key.try_get_as_bytes()?)?)),
    key_utils: KeyUtils::new_unimplemented(),
};

/// HMAC with SHA-256 (RFC 7518, section 3.2).
struct Hs256(Hmac<Sha256>);

impl Hs256 {
    fn new(algorithm: Algorithm, key: &[u8]) -> Result<Hs256, Error> {
        if algorithm != Algorithm::HS256 {
            return Err(ErrorKind::InvalidAlgorithm.into());
        }
        Hmac::new_from_slice(key).map(Hs256).map_err(|_| ErrorKind::InvalidKeyFormat.into())
    }
}

impl Signer<Vec<u8>> for Hs256 {
    fn try_sign(&self, message: &[u8]) -> Result<Vec<u8>, SignatureMismatch> {
        Ok(self.0.clone().chain_update(message).finalize().into_bytes().to_vec())
    }
}

impl Verifier<Vec<u8>> for Hs256 {
    fn verify(&self, message: &[u8], signature: &Vec<u8>) -> Result<(), SignatureMismatch> {
        // `verify_slice` compares in constant time.
        self.0.clone().chain_update(message).verify_slice(signature).map_err(SignatureMismatch::from_source)
    }
}

impl JwtSigner for Hs256 {
    fn algorithm(&self) -> Algorithm {
        Algorithm::HS256
    }
}

impl JwtVerifier for Hs256 {
    fn algorithm(&self) -> Algorithm {
        Algorithm::HS256
    }
}

/// Signs tokens, and verifies those that the same key signed.
#[derive(Clone)]
pub struct JwtKey {
    encoding: EncodingKey,
    decoding: DecodingKey,
}

impl JwtKey {
    pub fn new(secret: &[u8]) -> JwtKey {
        // It fails if an earlier key has installed the same provider.
        let _ = HS256.install_default();
        JwtKey { encoding: EncodingKey::from_secret(secret), decoding: DecodingKey::from_secret(secret) }
    }

    /// The claims as a signed token.
    pub fn sign(&self, claims: &impl Serialize) -> Result<String, jsonwebtoken::errors::Error> {
        jsonwebtoken::encode(&Header::new(Algorithm::HS256), claims, &self.encoding)
    }

    /// The claims of a token that this key signed. `None`: it did not, or the claims have another shape. Whether the
    /// token has expired is not checked here.
    pub fn verify<T: DeserializeOwned>(&self, token: &str) -> Option<T> {
        let (signed, signature) = token.rsplit_once('.')?;
        let claims = signed.strip_prefix(HEADER)?;
        let signed_by_us = crypto::verify(signature, signed.as_bytes(), &self.decoding, Algorithm::HS256);
        if !signed_by_us.unwrap_or(false) {
            return None;
        }
        serde_json::from_slice(&URL_SAFE_NO_PAD.decode(claims).ok()?).ok()
    }
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;

    #[derive(Serialize, Deserialize, PartialEq, Debug)]
    struct Claims {
        sub: String,
        exp: i64,
    }

    const SECRET: &[u8] = b"0123456789abcdef0123456789abcdef";
    /// What another implementation (Python's `hmac`) makes of these claims and this secret.
    const TOKEN: &str = "eyJ0eXAiOiJKV1QiLCJhbGciOiJIUzI1NiJ9.eyJzdWIiOiI0MiIsImV4cCI6MTkwMH0.\
        qAkRjsT9qc8TSWQjfKVRDk0sQ51lcO0wa4dgETv0oCo";

    fn claims() -> Claims {
        Claims { sub: "42".to_owned(), exp: 1900 }
    }

    #[test]
    fn signs_and_verifies_as_others_do() {
        let key = JwtKey::new(SECRET);
        assert_eq!(key.sign(&claims()).unwrap(), TOKEN);
        assert_eq!(key.verify(TOKEN), Some(claims()));
        assert_eq!(JwtKey::new(b"another").verify::<Claims>(TOKEN), None);
    }

    #[test]
    fn a_token_with_any_character_changed_is_refused() {
        let key = JwtKey::new(SECRET);
        for at in 0..TOKEN.len() {
            for other in ["A", "x", ".", "=", ""] {
                let changed = format!("{}{other}{}", &TOKEN[..at], &TOKEN[at + 1..]);
                assert!(changed == TOKEN || key.verify::<Claims>(&changed).is_none(), "{changed}");
            }
        }
    }

    #[test]
    fn another_header_is_refused_even_if_it_is_signed() {
        let key = JwtKey::new(SECRET);
        let claims = TOKEN.split('.').nth(1).unwrap();
        for header in [r#"{"alg":"HS256","typ":"JWT"}"#, r#"{"typ":"JWT","alg":"HS512"}"#, r#"{"alg":"none"}"#] {
            let signed = format!("{}.{claims}", URL_SAFE_NO_PAD.encode(header));
            let signature = crypto::sign(signed.as_bytes(), &key.encoding, Algorithm::HS256).unwrap();
            assert_eq!(key.verify::<Claims>(&format!("{signed}.{signature}")), None, "{header}");
        }
    }
}
