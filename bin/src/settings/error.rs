use std::net::SocketAddr;
use std::path::PathBuf;

use steadfast_domain::Invalid;
use steadfast_lifecycle::BudgetError;

use super::value::NotAllowed;
use super::{TlsFileError, TokenFileError};

/// Why the settings cannot be used. Each says what is wrong with which setting, and, of a single one, how it was written
/// where it came from.
#[derive(Debug, thiserror::Error)]
pub enum SettingsError {
    /// A value that cannot stand where it does.
    #[error("{key}: {value:?} is not allowed; allowed is {allowed}")]
    NotAllowed {
        /// The flag, the variable, or the key and its file.
        key: String,
        /// The value, cut if it is long.
        value: String,
        /// What is allowed.
        allowed: String,
    },
    /// A key in the file that names no setting.
    #[error("{key}: there is no such setting; `steadfast check` lists those there are")]
    UnknownKey {
        /// The key and its file.
        key: String,
    },
    /// The name of a queue or a program in the file.
    #[error("{key}: {reason}")]
    Name {
        /// The table and its file.
        key: String,
        /// What is wrong with it.
        reason: Invalid,
    },
    /// The file cannot be read.
    #[error("--config: {}: {reason}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        reason: std::io::Error,
    },
    /// The file is not TOML.
    #[error("--config: {}: line {line}: not TOML: {reason}", path.display())]
    Syntax {
        /// The file.
        path: PathBuf,
        /// Where: from 1.
        line: usize,
        /// Why, without what stands there: it may be a password.
        reason: String,
    },
    /// An address that others reach, with nothing to tell who they are.
    #[error(
        "{key}: {address} can be reached from beyond this machine, and without tokens whoever reaches it may do \
         everything: name a token file (--token-file; `steadfast token` makes its entries), or say --insecure if \
         something else keeps strangers away"
    )]
    Open {
        /// The setting, as it was written where it came from.
        key: String,
        /// The address.
        address: SocketAddr,
    },
    /// The token file.
    #[error("{key}: {reason}")]
    Tokens {
        /// The setting, as it was written where it came from.
        key: String,
        /// What is wrong with the file.
        reason: TokenFileError,
    },
    /// One of two settings that belong together.
    #[error("{set} is set and {missing} is not: TLS needs both")]
    Halved {
        /// The one that is there, as it was written where it came from.
        set: String,
        /// The one that is not.
        missing: &'static str,
    },
    /// A file of TLS is not what it has to be.
    #[error("{key}: {reason}")]
    Tls {
        /// The setting that names it, as it was written where it came from.
        key: String,
        /// What is wrong with the file.
        reason: TlsFileError,
    },
    /// The shutdown's times do not make a drain.
    #[error("shutdown: {0}")]
    Budget(#[from] BudgetError),
}

impl SettingsError {
    pub(super) fn not_allowed(key: impl Into<String>, not: NotAllowed) -> Self {
        Self::NotAllowed { key: key.into(), value: not.shown, allowed: not.allowed }
    }
}
