//! The database to connect to, and TLS for that connection. This file knows certificates and no SQL, and opens no
//! connection.
//!
//! `sslmode` has almost the meaning that libpq gives it: `disable` never encrypts; `prefer` encrypts
//! if the server can, and accepts any certificate; `require` verifies the certificate and the host
//! name in it (libpq calls that `verify-full`; a weaker check would not stop an attacker). A connection over
//! a unix socket is never encrypted.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};
use rustls_platform_verifier::Verifier;
use tokio_postgres::Config;
use tokio_postgres::config::{Host, SslMode};
use tokio_postgres_rustls::MakeRustlsConnect;

use super::hosts::{self, Hosts};
use crate::domain::id::NodeId;
use crate::tls::provider;

/// The ALPN protocol name that a server expects if TLS begins without a request first
/// (`sslnegotiation=direct`).
const PROTOCOL: &[u8] = b"postgresql";

/// A database to connect to, and how its certificate is checked. Clones share what is known of its hosts, and the
/// connections that are made with them end together.
#[derive(Clone)]
pub struct Target {
    pub(super) config: Config,
    pub(super) tls: MakeRustlsConnect,
    pub(super) hosts: Arc<Hosts>,
    /// Whether its connections outlive [`Target::end_connections`].
    pub(super) lasting: bool,
    /// Whose sessions they are.
    pub(super) node: Option<NodeId>,
}

/// Without the password.
impl fmt::Debug for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Target").field("config", &self.config).finish_non_exhaustive()
    }
}

/// Why the certificate authorities cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    #[error("{} holds no certificates in PEM: {cause}", path.display())]
    Authorities { path: PathBuf, cause: String },
    #[error("the system's certificates cannot be used: {0}")]
    System(rustls::Error),
}

impl Target {
    /// With `sslmode=require`, the server's certificate must be signed by an authority in this file; without
    /// a file, by one that the system trusts.
    pub fn new(config: Config, authorities: Option<&Path>) -> Result<Target, TlsError> {
        if config.get_ssl_mode() != SslMode::Require {
            return Ok(Target::from(&config));
        }
        let verifier = match authorities {
            Some(path) => return Ok(Target::verified(&config, roots(path)?)),
            None => Verifier::new(provider()).map_err(TlsError::System)?,
        };
        Ok(Target::with_verifier(&config, Arc::new(verifier)))
    }

    fn with_verifier(config: &Config, verifier: Arc<dyn ServerCertVerifier>) -> Target {
        let tls = builder().dangerous().with_custom_certificate_verifier(verifier).with_no_client_auth();
        Target::with(config, tls)
    }

    fn verified(config: &Config, roots: RootCertStore) -> Target {
        Target::with(config, builder().with_root_certificates(roots).with_no_client_auth())
    }

    fn with(config: &Config, mut tls: ClientConfig) -> Target {
        let mut config = config.clone();
        if config.get_hosts().iter().all(|host| matches!(host, Host::Unix(_))) {
            config.ssl_mode(SslMode::Disable);
        }
        hosts::set_timeouts(&mut config);
        tls.alpn_protocols = vec![PROTOCOL.to_vec()];
        Target { config, tls: MakeRustlsConnect::new(tls), hosts: Arc::default(), lasting: false, node: None }
    }

    /// Whether the URL names several hosts, of which only the primary takes writes.
    pub fn has_several_hosts(&self) -> bool {
        hosts::count(&self.config) > 1
    }

    /// The hosts of the URL, for the operator.
    pub fn host_names(&self) -> String {
        let names = (0..hosts::count(&self.config)).map(|index| hosts::name(&self.config, index));
        names.collect::<Vec<_>>().join(", ")
    }

    /// The same database. The connections that are made with this target outlive [`Target::end_connections`].
    pub fn lasting(&self) -> Target {
        Target { lasting: true, ..self.clone() }
    }

    /// Ends every connection to this database but those of a [`Target::lasting`] one, and waits until they are closed:
    /// what waits on them fails at once, as if the server had closed them, and new ones are opened when they are needed.
    /// The owner of a lasting connection calls this after it had to replace it: an old primary may go on answering reads
    /// for a while.
    pub async fn end_connections(&self) {
        self.hosts.end_connections().await;
    }

    /// Lets the next connection try the other hosts first: the present one accepts connections and does not do what is
    /// asked of it, as a primary whose standby was promoted meanwhile.
    pub fn skip_host(&self) {
        self.hosts.skip_first(hosts::count(&self.config));
    }
}

/// No authorities are given, so with `sslmode=require` every certificate is refused.
impl From<&Config> for Target {
    fn from(config: &Config) -> Target {
        match config.get_ssl_mode() {
            SslMode::Require => Target::verified(config, RootCertStore::empty()),
            _ => Target::with_verifier(config, Arc::new(AcceptAnyCertificate(provider()))),
        }
    }
}

impl From<Config> for Target {
    fn from(config: Config) -> Target {
        Target::from(&config)
    }
}

impl From<&Target> for Target {
    fn from(target: &Target) -> Target {
        target.clone()
    }
}

fn builder() -> rustls::ConfigBuilder<ClientConfig, rustls::WantsVerifier> {
    let versions = ClientConfig::builder_with_provider(provider()).with_safe_default_protocol_versions();
    versions.expect("the provider has the suites of TLS 1.2 and 1.3")
}

fn roots(path: &Path) -> Result<RootCertStore, TlsError> {
    let unusable = |cause: String| TlsError::Authorities { path: path.to_owned(), cause };
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_file_iter(path).map_err(|error| unusable(error.to_string()))? {
        let certificate = certificate.map_err(|error| unusable(error.to_string()))?;
        roots.add(certificate).map_err(|error| unusable(error.to_string()))?;
    }
    if roots.is_empty() { Err(unusable("it contains no certificate".to_owned())) } else { Ok(roots) }
}

/// Accepts any certificate. This stops eavesdropping, not man-in-the-middle attacks: such an attacker could
/// also answer that the server has no TLS, and `prefer` would go on without encryption.
#[derive(Debug)]
struct AcceptAnyCertificate(Arc<CryptoProvider>);

impl ServerCertVerifier for AcceptAnyCertificate {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, certificate, signed, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signed, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
