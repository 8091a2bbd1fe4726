use std::rc::Rc;

use rusqlite::types::Value;
use rusqlite::{OptionalExtension, Result, ToSql, params};
use steadfast_domain::{Change, Event, Fence, Job, JobId, JobIds, JobState, Timestamp, Version};
use steadfast_queue::store::{IdempotencyKey, StoreLimits, columns};

use crate::effects::Effects;
use crate::keys::{pack, scope_number};
use crate::memory::{Entry, Memory};
use crate::queues::QueueIndex;
use crate::row::{self, Stored, unwritable};
use crate::statements::Statements;

/// One transaction: what every operation reads, changes and leaves to be told after the commit.
#[derive(Debug)]
pub(crate) struct Transaction<'t, 'c> {
    pub(crate) statements: &'t mut Statements<'c>,
    pub(crate) memory: &'t mut Memory,
    pub(crate) numbers: &'t mut Numbers,
    pub(crate) effects: &'t mut Effects,
    pub(crate) limits: &'t StoreLimits,
    /// The time of everything in it.
    pub(crate) now: Timestamp,
    /// Whether the disk has room for new jobs.
    pub(crate) admits: bool,
    /// Jobs it ended: not `dead`, `dead`.
    ended: [Vec<u64>; 2],
}

/// What only grows. A transaction that fails leaves gaps, which harm nobody.
#[derive(Debug)]
pub(crate) struct Numbers {
    pub(crate) ids: JobIds,
    /// The newest fencing token: the file's epoch, which counts its openings, above a counter. So tokens
    /// grow across restarts, and a claim lost with the power never shares one with a later claim.
    pub(crate) fence: u64,
    /// The newest pack of ended jobs: not `dead`, `dead`.
    pub(crate) packs: [i64; 2],
}

impl Numbers {
    /// The next claim's token.
    pub(crate) fn next_fence(&mut self) -> Fence {
        self.fence += 1;
        Fence(self.fence)
    }
}

/// Jobs in one pack of ended jobs, at most.
const PACK_JOBS: usize = 128;

impl<'t, 'c> Transaction<'t, 'c> {
    pub(crate) fn new(
        statements: &'t mut Statements<'c>,
        memory: &'t mut Memory,
        numbers: &'t mut Numbers,
        effects: &'t mut Effects,
        limits: &'t StoreLimits,
        now: Timestamp,
        admits: bool,
    ) -> Self {
        Self { statements, memory, numbers, effects, limits, now, admits, ended: Default::default() }
    }

    /// A stored job with all its parts.
    pub(crate) fn job(&mut self, job: u64) -> Result<Option<Stored>> {
        self.statements.job.query_row([job as i64], row::read).optional()
    }

    /// These waiting jobs with all their parts, in that order, for their next claims. Those that are not kept
    /// in memory are read together.
    pub(crate) fn jobs_to_run(&mut self, jobs: &[u64]) -> Result<Vec<Stored>> {
        let take = |job: &u64| self.memory.recent.take(*job).filter(|stored| stored.job.payload.is_some());
        let kept: Vec<_> = jobs.iter().map(take).collect();
        let missing = jobs.iter().zip(&kept).filter(|(_, kept)| kept.is_none());
        let mut read = self.waiting_jobs(missing.map(|(job, _)| *job))?.into_iter();
        let jobs: Vec<_> = kept.into_iter().filter_map(|kept| kept.or_else(|| read.next())).collect();
        if cfg!(debug_assertions) {
            for stored in &jobs {
                assert_eq!(self.job(stored.job.id.high())?.as_ref(), Some(stored));
            }
        }
        Ok(jobs)
    }

    fn waiting_jobs(&mut self, jobs: impl Iterator<Item = u64>) -> Result<Vec<Stored>> {
        let jobs: Vec<_> = jobs.map(|job| Value::Integer(job as i64)).collect();
        if jobs.is_empty() {
            return Ok(Vec::new());
        }
        self.statements.waiting_jobs.query_map([Rc::new(jobs)], row::read)?.collect()
    }

    /// A stored job without its payload.
    pub(crate) fn job_to_change(&mut self, job: u64) -> Result<Option<Stored>> {
        let Some(mut stored) = self.memory.recent.take(job) else { return self.read_to_change(job) };
        stored.job.payload = None;
        debug_assert_eq!(self.read_to_change(job)?.as_ref(), Some(&stored));
        Ok(Some(stored))
    }

    fn read_to_change(&mut self, job: u64) -> Result<Option<Stored>> {
        self.statements.job_to_change.query_row([job as i64], row::read).optional()
    }

    /// As [`job_to_change`](Self::job_to_change), by the whole id.
    pub(crate) fn find(&mut self, id: JobId) -> Result<Option<Stored>> {
        Ok(self.job_to_change(id.high())?.filter(|stored| stored.job.id == id))
    }

    /// Stores a job just accepted.
    pub(crate) fn accept(
        &mut self,
        job: &Job,
        queue: QueueIndex,
        key: Option<(&IdempotencyKey, u64)>,
    ) -> Result<()> {
        let (scope, fingerprint, key_job) = match key {
            Some((key, first)) => (Some(scope_number(key.scope)), Some(&key.fingerprint), Some(first as i64)),
            None => (None, None, None),
        };
        self.statements.insert_job.execute(params![
            job.id.high() as i64,
            job.id.low() as i64,
            job.queue.as_str(),
            job.kind.as_str(),
            job.tenant.as_str(),
            job.priority as i64,
            job.created_at.unix_ms(),
            job.timeout.get().as_millis() as i64,
            job.deadline.map(Timestamp::unix_ms),
            job.max_wait.map(|wait| wait.as_millis() as i64),
            columns::write_retry(&job.retry).map_err(unwritable)?,
            job.unique_key.as_ref().map(|key| key.as_str()),
            job.idempotency_key.as_ref().map(|key| key.as_str()),
            scope,
            fingerprint,
            key_job,
            columns::write_tags(&job.tags).map_err(unwritable)?,
            job.trace.as_ref().map(|trace| trace.as_str()),
            job.payload_bytes as i64,
            job.payload.as_ref().map(|payload| payload.as_str()),
        ])?;
        let entry = Entry::of(job, queue);
        self.insert_live(job, &entry)?;
        if job.state == JobState::Queued {
            self.memory.recent.keep_accepted(job, key.map(|(_, first)| first), self.now);
        }
        self.effects.changed(job, queue, None, job.history.last().copied());
        self.moved(None, Some(entry));
        Ok(())
    }

    /// The one way a stored job changes its state: `event` by the transition table, which ends its claim if
    /// it has one, together with what else `edit` changes, which is told the state to come. `None`, and
    /// nothing done, where the table does not allow it.
    pub(crate) fn change(
        &mut self,
        mut stored: Stored,
        event: Event,
        edit: impl FnOnce(&mut Stored, JobState),
    ) -> Result<Option<Change>> {
        let Some(queue) = self.memory.queues.find(&stored.job.queue) else { return Ok(None) };
        let id = stored.job.id;
        let was_claimed = stored.claim.is_some();
        stored.end_attempt();
        let before = Entry::of(&stored.job, queue);
        let Some(state) = before.state.after(event) else { return Ok(None) };
        stored.job.finished_at = state.is_terminal().then_some(self.now);
        edit(&mut stored, state);
        let change = stored.job.record(state, self.now);
        let after = Entry::of(&stored.job, queue);
        if was_claimed {
            self.statements.delete_claim.execute([id.high() as i64])?;
            self.memory.set_claim(id.high(), None);
        }
        if before.state.is_terminal() {
            self.statements.delete_done.execute([id.high() as i64])?;
        }
        if state.is_terminal() {
            self.statements.delete_live.execute([id.high() as i64])?;
            self.save_done(&stored)?;
            self.ended[usize::from(state == JobState::Dead)].push(id.high());
        } else {
            self.save_live(&stored.job, stored.settled, &after)?;
        }
        self.effects.changed(&stored.job, queue, Some(before.state), Some(change));
        self.moved(Some(before), Some(after));
        Ok(Some(change))
    }

    /// A job has moved from where it was to where it is now; its queue has ready work if that is there.
    pub(crate) fn moved(&mut self, before: Option<Entry>, after: Option<Entry>) {
        if let Some(after) = &after
            && !after.state.is_terminal()
            && after.state != JobState::Processing
            && after.waiting.run_at <= self.now
        {
            self.effects.ready(after.queue);
        }
        self.memory.move_job(before, after, self.now);
    }

    fn insert_live(&mut self, job: &Job, entry: &Entry) -> Result<()> {
        self.statements.insert_live.execute(params![
            job.id.high() as i64,
            job.state as i64,
            job.queue.as_str(),
            job.kind.as_str(),
            job.priority as i64,
            job.run_at.unix_ms(),
            entry.expires_at.map(Timestamp::unix_ms),
            job.payload_bytes as i64,
            entry.unique_hash.map(|hash| hash as i64),
            columns::write_history(&job.history),
        ])?;
        Ok(())
    }

    fn save_live(&mut self, job: &Job, settled: Option<(Fence, Version)>, entry: &Entry) -> Result<()> {
        self.statements.save_live.execute(params![
            job.id.high() as i64,
            job.state as i64,
            job.queue.as_str(),
            job.kind.as_str(),
            job.priority as i64,
            job.run_at.unix_ms(),
            entry.expires_at.map(Timestamp::unix_ms),
            job.payload_bytes as i64,
            job.interruptions,
            entry.unique_hash.map(|hash| hash as i64),
            job.version.0 as i64,
            job.attempt,
            job.started_at.map(Timestamp::unix_ms),
            settled.map(|(fence, _)| fence.0 as i64),
            settled.map(|(_, version)| version.0 as i64),
            columns::write_history(&job.history),
            columns::write_errors(&job.errors).map_err(unwritable)?,
            job.progress.as_ref().map(|json| json.as_str()),
            job.checkpoint.as_ref().map(|json| json.as_str()),
            job.result.as_ref().map(|json| json.as_str()),
        ])?;
        Ok(())
    }

    fn save_done(&mut self, stored: &Stored) -> Result<()> {
        let job = &stored.job;
        self.statements.insert_done.execute(params![
            job.id.high() as i64,
            job.state as i64,
            job.finished_at.map(Timestamp::unix_ms),
            job.run_at.unix_ms(),
            job.interruptions,
            job.version.0 as i64,
            job.attempt,
            job.started_at.map(Timestamp::unix_ms),
            stored.settled.map(|(fence, _)| fence.0 as i64),
            stored.settled.map(|(_, version)| version.0 as i64),
            columns::write_history(&job.history),
            columns::write_errors(&job.errors).map_err(unwritable)?,
            job.progress.as_ref().map(|json| json.as_str()),
            job.checkpoint.as_ref().map(|json| json.as_str()),
            job.result.as_ref().map(|json| json.as_str()),
        ])?;
        Ok(())
    }

    /// Writes what is written once for all operations: the packs of ended jobs, and the queues' tallies.
    pub(crate) fn finish(&mut self) -> Result<()> {
        for (class, jobs) in self.ended.iter().enumerate() {
            for jobs in jobs.chunks(PACK_JOBS) {
                self.numbers.packs[class] += 1;
                let row: [&dyn ToSql; 3] = [&self.numbers.packs[class], &self.now.unix_ms(), &pack(jobs)];
                self.statements.insert_pack.execute(row)?;
            }
        }
        for queue in self.memory.queues.iter_mut().filter(|queue| queue.tally_changed) {
            let count = |state: JobState| queue.depth[state as usize] as i64;
            self.statements.tally_queue.execute(params![
                queue.spec.name.as_str(),
                count(JobState::Completed),
                count(JobState::Dead),
                count(JobState::Cancelled),
                count(JobState::Expired),
                queue.ended_bytes as i64,
            ])?;
            // Set again by whatever takes this transaction back, so the row is written then too.
            queue.tally_changed = false;
        }
        Ok(())
    }
}
