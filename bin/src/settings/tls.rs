//! TLS from the files that the settings name.

use std::path::PathBuf;
use std::sync::Arc;

use steadfast_api::{Tls, TlsError, TlsPart, TlsPem};

use super::{Settings, SettingsError};
use crate::reload::{Contents, Seen, Unreadable};

/// Files that were read, and what they make.
#[derive(Debug, Clone)]
pub(crate) struct TlsFiles {
    pub(crate) paths: TlsPaths,
    /// What was read.
    pub(crate) in_force: Seen,
    pub(crate) tls: Arc<Tls>,
}

/// Where they are: the certificate, its key, and the clients' authorities if there are any.
#[derive(Debug, Clone)]
pub(crate) struct TlsPaths(pub(crate) Vec<PathBuf>);

/// A file that makes no TLS.
#[derive(Debug, thiserror::Error)]
#[error("{}: {reason}", path.display())]
pub struct TlsFileError {
    /// The file.
    pub path: PathBuf,
    /// Why not.
    pub reason: String,
}

impl TlsFiles {
    /// Reads the files, if the settings name any.
    pub(super) fn read(settings: &Settings) -> Result<Option<Self>, SettingsError> {
        let Some(paths) = TlsPaths::of(settings)? else { return Ok(None) };
        let contents = Contents::read(&paths.0).map_err(TlsFileError::from)?;
        let tls = Tls::new(pem(&contents)).map_err(|error| paths.name(error))?;
        Ok(Some(Self { paths, in_force: contents.seen(), tls: Arc::new(tls) }))
    }
}

impl TlsPaths {
    /// A certificate is nothing without its key, and a client's is asked for under TLS only.
    fn of(settings: &Settings) -> Result<Option<Self>, SettingsError> {
        let Settings { tls_cert, tls_key, tls_client_ca, .. } = settings;
        let halved = |set, missing| Err(SettingsError::Halved { set, missing });
        match (tls_cert, tls_key, tls_client_ca) {
            (None, None, None) => Ok(None),
            (Some(_), None, _) => halved("tls_cert", "tls_key"),
            (None, Some(_), _) => halved("tls_key", "tls_cert"),
            (None, None, Some(_)) => halved("tls_client_ca", "tls_cert"),
            (Some(certificate), Some(key), authorities) => {
                Ok(Some(Self([certificate, key].into_iter().chain(authorities).cloned().collect())))
            }
        }
    }

    /// Makes `tls` what the files have now.
    pub(crate) fn apply(&self, contents: &Contents, tls: &Tls) -> Result<(), TlsFileError> {
        tls.replace(pem(contents)).map_err(|error| self.name(error))
    }

    fn name(&self, TlsError { part, reason }: TlsError) -> TlsFileError {
        let place = match part {
            TlsPart::Certificate => 0,
            TlsPart::Key => 1,
            TlsPart::ClientAuthorities => 2,
        };
        TlsFileError { path: self.0.get(place).cloned().unwrap_or_default(), reason }
    }
}

impl From<Unreadable> for TlsFileError {
    fn from(Unreadable { path, reason }: Unreadable) -> Self {
        Self { path, reason: reason.to_string() }
    }
}

fn pem(contents: &Contents) -> TlsPem<'_> {
    let mut each = contents.each();
    TlsPem {
        certificate: each.next().unwrap_or_default(),
        key: each.next().unwrap_or_default(),
        client_authorities: each.next(),
    }
}
