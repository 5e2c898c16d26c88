//! Tokens: a short-lived signed one for each request, and a long-lived one that renews it.
//!
//! The access token (a bearer token, RFC 6750) is a JWT (RFC 7519). It names the user and the session, never what the
//! user may do: role and status come from a cache, so a change applies to tokens already issued. The signature alone does
//! not make a token acceptable: the caller asks whether its session is active, see `auth::access`.
//!
//! A token is verified with each request. The HMAC and the claims alone take 0.5 µs, about 1 % of the CPU of a purchase.
//! A cache of verified tokens saved 0.3 µs of that, and was removed.
//!
//! A refresh token can be used once. A second use ends the session with all its tokens (RFC 6749, section
//! 10.4; RFC 9700, section 4.14.2). All refresh tokens of a session begin with the same random bytes, its family: the
//! database stores the family and the current token, and every other token of the family was used before.

use std::fmt;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jiff::Timestamp;
use rand::CryptoRng;
use secrecy::{ExposeSecret, SecretBox, SecretString};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use uuid::Uuid;

use super::jwt::JwtKeys;
use super::secret::check_strength;
use crate::domain::id::{SessionId, UserId};
use crate::domain::user::RefreshTokenHashes;

/// Our tokens have about 250 bytes; a much longer text is refused without a look at it.
const MAX_TOKEN_BYTES: usize = 1024;

/// The number of random bytes of an opaque token.
const OPAQUE_BYTES: usize = 32;

/// The first bytes of a refresh token, which all tokens of its session have. The rest is as long, and as hard to guess.
const FAMILY_BYTES: usize = OPAQUE_BYTES / 2;

/// Why a token is refused. RFC 6750 calls all of these `invalid_token`, and the API may do so too.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum TokenError {
    /// Not signed by us, changed, or not a token.
    #[error("the token is not valid")]
    Invalid,
    #[error("the token has expired")]
    Expired,
}

/// The content of an access token that the service signed and that has not expired.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Claims {
    pub user: UserId,
    /// The session that the token belongs to.
    pub session: SessionId,
}

/// The claims as the token contains them (RFC 7519, section 4.1); times in whole seconds since 1970.
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
    keys: JwtKeys,
    ttl: Duration,
}

impl fmt::Debug for Tokens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tokens").field("ttl", &self.ttl).finish_non_exhaustive()
    }
}

impl Tokens {
    /// The bytes of a secret are the key, unchanged. The first one signs; tokens that the previous one signed are
    /// accepted as well. A token is valid for `ttl`, in whole seconds.
    ///
    /// # Panics
    /// If a secret is weak: configuration and [`super::secret`] refuse it.
    pub fn new<'a>(secret: &'a SecretString, previous: Option<&'a SecretString>, ttl: Duration) -> Tokens {
        let key = |secret: &'a SecretString| {
            assert_eq!(check_strength(secret), Ok(()), "a secret that signs tokens");
            secret.expose_secret().as_bytes()
        };
        Tokens { keys: JwtKeys::new(key(secret), previous.map(key)), ttl }
    }

    /// How long a new token is valid: the `expires_in` of an answer.
    pub fn ttl(&self) -> Duration {
        self.ttl
    }

    /// A signed token for this user and session, valid from `now` on for `ttl`.
    pub fn issue(&self, user: UserId, session: SessionId, now: Timestamp) -> String {
        let iat = now.as_second();
        let exp = iat.saturating_add_unsigned(self.ttl.as_secs());
        let wire = WireClaims { sub: user.0.to_string(), sid: session.0, iat, exp };
        self.keys
            .sign(&wire)
            .expect("strings and numbers can be written as JSON, and an HMAC takes keys of every length")
    }

    /// The claims of a token that we signed and that has not expired at `now`. Its session may have ended. There is no leeway: from `exp` on, the token has expired (RFC 7519, section 4.1.4).
    pub fn verify(&self, token: &str, now: Timestamp) -> Result<Claims, TokenError> {
        if token.len() > MAX_TOKEN_BYTES {
            return Err(TokenError::Invalid);
        }
        let wire: WireClaims = self.keys.verify(token).ok_or(TokenError::Invalid)?;
        let user = wire.sub.parse().map_err(|_| TokenError::Invalid)?;
        let claims = Claims { user: UserId(user), session: SessionId(wire.sid) };
        if now.as_second() >= wire.exp {
            return Err(TokenError::Expired);
        }
        Ok(claims)
    }
}

/// A random token without content, to refresh a session or to set a new password: 32 random bytes, in
/// base64url for the client. `Debug` does not show it.
#[derive(Debug)]
pub struct OpaqueToken(SecretBox<[u8; OPAQUE_BYTES]>);

impl OpaqueToken {
    /// A new token, from a cryptographically secure generator.
    pub fn generate(rng: &mut (impl CryptoRng + ?Sized)) -> OpaqueToken {
        OpaqueToken(SecretBox::init_with_mut(|bytes: &mut [u8; OPAQUE_BYTES]| rng.fill_bytes(bytes)))
    }

    /// The refresh token that replaces this one in its session: of the same family, and random otherwise.
    pub fn successor(&self, rng: &mut (impl CryptoRng + ?Sized)) -> OpaqueToken {
        OpaqueToken(SecretBox::init_with_mut(|bytes: &mut [u8; OPAQUE_BYTES]| {
            bytes.copy_from_slice(self.0.expose_secret());
            rng.fill_bytes(&mut bytes[FAMILY_BYTES..]);
        }))
    }

    /// Parses the text that [`OpaqueToken::expose`] returned. A valid text may still be an unknown token.
    pub fn parse(text: &str) -> Result<OpaqueToken, TokenError> {
        let mut bytes = SecretBox::new(Box::new([0; OPAQUE_BYTES]));
        let slots = secrecy::ExposeSecretMut::expose_secret_mut(&mut bytes);
        match URL_SAFE_NO_PAD.decode_slice(text, slots) {
            Ok(OPAQUE_BYTES) => Ok(OpaqueToken(bytes)),
            _ => Err(TokenError::Invalid),
        }
    }

    /// The SHA-256 of the token, which the database stores instead of the token. A slow hash is needed only
    /// for secrets that people can remember; 128 random bits and more cannot be guessed.
    pub fn hash(&self) -> [u8; 32] {
        Sha256::digest(self.0.expose_secret()).into()
    }

    /// The hashes of a refresh token and of its family.
    pub fn refresh_hashes(&self) -> RefreshTokenHashes {
        let family = Sha256::digest(&self.0.expose_secret()[..FAMILY_BYTES]).into();
        RefreshTokenHashes { token: self.hash(), family }
    }

    /// The text for the token's owner, 43 characters. There is no other way to read it.
    pub fn expose(&self) -> String {
        URL_SAFE_NO_PAD.encode(self.0.expose_secret())
    }
}

#[cfg(test)]
mod tests {
    use hmac::{Hmac, KeyInit, Mac};
    use rand::SeedableRng;
    use rand::rngs::StdRng;
    use serde_json::json;
    use sha2::{Sha384, Sha512};

    use super::*;

    const SECRET: &str = "0123456789abcdef0123456789abcdef";
    const TTL: Duration = Duration::from_secs(900);
    const CLAIMS: Claims = Claims { user: UserId(42), session: SessionId(Uuid::from_u128(7)) };

    fn tokens() -> Tokens {
        Tokens::new(&SECRET.into(), None, TTL)
    }

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    /// A token with any claims, signed with any HMAC algorithm and any secret. `M` must be the algorithm in
    /// the header.
    fn forge_with<M: Mac + KeyInit>(algorithm: &str, claims: &serde_json::Value, secret: &str) -> String {
        let header = URL_SAFE_NO_PAD.encode(format!(r#"{{"typ":"JWT","alg":"{algorithm}"}}"#));
        let signed = format!("{header}.{}", URL_SAFE_NO_PAD.encode(claims.to_string()));
        let mac = <M as KeyInit>::new_from_slice(secret.as_bytes()).unwrap().chain_update(&signed);
        format!("{signed}.{}", URL_SAFE_NO_PAD.encode(mac.finalize().into_bytes()))
    }

    fn forge(claims: &serde_json::Value, secret: &str) -> String {
        forge_with::<Hmac<Sha256>>("HS256", claims, secret)
    }

    fn good_claims() -> serde_json::Value {
        json!({"sub": "42", "sid": CLAIMS.session.0, "iat": 1000, "exp": 1900})
    }

    #[test]
    fn an_access_token_names_the_user_and_the_session_only() {
        let token = tokens().issue(CLAIMS.user, CLAIMS.session, at(1000));
        assert_eq!(tokens().verify(&token, at(1000)), Ok(CLAIMS));
        let payload = URL_SAFE_NO_PAD.decode(token.split('.').nth(1).unwrap()).unwrap();
        let payload: serde_json::Value = serde_json::from_slice(&payload).unwrap();
        assert_eq!(payload, good_claims());
        assert!(token.len() < MAX_TOKEN_BYTES / 2);
    }

    #[test]
    fn an_access_token_is_valid_until_its_last_second() {
        let issued = at(1000) + jiff::SignedDuration::from_millis(700);
        let token = tokens().issue(CLAIMS.user, CLAIMS.session, issued);
        assert_eq!(tokens().verify(&token, at(1900) - jiff::SignedDuration::from_nanos(1)), Ok(CLAIMS));
        assert_eq!(tokens().verify(&token, at(1900)), Err(TokenError::Expired));
        assert_eq!(tokens().verify(&token, Timestamp::MAX), Err(TokenError::Expired));
    }

    #[test]
    fn a_token_is_verified_each_time_it_is_sent() {
        let tokens = tokens();
        let token = tokens.issue(CLAIMS.user, CLAIMS.session, at(1000));
        for _ in 0..2 {
            assert_eq!(tokens.verify(&token, at(1000)), Ok(CLAIMS));
            assert_eq!(tokens.verify(&format!("{token}A"), at(1000)), Err(TokenError::Invalid));
            assert_eq!(tokens.verify(&token, at(1900)), Err(TokenError::Expired));
        }
    }

    #[test]
    fn only_tokens_signed_with_the_secret_are_accepted() {
        assert_eq!(tokens().verify(&forge(&good_claims(), SECRET), at(1000)), Ok(CLAIMS));
        let mut refused = vec![
            ("HS384", forge_with::<Hmac<Sha384>>("HS384", &good_claims(), SECRET)),
            ("HS512", forge_with::<Hmac<Sha512>>("HS512", &good_claims(), SECRET)),
            ("another secret", forge(&good_claims(), &SECRET.to_uppercase())),
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
    fn every_claim_is_required() {
        for claim in ["sub", "sid", "iat", "exp"] {
            let mut claims = good_claims();
            claims.as_object_mut().unwrap().remove(claim);
            let token = forge(&claims, SECRET);
            assert_eq!(tokens().verify(&token, at(1000)), Err(TokenError::Invalid), "{claim}");
        }
        let mut claims = good_claims();
        claims["sub"] = json!("ann");
        assert_eq!(tokens().verify(&forge(&claims, SECRET), at(1000)), Err(TokenError::Invalid));
    }

    #[test]
    fn a_token_of_the_previous_secret_is_accepted_until_it_expires() {
        let token = tokens().issue(CLAIMS.user, CLAIMS.session, at(1000));
        let next = "the next secret, long enough to sign with".into();
        let rotated = Tokens::new(&next, Some(&SECRET.into()), TTL);
        assert_eq!(rotated.verify(&token, at(1899)), Ok(CLAIMS));
        assert_eq!(rotated.verify(&token, at(1900)), Err(TokenError::Expired));
        let new = rotated.issue(CLAIMS.user, CLAIMS.session, at(1000));
        assert_eq!(rotated.verify(&new, at(1000)), Ok(CLAIMS));
        let complete = Tokens::new(&next, None, TTL);
        assert_eq!(complete.verify(&new, at(1000)), Ok(CLAIMS));
        assert_eq!(complete.verify(&token, at(1000)), Err(TokenError::Invalid));
    }

    #[test]
    #[should_panic(expected = "a secret that signs tokens")]
    fn a_short_secret_is_refused() {
        Tokens::new(&SECRET[1..].into(), None, TTL);
    }

    #[test]
    fn debug_shows_no_secret() {
        let refresh = OpaqueToken::generate(&mut StdRng::seed_from_u64(1));
        let shown = format!("{:?} {refresh:?}", tokens());
        assert!(shown.contains("900s") && !shown.contains(&SECRET[..8]), "{shown}");
        assert!(!shown.contains(&refresh.expose()) && shown.contains("REDACTED"), "{shown}");
    }

    #[test]
    fn a_refresh_token_is_parsed_from_its_text() {
        let mut rng = StdRng::seed_from_u64(1);
        let (one, two) = (OpaqueToken::generate(&mut rng), OpaqueToken::generate(&mut rng));
        assert_ne!(one.hash(), two.hash());
        assert_eq!(one.expose().len(), 43);
        assert_eq!(OpaqueToken::parse(&one.expose()).unwrap().hash(), one.hash());
    }

    #[test]
    fn a_refresh_token_and_its_successors_are_one_family() {
        let mut rng = StdRng::seed_from_u64(1);
        let first = OpaqueToken::generate(&mut rng);
        let (second, stranger) = (first.successor(&mut rng), OpaqueToken::generate(&mut rng));
        let [first, second, third, stranger] =
            [&first, &second, &second.successor(&mut rng), &stranger].map(OpaqueToken::refresh_hashes);
        assert!(first.family == second.family && second.family == third.family && first.family != stranger.family);
        assert!(first.token != second.token && second.token != third.token);
        assert_ne!(first.token, first.family);
    }

    /// SHA-256 of 32 zero bytes.
    #[test]
    fn the_hash_of_a_refresh_token_is_sha_256() {
        let token = OpaqueToken::parse(&"A".repeat(43)).unwrap();
        let hex: String = token.hash().iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(hex, "66687aadf862bd776c8fc18b8e9f8e20089714856ee233b3902a591d0d5f2925");
    }

    #[test]
    fn invalid_refresh_tokens_are_refused() {
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
        fn any_text_is_refused_as_a_token(
            text in "\\PC*|[A-Za-z0-9_-]{0,60}(\\.[A-Za-z0-9_-]{0,60}){0,3}", header in "[{}\":,algHS256none]{0,40}"
        ) {
            let made = format!("{}.{}.x", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(&text));
            for token in [text, made] {
                proptest::prop_assert!(tokens().verify(&token, at(1000)).is_err());
                // A text that may be an opaque token must only not panic.
                let _ = OpaqueToken::parse(&token);
            }
        }
    }
}
