//! Fuzzes the configuration file: it is read, or refused.
#![no_main]

use std::io::Write;

use libfuzzer_sys::fuzz_target;
use lottery::config::Config;
use tempfile::NamedTempFile;

fuzz_target!(|text: &[u8]| {
    let mut file = NamedTempFile::new().expect("a file can be created");
    file.write_all(text).expect("the file can be written");
    let _ = Config::load(Some(file.path()));
});
