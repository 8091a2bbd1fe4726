mod all_ended;
mod documents;
mod file;
mod journal;
mod pace;
mod payload;
mod sending;
mod survey;

use std::cell::Cell;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use steadfast_client::{Error, Repeat, SubmitOptions, Submitted};
use steadfast_domain::{IdempotencyToken, KindName, Priority, QueueName, Timestamp, UniqueKey, limits};
use steadfast_wire::{Durability, JobDocument, Outcome, RetryRequest, SubmitRequest};

use super::failure::Failure;
use super::job_text::state;
use super::list::tag;
use super::output::{self, Format};
use super::session::{LONG_PATIENCE, SHORT_PATIENCE, ServerArgs, Session, time};
use super::{get, watch};

const EXAMPLES: &str = "\
A job is submitted under an idempotency key, a new one unless it is given, and so repeated without harm.

With --file each line is one job as POST /v1/jobs takes it. All lines are checked before the first is sent. A \
full queue is waited for as long as it takes. Interrupted, killed or refused, run it again: what was accepted is \
noted in FILE.steadfast and not sent twice, also when all was accepted; remove that to submit the file anew. \
Standard input cannot be read again, and is not noted.

Examples:
  steadfast submit echo '{\"hello\":\"world\"}'
  steadfast submit http @request.json --queue mail --priority high --tag customer=7
  steadfast submit sleep '{\"ms\":500}' --delay 10s --wait
  steadfast submit echo --idempotency-key order-7 --unique-key order-7 --max-attempts 3
  steadfast submit --file jobs.ndjson --wait
  jq -c '{kind:\"http\",payload:.}' requests.ndjson | steadfast submit --file -";

#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct SubmitArgs {
    /// Which handler is to run the job
    #[arg(required_unless_present = "file", conflicts_with = "file")]
    kind: Option<KindName>,
    /// What the handler gets: JSON, @FILE for a file's content, - for standard input; {} by default
    #[arg(value_name = "PAYLOAD|@FILE|-", allow_negative_numbers = true)]
    payload: Option<String>,
    #[command(flatten)]
    job: JobArgs,
    /// Makes a repeat answer with the same job instead of a second one
    #[arg(long, value_name = "KEY", conflicts_with = "file")]
    idempotency_key: Option<IdempotencyToken>,
    #[command(flatten)]
    file: FileArgs,
    /// Wait until the job has ended, or all jobs of the file; exit 1 unless completed
    #[arg(long)]
    wait: bool,
    #[command(flatten)]
    server: ServerArgs,
}

/// Where many jobs come from.
#[derive(Debug, Args)]
struct FileArgs {
    /// Submit the jobs of this file, one document a line; - for standard input
    #[arg(long, value_name = "FILE")]
    file: Option<PathBuf>,
    /// Where to note which jobs of the file are accepted, so that none is sent twice when this is run again; by
    /// default FILE.steadfast
    #[arg(long, value_name = "PATH", requires = "file", conflicts_with = "kind")]
    journal: Option<PathBuf>,
}

/// What a job may have beside its kind and payload.
#[derive(Debug, Args)]
struct JobArgs {
    /// Where the job waits
    #[arg(long, conflicts_with = "file")]
    queue: Option<QueueName>,
    /// critical, high, normal or low
    #[arg(long, value_parser = Priority::parse, conflicts_with = "file")]
    priority: Option<Priority>,
    /// For how long it waits before it may first run
    #[arg(long, value_name = "TIME", value_parser = time, conflicts_with = "file")]
    delay: Option<Duration>,
    /// After this moment it is not started any more: 2027-01-01T00:00:00Z
    #[arg(long, value_name = "MOMENT", value_parser = moment, conflicts_with = "file")]
    deadline: Option<Timestamp>,
    /// The longest one attempt may run
    #[arg(long, value_name = "TIME", value_parser = time, conflicts_with = "file")]
    timeout: Option<Duration>,
    /// Attempts in all, the first included
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=i64::from(limits::ATTEMPTS_MAX)), conflicts_with = "file")]
    max_attempts: Option<u32>,
    /// At most one live job of the queue has this key
    #[arg(long, value_name = "KEY", conflicts_with = "file")]
    unique_key: Option<UniqueKey>,
    /// A label for lists; may be given more than once
    #[arg(long = "tag", value_name = "KEY=VALUE", value_parser = tag, conflicts_with = "file")]
    tags: Vec<(String, String)>,
}

fn moment(text: &str) -> Result<Timestamp, String> {
    Timestamp::parse_rfc3339(text).ok_or_else(|| "write a moment such as 2027-01-01T00:00:00Z".to_owned())
}

pub(crate) fn run(args: &SubmitArgs) -> Result<(), Failure> {
    let Some(kind) = &args.kind else { return file::run(args) };
    let job = args.job.request(kind, args.payload.as_deref())?;
    let patience = if args.wait { LONG_PATIENCE } else { SHORT_PATIENCE };
    args.server.run(patience, async |session| {
        let submitted = submit(&session, &job, args.idempotency_key.clone()).await?;
        if !args.wait {
            return print(session.format, &submitted);
        }
        let ended = watch::follow(&session, submitted.job.id, |_| Ok(())).await?;
        get::print(session.format, &ended)?;
        watch::completed(&ended)
    })
}

impl JobArgs {
    fn request(&self, kind: &KindName, payload: Option<&str>) -> Result<SubmitRequest, Failure> {
        let ms = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
        let retry = |attempts| RetryRequest { max_attempts: Some(attempts), ..RetryRequest::default() };
        Ok(SubmitRequest {
            kind: kind.to_string(),
            payload: payload.map(payload::read).transpose()?,
            queue: self.queue.as_ref().map(QueueName::to_string),
            priority: self.priority.map(|priority| priority.as_str().to_owned()),
            delay_ms: self.delay.map(ms),
            deadline: self.deadline,
            timeout_ms: self.timeout.map(ms),
            retry: self.max_attempts.map(retry),
            unique_key: self.unique_key.as_ref().map(UniqueKey::to_string),
            tags: self.tags.iter().cloned().collect::<BTreeMap<_, _>>(),
            ..SubmitRequest::default()
        })
    }
}

/// Submits under a key, a new one if none is given, so that it may be repeated.
async fn submit(
    session: &Session,
    job: &SubmitRequest,
    key: Option<IdempotencyToken>,
) -> Result<Submitted, Failure> {
    let key = key.map_or_else(new_key, Ok)?;
    let options = SubmitOptions { key: Some(key.clone()), ..SubmitOptions::default() };
    let doubt = Cell::new(false);
    let submitted = session.call(Repeat::Safe, || async {
        let tried = session.client.submit(job, &options).await;
        doubt.set(doubt.get() || tried.as_ref().is_err_and(|error| error.outcome() == Outcome::Unknown));
        tried
    });
    submitted.await.map_err(|error: Error| {
        let failure = Failure::from(error);
        if !doubt.get() {
            return failure;
        }
        // A later refusal says nothing of an earlier try whose answer was lost.
        failure.and(format_args!(
            "  it is not known whether the job exists: repeat this with --idempotency-key {key} to find out"
        ))
    })
}

fn new_key() -> Result<IdempotencyToken, Failure> {
    IdempotencyToken::new(&format!("cli-{:032x}", rand::random::<u128>())).map_err(Failure::failed)
}

fn print(format: Format, Submitted { job, replayed }: &Submitted) -> Result<(), Failure> {
    match format {
        Format::Text => {
            let how = match (replayed, job.deduplicated) {
                (true, _) => "was accepted before under this key",
                (false, true) => "has this unique key already",
                (false, false) => "accepted",
            };
            output::print(format_args!("job {} {how}: {}{}\n", job.id, state(job), durability(job)))
        }
        Format::Json => output::print_json(job),
    }
}

/// What the job survives, as the end of a sentence.
fn durability(job: &JobDocument) -> &'static str {
    match job.durability {
        Some(Durability::Fsync) => ", synced to the disk",
        Some(Durability::Commit) => ", committed by the database",
        Some(Durability::Memory) => ", in memory only",
        None => "",
    }
}
