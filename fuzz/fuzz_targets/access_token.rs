//! Fuzzes access and refresh tokens: a token without a valid signature belongs to no user.
#![no_main]

use std::time::Duration;

use jiff::Timestamp;
use libfuzzer_sys::fuzz_target;
use lottery::auth::{OpaqueToken, Tokens};

fuzz_target!(|text: &str| {
    let tokens = Tokens::new(&"a secret of the fuzzer, long enough".into(), None, Duration::from_secs(900));
    assert!(tokens.verify(text, Timestamp::UNIX_EPOCH).is_err());
    let _ = OpaqueToken::parse(text);
});
