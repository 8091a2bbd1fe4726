use std::error::Error;
use std::io;

use steadfast_domain::Invalid;
use steadfast_queue::store::StoreError;
use tokio_postgres::error::{DbError, SqlState};

use crate::tls::TlsError;
use crate::url::PostgresUrl;

/// Why a database was not opened. The text says what to do.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// It cannot be reached, or does not let us in.
    #[error("cannot connect to {url}: {}", chain(.source))]
    Connect {
        /// Which database.
        url: PostgresUrl,
        /// Why not.
        #[source]
        source: tokio_postgres::Error,
    },
    /// Its server is too old.
    #[error("{url} is PostgreSQL {found}, and this program needs 14 or later")]
    TooOld {
        /// Which database.
        url: PostgresUrl,
        /// The server's version.
        found: String,
    },
    /// It is set up to lose what it has committed.
    #[error(
        "{url} runs with {setting}={found}, which loses committed jobs in a crash: set {setting}={needed} in \
         postgresql.conf"
    )]
    Unsafe {
        /// Which database.
        url: PostgresUrl,
        /// Which setting.
        setting: &'static str,
        /// Its value.
        found: String,
        /// The value it must have.
        needed: &'static str,
    },
    /// It cannot hold every text.
    #[error(
        "{url} has the encoding {found}, and this program needs UTF8: make a database with ENCODING 'UTF8'"
    )]
    Encoding {
        /// Which database.
        url: PostgresUrl,
        /// Its encoding.
        found: String,
    },
    /// A later version of the program made the schema.
    #[error(
        "the schema {schema} of {url} has version {found}, and this program knows versions up to {known}: \
         start the version that made it, or a later one"
    )]
    NewerSchema {
        /// Which database.
        url: PostgresUrl,
        /// Which schema.
        schema: String,
        /// Its version.
        found: i32,
        /// The newest version this program knows.
        known: i32,
    },
    /// A statement failed.
    #[error("cannot prepare {url}: {}", chain(.source))]
    Sql {
        /// Which database.
        url: PostgresUrl,
        /// Why.
        #[source]
        source: tokio_postgres::Error,
    },
    /// It does not let us work.
    #[error("cannot begin to work with {url}: {why}")]
    Start {
        /// Which database.
        url: PostgresUrl,
        /// Why not.
        why: String,
    },
    /// The connection ended meanwhile.
    #[error("{url} ended the connection: see its log")]
    Lost {
        /// Which database.
        url: PostgresUrl,
    },
    /// TLS cannot be set up.
    #[error(transparent)]
    Tls(#[from] TlsError),
}

/// An error and all that caused it. Of what the database said only the sentence and its code: its details quote rows, and
/// with them what jobs hold.
pub(crate) fn chain(error: &tokio_postgres::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        text = match inner.downcast_ref::<DbError>() {
            Some(said) => {
                format!("{text}: {}: {} ({})", said.severity(), said.message(), said.code().code())
            }
            None => format!("{text}: {inner}"),
        };
        cause = inner.source();
    }
    text
}

/// Why a transaction ended without a commit.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Failure {
    /// The server or the way there.
    #[error("{}", chain(.0))]
    Sql(#[from] tokio_postgres::Error),
    /// A value that is never written.
    #[error("a stored value is damaged: {0}")]
    Damaged(#[from] Invalid),
    /// What it had expected was not so: to be begun again.
    #[error("another transaction came first")]
    Overtaken,
    /// The server has taken too long, though it is not gone.
    #[error("the database does not answer")]
    Stalled,
    /// There is no connection.
    #[error("there is no connection to the database: {0}")]
    NoConnection(String),
}

/// What to do about a [`Failure`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// Begin again: two transactions stood in each other's way.
    Again,
    /// Something in its data was not accepted: whatever shares the transaction may go on without it.
    Data,
    /// No disk. Nothing happened.
    Full,
    /// Nothing happened.
    Unavailable,
    /// The connection is gone. Had the commit been sent, it may have happened.
    Lost,
}

impl Failure {
    /// What to do about it.
    pub(crate) fn fault(&self) -> Fault {
        match self {
            Self::Sql(error) => of_sql(error),
            Self::Damaged(_) => Fault::Data,
            Self::Overtaken => Fault::Again,
            Self::Stalled => Fault::Lost,
            Self::NoConnection(_) => Fault::Unavailable,
        }
    }

    /// What callers are told when nothing happened.
    pub(crate) fn to_store_error(&self) -> StoreError {
        match self.fault() {
            Fault::Full => StoreError::Full,
            _ => StoreError::Unavailable(self.to_string().into()),
        }
    }
}

fn of_sql(error: &tokio_postgres::Error) -> Fault {
    let Some(state) = error.code() else {
        let local = error.source().is_some_and(|cause| !cause.is::<io::Error>()) && !error.is_closed();
        // A value that could not be encoded never left this process.
        return if local { Fault::Data } else { Fault::Lost };
    };
    let again =
        [SqlState::T_R_DEADLOCK_DETECTED, SqlState::T_R_SERIALIZATION_FAILURE, SqlState::UNIQUE_VIOLATION];
    match state.code() {
        _ if again.contains(state) => Fault::Again,
        "53100" => Fault::Full,
        // A shutdown, a crash, a start: the server has ended the connection.
        "57P01" | "57P02" | "57P03" | "57P05" => Fault::Lost,
        code => match &code[..2] {
            "08" => Fault::Lost,
            "22" | "23" | "54" => Fault::Data,
            _ => Fault::Unavailable,
        },
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt, duplex};
    use tokio_postgres::{Config, NoTls};

    use super::*;

    /// What a client gets from a server that answers its first words with this error.
    async fn refused_with(fields: &[&str]) -> tokio_postgres::Error {
        let (client, mut server) = duplex(1_024);
        let mut body: Vec<u8> = fields.iter().flat_map(|field| [field.as_bytes(), b"\0"].concat()).collect();
        body.push(0);
        let length = u32::try_from(body.len() + 4).unwrap();
        let answer = [b"E".as_slice(), &length.to_be_bytes(), &body].concat();
        let answering = async {
            let mut startup = [0; 1_024];
            assert_ne!(server.read(&mut startup).await.unwrap(), 0);
            server.write_all(&answer).await.unwrap();
        };
        let mut config = Config::new();
        config.user("steadfast");
        let (connected, ()) = tokio::join!(config.connect_raw(client, NoTls), answering);
        connected.err().unwrap()
    }

    #[tokio::test]
    async fn what_a_database_quotes_of_a_job_is_not_repeated() {
        let error = refused_with(&[
            "SERROR",
            "VERROR",
            "C23514",
            "Mnew row violates check constraint \"jobs_kind_check\"",
            "DFailing row contains (7, {\"card\": \"4111\"}).",
            "Hmind 4111",
            "WSQL statement with 4111",
        ])
        .await;
        assert_eq!(
            Failure::from(error).to_string(),
            "db error: ERROR: new row violates check constraint \"jobs_kind_check\" (23514)"
        );
    }
}
