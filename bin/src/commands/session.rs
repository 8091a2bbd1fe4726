use std::env;
use std::future::Future;
use std::time::Duration;

use clap::Args;
use steadfast_client::{Client, Error, Repeat, Retries, RetryConfig};

use super::failure::Failure;
use super::output::{Format, OutputArgs};
use crate::settings::parse_time;

/// Holds the bearer token. A variable and no flag, since every user of a machine can read its command lines.
const TOKEN: &str = "STEADFAST_TOKEN";
/// Where the first answer is the answer.
pub(crate) const NO_PATIENCE: Duration = Duration::ZERO;
/// For how long a single call is repeated.
pub(crate) const SHORT_PATIENCE: Duration = Duration::from_secs(10);
/// For how long a command that takes long anyway waits for its server to come back.
pub(crate) const LONG_PATIENCE: Duration = Duration::from_secs(5 * 60);

/// What every command that speaks to a server takes.
#[derive(Debug, Args)]
pub(crate) struct ServerArgs {
    /// The server's address
    #[arg(long, env = "STEADFAST_SERVER", value_name = "URL", default_value = "http://127.0.0.1:8080")]
    server: String,
    /// For how long to repeat what may do better soon, 0s for not at all; by default 10s, 5m where the command waits
    /// for jobs or has many to submit, and not at all for a drain
    #[arg(long, value_name = "TIME", value_parser = time)]
    retry_for: Option<Duration>,
    #[command(flatten)]
    output: OutputArgs,
}

/// A duration as the settings write it.
pub(crate) fn time(text: &str) -> Result<Duration, String> {
    parse_time(text).ok_or_else(|| "write a duration such as 500ms, 30s, 10m, 24h or 7d".to_owned())
}

/// One command's dealings with its server.
#[derive(Debug)]
pub(crate) struct Session {
    pub(crate) client: Client,
    /// The server's address, as given.
    pub(crate) server: String,
    /// How long the command bears a server that does not answer.
    pub(crate) patience: Duration,
    pub(crate) format: Format,
    retries: Retries,
}

impl ServerArgs {
    /// Does a command's work, on a runtime that ends with it.
    pub(crate) fn run(
        &self,
        patience: Duration,
        work: impl AsyncFnOnce(Session) -> Result<(), Failure>,
    ) -> Result<(), Failure> {
        let session = self.session(patience)?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        runtime.map_err(Failure::failed)?.block_on(work(session))
    }

    fn session(&self, patience: Duration) -> Result<Session, Failure> {
        let client = match env::var_os(TOKEN) {
            // A token that is not Unicode is none, which the client says without showing it.
            Some(token) => Client::with_token(&self.server, token.to_str().unwrap_or_default()),
            None => Client::new(&self.server),
        }?;
        let patience = self.retry_for.unwrap_or(patience);
        Ok(Session {
            client,
            server: self.server.clone(),
            patience,
            format: self.output.format(),
            retries: Retries::new(RetryConfig { give_up_after: patience, ..RetryConfig::default() }),
        })
    }
}

impl Session {
    /// A call, repeated as far as the patience goes.
    pub(crate) async fn call<T, Fut>(&self, repeat: Repeat, call: impl FnMut() -> Fut) -> Result<T, Error>
    where
        Fut: Future<Output = Result<T, Error>>,
    {
        self.retries.run(repeat, call).await
    }
}
