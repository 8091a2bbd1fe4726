use clap::Args;
use steadfast_client::Repeat;
use steadfast_domain::JobId;

use super::failure::Failure;
use super::job_text::state;
use super::output::{self, Format};
use super::session::{SHORT_PATIENCE, ServerArgs};

const EXAMPLES: &str = "\
Examples:
  steadfast cancel 01993c1e-5f2a-7000-8000-4fa1c2d3e4f5";

#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct CancelArgs {
    /// The job's id
    id: JobId,
    #[command(flatten)]
    server: ServerArgs,
}

pub(crate) fn run(args: &CancelArgs) -> Result<(), Failure> {
    args.server.run(SHORT_PATIENCE, async |session| {
        let job = session.call(Repeat::Safe, || session.client.cancel(args.id)).await?;
        match session.format {
            Format::Text => output::print(format_args!("job {} is {}\n", job.id, state(&job))),
            Format::Json => output::print_json(&job),
        }
    })
}
