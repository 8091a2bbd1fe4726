//! TLS from the files that the settings name.

use std::path::{Path, PathBuf};
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

/// Where they are.
#[derive(Debug, Clone)]
pub(crate) struct TlsPaths {
    certificate: PathBuf,
    key: PathBuf,
    client_authorities: Option<PathBuf>,
}

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
    /// Reads the files, if the settings name any. `name` is how an error names a setting.
    pub(super) fn read(
        settings: &Settings,
        name: impl Fn(&str) -> String,
    ) -> Result<Option<Self>, SettingsError> {
        let Some(paths) = TlsPaths::of(settings, &name)? else { return Ok(None) };
        let wrong = |part, reason| SettingsError::Tls { key: name(setting(part)), reason };
        let contents =
            Contents::read(&paths.all()).map_err(|error| wrong(paths.part_in(&error.path), error.into()))?;
        let tls = Tls::new(pem(&contents)).map_err(|error| wrong(error.part, paths.at(error)))?;
        Ok(Some(Self { in_force: contents.seen(), paths, tls: Arc::new(tls) }))
    }
}

impl TlsPaths {
    /// A certificate is nothing without its key, and a client's is asked for under TLS only.
    fn of(settings: &Settings, name: impl Fn(&str) -> String) -> Result<Option<Self>, SettingsError> {
        let Settings { tls_cert, tls_key, tls_client_ca, .. } = settings;
        let halved = |set, missing| Err(SettingsError::Halved { set: name(set), missing });
        match (tls_cert, tls_key, tls_client_ca) {
            (None, None, None) => Ok(None),
            (Some(_), None, _) => halved("tls_cert", "tls_key"),
            (None, Some(_), _) => halved("tls_key", "tls_cert"),
            (None, None, Some(_)) => halved("tls_client_ca", "tls_cert"),
            (Some(certificate), Some(key), client_authorities) => Ok(Some(Self {
                certificate: certificate.clone(),
                key: key.clone(),
                client_authorities: client_authorities.clone(),
            })),
        }
    }

    /// All of them, in the order in which [`pem`] takes their contents.
    pub(crate) fn all(&self) -> Vec<PathBuf> {
        [&self.certificate, &self.key].into_iter().chain(&self.client_authorities).cloned().collect()
    }

    /// What this file is for, or is for first: one file may hold the certificate and its key.
    fn part_in(&self, path: &Path) -> TlsPart {
        if path == self.certificate {
            TlsPart::Certificate
        } else if path == self.key {
            TlsPart::Key
        } else {
            TlsPart::ClientAuthorities
        }
    }

    /// Makes `tls` what the files have now.
    pub(crate) fn apply(&self, contents: &Contents, tls: &Tls) -> Result<(), TlsFileError> {
        tls.replace(pem(contents)).map_err(|error| self.at(error))
    }

    fn at(&self, TlsError { part, reason }: TlsError) -> TlsFileError {
        let path = match part {
            TlsPart::Certificate => Some(&self.certificate),
            TlsPart::Key => Some(&self.key),
            TlsPart::ClientAuthorities => self.client_authorities.as_ref(),
        };
        TlsFileError { path: path.cloned().unwrap_or_default(), reason }
    }
}

/// The setting that names the file of a part.
const fn setting(part: TlsPart) -> &'static str {
    match part {
        TlsPart::Certificate => "tls_cert",
        TlsPart::Key => "tls_key",
        TlsPart::ClientAuthorities => "tls_client_ca",
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_names_the_setting_as_it_was_written() {
        let dir = tempfile::tempdir().unwrap();
        let empty = dir.path().join("empty.pem");
        std::fs::write(&empty, "").unwrap();
        let keyless = dir.path().join("keyless.pem");
        std::fs::write(&keyless, "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n").unwrap();
        let missing = dir.path().join("missing.pem");
        let error = |cert: Option<&PathBuf>, key: Option<&PathBuf>, ca: Option<&PathBuf>| {
            let [tls_cert, tls_key, tls_client_ca] = [cert, key, ca].map(|path| path.cloned());
            let settings = Settings { tls_cert, tls_key, tls_client_ca, ..Settings::default() };
            TlsFiles::read(&settings, |key| format!("<{key}>")).unwrap_err().to_string()
        };
        for (error, beginning) in [
            (error(Some(&empty), None, None), "<tls_cert> is set and tls_key is not"),
            (error(None, Some(&empty), None), "<tls_key> is set and tls_cert is not"),
            (error(None, None, Some(&empty)), "<tls_client_ca> is set and tls_cert is not"),
            (error(Some(&empty), Some(&missing), None), "<tls_key>: "),
            (error(Some(&empty), Some(&empty), Some(&missing)), "<tls_client_ca>: "),
            (error(Some(&empty), Some(&empty), None), "<tls_cert>: "),
            (error(Some(&keyless), Some(&keyless), None), "<tls_key>: "),
        ] {
            assert!(error.starts_with(beginning), "{error}");
        }
    }
}
