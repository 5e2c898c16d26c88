//! Tokens: a short-lived signed one for each request, and a long-lived one to renew it with.
//!
//! The access token (a bearer token, RFC 6750) is a JWT (RFC 7519) that says who, never what they may
//! do: role and status come from [`super::standing`], so a change reaches tokens already issued; and so does
//! the end of the log-in they belong to.
//! The refresh token is spent by its use, and a second use ends the family (RFC 6749, section 10.4;
//! RFC 9700, section 4.14.2); keeping families is for the database.

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jiff::Timestamp;
use jsonwebtoken::{Algorithm, DecodingKey, EncodingKey, Header, Validation};
use rand::CryptoRng;
use secrecy::{ExposeSecret, SecretBox, SecretString};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use uuid::Uuid;

use super::ended::Ended;
use crate::domain::id::{SessionId, UserId};

/// HS256 wants a key at least as long as its hash (RFC 7518, section 3.2).
pub const MIN_SECRET_BYTES: usize = 32;

/// Ours have some 220 bytes; whatever is far longer is not looked at.
const MAX_TOKEN_BYTES: usize = 1024;

/// Verified tokens remembered at most, some 100 bytes each.
const MAX_VERIFIED: usize = 65_536;

/// Parts of that memory, each with a lock of its own, so that workers seldom meet at one.
const SHARDS: usize = 16;

/// An opaque token's entropy.
const OPAQUE_BYTES: usize = 32;

/// Why a token is not accepted. RFC 6750 calls each of them `invalid_token`, and so may the answer.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum TokenError {
    /// Not ours, tampered with, or no token at all.
    #[error("the token is not valid")]
    Invalid,
    #[error("the token has expired")]
    Expired,
    /// Its log-in has ended.
    #[error("the session has ended")]
    Ended,
}

/// What an access token says, once it is believed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Claims {
    pub user: UserId,
    /// The log-in it belongs to.
    pub session: SessionId,
}

/// The claims as they travel (RFC 7519, section 4.1); times in whole seconds since 1970.
#[derive(Serialize, Deserialize)]
struct WireClaims {
    sub: String,
    sid: Uuid,
    iat: i64,
    exp: i64,
}

/// Issues and verifies access tokens.
#[derive(Clone)]
pub struct Tokens {
    signing: EncodingKey,
    verifying: DecodingKey,
    validation: Validation,
    ttl: Duration,
    verified: Arc<Verified>,
    ended: Arc<Ended>,
}

/// A token's SHA-256: what is remembered is no token, and comparing it tells nothing of one.
type Fingerprint = [u8; 32];

/// The tokens whose signature was found good: a player sends the same one with every request. Only what
/// never changes is remembered; whether it has expired is asked each time.
#[derive(Default)]
struct Verified([RwLock<HashMap<Fingerprint, VerifiedToken>>; SHARDS]);

#[derive(Clone, Copy)]
struct VerifiedToken {
    claims: Claims,
    /// Seconds since 1970.
    exp: i64,
}

impl Verified {
    fn shard(&self, token: &Fingerprint) -> &RwLock<HashMap<Fingerprint, VerifiedToken>> {
        &self.0[usize::from(token[0]) % SHARDS]
    }

    // Nothing that runs under the locks leaves a map half changed, so a poisoned lock is still good.

    fn get(&self, token: &Fingerprint) -> Option<VerifiedToken> {
        self.shard(token).read().unwrap_or_else(PoisonError::into_inner).get(token).copied()
    }

    fn put(&self, token: Fingerprint, believed: VerifiedToken, now: i64) {
        let mut known = self.shard(&token).write().unwrap_or_else(PoisonError::into_inner);
        if known.len() >= MAX_VERIFIED / SHARDS {
            known.retain(|_, believed| now < believed.exp);
        }
        // Still full of good ones: forgetting costs a verification each, and happens seldom.
        if known.len() >= MAX_VERIFIED / SHARDS {
            known.clear();
        }
        known.insert(token, believed);
    }
}

impl fmt::Debug for Tokens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tokens").field("ttl", &self.ttl).finish_non_exhaustive()
    }
}

impl Tokens {
    /// The secret's bytes are the key, as they are. A token lives for `ttl`, in whole seconds.
    ///
    /// # Panics
    /// If the secret is shorter than [`MIN_SECRET_BYTES`]: configuration and [`super::secret`] refuse it.
    pub fn new(secret: &SecretString, ttl: Duration) -> Tokens {
        let secret = secret.expose_secret().as_bytes();
        assert!(secret.len() >= MIN_SECRET_BYTES, "the token secret is too short");
        let mut validation = Validation::new(Algorithm::HS256);
        // The crate would ask the system's clock and forgive a minute; `verify` compares by itself.
        validation.validate_exp = false;
        Tokens {
            signing: EncodingKey::from_secret(secret),
            verifying: DecodingKey::from_secret(secret),
            validation,
            ttl,
            verified: Arc::default(),
            ended: Arc::new(Ended::new(ttl)),
        }
    }

    /// How long a new token lives: the `expires_in` of an answer.
    pub fn ttl(&self) -> Duration {
        self.ttl
    }

    /// A signed token for this user and log-in, good from `now` for the time to live.
    pub fn issue(&self, user: UserId, session: SessionId, now: Timestamp) -> String {
        let iat = now.as_second();
        let exp = iat.saturating_add_unsigned(self.ttl.as_secs());
        let wire = WireClaims { sub: user.0.to_string(), sid: session.0, iat, exp };
        jsonwebtoken::encode(&Header::new(Algorithm::HS256), &wire, &self.signing)
            .expect("the key is HMAC's, and the claims are plain JSON")
    }

    /// No token of this log-in is believed any more. To be said when the database has it, and before anybody is
    /// answered.
    pub fn end(&self, session: SessionId, now: Timestamp) {
        self.ended.put(session, now);
    }

    /// Believes a token that we signed, whose log-in goes on, and that has not expired at `now`, without leeway: from `exp`
    /// on it is too late (RFC 7519, section 4.1.4). No other algorithm than HS256, least of all `none`
    /// (RFC 8725, section 3.1).
    pub fn verify(&self, token: &str, now: Timestamp) -> Result<Claims, TokenError> {
        if token.len() > MAX_TOKEN_BYTES {
            return Err(TokenError::Invalid);
        }
        let (fingerprint, second) = (Sha256::digest(token).into(), now.as_second());
        let believed = match self.verified.get(&fingerprint) {
            Some(believed) => believed,
            None => {
                let believed = self.believe(token)?;
                if second < believed.exp {
                    self.verified.put(fingerprint, believed, second);
                }
                believed
            }
        };
        if second >= believed.exp {
            return Err(TokenError::Expired);
        }
        if self.ended.contains(believed.claims.session) { Err(TokenError::Ended) } else { Ok(believed.claims) }
    }

    /// Checks the signature and reads the claims.
    fn believe(&self, token: &str) -> Result<VerifiedToken, TokenError> {
        let wire = jsonwebtoken::decode::<WireClaims>(token, &self.verifying, &self.validation)
            .map_err(|_| TokenError::Invalid)?
            .claims;
        let user = wire.sub.parse().map_err(|_| TokenError::Invalid)?;
        Ok(VerifiedToken { claims: Claims { user: UserId(user), session: SessionId(wire.sid) }, exp: wire.exp })
    }
}

/// A token that says nothing by itself, to refresh a log-in or to set a password anew: 32 random bytes, in
/// base64url for the client. `Debug` does not show it.
#[derive(Debug)]
pub struct OpaqueToken(SecretBox<[u8; OPAQUE_BYTES]>);

impl OpaqueToken {
    /// A new one, from a generator fit for secrets.
    pub fn generate(rng: &mut (impl CryptoRng + ?Sized)) -> OpaqueToken {
        OpaqueToken(SecretBox::init_with_mut(|bytes: &mut [u8; OPAQUE_BYTES]| rng.fill_bytes(bytes)))
    }

    /// Reads what [`OpaqueToken::expose`] wrote: the shape alone says nothing about its being known.
    pub fn parse(text: &str) -> Result<OpaqueToken, TokenError> {
        let mut bytes = SecretBox::new(Box::new([0; OPAQUE_BYTES]));
        let slots = secrecy::ExposeSecretMut::expose_secret_mut(&mut bytes);
        match URL_SAFE_NO_PAD.decode_slice(text, slots) {
            Ok(OPAQUE_BYTES) => Ok(OpaqueToken(bytes)),
            _ => Err(TokenError::Invalid),
        }
    }

    /// What is stored in its stead: its SHA-256. A slow hash is for what people can remember; nobody
    /// guesses 256 random bits.
    pub fn hash(&self) -> [u8; 32] {
        Sha256::digest(self.0.expose_secret()).into()
    }

    /// The text for its owner, 43 characters. The only way to see it.
    pub fn expose(&self) -> String {
        URL_SAFE_NO_PAD.encode(self.0.expose_secret())
    }
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;
    use rand::rngs::StdRng;
    use serde_json::json;

    use super::*;

    const SECRET: &str = "0123456789abcdef0123456789abcdef";
    const TTL: Duration = Duration::from_secs(900);
    const CLAIMS: Claims = Claims { user: UserId(42), session: SessionId(Uuid::from_u128(7)) };

    fn tokens() -> Tokens {
        Tokens::new(&SECRET.into(), TTL)
    }

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    /// Any claims, signed with any algorithm of the HMAC family and any secret.
    fn forge(algorithm: Algorithm, claims: &serde_json::Value, secret: &str) -> String {
        jsonwebtoken::encode(&Header::new(algorithm), claims, &EncodingKey::from_secret(secret.as_bytes()))
            .unwrap()
    }

    fn good_claims() -> serde_json::Value {
        json!({"sub": "42", "sid": CLAIMS.session.0, "iat": 1000, "exp": 1900})
    }

    #[test]
    fn says_who_and_nothing_else() {
        let token = tokens().issue(CLAIMS.user, CLAIMS.session, at(1000));
        assert_eq!(tokens().verify(&token, at(1000)), Ok(CLAIMS));
        let payload = URL_SAFE_NO_PAD.decode(token.split('.').nth(1).unwrap()).unwrap();
        let payload: serde_json::Value = serde_json::from_slice(&payload).unwrap();
        assert_eq!(payload, good_claims());
        assert!(token.len() < MAX_TOKEN_BYTES / 2);
    }

    #[test]
    fn lives_until_its_last_second() {
        let issued = at(1000) + jiff::SignedDuration::from_millis(700);
        let token = tokens().issue(CLAIMS.user, CLAIMS.session, issued);
        assert_eq!(tokens().verify(&token, at(1900) - jiff::SignedDuration::from_nanos(1)), Ok(CLAIMS));
        assert_eq!(tokens().verify(&token, at(1900)), Err(TokenError::Expired));
        assert_eq!(tokens().verify(&token, Timestamp::MAX), Err(TokenError::Expired));
    }

    #[test]
    fn remembers_a_bounded_number_of_good_tokens() {
        let tokens = tokens();
        for session in 0..(MAX_VERIFIED as u128 * 2) {
            let claims = Claims { user: UserId(42), session: SessionId(Uuid::from_u128(session)) };
            let fingerprint = Sha256::digest(session.to_le_bytes()).into();
            tokens.verified.put(fingerprint, VerifiedToken { claims, exp: 1900 }, 1000);
        }
        let known: usize = tokens.verified.0.iter().map(|shard| shard.read().unwrap().len()).sum();
        assert!((1..=MAX_VERIFIED).contains(&known), "{known}");

        let token = tokens.issue(CLAIMS.user, CLAIMS.session, at(1000));
        for _ in 0..2 {
            assert_eq!(tokens.verify(&token, at(1000)), Ok(CLAIMS));
            assert_eq!(tokens.verify(&format!("{token}A"), at(1000)), Err(TokenError::Invalid));
            assert_eq!(tokens.verify(&token, at(1900)), Err(TokenError::Expired));
        }
    }

    #[test]
    fn accepts_only_what_we_signed() {
        assert_eq!(tokens().verify(&forge(Algorithm::HS256, &good_claims(), SECRET), at(1000)), Ok(CLAIMS));
        let mut refused = vec![
            ("HS384", forge(Algorithm::HS384, &good_claims(), SECRET)),
            ("HS512", forge(Algorithm::HS512, &good_claims(), SECRET)),
            ("another secret", forge(Algorithm::HS256, &good_claims(), &SECRET.to_uppercase())),
            ("no text", String::new()),
            ("no token", "a.b.c".to_owned()),
            ("long", "a".repeat(1_000_000)),
        ];
        let part = |value: serde_json::Value| URL_SAFE_NO_PAD.encode(value.to_string());
        refused.push(("none", format!("{}.{}.", part(json!({"alg": "none"})), part(good_claims()))));

        let token = tokens().issue(CLAIMS.user, CLAIMS.session, at(1000));
        let [header, payload, signature] = token.split('.').collect::<Vec<_>>()[..] else { panic!("{token}") };
        let mut admin = good_claims();
        admin["sub"] = json!("1");
        refused.push(("another payload", format!("{header}.{}.{signature}", part(admin))));
        refused.push(("no signature", format!("{header}.{payload}.")));
        refused.push(("half a signature", format!("{header}.{payload}.{}", &signature[..20])));
        for (what, token) in refused {
            assert_eq!(tokens().verify(&token, at(1000)), Err(TokenError::Invalid), "{what}");
        }
    }

    #[test]
    fn every_claim_is_needed() {
        for claim in ["sub", "sid", "iat", "exp"] {
            let mut claims = good_claims();
            claims.as_object_mut().unwrap().remove(claim);
            let token = forge(Algorithm::HS256, &claims, SECRET);
            assert_eq!(tokens().verify(&token, at(1000)), Err(TokenError::Invalid), "{claim}");
        }
        let mut claims = good_claims();
        claims["sub"] = json!("ann");
        assert_eq!(tokens().verify(&forge(Algorithm::HS256, &claims, SECRET), at(1000)), Err(TokenError::Invalid));
    }

    #[test]
    #[should_panic(expected = "too short")]
    fn a_short_secret_is_refused() {
        Tokens::new(&SECRET[1..].into(), TTL);
    }

    #[test]
    fn debug_shows_no_secret() {
        let refresh = OpaqueToken::generate(&mut StdRng::seed_from_u64(1));
        let shown = format!("{:?} {refresh:?}", tokens());
        assert!(shown.contains("900s") && !shown.contains(&SECRET[..8]), "{shown}");
        assert!(!shown.contains(&refresh.expose()) && shown.contains("REDACTED"), "{shown}");
    }

    #[test]
    fn a_refresh_token_is_read_back() {
        let mut rng = StdRng::seed_from_u64(1);
        let (one, two) = (OpaqueToken::generate(&mut rng), OpaqueToken::generate(&mut rng));
        assert_ne!(one.hash(), two.hash());
        assert_eq!(one.expose().len(), 43);
        assert_eq!(OpaqueToken::parse(&one.expose()).unwrap().hash(), one.hash());
    }

    /// SHA-256 of 32 zero bytes.
    #[test]
    fn its_hash_is_sha_256() {
        let token = OpaqueToken::parse(&"A".repeat(43)).unwrap();
        let hex: String = token.hash().iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(hex, "66687aadf862bd776c8fc18b8e9f8e20089714856ee233b3902a591d0d5f2925");
    }

    #[test]
    fn what_is_no_refresh_token() {
        let other_bits = format!("{}B", "A".repeat(42));
        let padded = format!("{}=", "A".repeat(43));
        for text in
            ["", "A", &"A".repeat(42), &"A".repeat(44), &"A".repeat(1000), &"+".repeat(43), &other_bits, &padded]
        {
            assert_eq!(OpaqueToken::parse(text).map(drop), Err(TokenError::Invalid), "{text}");
        }
    }

    proptest::proptest! {
        #[test]
        fn whatever_is_sent_is_nobodys_token(
            text in "\\PC*|[A-Za-z0-9_-]{0,60}(\\.[A-Za-z0-9_-]{0,60}){0,3}", header in "[{}\":,algHS256none]{0,40}"
        ) {
            let made = format!("{}.{}.x", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(&text));
            for token in [text, made] {
                proptest::prop_assert!(tokens().verify(&token, at(1000)).is_err());
                // What may be stored: only that it does not panic.
                let _ = OpaqueToken::parse(&token);
            }
        }
    }
}
