//! The cryptography of every TLS connection: to Postgres, to the payment provider, to the collector of
//! traces. This file does not decide which certificates are trusted: each connection does.
//!
//! `reqwest` is built without cryptography, so that only one implementation is compiled. Make each HTTP
//! client with [`http_client`]: a client of `reqwest` panics if no provider is installed.

use std::sync::Arc;

use rustls::crypto::{CryptoProvider, ring};

/// The cryptography of all our connections. It compiles in a fifth of the time of `aws-lc-rs`. It has no
/// post-quantum key exchange, and it cannot verify certificates with P-521 keys.
pub fn provider() -> Arc<CryptoProvider> {
    Arc::new(ring::default_provider())
}

/// Makes [`provider`] the process's default, because HTTP clients look for it there. It may be called many
/// times.
pub fn install() {
    if CryptoProvider::get_default().is_none() {
        // If this fails, another thread has just installed the same provider.
        let _ = ring::default_provider().install_default();
    }
}

/// Begins an HTTP client.
#[expect(clippy::disallowed_methods, reason = "the provider is installed first")]
pub fn http_client() -> reqwest::ClientBuilder {
    install();
    reqwest::Client::builder()
}
