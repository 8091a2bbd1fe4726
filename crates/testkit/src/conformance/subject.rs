//! The store under test, and the words in which the properties speak of it.

use std::fmt::Debug;
use std::sync::Arc;
use std::time::Duration;

use steadfast_domain::{
    BootId, Change, IdempotencyToken, Job, JobId, JobState, KindName, NewJob, QueueName, RawJson, Tenant,
    Timestamp, UniqueKey, WorkerName,
};
use steadfast_queue::JobStore;
use steadfast_queue::store::{
    Cancel, ClaimId, ClaimLost, ClaimRequest, Claimed, End, Failed, How, IdempotencyKey, KeyScope, ListQuery,
    Owner, QueueSpec, QueueStatus, Refusal, Renewal, Renewed, Settlement, Speaker, StoreLimits, Submission,
    SubmitError, Submitted, Want,
};
use tokio::time::Instant;

use super::Bench;
use crate::PATIENCE;

/// Longer than any property runs.
pub const LONG: Duration = Duration::from_secs(60 * 60);
/// A lease that has ended by the time anybody looks.
pub const BRIEF: Duration = Duration::from_millis(1);
/// Time between two looks at what housekeeping is to bring about.
const LOOK_EVERY: Duration = Duration::from_millis(2);
/// Rows of one housekeeping step.
const ROWS: usize = 1_000;

/// A store under test, with the queue `default` declared.
#[derive(Clone)]
pub struct Subject {
    store: Arc<dyn JobStore>,
    /// Who claims, unless a property says otherwise.
    pub owner: Owner,
}

impl Subject {
    /// A store with the default limits.
    pub async fn open(bench: &mut dyn Bench) -> Self {
        Self::open_with(bench, StoreLimits::default()).await
    }

    /// A store with these limits. On a bench used before, the next process's: its boot id is a new one.
    pub async fn open_with(bench: &mut dyn Bench, limits: StoreLimits) -> Self {
        let store = bench.open(limits).await;
        let owner = Owner::Process(BootId::from_random(rand::random()));
        let subject = Self { store, owner };
        subject.declare("default", None, None).await;
        subject
    }

    /// A store that holds at most so many jobs.
    pub async fn open_for_jobs(bench: &mut dyn Bench, capacity_jobs: u64) -> Self {
        Self::open_with(bench, StoreLimits { capacity_jobs, ..StoreLimits::default() }).await
    }

    /// The store itself, for what these words do not say.
    pub fn seam(&self) -> &dyn JobStore {
        &*self.store
    }

    /// Closes the store, in good time.
    pub async fn close(self) {
        self.store.close(Instant::now() + LONG).await.expect("closes");
    }

    /// Makes a queue exist with these limits.
    pub async fn declare(&self, queue: &str, capacity_jobs: Option<u64>, capacity_bytes: Option<u64>) {
        let spec = QueueSpec { name: queue_name(queue), capacity_jobs, capacity_bytes };
        self.store.declare(&[spec]).await.expect("declares a queue");
    }

    /// Pauses or resumes a queue that exists.
    pub async fn pause(&self, queue: &str, paused: bool) {
        assert!(self.store.pause(&queue_name(queue), paused).await.expect("pauses"), "{queue} exists");
    }

    /// Submits, and answers a refusal as it is.
    pub async fn try_submit(
        &self,
        jobs: Vec<NewJob>,
        key: Option<IdempotencyKey>,
    ) -> Result<Vec<Submitted>, Refusal> {
        let submission = Submission { jobs, key, give_up_at: Instant::now() + LONG };
        match self.store.submit(submission).await {
            Ok(submitted) => Ok(submitted),
            Err(SubmitError::Refused(refusal)) => Err(refusal),
            Err(SubmitError::Store(error)) => panic!("the store does not answer: {error:?}"),
        }
    }

    /// Submits jobs that must be accepted, all together.
    pub async fn submit_all(&self, jobs: Vec<NewJob>) -> Vec<Job> {
        let submitted = self.try_submit(jobs, None).await.expect("accepted");
        submitted.into_iter().map(accepted).collect()
    }

    /// Submits one job that must be accepted.
    pub async fn submit(&self, job: NewJob) -> Job {
        only(self.submit_all(vec![job]).await)
    }

    /// Submits one job, and answers a refusal as it is.
    pub async fn try_submit_one(&self, job: NewJob) -> Result<Submitted, Refusal> {
        self.try_submit(vec![job], None).await.map(only)
    }

    /// Submits one job under a key, and answers a refusal as it is.
    pub async fn submit_keyed(&self, job: NewJob, key: &IdempotencyKey) -> Result<Submitted, Refusal> {
        self.try_submit(vec![job], Some(key.clone())).await.map(only)
    }

    /// The job, which must exist.
    pub async fn job(&self, id: JobId) -> Job {
        self.find(id).await.unwrap_or_else(|| panic!("job {id} exists"))
    }

    /// The job, if it exists.
    pub async fn find(&self, id: JobId) -> Option<Job> {
        only(self.store.get(&[id]).await.expect("reads"))
    }

    /// The job's state.
    pub async fn state(&self, id: JobId) -> JobState {
        self.job(id).await.state
    }

    /// Claims up to `max` jobs of every kind from `default`.
    pub async fn claim(&self, max: usize) -> Vec<Claimed> {
        self.claim_from(vec![want("default")], max).await
    }

    /// Claims what is wanted.
    pub async fn claim_from(&self, wants: Vec<Want>, max: usize) -> Vec<Claimed> {
        self.claim_as(&self.owner, wants, max, LONG).await
    }

    /// Claims for an owner, with a lease.
    pub async fn claim_as(
        &self,
        owner: &Owner,
        wants: Vec<Want>,
        max: usize,
        lease: Duration,
    ) -> Vec<Claimed> {
        let request = ClaimRequest { owner: owner.clone(), wants, max, lease };
        self.store.claim(request).await.expect("claims")
    }

    /// Claims the one job that is ready.
    pub async fn claim_one(&self) -> Claimed {
        only(self.claim(2).await)
    }

    /// Claims the one job of this kind that is ready, for a worker, with a lease.
    pub async fn lease(&self, kind: &str, lease: Duration) -> Claimed {
        only(self.claim_as(&worker(kind), vec![want_kinds("default", &[kind])], 2, lease).await)
    }

    /// Settles one claim.
    pub async fn settle(&self, id: ClaimId, end: End) -> Result<Change, ClaimLost> {
        only(self.store.settle(vec![Settlement { id, by: Speaker::Server, end }]).await.expect("settles"))
    }

    /// Settles one claim that must hold.
    pub async fn end(&self, id: ClaimId, end: End) -> Change {
        self.settle(id, end).await.expect("the claim holds")
    }

    /// Asks for the job's end.
    pub async fn cancel(&self, id: JobId) -> Cancel {
        self.store.cancel(id).await.expect("cancels")
    }

    /// Opens an ended job again, and answers a refusal as it is.
    pub async fn reopen(&self, id: JobId) -> Result<Change, Refusal> {
        match self.store.reopen(id).await {
            Ok(change) => Ok(change),
            Err(SubmitError::Refused(refusal)) => Err(refusal),
            Err(SubmitError::Store(error)) => panic!("the store does not answer: {error:?}"),
        }
    }

    /// Renews one claim and reports nothing.
    pub async fn renew(&self, id: ClaimId, lease: Duration) -> Result<Renewed, ClaimLost> {
        self.report(Renewal { id, by: Speaker::Server, lease, progress: None, checkpoint: None }).await
    }

    /// Renews one claim with what its handler reports.
    pub async fn report(&self, renewal: Renewal) -> Result<Renewed, ClaimLost> {
        only(self.store.renew(vec![renewal]).await.expect("renews"))
    }

    /// Interrupts the job, the one of its kind that is ready: a worker leases it and is not heard of again.
    pub async fn interrupt(&self, job: &Job) {
        let before = self.job(job.id).await.interruptions;
        self.lease(job.kind.as_str(), BRIEF).await;
        self.until("the lost claim is recovered", async || {
            (self.job(job.id).await.interruptions > before).then_some(())
        })
        .await;
    }

    /// Does the housekeeping there is to do now.
    pub async fn upkeep(&self) {
        while self.store.upkeep(ROWS).await.expect("keeps house").more {}
    }

    /// Keeps house until `probe` finds something.
    pub async fn until<T>(&self, what: &str, mut probe: impl AsyncFnMut() -> Option<T>) -> T {
        let deadline = Instant::now() + PATIENCE;
        loop {
            self.upkeep().await;
            if let Some(found) = probe().await {
                return found;
            }
            assert!(Instant::now() < deadline, "not within {PATIENCE:?}: {what}");
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }

    /// Keeps house until the job is in this state.
    pub async fn until_state(&self, id: JobId, state: JobState) {
        self.until(&format!("job {id} is {}", state.as_str()), async || {
            (self.state(id).await == state).then_some(())
        })
        .await;
    }

    /// Keeps house until the store's clock has passed this moment.
    pub async fn until_past(&self, at: Timestamp) {
        self.until("the clock goes on", async || (self.now().await > at).then_some(())).await;
    }

    /// The store's clock.
    pub async fn now(&self) -> Timestamp {
        self.queue("default").await.now
    }

    /// A queue's figures.
    pub async fn queue(&self, name: &str) -> QueueStatus {
        let queues = self.store.queues().await.expect("reads");
        queues.into_iter().find(|queue| queue.name.as_str() == name).expect("the queue is declared")
    }

    /// Every stored job that the query asks for, page by page.
    pub async fn list(&self, query: ListQuery) -> Vec<Job> {
        let mut query = ListQuery { limit: 1_000, ..query };
        let mut jobs = Vec::new();
        loop {
            let page = self.store.list(&query).await.expect("reads");
            jobs.extend(page.jobs);
            match page.next {
                Some(next) => query.before = Some(next),
                None => return jobs,
            }
        }
    }

    /// How many jobs are stored.
    pub async fn stored(&self) -> usize {
        self.list(ListQuery::default()).await.len()
    }
}

/// A job that was made just now.
pub fn accepted(submitted: Submitted) -> Job {
    assert_eq!(submitted.how, How::Accepted);
    submitted.job
}

/// The one item there must be.
pub fn only<T: Debug>(items: Vec<T>) -> T {
    let [item] = <[T; 1]>::try_from(items).expect("exactly one");
    item
}

/// A job of kind `echo` in `default`.
pub fn echo() -> NewJob {
    of_kind("echo")
}

/// So many jobs of kind `echo` in `default`.
pub fn echoes(count: usize) -> Vec<NewJob> {
    (0..count).map(|_| echo()).collect()
}

/// A job of this kind in `default`.
pub fn of_kind(kind: &str) -> NewJob {
    NewJob::new(kind_name(kind), RawJson::empty_object())
}

/// A job of kind `echo` in this queue.
pub fn in_queue(queue: &str) -> NewJob {
    NewJob { queue: queue_name(queue), ..echo() }
}

/// A job whose payload has exactly so many bytes, at least 2.
pub fn of_bytes(bytes: usize) -> NewJob {
    NewJob { payload: json(&format!("\"{}\"", "x".repeat(bytes - 2))), ..echo() }
}

/// A job with this unique key.
pub fn unique(key: &str) -> NewJob {
    NewJob { unique_key: Some(UniqueKey::new(key).expect("a unique key")), ..echo() }
}

/// Everything ready in this queue.
pub fn want(queue: &str) -> Want {
    Want { queue: queue_name(queue), kinds: None, share: 0 }
}

/// What is of these kinds in this queue.
pub fn want_kinds(queue: &str, kinds: &[&str]) -> Want {
    let kinds = kinds.iter().map(|kind| kind_name(kind)).collect();
    Want { kinds: Some(kinds), ..want(queue) }
}

/// A key for one job, with a body of which `body` is all that matters.
pub fn key(token: &str, body: u8) -> IdempotencyKey {
    IdempotencyKey {
        tenant: Tenant::default(),
        scope: KeyScope::Submit,
        token: IdempotencyToken::new(token).expect("a key"),
        fingerprint: [body; 32],
    }
}

/// The same key, given for a batch.
pub fn batch_key(token: &str, body: u8) -> IdempotencyKey {
    IdempotencyKey { scope: KeyScope::Batch, ..key(token, body) }
}

/// Ended well, with nothing to show.
pub fn completed() -> End {
    End::Completed { result: None }
}

/// Failed, to be tried again after this long.
pub fn retry(after: Duration) -> End {
    End::Retry { error: failed(), after }
}

/// Failed for good.
pub fn dead() -> End {
    End::Dead { error: failed() }
}

/// Handed back, to be due after this long.
pub fn hand_back(after: Duration) -> End {
    End::HandBack { checkpoint: None, after }
}

fn failed() -> Failed {
    Failed { code: "boom".into(), message: "it went wrong".into() }
}

/// A remote worker.
pub fn worker(name: &str) -> Owner {
    Owner::Worker(WorkerName::new(name).expect("a worker's name"))
}

/// A JSON text.
pub fn json(text: &str) -> RawJson {
    RawJson::parse(text).expect("JSON")
}

/// A kind.
pub fn kind_name(kind: &str) -> KindName {
    KindName::new(kind).expect("a kind")
}

/// A queue's name.
pub fn queue_name(queue: &str) -> QueueName {
    QueueName::new(queue).expect("a queue's name")
}

/// The claimed jobs' ids.
pub fn ids(claimed: &[Claimed]) -> Vec<JobId> {
    claimed.iter().map(|claimed| claimed.id.job).collect()
}

/// The ids of the jobs a submission was answered with.
pub fn answered_ids(answers: &[Submitted]) -> Vec<JobId> {
    answers.iter().map(|answer| answer.job.id).collect()
}
