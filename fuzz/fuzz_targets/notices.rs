//! What payment providers tell, rightly signed: understood, about nothing of ours, or refused; and the payer is shown
//! no failure code but such as may be shown.
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
    let (signing, folder) = (Signing::new(SECRET.into()), tempfile::tempdir().expect("a folder can be made"));
    let stripe = Stripe::new("http://127.0.0.1:1", "sk".into(), signing.clone()).expect("a client can be made");
    [Box::new(Sandbox::open(folder.path(), signing).expect("and a file in it")), Box::new(stripe)]
});

fuzz_target!(|body: &[u8]| {
    let mut mac = Hmac::<Sha256>::new_from_slice(SECRET.as_bytes()).expect("any key will do");
    mac.update(b"0.");
    mac.update(body);
    let hex: String = mac.finalize().into_bytes().iter().map(|byte| format!("{byte:02x}")).collect();
    for provider in &*PROVIDERS {
        match provider.read(&format!("t=0,v1={hex}"), body, Timestamp::UNIX_EPOCH) {
            Ok(Some(told)) => {
                if let Charge::Declined(code) = told.charge {
                    let legal = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_';
                    assert!((1..=64).contains(&code.len()) && code.bytes().all(legal), "{code:?}");
                }
            }
            Ok(None) | Err(NoticeError::Malformed(_)) => {}
            Err(NoticeError::Signature(error)) => panic!("{error}"),
        }
    }
});
