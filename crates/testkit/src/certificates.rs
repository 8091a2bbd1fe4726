//! Certificates for servers and clients of the test's own, made by the machine's `openssl`, and TLS clients that
//! trust them.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, RootCertStore};
use tokio_rustls::TlsConnector;

/// The names of this machine to itself.
pub const THIS_MACHINE: &str = "DNS:localhost,IP:127.0.0.1";
/// A certificate that ended with the year 2001, and its key, in PEM: the `openssl` of many machines makes none.
pub const EXPIRED: &str = include_str!("certificates/expired.pem");

/// Who signs certificates. All have one name: only their keys tell them apart.
#[derive(Debug, Clone)]
pub struct Authority(Issued);

/// A certificate and its key, in PEM.
#[derive(Debug, Clone)]
pub struct Issued {
    /// The certificate's file.
    pub certificate: PathBuf,
    /// The key's file.
    pub key: PathBuf,
}

impl Authority {
    /// Makes one whose files are `NAME.crt` and `NAME.key` in `dir`.
    ///
    /// # Panics
    /// When there is no `openssl`.
    pub fn new(dir: &Path, name: &str) -> Self {
        Self(issue(dir, name, "basicConstraints = critical, CA:true", &[]))
    }

    /// The file with its certificate, for those who are to trust it.
    pub fn certificate(&self) -> &Path {
        &self.0.certificate
    }

    /// Signs a certificate for these names, such as [`THIS_MACHINE`]. Its files are `NAME.crt` and `NAME.key`.
    ///
    /// # Panics
    /// When `openssl` refuses.
    pub fn issue(&self, dir: &Path, name: &str, names: &str) -> Issued {
        let extensions = format!("basicConstraints = critical, CA:false\nsubjectAltName = {names}");
        let (certificate, key) = (self.0.certificate.as_os_str(), self.0.key.as_os_str());
        let signed =
            ["-CA".as_ref(), certificate, "-CAkey".as_ref(), key, "-subj".as_ref(), "/CN=Leaf".as_ref()];
        issue(dir, name, &extensions, &signed)
    }

    /// A client that trusts this authority alone, shows the certificate `shows`, and offers to speak `protocols`.
    ///
    /// # Panics
    /// When the files cannot be read.
    pub fn client(&self, shows: Option<&Issued>, protocols: &[&[u8]]) -> TlsConnector {
        let mut roots = RootCertStore::empty();
        roots.add(read(self.certificate())).expect("an authority");
        let provider = Arc::new(ring::default_provider());
        let builder = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .expect("the provider has all versions")
            .with_root_certificates(roots);
        let mut config = match shows {
            None => builder.with_no_client_auth(),
            Some(Issued { certificate, key }) => builder
                .with_client_auth_cert(
                    vec![read(certificate)],
                    PrivateKeyDer::from_pem_file(key).expect("the key is PEM"),
                )
                .expect("the key is the certificate's"),
        };
        config.alpn_protocols = protocols.iter().map(|protocol| protocol.to_vec()).collect();
        TlsConnector::from(Arc::new(config))
    }
}

/// The first certificate in a file.
///
/// # Panics
/// When there is none.
pub fn read(certificate: &Path) -> CertificateDer<'static> {
    CertificateDer::from_pem_file(certificate).expect("the certificate is PEM")
}

/// Makes `NAME.key` and `NAME.crt`, signed by itself unless `how` says by whom.
fn issue(dir: &Path, name: &str, extensions: &str, how: &[&std::ffi::OsStr]) -> Issued {
    let file = |extension: &str| dir.join(format!("{name}.{extension}"));
    let (request, key, certificate) = (file("cnf"), file("key"), file("crt"));
    let settings = format!(
        "[req]\nprompt = no\ndistinguished_name = name\nx509_extensions = extensions\n\
         [name]\nCN = Test\n[extensions]\n{extensions}\n"
    );
    fs::write(&request, settings).expect("openssl's settings can be written");
    let mut openssl = Command::new("openssl");
    openssl.args(["req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]);
    openssl
        .args(["-days", "2", "-config"])
        .arg(request)
        .arg("-keyout")
        .arg(&key)
        .arg("-out")
        .arg(&certificate);
    let output = openssl.args(how).output().expect("openssl runs: apt-get install openssl");
    assert!(output.status.success(), "{openssl:?}: {}", String::from_utf8_lossy(&output.stderr));
    Issued { certificate, key }
}
