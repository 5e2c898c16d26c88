//! A webhook's signature header and its body: nothing that was not signed is taken.
#![no_main]

use jiff::Timestamp;
use libfuzzer_sys::fuzz_target;
use lottery::payment::Signing;

fuzz_target!(|sent: (&str, &[u8])| {
    let signing = Signing::new("a secret of the fuzzer".into());
    assert!(signing.check(sent.0, sent.1, Timestamp::UNIX_EPOCH).is_err());
});
