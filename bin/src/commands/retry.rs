use clap::Args;
use steadfast_client::Repeat;
use steadfast_domain::JobId;

use super::failure::Failure;
use super::job_text::state;
use super::output::{self, Format};
use super::session::{SHORT_PATIENCE, ServerArgs};

const EXAMPLES: &str = "\
Examples:
  steadfast retry 01993c1e-5f2a-7000-8000-4fa1c2d3e4f5
  steadfast list --state dead --all --output json | jq -r .id | xargs -n 1 steadfast retry";

#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct RetryArgs {
    /// The job's id
    id: JobId,
    #[command(flatten)]
    server: ServerArgs,
}

pub(crate) fn run(args: &RetryArgs) -> Result<(), Failure> {
    args.server.run(SHORT_PATIENCE, async |session| {
        // What the first try did may have run, and died, before the second.
        let job = session.call(Repeat::Unsafe, || session.client.retry(args.id)).await?;
        match session.format {
            Format::Text => output::print(format_args!("job {} is {}\n", job.id, state(&job))),
            Format::Json => output::print_json(&job),
        }
    })
}
