use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, Error, OtherError, RootCertStore, SignatureScheme,
};
use tokio_postgres::Socket;
use tokio_postgres::tls::MakeTlsConnect;
use tokio_postgres_rustls::MakeRustlsConnect;

use crate::url::{PostgresUrl, TlsMode};

/// Why there is no TLS.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// The file of root certificates cannot be used.
    #[error("cannot read the root certificates in {path}: {reason}")]
    Roots {
        /// Which file.
        path: String,
        /// Why not.
        reason: String,
    },
    /// rustls refused.
    #[error("cannot set up TLS: {0}")]
    Rustls(String),
}

/// What a URL's `sslmode` says about certificates: `verify-full` checks the chain and the name, `verify-ca` the
/// chain, and the others encrypt without knowing with whom, as libpq does.
pub(crate) fn connector(url: &PostgresUrl) -> Result<Tls, TlsError> {
    let failed = |error: &dyn fmt::Display| TlsError::Rustls(error.to_string());
    let provider = Arc::new(ring::default_provider());
    let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(|error| failed(&error))?;
    let (mode, file) = (url.parts().tls, url.parts().root_certificates.as_deref());
    let chain = match mode {
        TlsMode::VerifyFull | TlsMode::VerifyCa => {
            let verifier =
                WebPkiServerVerifier::builder_with_provider(Arc::new(roots(file)?), Arc::clone(&provider));
            Some(verifier.build().map_err(|error| failed(&error))?)
        }
        TlsMode::Disable | TlsMode::Prefer | TlsMode::Require => None,
    };
    let untrusted = Untrusted { file: file.map(Path::to_owned) };
    let check = Check { chain, any_name: mode != TlsMode::VerifyFull, untrusted, provider };
    let config = builder.dangerous().with_custom_certificate_verifier(Arc::new(check));
    Ok(Tls(MakeRustlsConnect::new(config.with_no_client_auth())))
}

/// What makes a connection secure. The driver asks for it whatever the mode, and for a server without a name too:
/// on a Unix socket, or under nothing but an address. It lets nobody use that without a name.
#[derive(Clone)]
pub(crate) struct Tls(MakeRustlsConnect);

/// Stands in where there is no name.
const NO_NAME: &str = "unnamed.invalid";

impl MakeTlsConnect<Socket> for Tls {
    type Stream = <MakeRustlsConnect as MakeTlsConnect<Socket>>::Stream;
    type TlsConnect = <MakeRustlsConnect as MakeTlsConnect<Socket>>::TlsConnect;
    type Error = <MakeRustlsConnect as MakeTlsConnect<Socket>>::Error;

    fn make_tls_connect(&mut self, name: &str) -> Result<Self::TlsConnect, Self::Error> {
        MakeTlsConnect::<Socket>::make_tls_connect(&mut self.0, if name.is_empty() { NO_NAME } else { name })
    }
}

/// The certificates in the file, else the operating system's.
fn roots(file: Option<&Path>) -> Result<RootCertStore, TlsError> {
    let mut roots = RootCertStore::empty();
    let Some(path) = file else {
        roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
        return Ok(roots);
    };
    let unusable = |reason: String| TlsError::Roots { path: path.display().to_string(), reason };
    let text = fs::read(path).map_err(|error| unusable(error.to_string()))?;
    for certificate in CertificateDer::pem_slice_iter(&text) {
        let certificate = certificate.map_err(|error| unusable(format!("{error:?}")))?;
        roots.add(certificate).map_err(|error| unusable(error.to_string()))?;
    }
    if roots.is_empty() {
        return Err(unusable("it holds no certificate".to_owned()));
    }
    Ok(roots)
}

/// Takes a certificate that the chain allows, or, without a chain, any at all. That the server holds its key is
/// always checked.
#[derive(Debug)]
struct Check {
    chain: Option<Arc<WebPkiServerVerifier>>,
    /// Whether it may be another server's.
    any_name: bool,
    untrusted: Untrusted,
    provider: Arc<CryptoProvider>,
}

/// Why a certificate is not believed.
#[derive(Debug, Clone, thiserror::Error)]
#[error("no authority in {} has signed the server's certificate", authorities(.file.as_deref()))]
struct Untrusted {
    /// Of the authorities; none for the operating system's.
    file: Option<PathBuf>,
}

fn authorities(file: Option<&Path>) -> String {
    file.map_or_else(
        || "the operating system's roots (sslrootcert names others)".to_owned(),
        |path| path.display().to_string(),
    )
}

impl ServerCertVerifier for Check {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let Some(chain) = &self.chain else { return Ok(ServerCertVerified::assertion()) };
        match chain.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now) {
            // The name is looked at last, when the chain has been found good.
            Err(Error::InvalidCertificate(
                CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
            )) if self.any_name => Ok(ServerCertVerified::assertion()),
            // The second, when one of the authorities has the right name and another key.
            Err(Error::InvalidCertificate(
                CertificateError::UnknownIssuer | CertificateError::BadSignature,
            )) => Err(OtherError(Arc::new(self.untrusted.clone())).into()),
            verified => verified,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls12_signature(message, certificate, signature, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}
