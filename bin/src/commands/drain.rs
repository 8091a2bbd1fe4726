use std::time::Duration;

use clap::Args;
use steadfast_client::{Client, Error, Repeat};

use super::failure::Failure;
use super::human;
use super::output::{self, Format};
use super::session::{NO_PATIENCE, ServerArgs};

/// How often a waiting `drain` looks whether the server is gone.
const LOOK_EVERY: Duration = Duration::from_millis(100);

const EXAMPLES: &str = "\
It ends with 69 when no server answers.

Examples:
  steadfast drain
  steadfast drain --wait --server http://127.0.0.1:8081";

#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct DrainArgs {
    /// End only when the server is gone
    #[arg(long)]
    wait: bool,
    #[command(flatten)]
    server: ServerArgs,
}

pub(crate) fn run(args: &DrainArgs) -> Result<(), Failure> {
    args.server.run(NO_PATIENCE, async |session| {
        let drain = session.call(Repeat::Safe, || session.client.drain()).await?;
        match session.format {
            Format::Text => {
                output::print(format_args!("the server drains; it was {}\n", human::clean(&drain.phase)))?
            }
            Format::Json => output::print_json(&drain)?,
        }
        if args.wait {
            gone(&session.client).await;
        }
        Ok(())
    })
}

/// Waits until nothing accepts connections at the server's address. Its listener closes after its last job
/// has settled, so an answer of any kind says that it is still there.
async fn gone(client: &Client) {
    while !matches!(client.health().await, Err(Error::Unreachable { .. })) {
        tokio::time::sleep(LOOK_EVERY).await;
    }
}
