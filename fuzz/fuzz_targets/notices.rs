//! Fuzzes the notices of payment providers, with valid signatures. A notice is understood, ignored or refused,
//! and the payer sees only failure codes that may be shown.
#![no_main]

use std::sync::LazyLock;

use futures_util::future::{BoxFuture, FutureExt, ready};
use hmac::{Hmac, KeyInit, Mac};
use jiff::Timestamp;
use libfuzzer_sys::fuzz_target;
use lottery::domain::charge::ChargeName;
use lottery::domain::record::Charge;
use lottery::payment::{
    NoticeError, Provider, ProviderNotice, ProviderUnavailable, Sandbox, SandboxCharges, Signing, Stripe,
};
use sha2::Sha256;

const SECRET: &str = "a secret of the fuzzer";

/// Notices store nothing.
struct NoCharges;

impl SandboxCharges for NoCharges {
    fn store<'a>(&'a self, _: ChargeName, _: &'a str) -> BoxFuture<'a, Result<String, ProviderUnavailable>> {
        ready(Err(ProviderUnavailable("there is no database".to_owned()))).boxed()
    }
}

static PROVIDERS: LazyLock<[Box<dyn Provider>; 2]> = LazyLock::new(|| {
    let (signing, now) = (Signing::new(SECRET.into()), || Timestamp::UNIX_EPOCH);
    let stripe =
        Stripe::new("http://127.0.0.1:1", "sk".into(), signing.clone(), now).expect("a client can be created");
    [Box::new(Sandbox::new(NoCharges, signing)), Box::new(stripe)]
});

fuzz_target!(|body: &[u8]| {
    let mut mac = Hmac::<Sha256>::new_from_slice(SECRET.as_bytes()).expect("any key length is valid");
    mac.update(b"0.");
    mac.update(body);
    let hex: String = mac.finalize().into_bytes().iter().map(|byte| format!("{byte:02x}")).collect();
    for provider in &*PROVIDERS {
        // A notice about which Stripe must be asked is not ready at once.
        match provider.read(&format!("t=0,v1={hex}"), body, Timestamp::UNIX_EPOCH).now_or_never() {
            Some(Ok(Some(ProviderNotice::Charge(_, report)))) => {
                if let Charge::Declined(code) = report.charge {
                    let legal = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_';
                    assert!((1..=64).contains(&code.len()) && code.bytes().all(legal), "{code:?}");
                }
            }
            Some(Err(NoticeError::Signature(error))) => panic!("{error}"),
            _ => {}
        }
    }
});
