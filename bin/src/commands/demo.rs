//! A guided demonstration on a real server of its own: a flood, a stop in the middle, another start, and the check that
//! nothing was lost.
//!
//! ```text
//!   server (a child process, a store that is removed) ◀── crowd (clients that note what they were told)
//!        └── stopped, started again                              │
//!                          every job there is ──▶ History::check ┴──▶ verdict
//! ```

mod crowd;
mod server;

use std::convert::Infallible;
use std::fmt::Display;
use std::time::Duration;

use clap::Args;
use serde::Serialize;
use steadfast_client::Client;
use steadfast_client::history::{Expected, all_jobs};
use steadfast_domain::{JobState, QueueName};
use steadfast_wire::QueueDepth;
use tokio::time::{Instant, sleep, timeout};

use super::failure::Failure;
use super::human;
use super::output::{self, Format, OutputArgs};
use super::progress::Bar;
use super::session::time;
use crowd::{Crowd, Figures};
use server::DemoServer;

const EXAMPLES: &str = "\
It starts this program as a server on a free port of this machine, with a store in a temporary directory,
and removes both at its end. Nothing else is touched.

Examples:
  steadfast demo
  steadfast demo --flood-for 30s";

/// Jobs that may wait or run: few, so that a small crowd is too much.
const CAPACITY: usize = 200;
/// Jobs at once.
const CONCURRENCY: usize = 8;
/// How long a drain lets jobs run: less than the longest of them take, so that some are handed back.
const GRACEFUL: Duration = Duration::from_millis(500);
/// How long the server is away.
const AWAY: Duration = Duration::from_secs(1);
/// How long the queue may take to be full, and its rest to be worked off.
const PATIENCE: Duration = Duration::from_secs(120);
const LOOK_EVERY: Duration = Duration::from_millis(100);

#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct DemoArgs {
    /// How long the flood lasts at least before the stop, and again after it
    #[arg(long, value_name = "TIME", value_parser = time, default_value = "4s")]
    flood_for: Duration,
    #[command(flatten)]
    output: OutputArgs,
}

/// How it came out.
#[derive(Debug, Serialize)]
struct Verdict {
    #[serde(flatten)]
    told: Figures,
    /// Jobs that the store has in the end.
    stored: usize,
    /// Of them, how many have completed.
    completed: usize,
    /// What the stop took.
    stop_ms: u64,
    /// What the checker found. Empty when every promise was kept.
    violations: Vec<String>,
}

pub(crate) fn run(args: &DemoArgs) -> Result<(), Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    runtime.map_err(Failure::failed)?.block_on(async {
        let format = args.output.format();
        tokio::select! {
            biased;
            _ = tokio::signal::ctrl_c() => Err(Failure::interrupted("the demonstration was interrupted")),
            done = show(args.flood_for, format) => done,
        }
    })
}

/// The story, each part with a line that moves while it lasts and stays as it was at its end.
async fn show(flood_for: Duration, format: Format) -> Result<(), Failure> {
    let mut server = DemoServer::start().await?;
    let client = server.client()?;
    let stage = Stage { client: &client, crowd: &mut Crowd::begin(client.clone()), format };
    let (address, dir) = (server.address(), server.dir().display().to_string());
    stage.tell(format_args!(
        "1. A server at {address} with room for {CAPACITY} jobs, {CONCURRENCY} at once, in {dir};\n   \
         and a crowd that submits more than it can do."
    ))?;
    stage.until(stage.flood(flood_for)).await?;

    stage.tell("2. SIGTERM, while all of them go on.")?;
    let begun = Instant::now();
    let ledger = stage.until(server.stop()).await??;
    let stop_ms = begun.elapsed().as_millis() as u64;
    stage.tell(indented(&ledger))?;
    stage.until(sleep(AWAY)).await?;

    stage.tell("3. The same server again, on what it left.")?;
    server.start_again().await?;
    stage.until(sleep(flood_for)).await?;

    stage.tell("4. The crowd goes home, and what was accepted is worked off.")?;
    stage.crowd.end().await;
    let ended = timeout(PATIENCE, stage.until(until_all_ended(&client))).await;
    ended.map_err(|_| Failure::failed("jobs that were accepted do not end"))??;
    let jobs = all_jobs(&client).await?;
    let violations = stage.crowd.history().check(&jobs, Expected::Ended);
    server.stop().await?;
    stage.judge(&Verdict {
        told: stage.crowd.figures(),
        stored: jobs.len(),
        completed: jobs.iter().filter(|job| job.state == JobState::Completed).count(),
        stop_ms,
        violations: violations.iter().map(ToString::to_string).collect(),
    })
}

/// Where the story is told.
struct Stage<'a> {
    client: &'a Client,
    crowd: &'a mut Crowd,
    format: Format,
}

impl Stage<'_> {
    /// Says something; with `--output json` only the verdict is said.
    fn tell(&self, text: impl Display) -> Result<(), Failure> {
        match self.format {
            Format::Text => output::print(format_args!("{text}\n")),
            Format::Json => Ok(()),
        }
    }

    /// Shows what happens until `work` is done.
    async fn until<T>(&self, work: impl Future<Output = T>) -> Result<T, Failure> {
        let bar = Bar::of_job();
        let done = tokio::select! {
            biased;
            done = work => done,
            never = self.move_on(&bar) => match never {},
        };
        let last = self.now().await;
        bar.aside(|| self.tell(format_args!("   {last}")))?;
        Ok(done)
    }

    async fn move_on(&self, bar: &Bar) -> Infallible {
        loop {
            bar.say(self.now().await);
            sleep(LOOK_EVERY).await;
        }
    }

    /// Lets the crowd submit for so long, and until someone was refused: on a slow machine that takes longer.
    async fn flood(&self, least: Duration) {
        sleep(least).await;
        let refused = async {
            while self.crowd.figures().refused_full == 0 {
                sleep(LOOK_EVERY).await;
            }
        };
        // Without a refusal, too, there is a stop to be seen.
        let _ = timeout(PATIENCE, refused).await;
    }

    /// What the clients were told so far, and what the server has.
    async fn now(&self) -> String {
        let Figures { accepted, refused_full, refused_away, doubts_resolved: _ } = self.crowd.figures();
        let told = format!("accepted {accepted}, refused {refused_full} (full) and {refused_away} (away)");
        match self.client.queue(&QueueName::default_queue()).await {
            Ok(queue) => {
                let QueueDepth { queued, processing, completed, .. } = queue.depth;
                format!("{told}; waiting {queued}, running {processing}, completed {completed}")
            }
            Err(_) => format!("{told}; the server is away"),
        }
    }

    fn judge(&self, verdict: &Verdict) -> Result<(), Failure> {
        if self.format == Format::Json {
            output::print_json(verdict)?;
        }
        let Verdict { told, stored, completed, violations, .. } = verdict;
        if !violations.is_empty() {
            let broken = human::count(violations.len() as u64, "promise");
            return Err(Failure::failed(format_args!("{broken} not kept:\n  {}", violations.join("\n  "))));
        }
        let (accepted, refused) = (told.accepted, told.refused_full + told.refused_away);
        let doubts = human::count(told.doubts_resolved, "lost answer");
        self.tell(format_args!(
            "5. What each client was told, held against the store: {accepted} accepted, {stored} stored, {completed} \
             completed,\n   each once; {refused} refused, of which nothing is there; {doubts} found out by the same key.\n   \
             Every accepted job ended once."
        ))
    }
}

/// Waits until no job is left that has not ended.
async fn until_all_ended(client: &Client) {
    let name = QueueName::default_queue();
    while client.queue(&name).await.map_or(true, |queue| queue.jobs > 0) {
        sleep(LOOK_EVERY).await;
    }
}

fn indented(text: &str) -> String {
    text.lines().map(|line| format!("   {line}")).collect::<Vec<_>>().join("\n")
}
