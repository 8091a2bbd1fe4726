use std::sync::Arc;
use std::time::Duration;

use tokio::task::{JoinError, JoinHandle};
use tokio::time::Instant;

use super::Pool;
use super::attempt::Attempt;
use crate::handler::{CANCEL_GRACE, Failure, Finish, JobContext, StopReason};
use crate::spans::Span;
use crate::verdict::{Ended, verdict};

/// How long an aborted handler may take to end. One that blocks its thread ends when it likes: it is not
/// waited for any longer.
pub(super) const END_WAIT: Duration = Duration::from_secs(1);

type Running = JoinHandle<Result<Finish, Failure>>;

/// Sees one attempt from its start to its verdict. It runs beside the handler, not around it, so that a
/// handler which blocks its thread cannot keep its own time limit, or a stop, from being seen.
pub(super) async fn supervise(pool: Arc<Pool>, attempt: Arc<Attempt>) {
    let mut span = pool.config.tracer.begin_attempt(&attempt.job);
    let mut running = pool.run_handler(&attempt, &span);
    pool.metrics.running.inc();
    let ended = tokio::select! {
        biased;
        () = pool.cut.cancelled() => None,
        ended = watch(&attempt, &mut running) => Some(ended),
    };
    pool.metrics.running.dec();
    pool.metrics.run_seconds.observe(attempt.started.elapsed().as_secs_f64());
    let taken = match ended {
        Some(ended) => pool.decide(&attempt, ended, &mut span).await,
        None => false,
    };
    if !taken {
        span.attempt_ended("handed_back", None);
        if cut_off(&attempt, &mut running).await {
            pool.attempts.over(attempt.id);
        }
    }
    attempt.reports.close();
}

/// Watches the handler, the clock, the lease and the stop signal until the attempt has ended one way or
/// the other.
async fn watch(attempt: &Attempt, running: &mut Running) -> Ended {
    let deadline = attempt.deadline();
    let mut stops = attempt.stops();
    let mut cut_off_at: Option<Instant> = None;
    loop {
        // A drain has its own budget; every other stop has the same grace.
        let reason = attempt.stop_reason();
        if reason.is_some_and(|reason| reason != StopReason::Shutdown) {
            let grace_ends = *cut_off_at.get_or_insert_with(|| Instant::now() + CANCEL_GRACE);
            // It ends with the claim: from then on another process may run the job.
            if reason == Some(StopReason::LeaseLost) {
                cut_off_at = attempt.lapses_at().map(|lapses_at| lapses_at.min(grace_ends)).or(cut_off_at);
            }
        }
        let first = attempt.fence_at().map_or(deadline, |fence_at| fence_at.min(deadline));
        tokio::select! {
            biased;
            joined = &mut *running => return ended(attempt, joined),
            _ = stops.changed() => continue,
            () = tokio::time::sleep_until(cut_off_at.unwrap_or(first)) => {}
        }
        let now = Instant::now();
        if cut_off_at.is_some_and(|at| at <= now) {
            cut_off(attempt, running).await;
            return Ended::CutOff;
        }
        if deadline <= now {
            attempt.stop(StopReason::Timeout);
        }
        if attempt.is_fenced(now) {
            attempt.stop(StopReason::LeaseLost);
        }
    }
}

fn ended(attempt: &Attempt, joined: Result<Result<Finish, Failure>, JoinError>) -> Ended {
    match joined {
        Ok(returned) => Ended::Returned(returned),
        Err(error) if error.is_panic() => {
            let (job_id, kind, trace_id) = (attempt.id.job, &attempt.job.kind, attempt.trace_id());
            tracing::error!(%job_id, %kind, trace_id, %error, "a handler panicked");
            Ended::Panicked
        }
        Err(_) => Ended::CutOff,
    }
}

/// Ends the handler, and waits a moment for that and for what outlives it. Whether all of it has ended.
async fn cut_off(attempt: &Attempt, running: &mut Running) -> bool {
    running.abort();
    let ends = async {
        if !running.is_finished() {
            let _ = running.await;
        }
        attempt.reports.outlived().await;
    };
    tokio::time::timeout(END_WAIT, ends).await.is_ok()
}

impl Pool {
    /// Starts the attempt's handler on the handlers' runtime. Its panic, wherever in the handler, is the
    /// task's, and the task's answer is the handler's.
    fn run_handler(&self, attempt: &Arc<Attempt>, span: &Span) -> Running {
        let handler = self.handlers.get(&attempt.job.kind).cloned();
        let context = JobContext::new(
            Arc::clone(&attempt.job),
            attempt.deadline(),
            self.draining.subscribe(),
            attempt.stops(),
            Arc::clone(&attempt.reports),
            (self.config.tracer.clone(), span.trace_parent()),
        );
        self.handlers_runtime.spawn(async move {
            match handler {
                Some(handler) => handler.run(context).await,
                None => Err(Failure::retryable("unknown_kind", "this server does not run jobs of this kind")),
            }
        })
    }

    /// Gives the attempt its verdict, to be settled. `false` when it came too late.
    async fn decide(&self, attempt: &Attempt, ended: Ended, span: &mut Span) -> bool {
        let stop = attempt.stop_reason();
        if stop == Some(StopReason::LeaseLost) {
            let (job_id, trace_id) = (attempt.id.job, attempt.trace_id());
            tracing::warn!(%job_id, trace_id, "an attempt was stopped: its lease was not renewed in time");
        }
        let mut verdict = verdict(&attempt.job, ended, stop, rand::random());
        if let Some(checkpoint) = verdict.checkpoint.take() {
            tokio::select! {
                biased;
                () = self.cut.cancelled() => return false,
                stored = attempt.reports.checkpoint(checkpoint) => if let Err(error) = stored {
                    tracing::warn!(job_id = %attempt.id.job, %error, "the checkpoint of a late attempt is not stored");
                }
            }
        }
        let outcome = verdict.outcome;
        let error = verdict.end.error().map(|error| error.code.clone());
        let taken = self.attempts.decide(attempt.id, verdict);
        if taken {
            let (queue, kind) = (attempt.job.queue.as_str(), attempt.job.kind.as_str());
            span.attempt_ended(outcome, error.as_deref());
            let (job_id, attempt, trace_id) = (attempt.id.job, attempt.job.attempt, attempt.trace_id());
            tracing::debug!(%job_id, queue, kind, attempt, outcome, error, trace_id, "an attempt ended");
            self.metrics.attempts.with_label_values(&[queue, kind, outcome]).inc();
        }
        taken
    }
}
