use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::pin::pin;
use std::time::Duration;

use async_trait::async_trait;
use serde::Serialize;
use steadfast_domain::{InvalidField, JobId, RawJson};
use steadfast_queue::{Failure, Finish, JobContext, JobHandler, StopReason};
use tokio::io::AsyncWriteExt;
use tokio::net::unix::pipe::Sender;
use tokio::time::timeout;

use super::capture::{Errors, Output};
use super::guarded::{Ended, Guarded, Pipes};
use super::outcome::{Run, outcome};
use super::reports::Reports;
use super::request::{Programs, Request};
use crate::program::Program;

/// How long the pipes are read when nothing is left of a program. They end at once, unless a process that did not
/// come of it was given them.
const PIPES_END_WITHIN: Duration = Duration::from_secs(1);

/// Runs the programs that the settings name.
pub(crate) struct Exec {
    programs: Programs,
    /// The server's own environment, of which programs get what they may.
    environment: BTreeMap<OsString, OsString>,
}

/// What a program finds on its standard input.
#[derive(Serialize)]
struct Document<'a> {
    id: JobId,
    queue: &'a str,
    kind: &'a str,
    attempt: u32,
    max_attempts: u32,
    payload: &'a RawJson,
    checkpoint: Option<&'a RawJson>,
    tags: &'a BTreeMap<String, String>,
}

impl Exec {
    pub(crate) fn new(programs: Vec<Program>) -> Self {
        Self { programs: Programs::new(programs), environment: std::env::vars_os().collect() }
    }

    /// Starts the program under a guard.
    fn start(&self, request: &Request<'_>, context: &JobContext) -> std::io::Result<(Guarded, Pipes)> {
        let program = request.program;
        let arguments = request.arguments.iter().map(OsStr::new);
        let job = context.job();
        let inherited =
            program.inherit.iter().filter_map(|name| self.environment.get_key_value(OsStr::new(name)));
        Guarded::start(
            [program.command.as_os_str()].into_iter().chain(arguments),
            |guard| {
                guard
                    .current_dir(&program.directory)
                    .envs(inherited)
                    .envs(&program.environment)
                    .env("STEADFAST_JOB_ID", job.id.to_string())
                    .env("STEADFAST_ATTEMPT", job.attempt.to_string())
                    .envs(context.trace_parent().map(|trace| ("TRACEPARENT", trace.as_str())));
            },
            context,
        )
    }
}

#[async_trait]
impl JobHandler for Exec {
    fn check(&self, payload: &RawJson) -> Result<(), Vec<InvalidField>> {
        Request::read(&self.programs, payload).map(|_| ())
    }

    /// Goes on through a drain until it is told to stop; then the program is asked to, and has the time that the
    /// attempt has. When that is over this future is dropped, which kills.
    async fn run(&self, context: JobContext) -> Result<Finish, Failure> {
        // It was checked by the settings of its time, or by another replica's.
        let request = Request::read(&self.programs, context.payload()).map_err(|_| {
            Failure::retryable(
                "program_unknown",
                "this server has no such program, or other arguments for it",
            )
        })?;
        let document = document(&context)?;
        let (guarded, pipes) = self.start(&request, &context).map_err(|error| {
            tracing::error!(job_id = %context.job().id, %error, "cannot start the guard of a program");
            Failure::retryable("not_started", "the program could not be started")
        })?;
        let run = follow(request.program, guarded, pipes, document, &context).await;
        outcome(request.program, run)
    }
}

/// Follows a program to its end.
async fn follow(
    program: &Program,
    mut guarded: Guarded,
    pipes: Pipes,
    document: String,
    context: &JobContext,
) -> Run {
    let mut output = Output::new(program.output_bytes_max);
    let (mut errors, mut reports) = (Errors::default(), Reports::default());
    let (ended, was_stopped) = {
        let mut piping = pin!(async {
            tokio::join!(
                feed(pipes.stdin, document),
                output.fill(pipes.stdout),
                errors.fill(pipes.stderr),
                reports.follow(pipes.reports, context),
            );
        });
        let (mut piped, mut was_stopped) = (false, false);
        let ended = loop {
            tokio::select! {
                biased;
                ended = guarded.ended() => break ended,
                reason = context.stopped(), if !was_stopped => {
                    was_stopped = true;
                    stop(&guarded, reason);
                }
                () = &mut piping, if !piped => piped = true,
            }
        };
        if !piped {
            // What was not read by then is left.
            let _ = timeout(PIPES_END_WITHIN, piping).await;
        }
        (ended, was_stopped)
    };
    log(program, context, &ended, &errors, &reports);
    let (errors, checkpoint) = (errors.text(), reports.take_checkpoint());
    Run { ended, was_stopped, result: output.into_result(), errors, checkpoint }
}

/// Under a lost claim nothing that the program still does counts, and another may begin soon.
fn stop(guarded: &Guarded, reason: StopReason) {
    match reason {
        StopReason::LeaseLost => guarded.kill(),
        StopReason::Cancelled | StopReason::Shutdown | StopReason::Timeout => guarded.stop(),
    }
}

/// Writes the job to the program, which may read as much of it as it likes.
async fn feed(mut stdin: Sender, document: String) {
    let _ = stdin.write_all(document.as_bytes()).await;
}

fn document(context: &JobContext) -> Result<String, Failure> {
    let job = context.job();
    let document = Document {
        id: job.id,
        queue: job.queue.as_str(),
        kind: job.kind.as_str(),
        attempt: job.attempt,
        max_attempts: job.retry.max_attempts(),
        payload: context.payload(),
        checkpoint: job.checkpoint.as_ref(),
        tags: job.tags.as_map(),
    };
    let text = serde_json::to_string(&document);
    text.map(|text| text + "\n").map_err(|error| Failure::permanent("invalid_payload", error.to_string()))
}

fn log(program: &Program, context: &JobContext, ended: &Ended, errors: &Errors, reports: &Reports) {
    let (job_id, program) = (context.job().id, &program.name);
    tracing::debug!(%job_id, %program, ?ended, stderr = errors.text(), "a program ended");
    if reports.ignored() > 0 {
        let lines = reports.ignored();
        tracing::warn!(%job_id, %program, lines, "lines that a program wrote for reports are none, or too long");
    }
    if let Ended::NotStarted(why) = ended {
        tracing::error!(%job_id, %program, error = why, "cannot start a program");
    }
}
