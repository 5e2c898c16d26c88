//! Fuzzes the notices of payment providers, with valid signatures. A notice is understood, ignored or refused,
//! and the payer sees only failure codes that may be shown.
#![no_main]

use std::sync::LazyLock;

use hmac::{Hmac, KeyInit, Mac};
use jiff::Timestamp;
use libfuzzer_sys::fuzz_target;
use lottery::domain::record::Charge;
use lottery::payment::{NoticeError, Provider, Sandbox, Signing, Stripe};
use sha2::Sha256;

const SECRET: &str = "a secret of the fuzzer";

static PROVIDERS: LazyLock<[Box<dyn Provider>; 2]> = LazyLock::new(|| {
    let (signing, folder) = (Signing::new(SECRET.into()), tempfile::tempdir().expect("a directory can be created"));
    let now = || Timestamp::UNIX_EPOCH;
    let stripe =
        Stripe::new("http://127.0.0.1:1", "sk".into(), signing.clone(), now).expect("a client can be created");
    [Box::new(Sandbox::open(folder.path(), signing).expect("the sandbox can be opened")), Box::new(stripe)]
});

fuzz_target!(|body: &[u8]| {
    let mut mac = Hmac::<Sha256>::new_from_slice(SECRET.as_bytes()).expect("any key length is valid");
    mac.update(b"0.");
    mac.update(body);
    let hex: String = mac.finalize().into_bytes().iter().map(|byte| format!("{byte:02x}")).collect();
    for provider in &*PROVIDERS {
        match provider.read(&format!("t=0,v1={hex}"), body, Timestamp::UNIX_EPOCH) {
            Ok(Some(told)) => {
                if let Charge::Declined(code) = told.report.charge {
                    let legal = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_';
                    assert!((1..=64).contains(&code.len()) && code.bytes().all(legal), "{code:?}");
                }
            }
            Ok(None) | Err(NoticeError::Malformed(_)) => {}
            Err(NoticeError::Signature(error)) => panic!("{error}"),
        }
    }
});
