//! Signatures of webhooks, in Stripe's format: `t=TIME,v1=HEX`. HEX is an HMAC-SHA256 over the time, a full stop
//! and the body as it was sent. Knows no provider and no clock.

use hmac::{Hmac, KeyInit, Mac};
use jiff::{SignedDuration, Timestamp};
use secrecy::{ExposeSecret, SecretString};
use sha2::Sha256;

/// The header of the signature.
pub const HEADER: &str = "Stripe-Signature";

/// How far a signature's time may be from the service's. After that a recorded message cannot be sent again.
const TOLERANCE: SignedDuration = SignedDuration::from_mins(5);
/// The longest header that is accepted. While a provider changes its secret, a header holds several signatures.
const MAX_HEADER: usize = 1024;

/// The signature is not valid. It does not say which part is wrong, because that helps only a forger.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("the signature is missing, wrong or too old")]
pub struct SignatureError;

/// Checks signatures with one secret.
#[derive(Clone)]
pub struct Signing(SecretString);

impl Signing {
    pub fn new(secret: SecretString) -> Signing {
        Signing(secret)
    }

    /// Checks that this body was signed with the secret, and not too long ago.
    pub fn check(&self, header: &str, body: &[u8], now: Timestamp) -> Result<(), SignatureError> {
        let signature = Signature::parse(header).ok_or(SignatureError)?;
        let at = Timestamp::from_second(signature.at).map_err(|_| SignatureError)?;
        let recent = now.duration_since(at).abs() <= TOLERANCE;
        let mac = self.mac(signature.at, body);
        // `verify_slice` takes the same time for every difference.
        let signed = signature.v1.iter().any(|v1| mac.clone().verify_slice(v1).is_ok());
        if signed && !recent {
            // Only a message with a valid signature: what a forger sends says nothing about the clock.
            let seconds_ahead = now.duration_since(at).as_secs();
            tracing::warn!(
                seconds_ahead,
                "a webhook with a valid signature was refused because of its time; check this service's clock"
            );
        }
        if signed && recent { Ok(()) } else { Err(SignatureError) }
    }

    fn mac(&self, at: i64, body: &[u8]) -> Hmac<Sha256> {
        // HMAC takes keys of every length (RFC 2104, section 2).
        let mut mac = Hmac::<Sha256>::new_from_slice(self.0.expose_secret().as_bytes()).expect("any key will do");
        mac.update(format!("{at}.").as_bytes());
        mac.update(body);
        mac
    }
}

/// The parsed header.
#[derive(Clone, PartialEq, Eq, Debug)]
struct Signature {
    /// Seconds since 1970, as they were signed.
    at: i64,
    v1: Vec<[u8; 32]>,
}

impl Signature {
    /// Exactly one time and at least one signature. Other schemes than v1 are skipped.
    fn parse(header: &str) -> Option<Signature> {
        if header.len() > MAX_HEADER {
            return None;
        }
        let (mut at, mut v1) = (None, Vec::new());
        for part in header.split(',') {
            match part.split_once('=')? {
                ("t", _) if at.is_some() => return None,
                ("t", text) => at = Some(whole(text)?),
                ("v1", text) => v1.push(bytes(text)?),
                _ => {}
            }
        }
        let at = at.filter(|_| !v1.is_empty())?;
        Some(Signature { at, v1 })
    }
}

/// Only digits, without a leading zero: the text was signed, so it must equal the printed number.
fn whole(text: &str) -> Option<i64> {
    text.parse().ok().filter(|number: &i64| *number >= 0 && number.to_string() == text)
}

fn bytes(hex: &str) -> Option<[u8; 32]> {
    let digits = hex.bytes().map(|digit| char::from(digit).to_digit(16)).collect::<Option<Vec<u32>>>()?;
    let pairs = digits.chunks_exact(2).map(|pair| u8::try_from(pair[0] * 16 + pair[1]).ok());
    let bytes = pairs.collect::<Option<Vec<u8>>>()?;
    if digits.len() == 64 { bytes.try_into().ok() } else { None }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::payment::tests::logged;

    const BODY: &[u8] = br#"{"id":"evt_1"}"#;

    fn signing(secret: &str) -> Signing {
        Signing::new(secret.into())
    }

    fn now() -> Timestamp {
        Timestamp::from_second(1_900_000_000).unwrap()
    }

    fn hex(bytes: &[u8]) -> String {
        bytes.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    fn v1(secret: &str, at: i64, body: &[u8]) -> String {
        hex(&signing(secret).mac(at, body).finalize().into_bytes())
    }

    #[test]
    fn the_signature_is_the_one_of_the_published_scheme() {
        // By another program: printf '%s' '1900000000.{"id":"evt_1"}' | openssl dgst -sha256 -hmac whsec_test
        let known = "07bfe3263a269f453f7d5a37b2a4cd1da8d9ce73d114dc03a02eb54dd6fba09d";
        assert_eq!(v1("whsec_test", 1_900_000_000, BODY), known);
    }

    #[test]
    fn only_fresh_and_valid_signatures_are_accepted() {
        let at = now().as_second();
        let (good, other) = (v1("ours", at, BODY), v1("theirs", at, BODY));
        let old = |seconds: i64| format!("t={},v1={}", at - seconds, v1("ours", at - seconds, BODY));
        for (header, taken) in [
            (format!("t={at},v1={good}"), true),
            (format!("v1={good},t={at}"), true),
            (format!("t={at},v1={},v0=abc,v1={}", other, good.to_uppercase()), true),
            (old(300), true),
            (old(-300), true),
            (old(301), false),
            (old(-301), false),
            (format!("t={at},v1={other}"), false),
            (format!("t={at},v0={good}"), false),
            (format!("t={},v1={good}", at + 1), false),
            (format!("t={at},t={at},v1={good}"), false),
            (format!("t=+{at},v1={good}"), false),
            (format!("t=0{at},v1={good}"), false),
            (format!("t={at},v1={}", &good[..62]), false),
            (format!("t={at},v1={good}00"), false),
            (format!("t={at},v1={good},"), false),
            (format!("t={at}, v1={good}"), false),
            (format!("v1={good}"), false),
            (format!("t={at}"), false),
            ("t=99999999999999999,v1=".to_owned() + &good, false),
            (String::new(), false),
            (format!("t={at},v1={good},x={}", "x".repeat(MAX_HEADER)), false),
        ] {
            assert_eq!(signing("ours").check(&header, BODY, now()).is_ok(), taken, "{header}");
        }
        let whole = format!("t={at},v1={good}");
        assert!(signing("ours").check(&whole, b"{\"id\":\"evt_2\"}", now()).is_err(), "another body");
    }

    #[test]
    fn a_refusal_because_of_the_time_alone_is_logged() {
        let check = |secret: &str, at: i64| {
            let header = format!("t={at},v1={}", v1(secret, at, BODY));
            logged(|| {
                let _ = signing("ours").check(&header, BODY, now());
            })
        };
        let at = now().as_second();
        // A line that another test's thread logs first may be missing in this log. After one call it is not.
        check("ours", at - 301);
        let log = check("ours", at - 301);
        assert!(log.contains("WARN") && log.contains("clock") && log.contains("seconds_ahead=301"), "{log}");
        assert!(check("ours", at + 301).contains("seconds_ahead=-301"));
        assert_eq!(check("ours", at - 300), "");
        assert_eq!(check("theirs", at - 301), "", "a forged one");
    }

    proptest! {
        #[test]
        fn arbitrary_headers_neither_panic_nor_are_accepted(header in "[tv01=,a-f]{0,80}|\\PC*", body: Vec<u8>) {
            prop_assert!(signing("ours").check(&header, &body, now()).is_err());
        }

        #[test]
        fn a_signed_body_is_accepted_and_refused_after_any_change(
            body in prop::collection::vec(any::<u8>(), 1..200), place: prop::sample::Index, change in 1_u8..
        ) {
            let at = now().as_second();
            let header = format!("t={at},v1={}", v1("ours", at, &body));
            prop_assert!(signing("ours").check(&header, &body, now()).is_ok());
            prop_assert!(signing("other").check(&header, &body, now()).is_err());
            let mut changed = body.clone();
            changed[place.index(body.len())] ^= change;
            prop_assert!(signing("ours").check(&header, &changed, now()).is_err());
        }
    }
}
