//! What may be answered to a submission: its key decides, then unique keys, then room.

use std::collections::BTreeSet;

use steadfast_domain::{Fence, JobId, JobState, NewJob, Start, Version};
use steadfast_queue::store::{How, IdempotencyKey, Refusal, Submitted};

use super::known::{Known, place_of};
use super::step::Span;
use super::world::{Disagreement, World};
use crate::conformance::subject::LONG;

/// Live jobs: few enough that the store is often full.
pub(super) const CAPACITY: u64 = 6;

impl World {
    pub(super) fn judge_submit(
        &mut self,
        jobs: &[NewJob],
        key: Option<&IdempotencyKey>,
        answer: &Result<Vec<Submitted>, Refusal>,
    ) -> Result<(), Disagreement> {
        let used = key.and_then(|key| self.keys.iter().find(|(used, _)| names_the_same(used, key)).cloned());
        match (used, key) {
            (Some((used, _)), Some(key)) if used.fingerprint != key.fingerprint => {
                let refused = matches!(answer, Err(Refusal::KeyMismatch));
                refused.then_some(()).ok_or_else(|| "its key came with another body".to_owned())
            }
            (Some((_, ids)), _) => self.judge_replay(&ids, answer),
            (None, _) => self.judge_new(jobs, key, answer),
        }
    }

    fn judge_replay(
        &mut self,
        ids: &[JobId],
        answer: &Result<Vec<Submitted>, Refusal>,
    ) -> Result<(), Disagreement> {
        let answer = answer.as_ref().map_err(|_| "it is a repeat")?;
        let answered: Vec<JobId> = answer.iter().map(|submitted| submitted.job.id).collect();
        if answered != ids || answer.iter().any(|submitted| submitted.how != How::Replayed) {
            return Err(format!("it is a repeat of {ids:?}"));
        }
        answer.iter().try_for_each(|submitted| self.is_as(submitted))
    }

    fn judge_new(
        &mut self,
        jobs: &[NewJob],
        key: Option<&IdempotencyKey>,
        answer: &Result<Vec<Submitted>, Refusal>,
    ) -> Result<(), Disagreement> {
        let (least, most) = self.live();
        let answer = match answer {
            Ok(answer) => answer,
            Err(Refusal::QueueFull { .. }) => {
                let full = most + self.new_jobs_at_most(jobs) > CAPACITY;
                return full.then_some(()).ok_or_else(|| "there is room".to_owned());
            }
            Err(_) => return Err("there is no reason to refuse it".to_owned()),
        };
        if answer.len() != jobs.len() {
            return Err("one answer for each job".to_owned());
        }
        let mut count = 0;
        for (job, submitted) in jobs.iter().zip(answer) {
            match submitted.how {
                How::Replayed => return Err("its key is new".to_owned()),
                How::Deduplicated => self.judge_deduplicated(job, submitted)?,
                How::Accepted => {
                    self.judge_accepted(job, submitted)?;
                    count += 1;
                }
            }
        }
        if count > 0 && least + count > CAPACITY {
            return Err(format!("there was no room for {count} jobs beside {least}"));
        }
        if let Some(key) = key.filter(|_| count > 0) {
            let ids = answer.iter().map(|submitted| submitted.job.id).collect();
            self.keys.push((key.clone(), ids));
        }
        Ok(())
    }

    /// The new jobs of a submission, when whatever may have ended has.
    fn new_jobs_at_most(&self, jobs: &[NewJob]) -> u64 {
        let named: BTreeSet<&str> =
            jobs.iter().filter_map(|job| Some(job.unique_key.as_ref()?.as_str())).collect();
        let nameless = jobs.iter().filter(|job| job.unique_key.is_none()).count();
        let lives = |name: &str| self.jobs.values().any(|known| known.is_named(name) && known.must_live());
        (nameless + named.into_iter().filter(|name| !lives(name)).count()) as u64
    }

    /// It was answered with a live job that has its unique key.
    fn judge_deduplicated(&mut self, job: &NewJob, submitted: &Submitted) -> Result<(), Disagreement> {
        if job.unique_key.is_none() || submitted.job.unique_key != job.unique_key {
            return Err("it has no such unique key".to_owned());
        }
        self.learn(submitted.job.id, |known| {
            (known.is_live() && known.is(&submitted.job)).then(|| known.clone())
        })
    }

    /// It was made, and nothing that lives has its unique key.
    fn judge_accepted(&mut self, job: &NewJob, submitted: &Submitted) -> Result<(), Disagreement> {
        let name = job.unique_key.as_ref();
        let same = self.jobs.values().filter(|known| name.is_some_and(|name| known.is_named(name.as_str())));
        for id in same.map(|known| known.id).collect::<Vec<_>>() {
            self.learn(id, |known| (!known.is_live()).then(|| known.clone()))?;
        }
        let due = match job.start {
            Start::After(LONG) => Span::Long,
            Start::After(_) => Span::Brief,
            Start::Now | Start::At(_) => Span::None,
        };
        let known = Known {
            id: submitted.job.id,
            kind: job.kind.clone(),
            priority: job.priority,
            unique: job.unique_key.clone(),
            state: if due == Span::None { JobState::Queued } else { JobState::Scheduled },
            due,
            place: (due == Span::None).then(|| place_of(&submitted.job)),
            attempt: 0,
            interruptions: 0,
            version: Version::FIRST,
            cancel_requested: false,
            late: job.deadline.is_some(),
            held: None,
            newest: Fence(0),
            settled: None,
        };
        if self.jobs.insert(known.id, known).is_some() {
            return Err("its id is another job's".to_owned());
        }
        self.is_as(submitted)
    }

    fn is_as(&mut self, submitted: &Submitted) -> Result<(), Disagreement> {
        self.learn(submitted.job.id, |known| known.is(&submitted.job).then(|| known.clone()))
    }
}

fn names_the_same(a: &IdempotencyKey, b: &IdempotencyKey) -> bool {
    (&a.tenant, a.scope, &a.token) == (&b.tenant, b.scope, &b.token)
}
