use std::time::Duration;

use clap::{Args, Subcommand};
use steadfast_client::Repeat;
use steadfast_domain::QueueName;
use steadfast_wire::{QueueDocument, QueueMode, QueueRates};

use super::failure::Failure;
use super::human;
use super::output::{self, Format};
use super::session::{SHORT_PATIENCE, ServerArgs};
use super::table::Table;

const EXAMPLES: &str = "\
Examples:
  steadfast queues
  steadfast queues pause mail
  steadfast queues resume mail";

#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true, after_help = EXAMPLES)]
pub(crate) struct QueuesArgs {
    #[command(subcommand)]
    change: Option<Change>,
    #[command(flatten)]
    server: ServerArgs,
}

#[derive(Debug, Subcommand)]
enum Change {
    /// Start no more jobs of a queue, on any replica; what runs goes on
    Pause(NamedArgs),
    /// Start the jobs of a paused queue again
    Resume(NamedArgs),
}

#[derive(Debug, Args)]
struct NamedArgs {
    /// The queue's name
    name: QueueName,
    #[command(flatten)]
    server: ServerArgs,
}

pub(crate) fn run(args: &QueuesArgs) -> Result<(), Failure> {
    match &args.change {
        None => args.server.run(SHORT_PATIENCE, async |session| {
            let list = session.call(Repeat::Safe, || session.client.queues()).await?;
            print(session.format, &list.queues)
        }),
        Some(Change::Pause(NamedArgs { name, server })) => server.run(SHORT_PATIENCE, async |session| {
            let queue = session.call(Repeat::Safe, || session.client.pause(name)).await?;
            print(session.format, &[queue])
        }),
        Some(Change::Resume(NamedArgs { name, server })) => server.run(SHORT_PATIENCE, async |session| {
            let queue = session.call(Repeat::Safe, || session.client.resume(name)).await?;
            print(session.format, &[queue])
        }),
    }
}

fn print(format: Format, queues: &[QueueDocument]) -> Result<(), Failure> {
    match format {
        Format::Text => {
            let titles = [
                "NAME",
                "MODE",
                "STARTS",
                "JOBS",
                "CAPACITY",
                "BYTES",
                "SCHEDULED",
                "QUEUED",
                "PROCESSING",
                "RETRYABLE",
                "OLDEST",
                "IN/S",
                "OUT/S",
            ];
            output::print(Table::new(titles).part(&queues.iter().map(row).collect::<Vec<_>>()))
        }
        Format::Json => queues.iter().try_for_each(output::print_json),
    }
}

fn row(queue: &QueueDocument) -> [String; 13] {
    let none = || "-".to_owned();
    let mode = queue.mode.map(|mode| match mode {
        QueueMode::Push => "push".to_owned(),
        QueueMode::Pull => "pull".to_owned(),
    });
    let oldest = queue.oldest_ready_age_ms.map(|ms| human::duration(Duration::from_millis(ms)));
    let rate = |pick: fn(&QueueRates) -> f64| queue.rates.as_ref().map(|rates| format!("{:.1}", pick(rates)));
    [
        human::clean(&queue.name),
        mode.unwrap_or_else(none),
        if queue.paused { "paused" } else { "yes" }.to_owned(),
        queue.jobs.to_string(),
        queue.capacity.to_string(),
        human::bytes(queue.bytes),
        queue.depth.scheduled.to_string(),
        queue.depth.queued.to_string(),
        queue.depth.processing.to_string(),
        queue.depth.retryable.to_string(),
        oldest.unwrap_or_else(none),
        rate(|rates| rates.submitted_per_second).unwrap_or_else(none),
        rate(|rates| rates.finished_per_second).unwrap_or_else(none),
    ]
}
