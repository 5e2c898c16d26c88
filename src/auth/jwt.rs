//! JSON Web Tokens (RFC 7519) as this service issues them: signed with HMAC-SHA256, and with a header that names the
//! key. Knows nothing of what the claims mean.
//!
//! `jsonwebtoken` signs and verifies. A key has one header, and a token with any other is not ours, so no header is ever
//! parsed: no token can choose its algorithm (RFC 8725, section 3.1) or name an extension that we would have to
//! understand (`crit`; RFC 7515, section 4.1.11). A full decode of a token takes twice as long.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, KeyInit, Mac};
use jsonwebtoken::crypto::{CryptoProvider, JwtSigner, JwtVerifier, KeyUtils};
use jsonwebtoken::errors::{Error, ErrorKind};
use jsonwebtoken::signature::{Error as SignatureMismatch, Signer, Verifier};
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use serde::Serialize;
use serde::de::DeserializeOwned;
use sha2::{Digest, Sha256};

/// `{"typ":"JWT","alg":"HS256"}` in base64url, and the full stop after it: the header of tokens that were issued before
/// headers named the key.
const HEADER_WITHOUT_KEY: &str = "eyJ0eXAiOiJKV1QiLCJhbGciOiJIUzI1NiJ9.";

/// What is hashed before a secret for the id of its key, so that the id is no hash that is used elsewhere.
const KEY_ID_LABEL: &[u8] = b"lottery access token key id\0";

/// The bytes of a key's id. It tells the few keys of one service apart.
const KEY_ID_BYTES: usize = 8;

/// The only algorithm that this service uses, for `jsonwebtoken`, which leaves the cryptography to its user. The
/// backends that come with it bring RSA and elliptic curves into the build.
static HS256: CryptoProvider = CryptoProvider {
    signer_factory: |algorithm, key| Ok(Box::new(Hs256::new(*algorithm, key.as_bytes())?)),
    verifier_factory: |algorithm, key| Ok(Box::new(Hs256::new(*algorithm, key.try_get_as_bytes()?)?)),
    key_utils: KeyUtils::new_unimplemented(),
};

/// HMAC with SHA-256 (RFC 7518, section 3.2).
#[derive(Clone)]
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

/// A secret with its id and the header of the tokens that it signs.
#[derive(Clone)]
struct JwtKey {
    header: Header,
    /// The header in base64url, and the full stop after it.
    encoded_header: String,
    encoding: EncodingKey,
    /// Made once: a token is verified with each request.
    verifier: Hs256,
}

impl JwtKey {
    fn new(secret: &[u8]) -> JwtKey {
        let header = Header { kid: Some(key_id(secret)), ..Header::new(Algorithm::HS256) };
        let json = serde_json::to_vec(&header).expect("strings can be written as JSON");
        JwtKey {
            header,
            encoded_header: format!("{}.", URL_SAFE_NO_PAD.encode(json)),
            encoding: EncodingKey::from_secret(secret),
            verifier: Hs256(Hmac::new_from_slice(secret).expect("HMAC takes keys of every length")),
        }
    }
}

/// The id of the key with this secret (`kid`; RFC 7515, section 4.1.4). It follows from the secret, so it needs no
/// setting and differs for each secret.
fn key_id(secret: &[u8]) -> String {
    let digest = Sha256::new().chain_update(KEY_ID_LABEL).chain_update(secret).finalize();
    URL_SAFE_NO_PAD.encode(&digest[..KEY_ID_BYTES])
}

/// The key that signs tokens, and the one that signed before it: while keys are rotated, tokens of both are accepted.
#[derive(Clone)]
pub struct JwtKeys {
    current: JwtKey,
    previous: Option<JwtKey>,
}

impl JwtKeys {
    pub fn new(current: &[u8], previous: Option<&[u8]>) -> JwtKeys {
        // It fails if earlier keys have installed the same provider.
        let _ = HS256.install_default();
        JwtKeys { current: JwtKey::new(current), previous: previous.map(JwtKey::new) }
    }

    /// The claims as a token that the current key signed.
    pub fn sign(&self, claims: &impl Serialize) -> Result<String, jsonwebtoken::errors::Error> {
        jsonwebtoken::encode(&self.current.header, claims, &self.current.encoding)
    }

    /// The claims of a token that one of the keys signed. `None`: neither did, or the claims have another shape.
    /// Whether the token has expired is not checked here.
    pub fn verify<T: DeserializeOwned>(&self, token: &str) -> Option<T> {
        let (signed, signature) = token.rsplit_once('.')?;
        let (key, claims) = self.key_and_claims(signed)?;
        key.verifier.verify(signed.as_bytes(), &URL_SAFE_NO_PAD.decode(signature).ok()?).ok()?;
        serde_json::from_slice(&URL_SAFE_NO_PAD.decode(claims).ok()?).ok()
    }

    /// The key that the header names, and what follows the header.
    fn key_and_claims<'a>(&self, signed: &'a str) -> Option<(&JwtKey, &'a str)> {
        for key in [Some(&self.current), self.previous.as_ref()].into_iter().flatten() {
            if let Some(claims) = signed.strip_prefix(&key.encoded_header) {
                return Some((key, claims));
            }
        }
        Some((&self.current, signed.strip_prefix(HEADER_WITHOUT_KEY)?))
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
    /// What another implementation (Python's `hashlib` and `hmac`) makes of these claims and this secret.
    const TOKEN: &str = "eyJ0eXAiOiJKV1QiLCJhbGciOiJIUzI1NiIsImtpZCI6IklhbFczNTN2dTE0In0.\
        eyJzdWIiOiI0MiIsImV4cCI6MTkwMH0.\
        yCfaMDfYiIRw24HmnW5RtPaloAwf4u7O3DNdxx92wUI";
    /// The same without a key's id.
    const WITHOUT_KEY: &str = "eyJ0eXAiOiJKV1QiLCJhbGciOiJIUzI1NiJ9.eyJzdWIiOiI0MiIsImV4cCI6MTkwMH0.\
        qAkRjsT9qc8TSWQjfKVRDk0sQ51lcO0wa4dgETv0oCo";

    fn claims() -> Claims {
        Claims { sub: "42".to_owned(), exp: 1900 }
    }

    #[test]
    fn signs_and_verifies_as_others_do() {
        let keys = JwtKeys::new(SECRET, None);
        assert_eq!(keys.sign(&claims()).unwrap(), TOKEN);
        assert_eq!(keys.verify(TOKEN), Some(claims()));
        assert_eq!(JwtKeys::new(b"another", None).verify::<Claims>(TOKEN), None);
    }

    #[test]
    fn the_previous_key_verifies_and_does_not_sign() {
        let keys = JwtKeys::new(b"the next secret", Some(SECRET));
        assert_eq!(keys.verify(TOKEN), Some(claims()));
        let signed = keys.sign(&claims()).unwrap();
        assert_eq!(keys.verify(&signed), Some(claims()));
        assert_eq!(JwtKeys::new(b"the next secret", None).verify(&signed), Some(claims()));
        assert_eq!(JwtKeys::new(SECRET, None).verify::<Claims>(&signed), None);
        // One key's header on a token that the other key signed.
        let (header, rest) = signed.split_once('.').unwrap();
        assert_eq!(keys.verify::<Claims>(&format!("{}.{rest}", TOKEN.split('.').next().unwrap())), None);
        assert_eq!(keys.verify::<Claims>(&format!("{header}.{}", TOKEN.split_once('.').unwrap().1)), None);
    }

    #[test]
    fn a_token_from_before_keys_had_ids_is_verified_with_the_current_key() {
        assert_eq!(JwtKeys::new(SECRET, None).verify(WITHOUT_KEY), Some(claims()));
        assert_eq!(JwtKeys::new(b"the next secret", Some(SECRET)).verify::<Claims>(WITHOUT_KEY), None);
    }

    #[test]
    fn a_token_with_any_character_changed_is_refused() {
        let keys = JwtKeys::new(SECRET, Some(b"the secret before it"));
        for token in [TOKEN, WITHOUT_KEY] {
            for at in 0..token.len() {
                for other in ["A", "x", ".", "=", ""] {
                    let changed = format!("{}{other}{}", &token[..at], &token[at + 1..]);
                    assert!(changed == token || keys.verify::<Claims>(&changed).is_none(), "{changed}");
                }
            }
        }
    }

    #[test]
    fn another_header_is_refused_even_if_it_is_signed() {
        let keys = JwtKeys::new(SECRET, None);
        let claims = TOKEN.split('.').nth(1).unwrap();
        for header in [
            r#"{"alg":"HS256","typ":"JWT"}"#,
            r#"{"typ":"JWT","alg":"HS512"}"#,
            r#"{"alg":"none"}"#,
            r#"{"typ":"JWT","alg":"HS256","kid":"another"}"#,
            r#"{"typ":"JWT","alg":"HS256","kid":""}"#,
            r#"{"typ":"JWT","alg":"HS256","kid":"IalW353vtu4","crit":["exp"]}"#,
            r#"{"typ":"JWT","alg":"HS256","crit":["b64"],"b64":true}"#,
        ] {
            let signed = format!("{}.{claims}", URL_SAFE_NO_PAD.encode(header));
            let signature =
                jsonwebtoken::crypto::sign(signed.as_bytes(), &keys.current.encoding, Algorithm::HS256).unwrap();
            assert_eq!(keys.verify::<Claims>(&format!("{signed}.{signature}")), None, "{header}");
        }
    }
}
