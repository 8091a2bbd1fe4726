use std::fmt;
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use parking_lot::RwLock;
use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::ClientCertVerifier;
use rustls::{InconsistentKeys, RootCertStore, ServerConfig};
use tokio_rustls::TlsAcceptor;
use x509_cert::certificate::{CertificateInner, Raw};
use x509_cert::der::Decode;

/// What the server speaks under TLS, liked best first.
const PROTOCOLS: [&[u8]; 2] = [b"h2", b"http/1.1"];
/// In every PEM of an encrypted key: PKCS#8 has it in the block's name, older forms in a header (RFC 1421).
const ENCRYPTED: &[u8] = b"ENCRYPTED";

/// TLS as connections begin it from now on: 1.2 and 1.3, HTTP/2 and HTTP/1.1.
#[derive(Debug)]
pub struct Tls(RwLock<InForce>);

#[derive(Debug)]
struct InForce {
    config: Arc<ServerConfig>,
    expires_at: Option<SystemTime>,
}

/// What TLS is made of: the contents of files, in PEM.
#[derive(Clone, Copy)]
pub struct TlsPem<'a> {
    /// The server's certificate, and after it those that lead to an authority that clients know.
    pub certificate: &'a [u8],
    /// The certificate's key, not encrypted.
    pub key: &'a [u8],
    /// Authorities of clients. With them, every client has to have a certificate that one of them has signed.
    pub client_authorities: Option<&'a [u8]>,
}

/// One of the things that [`TlsPem`] has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TlsPart {
    /// The certificate.
    Certificate,
    /// The key.
    Key,
    /// The clients' authorities.
    ClientAuthorities,
}

/// Why there is no TLS.
#[derive(Debug, thiserror::Error)]
#[error("{part}: {reason}")]
pub struct TlsError {
    /// What is not what it has to be.
    pub part: TlsPart,
    /// Why.
    pub reason: String,
}

impl Tls {
    /// TLS with this certificate.
    ///
    /// # Errors
    /// When a part is not what it has to be.
    pub fn new(pem: TlsPem<'_>) -> Result<Self, TlsError> {
        Ok(Self(RwLock::new(InForce::of(pem)?)))
    }

    /// Connections that begin from now on use this; those that are open go on as they are.
    ///
    /// # Errors
    /// When a part is not what it has to be: then nothing has changed.
    pub fn replace(&self, pem: TlsPem<'_>) -> Result<(), TlsError> {
        let in_force = InForce::of(pem)?;
        *self.0.write() = in_force;
        Ok(())
    }

    /// When the server's certificate ends, which new connections are shown. `None` when it does not say so in a way that is
    /// understood here; clients may still take it.
    pub fn expires_at(&self) -> Option<SystemTime> {
        self.0.read().expires_at
    }

    /// What one connection begins with.
    pub(super) fn acceptor(&self) -> TlsAcceptor {
        TlsAcceptor::from(Arc::clone(&self.0.read().config))
    }
}

impl TlsPart {
    fn error(self, reason: impl fmt::Display) -> TlsError {
        TlsError { part: self, reason: reason.to_string() }
    }
}

impl fmt::Display for TlsPart {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Certificate => "the certificate",
            Self::Key => "the key",
            Self::ClientAuthorities => "the clients' authorities",
        })
    }
}

impl InForce {
    fn of(pem: TlsPem<'_>) -> Result<Self, TlsError> {
        let chain = certificates(TlsPart::Certificate, pem.certificate)?;
        let expires_at = chain.first().and_then(end_of);
        Ok(Self { config: config(chain, pem)?, expires_at })
    }
}

/// When a certificate ends. It is read for this alone: who connects judges the rest.
fn end_of(certificate: &CertificateDer<'_>) -> Option<SystemTime> {
    let certificate = CertificateInner::<Raw>::from_der(certificate).ok()?;
    Some(UNIX_EPOCH + certificate.tbs_certificate.validity.not_after.to_unix_duration())
}

fn config(chain: Vec<CertificateDer<'static>>, pem: TlsPem<'_>) -> Result<Arc<ServerConfig>, TlsError> {
    let key = private_key(pem.key)?;
    let provider = Arc::new(ring::default_provider());
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(|error| TlsPart::Key.error(error))?;
    let builder = match pem.client_authorities {
        Some(authorities) => builder.with_client_cert_verifier(verifier(authorities, provider)?),
        None => builder.with_no_client_auth(),
    };
    let mut config = builder.with_single_cert(chain, key).map_err(|error| match error {
        rustls::Error::InconsistentKeys(InconsistentKeys::KeyMismatch) => {
            TlsPart::Key.error("it is not the key of the certificate")
        }
        rustls::Error::InvalidCertificate(_) => {
            TlsPart::Certificate.error(format_args!("not usable as a server's: {error}"))
        }
        error => TlsPart::Key.error(format_args!("not usable as a key: {error}")),
    })?;
    config.alpn_protocols = PROTOCOLS.map(<[u8]>::to_vec).into();
    Ok(Arc::new(config))
}

/// Lets nobody in without a certificate of theirs.
fn verifier(
    authorities: &[u8],
    provider: Arc<CryptoProvider>,
) -> Result<Arc<dyn ClientCertVerifier>, TlsError> {
    let part = TlsPart::ClientAuthorities;
    let mut roots = RootCertStore::empty();
    for authority in certificates(part, authorities)? {
        roots
            .add(authority)
            .map_err(|error| part.error(format_args!("not usable as an authority: {error}")))?;
    }
    WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider)
        .build()
        .map_err(|error| part.error(error))
}

fn certificates(part: TlsPart, pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    let found = found.map_err(|error| part.error(not_pem(&error)))?;
    if found.is_empty() {
        return Err(part.error("there is no certificate in it; it has to be PEM, with BEGIN CERTIFICATE"));
    }
    Ok(found)
}

fn private_key(pem: &[u8]) -> Result<PrivateKeyDer<'static>, TlsError> {
    let part = TlsPart::Key;
    if pem.windows(ENCRYPTED.len()).any(|word| word == ENCRYPTED) {
        return Err(part
            .error("it is encrypted, and nobody is asked for its passphrase; decrypt it with openssl pkey"));
    }
    PrivateKeyDer::from_pem_slice(pem).map_err(|error| match error {
        pem::Error::NoItemsFound => {
            part.error("there is no key in it; it has to be PEM, with BEGIN PRIVATE KEY")
        }
        error => part.error(not_pem(&error)),
    })
}

/// What is wrong with it, in words of our own: the library's hold the line that it means, which may be a whole key.
const fn not_pem(error: &pem::Error) -> &'static str {
    match error {
        pem::Error::MissingSectionEnd { .. } => "not PEM: an END line is missing",
        pem::Error::IllegalSectionStart { .. } => {
            "not PEM: a BEGIN line has to be a line of its own, as has what follows it"
        }
        pem::Error::Base64Decode(_) => "not PEM: what is between the lines BEGIN and END is not Base64",
        pem::Error::SectionTooLarge => "not PEM: what is between the lines BEGIN and END is too large",
        _ => "not PEM",
    }
}
