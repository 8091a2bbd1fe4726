use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::task::JoinSet;
use tokio::time::{Instant, timeout};
use tokio_postgres::tls::MakeTlsConnect;
use tokio_postgres::{Client, Config, Connection, Socket};

use crate::error::{Failure, OpenError, chain};
use crate::session::{Session, Sql};
use crate::tls::{self, Tls};
use crate::url::PostgresUrl;

type Stream = <Tls as MakeTlsConnect<Socket>>::Stream;

/// How connections are made.
#[derive(Clone)]
pub(crate) struct Connector {
    url: PostgresUrl,
    config: Arc<Config>,
    tls: Tls,
    /// Whether the last attempt failed, of whichever connection: an outage is told of once.
    away: Arc<AtomicBool>,
}

/// How long a connection and its statements may take to get ready.
const READY_MAX: Duration = Duration::from_secs(5);
/// Time between two attempts to connect: doubling from the first to the last.
const RETRY_FIRST: Duration = Duration::from_millis(50);
const RETRY_LAST: Duration = Duration::from_secs(1);

impl Connector {
    pub(crate) fn new(url: PostgresUrl) -> Result<Self, OpenError> {
        let config =
            url.parts().config().map_err(|source| OpenError::Connect { url: url.clone(), source })?;
        let tls = tls::connector(&url)?;
        Ok(Self { url, config: Arc::new(config), tls, away: Arc::default() })
    }

    pub(crate) fn url(&self) -> &PostgresUrl {
        &self.url
    }

    /// A connection, and what reads from it: that does nothing until it is polled.
    pub(crate) async fn connect(
        &self,
    ) -> Result<(Client, Connection<Socket, Stream>), tokio_postgres::Error> {
        self.config.connect(self.tls.clone()).await
    }

    fn reached(&self) {
        if self.away.swap(false, Ordering::Relaxed) {
            tracing::info!(url = %self.url, "connected to the database again");
        }
    }

    fn not_reached(&self, why: &str) {
        if !self.away.swap(true, Ordering::Relaxed) {
            tracing::warn!(url = %self.url, error = why, "cannot connect to the database; it is tried until it is back");
        }
    }

    /// A connection that is being read from, with these statements.
    pub(crate) async fn session(&self, sqls: &[&'static Sql]) -> Result<Session, tokio_postgres::Error> {
        let (client, connection) = self.connect().await?;
        let mut driver = JoinSet::new();
        driver.spawn(async move {
            if let Err(error) = connection.await {
                tracing::debug!(error = chain(&error), "a connection to the database ended");
            }
        });
        Session::start(client, driver, &self.url.parts().schema, self.url.parts().prepare, sqls).await
    }
}

/// One connection for the life of the store: made again when it is lost.
pub(crate) struct Link {
    connector: Connector,
    sqls: &'static [&'static Sql],
    session: Option<Session>,
    retry_at: Instant,
    retry_after: Duration,
    why: String,
}

impl Link {
    pub(crate) fn new(connector: Connector, sqls: &'static [&'static Sql]) -> Self {
        let retry_at = Instant::now();
        Self { connector, sqls, session: None, retry_at, retry_after: RETRY_FIRST, why: String::new() }
    }

    /// A link whose connection is there.
    pub(crate) async fn connected(
        connector: Connector,
        sqls: &'static [&'static Sql],
    ) -> Result<Self, OpenError> {
        let mut link = Self::new(connector, sqls);
        match link.connect().await {
            Ok(()) => Ok(link),
            Err(failure) => {
                Err(OpenError::Start { url: link.connector.url().clone(), why: failure.to_string() })
            }
        }
    }

    /// The connection, made anew if need be. While the next attempt is not yet due, it is an error at once.
    pub(crate) async fn session(&mut self) -> Result<&Session, Failure> {
        if self.session.as_ref().is_some_and(Session::is_closed) {
            self.drop_session();
        }
        if self.session.is_none() {
            self.connect().await?;
        }
        self.session.as_ref().ok_or_else(|| Failure::NoConnection(self.why.clone()))
    }

    async fn connect(&mut self) -> Result<(), Failure> {
        if Instant::now() < self.retry_at {
            return Err(Failure::NoConnection(self.why.clone()));
        }
        self.why = match timeout(READY_MAX, self.connector.session(self.sqls)).await {
            Ok(Ok(session)) => {
                self.connector.reached();
                self.why.clear();
                self.session = Some(session);
                self.retry_after = RETRY_FIRST;
                return Ok(());
            }
            Ok(Err(error)) => chain(&error),
            Err(_) => format!("it was not ready within {READY_MAX:?}"),
        };
        self.connector.not_reached(&self.why);
        self.retry_at = Instant::now() + self.retry_after;
        self.retry_after = RETRY_LAST.min(self.retry_after * 2);
        Err(Failure::NoConnection(self.why.clone()))
    }

    /// When it makes sense to ask for the connection again.
    pub(crate) fn retry_at(&self) -> Instant {
        self.retry_at
    }

    /// Gives the connection up: what was under way on it is not known.
    pub(crate) fn drop_session(&mut self) {
        if self.session.take().is_some() && self.why.is_empty() {
            self.why = "the connection was lost".to_owned();
        }
    }

    pub(crate) async fn close(mut self) {
        if let Some(session) = self.session.take() {
            session.close().await;
        }
    }
}
