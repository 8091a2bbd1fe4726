use std::error::Error as _;
use std::time::Duration;

use clap::Args;
use steadfast_client::{Client, Error};

use super::{EXIT_FAILED, EXIT_UNREACHABLE, EXIT_USAGE, fail};

/// How often a waiting `drain` looks whether the server is gone.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// Asks a running server to drain, as SIGTERM does.
#[derive(Debug, Args)]
pub(crate) struct DrainArgs {
    /// The server's address
    #[arg(long, env = "STEADFAST_SERVER", value_name = "URL", default_value = "http://127.0.0.1:8080")]
    server: String,
    /// End only when the server is gone
    #[arg(long)]
    wait: bool,
}

pub(crate) fn run(args: &DrainArgs) -> u8 {
    let client = match Client::new(&args.server) {
        Ok(client) => client,
        Err(error) => return fail(EXIT_USAGE, format_args!("--server: {error}")),
    };
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return fail(EXIT_FAILED, error),
    };
    runtime.block_on(async {
        match client.drain().await {
            Ok(_) if args.wait => {
                gone(&client).await;
                0
            }
            Ok(_) => 0,
            Err(error @ Error::Unreachable { .. }) => fail(EXIT_UNREACHABLE, with_causes(&error)),
            Err(error) => fail(EXIT_FAILED, with_causes(&error)),
        }
    })
}

/// Waits until nothing accepts connections at the server's address. Its listener closes after its last job
/// has settled, so an answer of any kind says that it is still there.
async fn gone(client: &Client) {
    while !matches!(client.health().await, Err(Error::Unreachable { .. })) {
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

/// An error and what caused it, on one line.
fn with_causes(error: &Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        text = format!("{text}: {inner}");
        cause = inner.source();
    }
    text
}
