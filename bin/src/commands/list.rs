use clap::Args;
use steadfast_client::{JobFilter, Repeat};
use steadfast_domain::{JobState, KindName, QueueName, limits};
use steadfast_wire::JobDocument;

use super::failure::Failure;
use super::human;
use super::output::{self, Format};
use super::session::{SHORT_PATIENCE, ServerArgs};
use super::table::Table;

const EXAMPLES: &str = "\
Examples:
  steadfast list
  steadfast list --queue mail --state dead --limit 10
  steadfast list --tag customer=7 --all --output json | jq -r .id";

#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct ListArgs {
    /// Jobs of this queue
    #[arg(long)]
    queue: Option<QueueName>,
    /// Jobs in this state: scheduled, queued, processing, retryable, completed, dead, cancelled or expired
    #[arg(long, value_parser = JobState::parse)]
    state: Option<JobState>,
    /// Jobs of this kind
    #[arg(long)]
    kind: Option<KindName>,
    /// Jobs with this tag
    #[arg(long, value_name = "KEY=VALUE", value_parser = tag)]
    tag: Option<(String, String)>,
    /// How many jobs at most
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u64).range(1..))]
    limit: u64,
    /// All of them
    #[arg(long, conflicts_with = "limit")]
    all: bool,
    #[command(flatten)]
    server: ServerArgs,
}

/// A tag as the command line writes it.
pub(crate) fn tag(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        _ => Err("write a tag as KEY=VALUE".to_owned()),
    }
}

pub(crate) fn run(args: &ListArgs) -> Result<(), Failure> {
    args.server.run(SHORT_PATIENCE, async |session| {
        let mut filter = args.filter();
        let mut left = if args.all { u64::MAX } else { args.limit };
        let mut table = Table::new(["ID", "STATE", "KIND", "QUEUE", "ATTEMPTS", "CREATED", "RAN"]);
        loop {
            filter.limit = Some(left.min(limits::LIST_LIMIT_MAX as u64) as usize);
            let page = session.call(Repeat::Safe, || session.client.jobs(&filter)).await?;
            left = left.saturating_sub(page.jobs.len() as u64);
            match session.format {
                Format::Text => output::print(table.part(&page.jobs.iter().map(row).collect::<Vec<_>>()))?,
                Format::Json => page.jobs.iter().try_for_each(output::print_json)?,
            }
            // A page may be short, or empty, and not the last: the server looks at so many jobs and no more.
            match page.next_cursor {
                Some(cursor) if left > 0 => filter.cursor = Some(cursor),
                _ => return Ok(()),
            }
        }
    })
}

impl ListArgs {
    fn filter(&self) -> JobFilter {
        JobFilter {
            queue: self.queue.as_ref().map(QueueName::to_string),
            state: self.state,
            kind: self.kind.as_ref().map(KindName::to_string),
            tag: self.tag.clone(),
            ..JobFilter::default()
        }
    }
}

fn row(job: &JobDocument) -> [String; 7] {
    let ran = job.started_at.zip(job.finished_at).map(|(started, finished)| finished.since(started));
    [
        job.id.to_string(),
        job.state.as_str().to_owned(),
        human::clean(&job.kind),
        human::clean(&job.queue),
        format!("{}/{}", job.attempt, job.max_attempts),
        human::time(job.created_at),
        ran.map_or_else(|| "-".to_owned(), human::duration),
    ]
}
