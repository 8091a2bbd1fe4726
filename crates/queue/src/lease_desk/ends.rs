use steadfast_domain::{Change, Job, JobId, JobState, RawJson, limits};

use super::Shared;
use crate::admission::Rejection;
use crate::handler::Failure;
use crate::store::{ClaimId, ClaimLost, End, SUSPECT_INTERRUPTIONS, Settlement, Speaker};
use crate::verdict::Verdict;

/// How a worker says that an attempt ended.
#[derive(Debug, Clone)]
pub enum Ending {
    /// The job is done.
    Complete {
        /// What it led to.
        result: Option<RawJson>,
    },
    /// The attempt failed. Whether there is another one is the job's retry policy's to say.
    Fail(Failure),
    /// The job goes back to its queue at once, its attempt refunded.
    Release {
        /// What the next attempt is to find; an earlier one stays when `None`.
        checkpoint: Option<RawJson>,
    },
}

/// One attempt's end.
#[derive(Debug, Clone)]
pub struct Settling {
    /// Under which claim it ran.
    pub id: ClaimId,
    /// How it ended.
    pub ending: Ending,
}

/// One attempt's end as the store is told of it.
struct Told {
    id: ClaimId,
    job: Job,
    end: End,
    outcome: &'static str,
}

impl Shared {
    /// The job is read first: its retry policy decides what a failure means, and its queue and kind are what is
    /// counted.
    pub(super) async fn settle(
        &self,
        settlements: Vec<Settling>,
    ) -> Result<Vec<Result<Change, ClaimLost>>, Rejection> {
        self.admission.started()?;
        let ids: Vec<JobId> = settlements.iter().map(|settling| settling.id.job).collect();
        let jobs = self.store.get(&ids).await.map_err(|error| self.admission.store_error(error))?;
        let told: Vec<Option<Told>> =
            settlements.into_iter().zip(jobs).map(|(settling, job)| Some(Told::of(settling, job?))).collect();
        let mut changes = self.settle_told(told.iter().flatten()).await?.into_iter();
        // A job that is not stored any more has no lease either.
        let mut answers: Vec<Result<Change, ClaimLost>> = Vec::with_capacity(told.len());
        for told in &told {
            answers.push(told.as_ref().and_then(|_| changes.next()).unwrap_or(Err(ClaimLost)));
        }
        self.settle_repeats(&told, &mut answers).await?;
        for (told, answer) in told.iter().zip(&answers) {
            if let (Some(told), Ok(change)) = (told, answer) {
                self.count(told, *change);
            }
        }
        Ok(answers)
    }

    /// Asks again about failures that were not taken, in case they are repeats: by now the job may have been tried
    /// more often, or not at all, and the same failure means another end than the one that was stored. Nothing new can
    /// be settled by this, since a claim that is lost stays so.
    async fn settle_repeats(
        &self,
        told: &[Option<Told>],
        answers: &mut [Result<Change, ClaimLost>],
    ) -> Result<(), Rejection> {
        let lost = |told: &Option<Told>, answer: &Result<Change, ClaimLost>| {
            let told = told.as_ref().filter(|_| answer.is_err())?;
            Some(Told {
                id: told.id,
                job: told.job.clone(),
                end: other_end(&told.end)?,
                outcome: told.outcome,
            })
        };
        let (places, repeats): (Vec<usize>, Vec<Told>) = told
            .iter()
            .zip(answers.iter())
            .enumerate()
            .filter_map(|(place, (told, answer))| Some((place, lost(told, answer)?)))
            .unzip();
        if repeats.is_empty() {
            return Ok(());
        }
        let changes = self.settle_told(repeats.iter()).await?;
        for (place, change) in places.into_iter().zip(changes) {
            answers[place] = change;
        }
        Ok(())
    }

    async fn settle_told(
        &self,
        told: impl Iterator<Item = &Told>,
    ) -> Result<Vec<Result<Change, ClaimLost>>, Rejection> {
        let settlements =
            told.map(|told| Settlement { id: told.id, by: Speaker::Worker, end: told.end.clone() }).collect();
        self.store.settle(settlements).await.map_err(|error| self.admission.store_error(error))
    }

    /// Counts an attempt's end, once: a repeat finds the job as it was settled, or later.
    fn count(&self, told: &Told, change: Change) {
        let job = &told.job;
        if change.version <= job.version {
            return;
        }
        let [queue, kind] = self.admission.labels(job);
        let state = change.state;
        // What was asked to end has not failed, whatever its worker says.
        let (outcome, error) = match state {
            JobState::Cancelled => ("cancelled", None),
            _ => (told.outcome, told.end.error().map(|error| error.code.as_str())),
        };
        self.metrics.attempts.with_label_values(&[queue, kind, outcome]).inc();
        if let Some(started_at) = job.started_at {
            self.metrics.run_seconds.observe(change.at.since(started_at).as_secs_f64());
            self.config.tracer.leased_attempt(job, [started_at, change.at], outcome, error);
        }
        if state.is_terminal() {
            self.config.settle_rates.settled(&job.queue, job.payload_bytes);
            self.admission.job_rates.finished(&job.queue);
        }
        // Another suspect may have waited for this one, and no hint tells of it.
        if job.interruptions >= SUSPECT_INTERRUPTIONS {
            self.lines.all_ready();
        }
    }
}

impl Told {
    fn of(settling: Settling, job: Job) -> Self {
        let Settling { id, ending } = settling;
        let Verdict { end, outcome, .. } = match ending {
            Ending::Complete { result } => Verdict::completed(result),
            Ending::Fail(failure) => Verdict::failed(&job, failure, "failed", rand::random()),
            Ending::Release { checkpoint } => Verdict::yielded("released", checkpoint),
        };
        Self { id, job, end, outcome }
    }
}

/// What else a failure may have been when it was first told.
fn other_end(end: &End) -> Option<End> {
    match end.clone() {
        End::Retry { error, .. } => Some(End::Dead { error }),
        End::Dead { error } => Some(End::Retry { error, after: limits::BACKOFF_MAX }),
        End::Completed { .. } | End::Cancelled | End::HandBack { .. } => None,
    }
}
