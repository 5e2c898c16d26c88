//! Fuzzes a webhook's signature header and body: nothing without a valid signature is accepted.
#![no_main]

use jiff::Timestamp;
use libfuzzer_sys::fuzz_target;
use lottery::payment::Signing;

fuzz_target!(|sent: (&str, &[u8])| {
    let signing = Signing::new("a secret of the fuzzer".into());
    assert!(signing.check(sent.0, sent.1, Timestamp::UNIX_EPOCH).is_err());
});
