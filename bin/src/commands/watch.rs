use clap::Args;
use serde::Serialize;
use serde_json::json;
use steadfast_client::{Error, JobEvent, Repeat};
use steadfast_domain::{JobId, JobState};
use steadfast_wire::JobDocument;
use tokio::time::Instant;

use super::failure::Failure;
use super::human;
use super::output::{self, Format};
use super::progress::Bar;
use super::session::{LONG_PATIENCE, ServerArgs, Session};

const EXAMPLES: &str = "\
It ends with 0 when the job has completed, with 1 when it has ended otherwise. It goes on when its \
connection or its server goes and comes back. A handler that reports {\"done\":3,\"total\":10} moves the bar.

Examples:
  steadfast watch 01993c1e-5f2a-7000-8000-4fa1c2d3e4f5
  steadfast watch 01993c1e-5f2a-7000-8000-4fa1c2d3e4f5 --output json";

#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct WatchArgs {
    /// The job's id
    id: JobId,
    #[command(flatten)]
    server: ServerArgs,
}

pub(crate) fn run(args: &WatchArgs) -> Result<(), Failure> {
    args.server.run(LONG_PATIENCE, async |session| {
        let print = |event: &JobEvent| print(session.format, event);
        completed(&follow(&session, args.id, print).await?)
    })
}

/// Follows a job to its end, over whatever happens to its server meanwhile as far as the patience goes, with a bar.
/// Each event is shown to `told`.
pub(crate) async fn follow(
    session: &Session,
    id: JobId,
    mut told: impl FnMut(&JobEvent) -> Result<(), Failure>,
) -> Result<JobDocument, Failure> {
    let bar = Bar::of_job();
    let mut events = session.client.job_events(id, None);
    let mut heard = Instant::now();
    loop {
        match events.next().await {
            Ok(Some(event)) => {
                heard = Instant::now();
                bar.show(&event);
                bar.aside(|| told(&event))?;
                if let JobEvent::End(job) = event {
                    return Ok(*job);
                }
            }
            // The events go on after the last one that was seen, not before a pause.
            Err(error) if error.may_be_repeated(Repeat::Safe) && heard.elapsed() < session.patience => {
                bar.say(error.to_string());
            }
            Err(error) => return Err(error.into()),
            Ok(None) => return Err(ended_unseen()),
        }
    }
}

/// Whether a job that has ended did what it was for.
pub(crate) fn completed(job: &JobDocument) -> Result<(), Failure> {
    if job.state == JobState::Completed {
        return Ok(());
    }
    let last = job.errors.last().map(|error| format!(": {}: {}", error.code, error.message));
    let why = human::clean(&last.unwrap_or_default());
    Err(Failure::failed(format_args!("job {} is {}{why}", job.id, job.state.as_str())))
}

/// A stream ends with the job's end and nothing else.
fn ended_unseen() -> Failure {
    let reason = "a job's events ended without its end".to_owned();
    Error::Unexpected { status: 204, reason, retry_after: None }.into()
}

/// An event as a document.
#[derive(Serialize)]
struct Told<'a, T> {
    event: &'static str,
    data: &'a T,
}

fn print(format: Format, event: &JobEvent) -> Result<(), Failure> {
    match (format, event) {
        (Format::Text, JobEvent::State(state)) => {
            output::print(format_args!("{} {}\n", state.at, state.state.as_str()))
        }
        (Format::Text, JobEvent::Processing { attempt }) => {
            output::print(format_args!("{:<24} processing, attempt {attempt}\n", ""))
        }
        // The bar shows it, and what ended was told as a state.
        (Format::Text, JobEvent::Progress(_) | JobEvent::End(_)) => Ok(()),
        (Format::Json, JobEvent::State(state)) => print_json("state", state),
        (Format::Json, JobEvent::Processing { attempt }) => {
            print_json("processing", &json!({ "attempt": attempt }))
        }
        (Format::Json, JobEvent::Progress(progress)) => print_json("progress", progress),
        (Format::Json, JobEvent::End(job)) => print_json("end", job),
    }
}

fn print_json(event: &'static str, data: &impl Serialize) -> Result<(), Failure> {
    output::print_json(&Told { event, data })
}
