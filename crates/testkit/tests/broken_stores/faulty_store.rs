//! A memory store that breaks one promise.

use std::collections::{HashMap, HashSet};
use std::time::Duration;

use async_trait::async_trait;
use parking_lot::Mutex;
use steadfast_domain::{
    BootId, Change, Fence, Job, JobId, JobState, NewJob, Priority, QueueName, RawJson, Start, UniqueKey,
    Version,
};
use steadfast_queue::store::{
    Cancel, ClaimId, ClaimLost, ClaimRequest, Claimed, Durability, End, Failed, Hint, How, JobCounts,
    KeyScope, KindCounts, ListQuery, Owner, Page, QueueSpec, QueueStatus, Refusal, Renewal, Renewed,
    Retention, Settlement, Speaker, StoreError, StoreLimits, Submission, SubmitError, Submitted, Upkeep,
};
use steadfast_queue::{JobStore, MemoryStore};
use tokio::sync::broadcast;
use tokio::task::yield_now;
use tokio::time::Instant;

use crate::fault::Fault;

/// Longer than any property's time.
const FOR_EVER: Duration = Duration::from_secs(365 * 24 * 60 * 60);

pub(crate) struct FaultyStore {
    inner: MemoryStore,
    fault: Option<Fault>,
    limits: StoreLimits,
    hints: broadcast::Sender<Hint>,
    seen: Mutex<Seen>,
}

/// What a fault needs to remember.
#[derive(Default)]
struct Seen {
    newest: HashMap<JobId, Fence>,
    settled: HashSet<ClaimId>,
    cancel_requested: HashSet<JobId>,
    unique: HashMap<UniqueKey, JobId>,
    /// Counted beyond what happened.
    miscounted: JobCounts,
}

impl FaultyStore {
    pub(crate) fn new(fault: Option<Fault>, limits: StoreLimits) -> Self {
        let mut inner = limits.clone();
        match fault {
            Some(Fault::CapacityIgnored | Fault::CapacityLookedAtFirst) => {
                (inner.capacity_jobs, inner.capacity_bytes) = (u64::MAX / 2, u64::MAX / 2);
            }
            Some(Fault::InterruptionsUnlimited) => inner.interruptions_max = u32::MAX,
            Some(Fault::RetentionIgnored) => inner.retention = Retention::default(),
            Some(Fault::DeadNotKept) => inner.retention.keep_dead = inner.retention.keep,
            _ => {}
        }
        let (hints, _) = broadcast::channel(1_024);
        Self { inner: MemoryStore::new(inner), fault, limits, hints, seen: Mutex::default() }
    }

    fn is(&self, fault: Fault) -> bool {
        self.fault == Some(fault)
    }

    /// A token as this store shows it, and back.
    fn shown(&self, id: ClaimId) -> ClaimId {
        if self.is(Fault::FencesShrink) { ClaimId { fence: Fence(u64::MAX - id.fence.0), ..id } } else { id }
    }

    fn alter_job(&self, job: &mut NewJob) {
        match self.fault {
            Some(Fault::UniqueKeyIgnored) => job.unique_key = None,
            Some(Fault::DeadlineIgnored) => job.deadline = None,
            Some(Fault::LongestWaitIgnored) => job.max_wait = None,
            Some(Fault::PriorityIgnored) => job.priority = Priority::Normal,
            Some(Fault::StartIgnored) => job.start = Start::Now,
            Some(Fault::PayloadReencoded) => {
                let text = job.payload.as_str().replace("\\u0000", "").replace("1e999999", "null");
                job.payload = RawJson::parse(&text).expect("JSON");
            }
            _ => {}
        }
    }

    async fn live(&self) -> u64 {
        self.inner.queues().await.map_or(0, |queues| queues.iter().map(QueueStatus::live).sum())
    }

    async fn refuse_if_it_looks_full(&self) -> Result<(), Refusal> {
        let (depth, capacity) = (self.live().await, self.limits.capacity_jobs);
        yield_now().await;
        if depth < capacity {
            return Ok(());
        }
        Err(Refusal::QueueFull { queue: QueueName::default_queue(), depth, capacity })
    }

    /// The job first made with a unique key, wherever that was.
    async fn made_anywhere(&self, jobs: &[NewJob]) -> Result<Option<Submitted>, StoreError> {
        let key = jobs.first().and_then(|job| job.unique_key.as_ref());
        let Some(id) = key.and_then(|key| self.seen.lock().unique.get(key).copied()) else { return Ok(None) };
        let job = self.inner.get(&[id]).await?.pop().flatten();
        Ok(job.map(|job| Submitted { job, how: How::Deduplicated }))
    }

    async fn submit_one_by_one(&self, submission: Submission) -> Result<Vec<Submitted>, SubmitError> {
        let Submission { jobs, key, give_up_at } = submission;
        let mut submitted = Vec::new();
        for job in jobs {
            let one = Submission { jobs: vec![job], key: key.clone(), give_up_at };
            submitted.extend(self.inner.submit(one).await?);
        }
        Ok(submitted)
    }

    async fn alter_settlement(&self, settlement: &mut Settlement) {
        let id = settlement.id;
        let cancelled = self.seen.lock().cancel_requested.contains(&id.job);
        let full = self.live().await >= self.limits.capacity_jobs;
        match (self.fault, &settlement.end) {
            (Some(Fault::FenceIgnored), _) => {
                settlement.id.fence = self.seen.lock().newest.get(&id.job).copied().unwrap_or(id.fence);
            }
            (Some(Fault::SpeakerIgnored), _) => settlement.by = Speaker::Server,
            (Some(Fault::HandBackCounted), End::HandBack { after, .. }) => {
                let error = Failed { code: String::new(), message: String::new() };
                settlement.end = End::Retry { error, after: *after };
            }
            (Some(Fault::CancelBeatsSuccess), End::Completed { .. }) if cancelled => {
                settlement.end = End::Cancelled;
            }
            (Some(Fault::RetryNeedsRoom), End::Retry { .. }) if full => settlement.id.fence = Fence(0),
            _ => {}
        }
    }
}

/// Counts again what was counted, with each kind's counts altered.
fn recount(counts: &mut JobCounts, alter: impl Fn(&mut KindCounts)) {
    let mut altered = JobCounts::default();
    for (kind, counts) in counts.by_kind() {
        let (kind, mut counts) = (kind.expect("few kinds"), *counts);
        alter(&mut counts);
        let mut times =
            |times, before, after| (0..times).for_each(|_| altered.moved(kind, before, Some(after)));
        times(counts.submitted, None, JobState::Queued);
        times(counts.reopened, Some(JobState::Dead), JobState::Queued);
        for (state, jobs) in JobState::ALL.into_iter().zip(counts.ended) {
            times(jobs, Some(JobState::Processing), state);
        }
    }
    *counts = altered;
}

#[async_trait]
impl JobStore for FaultyStore {
    fn durability(&self) -> Durability {
        self.inner.durability()
    }

    fn hints(&self) -> broadcast::Receiver<Hint> {
        match self.fault {
            Some(Fault::NeverHints | Fault::HintsTooEarly) => self.hints.subscribe(),
            _ => self.inner.hints(),
        }
    }

    async fn declare(&self, queues: &[QueueSpec]) -> Result<(), StoreError> {
        let mut queues = queues.to_vec();
        if self.is(Fault::CapacityIgnored) {
            queues.iter_mut().for_each(|queue| (queue.capacity_jobs, queue.capacity_bytes) = (None, None));
        }
        self.inner.declare(&queues).await?;
        if self.is(Fault::PauseUndone) {
            for queue in &queues {
                self.inner.pause(&queue.name, false).await?;
            }
        }
        Ok(())
    }

    async fn pause(&self, queue: &QueueName, paused: bool) -> Result<bool, StoreError> {
        if self.is(Fault::PauseIgnored) { Ok(true) } else { self.inner.pause(queue, paused).await }
    }

    async fn submit(&self, mut submission: Submission) -> Result<Vec<Submitted>, SubmitError> {
        submission.jobs.iter_mut().for_each(|job| self.alter_job(job));
        match (self.fault, &mut submission.key) {
            (Some(Fault::KeyForgotten), key) => *key = None,
            (Some(Fault::KeyBodyIgnored), Some(key)) => key.fingerprint = [0; 32],
            (Some(Fault::KeyScopeIgnored), Some(key)) => key.scope = KeyScope::Submit,
            (Some(Fault::CapacityLookedAtFirst), _) => self.refuse_if_it_looks_full().await?,
            (Some(Fault::BatchKeptInPart), _) => return self.submit_one_by_one(submission).await,
            (Some(Fault::UniqueKeyEverywhere), _) => {
                if let Some(made) = self.made_anywhere(&submission.jobs).await? {
                    return Ok(vec![made]);
                }
            }
            (Some(Fault::GivenUpKept), _) if submission.give_up_at < Instant::now() => {
                submission.give_up_at = Instant::now();
                self.inner.submit(submission).await?;
                return Err(StoreError::TimedOut.into());
            }
            _ => {}
        }
        let mut submitted = match self.inner.submit(submission).await {
            Err(SubmitError::Store(StoreError::Closed)) if self.is(Fault::ClosedIsAway) => {
                return Err(StoreError::Unavailable("away".into()).into());
            }
            answer => answer?,
        };
        for Submitted { job, how } in &mut submitted {
            if let Some(key) = &job.unique_key {
                self.seen.lock().unique.insert(key.clone(), job.id);
            }
            if self.is(Fault::ReplaysCounted) && *how == How::Replayed {
                self.seen.lock().miscounted.moved(&job.kind, None, Some(job.state));
            }
            if self.is(Fault::ReplayNotSaid) {
                *how = How::Accepted;
            }
            if self.is(Fault::HintsTooEarly) {
                let next = Change { version: Version(2), state: JobState::Completed, ..job.history[0] };
                let _ = self.hints.send(Hint::Changed(next, job.queue.clone()));
            }
        }
        Ok(submitted)
    }

    async fn reopen(&self, id: JobId) -> Result<Change, SubmitError> {
        let job = self.inner.get(&[id]).await?.pop().flatten();
        match (self.fault, job) {
            (Some(Fault::ReopensDeadOnly), Some(job)) if job.state == JobState::Cancelled => {
                Err(Refusal::State(job.state).into())
            }
            (Some(Fault::ReopenAgreed), Some(job)) => match self.inner.reopen(id).await {
                Err(SubmitError::Refused(Refusal::State(_))) => Ok(job.history[0]),
                answer => answer,
            },
            _ => self.inner.reopen(id).await,
        }
    }

    async fn claim(&self, mut request: ClaimRequest) -> Result<Vec<Claimed>, StoreError> {
        match self.fault {
            Some(Fault::KindsIgnored) => request.wants.iter_mut().for_each(|want| want.kinds = None),
            Some(Fault::SharesIgnored) => request.wants.iter_mut().for_each(|want| want.share = 0),
            Some(Fault::MaximumIgnored) => request.max += 1,
            Some(Fault::SuspectsTogether) => {
                request.owner = Owner::Process(BootId::from_random(rand::random()))
            }
            Some(Fault::LeaseNeverLapses) => request.lease = FOR_EVER,
            _ => {}
        }
        let mut claimed = self.inner.claim(request).await?;
        for claimed in &mut claimed {
            self.seen.lock().newest.insert(claimed.id.job, claimed.id.fence);
            claimed.id = self.shown(claimed.id);
            if self.is(Fault::AttemptNotCounted) {
                claimed.job.attempt -= 1;
            }
        }
        match self.fault {
            Some(Fault::OrderForgotten) => claimed.reverse(),
            Some(Fault::JobGivenTwice) => claimed.extend(claimed.first().cloned()),
            _ => {}
        }
        Ok(claimed)
    }

    async fn renew(&self, mut renewals: Vec<Renewal>) -> Result<Vec<Result<Renewed, ClaimLost>>, StoreError> {
        for renewal in &mut renewals {
            renewal.id = self.shown(renewal.id);
            if self.is(Fault::CheckpointLost) {
                renewal.checkpoint = None;
            }
            if self.is(Fault::SpeakerIgnored) {
                renewal.by = Speaker::Server;
            }
        }
        if self.is(Fault::RenewalIgnored) {
            let renewed = |renewal: Renewal| Renewed { valid_for: renewal.lease, cancel_requested: false };
            return Ok(renewals.into_iter().map(renewed).map(Ok).collect());
        }
        let mut answers = self.inner.renew(renewals).await?;
        if self.is(Fault::CancelNotTold) {
            answers.iter_mut().flatten().for_each(|renewed| renewed.cancel_requested = false);
        }
        Ok(answers)
    }

    async fn settle(
        &self,
        mut settlements: Vec<Settlement>,
    ) -> Result<Vec<Result<Change, ClaimLost>>, StoreError> {
        for settlement in &mut settlements {
            settlement.id = self.shown(settlement.id);
            self.alter_settlement(settlement).await;
        }
        let ids: Vec<ClaimId> = settlements.iter().map(|settlement| settlement.id).collect();
        let mut answers = self.inner.settle(settlements).await?;
        if self.is(Fault::BadItemFailsAll) && answers.iter().any(Result::is_err) {
            answers.iter_mut().for_each(|answer| *answer = Err(ClaimLost));
        }
        if self.is(Fault::RetriesCounted) {
            for change in answers.iter().flatten().filter(|change| change.state == JobState::Retryable) {
                let job = self.inner.get(&[change.id]).await?.pop().flatten();
                let kind = job.expect("it was settled").kind;
                let (before, after) = (Some(JobState::Processing), Some(JobState::Dead));
                self.seen.lock().miscounted.moved(&kind, before, after);
            }
        }
        if self.is(Fault::RepeatRefused) {
            for (id, answer) in ids.into_iter().zip(&mut answers) {
                if !self.seen.lock().settled.insert(id) {
                    *answer = Err(ClaimLost);
                }
            }
        }
        Ok(answers)
    }

    async fn cancel(&self, id: JobId) -> Result<Cancel, StoreError> {
        let job = self.inner.get(&[id]).await?.pop().flatten();
        match (self.fault, job.map(|job| job.state)) {
            (Some(Fault::CancelForgotten), Some(JobState::Processing)) => return Ok(Cancel::Requested),
            (Some(Fault::EndedNotFound), Some(state)) if state.is_terminal() => return Ok(Cancel::NotFound),
            _ => {}
        }
        self.seen.lock().cancel_requested.insert(id);
        self.inner.cancel(id).await
    }

    async fn upkeep(&self, rows_max: usize) -> Result<Upkeep, StoreError> {
        let rows_max = if self.is(Fault::StepUnbounded) { usize::MAX } else { rows_max };
        let upkeep = self.inner.upkeep(rows_max).await?;
        let next_due = upkeep.next_due.filter(|_| !self.is(Fault::NextDueForgotten));
        Ok(Upkeep { next_due, ..upkeep })
    }

    async fn get(&self, ids: &[JobId]) -> Result<Vec<Option<Job>>, StoreError> {
        let mut jobs = self.inner.get(ids).await?;
        match self.fault {
            Some(Fault::VersionNotCounted) => {
                jobs.iter_mut().flatten().for_each(|job| job.version = Version::FIRST);
            }
            Some(Fault::ClaimCounted) => {
                let claimed = jobs.iter_mut().flatten().filter(|job| job.state == JobState::Processing);
                claimed.for_each(|job| job.version = job.version.next());
            }
            Some(Fault::ErrorsForgotten) => jobs.iter_mut().flatten().for_each(|job| job.errors.truncate(1)),
            Some(Fault::ReadsReordered) => jobs.reverse(),
            _ => {}
        }
        Ok(jobs)
    }

    async fn list(&self, query: &ListQuery) -> Result<Page, StoreError> {
        let mut query = query.clone();
        if self.is(Fault::StateFilterIgnored) {
            query.state = None;
        }
        let mut page = self.inner.list(&query).await?;
        match self.fault {
            Some(Fault::ListedOldestFirst) => page.jobs.reverse(),
            Some(Fault::NextPageForgotten) => page.next = None,
            Some(Fault::BodiesListed) => {
                let ids: Vec<JobId> = page.jobs.iter().map(|job| job.id).collect();
                page.jobs = self.inner.get(&ids).await?.into_iter().flatten().collect();
            }
            _ => {}
        }
        Ok(page)
    }

    async fn queues(&self) -> Result<Vec<QueueStatus>, StoreError> {
        let mut queues = self.inner.queues().await?;
        let first = queues.first().map(|queue| queue.depth);
        for queue in &mut queues {
            queue.counts.add(&self.seen.lock().miscounted);
            match self.fault {
                Some(Fault::ExpiriesNotCounted) => {
                    recount(&mut queue.counts, |counts| counts.ended[JobState::Expired as usize] = 0);
                }
                Some(Fault::ReopeningsNotCounted) => recount(&mut queue.counts, |counts| counts.reopened = 0),
                Some(Fault::EndsMixed) => recount(&mut queue.counts, |counts| {
                    let all = counts.ended.iter().sum();
                    counts.ended = [0; 8];
                    counts.ended[JobState::Completed as usize] = all;
                }),
                Some(Fault::FiguresForgotten) => queue.depth[JobState::Completed as usize] = 0,
                Some(Fault::FiguresMixed) => queue.depth = first.unwrap_or_default(),
                Some(Fault::DueCountedAsScheduled) => {
                    let queued = std::mem::take(&mut queue.depth[JobState::Queued as usize]);
                    queue.depth[JobState::Scheduled as usize] += queued;
                }
                _ => {}
            }
        }
        Ok(queues)
    }

    async fn check(&self) -> Result<(), StoreError> {
        self.inner.check().await
    }

    async fn close(&self, deadline: Instant) -> Result<(), StoreError> {
        if self.is(Fault::CloseIgnored) { Ok(()) } else { self.inner.close(deadline).await }
    }
}
