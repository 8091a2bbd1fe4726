use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use async_trait::async_trait;
use steadfast_domain::{Change, Job, JobId, QueueName};
use steadfast_queue::JobStore;
use steadfast_queue::metrics::StoreMetrics;
use steadfast_queue::store::{
    Cancel, ClaimLost, ClaimRequest, Claimed, Durability, HINTS_MAX, Hint, ListQuery, Page, QueueCounts,
    QueueSpec, QueueStatus, Renewal, Renewed, Settlement, StoreError, StoreLimits, Submission, SubmitError,
    Submitted, Upkeep,
};
use tokio::sync::{broadcast, oneshot, watch};
use tokio::time::{Instant, timeout_at};

use crate::command::{Ask, Command};
use crate::counts::Doubted;
use crate::health::{Damage, Health};
use crate::inbox::{Inbox, Lane};
use crate::load::{self, Opened};
use crate::lock::Lock;
use crate::read::{self, Readers};
use crate::reserve::Reserve;
use crate::room::Room;
use crate::writer::Writer;
use crate::{OpenError, file_system};

/// What a [`SqliteStore`] needs to know.
#[derive(Debug, Clone)]
pub struct SqliteConfig {
    /// The database file. It is made if it is not there; so is the lock file beside it.
    pub path: PathBuf,
    /// Capacity, interruptions and retention.
    pub limits: StoreLimits,
}

/// Jobs in one SQLite file: an accepted job is on the disk.
///
/// What the contract leaves to a store is decided as in `MemoryStore`. Dropping the store without
/// [`close`](JobStore::close) waits until what was asked of it is done and the file is closed.
#[derive(Debug)]
pub struct SqliteStore {
    inbox: Arc<Inbox>,
    room: Arc<Room>,
    readers: Arc<Readers>,
    hints: broadcast::Sender<Hint>,
    ended: watch::Receiver<Option<Result<(), String>>>,
    writer: Option<thread::JoinHandle<()>>,
    /// Whether somebody has waited for the end already, as long as there was time.
    was_closed: AtomicBool,
}

impl SqliteStore {
    /// Opens the file, takes its lock, brings its schema up to date, takes back the jobs of a process that
    /// did not stop in order, and starts the writer. Blocks, for about half a second with a million waiting jobs.
    pub fn open(config: SqliteConfig, metrics: StoreMetrics) -> Result<Self, OpenError> {
        let SqliteConfig { path, limits } = config;
        file_system::check(&path)?;
        let lock = Lock::take(&path)?;
        let mut reserve = Reserve::find(&path);
        let opened = match load::open(&path, &limits) {
            // What it has to write was accepted before.
            Err(error) if error.is_full() && reserve.release() => load::open(&path, &limits)?,
            opened => opened?,
        };
        reserve.fill();
        Self::start(path, limits, metrics, opened, reserve, lock)
    }

    /// Starts the writer on a file that is open, and opens it for readers.
    fn start(
        path: PathBuf,
        limits: StoreLimits,
        metrics: StoreMetrics,
        opened: Opened,
        reserve: Reserve,
        lock: Lock,
    ) -> Result<Self, OpenError> {
        let damage = Damage::none(path.clone());
        let readers =
            Readers::open(&path, damage.clone()).map_err(|source| OpenError::sqlite(path.clone(), source))?;
        let (inbox, room) = (Arc::new(Inbox::new()), Arc::new(Room::default()));
        let (hints, _) = broadcast::channel(HINTS_MAX);
        let (ended, has_ended) = watch::channel(None);
        let writer = Writer {
            path: path.clone(),
            limits,
            inbox: Arc::clone(&inbox),
            hints: hints.clone(),
            metrics,
            health: Health::new(path.clone(), damage),
            reserve,
            room: Arc::clone(&room),
            counts: QueueCounts::default(),
            doubted: Doubted::default(),
            ended,
        };
        let thread = thread::Builder::new().name("store-writer".to_owned());
        let writer = thread.spawn(move || writer.run(opened, lock)).map_err(|source| OpenError::Io {
            doing: "start the writer of",
            path,
            source,
        })?;
        let was_closed = AtomicBool::new(false);
        Ok(Self { inbox, room, readers, hints, ended: has_ended, writer: Some(writer), was_closed })
    }

    /// Asks the writer and waits for its answer.
    async fn ask<I, T, E: From<StoreError>>(
        &self,
        lane: Lane,
        command: impl FnOnce(Ask<I, T, E>) -> Command,
        input: I,
    ) -> Result<T, E> {
        let (ask, answer) = Ask::new(input);
        self.inbox.put(lane, command(ask)).await?;
        answered(answer.await)
    }
}

/// An answer that never comes means that the writer is gone.
fn answered<T, E: From<StoreError>>(answer: Result<Result<T, E>, oneshot::error::RecvError>) -> Result<T, E> {
    answer.unwrap_or_else(|gone| Err(StoreError::Unavailable(Box::new(gone)).into()))
}

impl Drop for SqliteStore {
    fn drop(&mut self) {
        self.inbox.close();
        self.readers.abandon();
        let out_of_time = self.was_closed.load(Ordering::Relaxed) && self.ended.borrow().is_none();
        if let Some(writer) = self.writer.take().filter(|_| !out_of_time)
            && writer.join().is_err()
        {
            tracing::error!("the store's writer had panicked");
        }
    }
}

#[async_trait]
impl JobStore for SqliteStore {
    fn durability(&self) -> Durability {
        Durability::Fsync
    }

    fn hints(&self) -> broadcast::Receiver<Hint> {
        self.hints.subscribe()
    }

    async fn declare(&self, queues: &[QueueSpec]) -> Result<(), StoreError> {
        self.ask(Lane::Ends, Command::Declare, queues.to_vec()).await
    }

    async fn pause(&self, queue: &QueueName, paused: bool) -> Result<bool, StoreError> {
        self.ask(Lane::Ends, Command::Pause, (queue.clone(), paused)).await
    }

    async fn submit(&self, submission: Submission) -> Result<Vec<Submitted>, SubmitError> {
        if let Some(refusal) = self.room.refuse(&submission) {
            return Err(refusal.into());
        }
        let give_up_at = submission.give_up_at;
        let (ask, mut answer) = Ask::new(submission);
        let put = timeout_at(give_up_at, self.inbox.put(Lane::Submissions, Command::Submit(ask)));
        let ticket = put.await.map_err(|_| StoreError::TimedOut)??;
        match timeout_at(give_up_at, &mut answer).await {
            Ok(answer) => answered(answer),
            Err(_) if self.inbox.withdraw(Lane::Submissions, ticket) => Err(StoreError::TimedOut.into()),
            // It is inside a transaction, whose end is to be told.
            Err(_) => answered(answer.await),
        }
    }

    async fn reopen(&self, id: JobId) -> Result<Change, SubmitError> {
        self.ask(Lane::Submissions, Command::Reopen, id).await
    }

    async fn claim(&self, request: ClaimRequest) -> Result<Vec<Claimed>, StoreError> {
        Ok(self.ask(Lane::Claims, Command::Claim, request).await?.take())
    }

    async fn renew(&self, renewals: Vec<Renewal>) -> Result<Vec<Result<Renewed, ClaimLost>>, StoreError> {
        self.ask(Lane::Ends, Command::Renew, renewals).await
    }

    async fn settle(
        &self,
        settlements: Vec<Settlement>,
    ) -> Result<Vec<Result<Change, ClaimLost>>, StoreError> {
        self.ask(Lane::Ends, Command::Settle, settlements).await
    }

    async fn cancel(&self, id: JobId) -> Result<Cancel, StoreError> {
        self.ask(Lane::Ends, Command::Cancel, id).await
    }

    async fn upkeep(&self, rows_max: usize) -> Result<Upkeep, StoreError> {
        self.ask(Lane::Ends, Command::Upkeep, rows_max).await
    }

    async fn get(&self, ids: &[JobId]) -> Result<Vec<Option<Job>>, StoreError> {
        let ids = ids.to_vec();
        self.readers.run(move |connection| read::get(connection, &ids)).await
    }

    async fn list(&self, query: &ListQuery) -> Result<Page, StoreError> {
        let query = query.clone();
        self.readers.run(move |connection| read::list(connection, &query)).await
    }

    async fn queues(&self) -> Result<Vec<QueueStatus>, StoreError> {
        self.ask(Lane::Ends, Command::Queues, ()).await
    }

    async fn check(&self) -> Result<(), StoreError> {
        self.ask(Lane::Ends, Command::Check, ()).await
    }

    async fn close(&self, deadline: Instant) -> Result<(), StoreError> {
        let in_doubt = |why: &str| StoreError::Unavailable(why.into());
        self.was_closed.store(true, Ordering::Relaxed);
        self.inbox.close();
        let late = |_| in_doubt("the store was still flushing when its time was up");
        timeout_at(deadline, self.readers.close()).await.map_err(late)?;
        let mut ended = self.ended.clone();
        let ended = timeout_at(deadline, ended.wait_for(Option::is_some)).await.map_err(late)?;
        match ended.as_deref() {
            Ok(Some(Ok(()))) => Ok(()),
            Ok(Some(Err(why))) => Err(in_doubt(why)),
            Ok(None) | Err(_) => Err(in_doubt("the store's writer is gone")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use prometheus::Registry;
    use std::time::Duration;
    use steadfast_domain::{BootId, KindName, NewJob, RawJson};
    use steadfast_queue::store::{End, Owner, Retention, Speaker, Want};
    use tempfile::TempDir;

    /// A store whose file may not grow beyond `pages`: to SQLite that is a full disk.
    fn on_a_disk_of(pages: i64, directory: &TempDir) -> SqliteStore {
        let path = directory.path().join("jobs.db");
        let retention = Retention { jobs_max: 0, ..Retention::default() };
        let limits = StoreLimits { retention, ..StoreLimits::default() };
        let lock = Lock::take(&path).unwrap();
        let opened = load::open(&path, &limits).unwrap();
        opened.connection.pragma_update(None, "max_page_count", pages).unwrap();
        let metrics = StoreMetrics::register(&Registry::new()).unwrap();
        let reserve = Reserve::find(&path);
        SqliteStore::start(path, limits, metrics, opened, reserve, lock).unwrap()
    }

    async fn submit(store: &SqliteStore) -> Result<JobId, SubmitError> {
        let payload = RawJson::encode(&"x".repeat(2_000)).unwrap();
        let jobs = vec![NewJob::new(KindName::new("echo").unwrap(), payload)];
        let give_up_at = Instant::now() + Duration::from_secs(600);
        Ok(store.submit(Submission { jobs, key: None, give_up_at }).await?[0].job.id)
    }

    #[tokio::test]
    async fn a_full_disk_refuses_submissions_and_goes_on_when_there_is_space() {
        let directory = tempfile::tempdir().unwrap();
        let store = on_a_disk_of(64, &directory);
        let name = QueueName::default_queue();
        let spec = QueueSpec { name: name.clone(), capacity_jobs: None, capacity_bytes: None };
        store.declare(&[spec]).await.unwrap();
        let mut accepted = Vec::new();
        let error = loop {
            match submit(&store).await {
                Ok(id) => accepted.push(id),
                Err(error) => break error,
            }
        };
        assert!(matches!(error, SubmitError::Store(StoreError::Full)), "{error:?}");
        store.check().await.unwrap();
        assert_eq!(store.queues().await.unwrap()[0].live(), accepted.len() as u64, "nothing half done");
        assert!(store.get(&accepted).await.unwrap().iter().all(Option::is_some));

        let owner = Owner::Process(BootId::from_random(1));
        let wants = vec![Want { queue: name, kinds: None, share: 0 }];
        let request = ClaimRequest { owner, wants, max: accepted.len(), lease: Duration::MAX };
        for claimed in store.claim(request).await.unwrap() {
            let end = End::Completed { result: None };
            let settled =
                store.settle(vec![Settlement { id: claimed.id, by: Speaker::Server, end }]).await.unwrap();
            assert!(settled[0].is_ok(), "what was accepted can end");
        }
        while store.upkeep(100).await.unwrap().more {}
        submit(&store).await.unwrap();
    }
}
