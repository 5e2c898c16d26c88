//! The cryptography behind every TLS connection: to Postgres, to the payment provider, to the collector of traces.
//! Which certificates are trusted is decided where the connection is made.
//!
//! `reqwest` is built without a cryptography of its own, so that only one is compiled. Make each HTTP client with
//! [`http_client`]: a client of `reqwest` panics if no provider is installed.

use std::sync::Arc;

use rustls::crypto::{CryptoProvider, ring};

/// What all of our connections use. It compiles in a fifth of the time of `aws-lc-rs`. It has no post-quantum key
/// exchange, and cannot verify certificates with P-521 keys.
pub fn provider() -> Arc<CryptoProvider> {
    Arc::new(ring::default_provider())
}

/// Makes [`provider`] the process's default, for the clients that look for one there. May be called many times.
pub fn install() {
    if CryptoProvider::get_default().is_none() {
        // Only another thread can have been quicker, and it has installed the same one.
        let _ = ring::default_provider().install_default();
    }
}

/// Begins an HTTP client.
#[expect(clippy::disallowed_methods, reason = "the provider is installed first")]
pub fn http_client() -> reqwest::ClientBuilder {
    install();
    reqwest::Client::builder()
}
