//! A configuration file: read, or refused.
#![no_main]

use std::io::Write;

use libfuzzer_sys::fuzz_target;
use lottery::config::Config;
use tempfile::NamedTempFile;

fuzz_target!(|text: &[u8]| {
    let mut file = NamedTempFile::new().expect("a file can be made");
    file.write_all(text).expect("and written");
    let _ = Config::load(Some(file.path()));
});
