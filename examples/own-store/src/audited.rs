use std::future::Future;
use std::io;
use std::path::Path;
use std::sync::Arc;

use async_trait::async_trait;
use serde_json::{Value, json};
use steadfast::domain::{Change, Job, JobId, QueueName};
use steadfast::queue::JobStore;
use steadfast::queue::store::{
    Cancel, ClaimLost, ClaimRequest, Claimed, Durability, Hint, How, ListQuery, Page, QueueSpec, QueueStatus,
    Renewal, Renewed, Settlement, StoreError, Submission, SubmitError, Submitted, Upkeep,
};
use tokio::sync::broadcast;
use tokio::time::{Instant, timeout_at};
use tokio_util::task::TaskTracker;

use crate::trail::Trail;

/// A store that writes down what clients had done to it: each job that was accepted, opened again or cancelled, and
/// each pause. The entry is on disk before the answer leaves. What workers do is not a client's doing, and goes
/// through as it is.
pub struct Audited<S> {
    inner: Arc<S>,
    trail: Arc<Trail>,
    calls: TaskTracker,
}

impl<S: JobStore> Audited<S> {
    /// Keeps the trail of `inner` in the file at `path`, at its end if there is one.
    ///
    /// # Errors
    /// When the file cannot be opened.
    pub fn open(path: &Path, inner: S) -> io::Result<Self> {
        let trail = Arc::new(Trail::open(path)?);
        Ok(Self { inner: Arc::new(inner), trail, calls: TaskTracker::new() })
    }

    /// Makes a call and writes down what it did.
    ///
    /// Whoever asked may be gone before the end, and a change without its entry must not be: so this is a task of its
    /// own. When the entry cannot be written the change has been made all the same, and the only true answer is that
    /// the outcome is unknown.
    async fn audited<T, E, C>(
        &self,
        call: impl FnOnce(Arc<S>) -> C,
        entries: impl FnOnce(&T) -> Vec<(Option<JobId>, Value)> + Send + 'static,
    ) -> Result<T, E>
    where
        T: Send + 'static,
        E: From<StoreError> + Send + 'static,
        C: Future<Output = Result<T, E>> + Send + 'static,
    {
        let (call, trail) = (call(Arc::clone(&self.inner)), Arc::clone(&self.trail));
        let task = self.calls.spawn(async move {
            let done = call.await?;
            let (ids, entries): (Vec<_>, Vec<_>) = entries(&done).into_iter().unzip();
            let unknown = |_| StoreError::Unknown { ids: ids.into_iter().flatten().collect() };
            trail.append(&entries).await.map_err(unknown)?;
            Ok(done)
        });
        task.await.unwrap_or_else(|_| Err(StoreError::Unknown { ids: Vec::new() }.into()))
    }
}

#[async_trait]
impl<S: JobStore> JobStore for Audited<S> {
    async fn submit(&self, submission: Submission) -> Result<Vec<Submitted>, SubmitError> {
        self.audited(
            |inner| async move { inner.submit(submission).await },
            |answers: &Vec<Submitted>| {
                let made = answers.iter().filter(|answer| answer.how == How::Accepted);
                made.map(|Submitted { job, .. }| {
                    let entry =
                        json!({ "submitted": job.id, "at": job.created_at.to_string(), "kind": job.kind.as_str() });
                    (Some(job.id), entry)
                })
                .collect()
            },
        )
        .await
    }

    async fn reopen(&self, id: JobId) -> Result<Change, SubmitError> {
        self.audited(
            move |inner| async move { inner.reopen(id).await },
            |change: &Change| {
                vec![(Some(change.id), json!({ "reopened": change.id, "at": change.at.to_string() }))]
            },
        )
        .await
    }

    async fn cancel(&self, id: JobId) -> Result<Cancel, StoreError> {
        self.audited(
            move |inner| async move { inner.cancel(id).await },
            move |cancel: &Cancel| match cancel {
                Cancel::Done(_) | Cancel::Requested => vec![(Some(id), json!({ "cancelled": id }))],
                Cancel::AlreadyTerminal(_) | Cancel::NotFound => Vec::new(),
            },
        )
        .await
    }

    async fn pause(&self, queue: &QueueName, paused: bool) -> Result<bool, StoreError> {
        let (asked, name) = (queue.clone(), queue.clone());
        self.audited(
            move |inner| async move { inner.pause(&asked, paused).await },
            move |exists: &bool| {
                let entry = json!({ "queue": name.as_str(), "paused": paused });
                exists.then_some((None, entry)).into_iter().collect()
            },
        )
        .await
    }

    async fn close(&self, deadline: Instant) -> Result<(), StoreError> {
        self.inner.close(deadline).await?;
        self.calls.close();
        let written = timeout_at(deadline, self.calls.wait()).await;
        written.map_err(|_| StoreError::Unknown { ids: Vec::new() })
    }

    fn durability(&self) -> Durability {
        self.inner.durability()
    }

    fn hints(&self) -> broadcast::Receiver<Hint> {
        self.inner.hints()
    }

    async fn declare(&self, queues: &[QueueSpec]) -> Result<(), StoreError> {
        self.inner.declare(queues).await
    }

    async fn claim(&self, request: ClaimRequest) -> Result<Vec<Claimed>, StoreError> {
        self.inner.claim(request).await
    }

    async fn renew(&self, renewals: Vec<Renewal>) -> Result<Vec<Result<Renewed, ClaimLost>>, StoreError> {
        self.inner.renew(renewals).await
    }

    async fn settle(
        &self,
        settlements: Vec<Settlement>,
    ) -> Result<Vec<Result<Change, ClaimLost>>, StoreError> {
        self.inner.settle(settlements).await
    }

    async fn upkeep(&self, rows_max: usize) -> Result<Upkeep, StoreError> {
        self.inner.upkeep(rows_max).await
    }

    async fn get(&self, ids: &[JobId]) -> Result<Vec<Option<Job>>, StoreError> {
        self.inner.get(ids).await
    }

    async fn list(&self, query: &ListQuery) -> Result<Page, StoreError> {
        self.inner.list(query).await
    }

    async fn queues(&self) -> Result<Vec<QueueStatus>, StoreError> {
        self.inner.queues().await
    }

    async fn check(&self) -> Result<(), StoreError> {
        self.inner.check().await
    }
}
