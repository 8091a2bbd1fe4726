use clap::Args;
use steadfast_client::Repeat;
use steadfast_domain::JobId;
use steadfast_wire::JobDocument;

use super::failure::Failure;
use super::job_text::JobText;
use super::output::{self, Format};
use super::session::{SHORT_PATIENCE, ServerArgs};

const EXAMPLES: &str = "\
Examples:
  steadfast get 01993c1e-5f2a-7000-8000-4fa1c2d3e4f5
  steadfast get 01993c1e-5f2a-7000-8000-4fa1c2d3e4f5 --output json | jq .result";

#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct GetArgs {
    /// The job's id
    id: JobId,
    #[command(flatten)]
    server: ServerArgs,
}

pub(crate) fn run(args: &GetArgs) -> Result<(), Failure> {
    args.server.run(SHORT_PATIENCE, async |session| {
        let job = session.call(Repeat::Safe, || session.client.job(args.id)).await?;
        print(session.format, &job)
    })
}

/// Prints a whole job.
pub(crate) fn print(format: Format, job: &JobDocument) -> Result<(), Failure> {
    match format {
        Format::Text => output::print(JobText(job)),
        Format::Json => output::print_json(job),
    }
}
