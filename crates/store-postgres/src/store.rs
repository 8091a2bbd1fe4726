use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use parking_lot::Mutex;
use steadfast_domain::{Change, Job, JobId, JobIds, QueueName};
use steadfast_queue::JobStore;
use steadfast_queue::metrics::StoreMetrics;
use steadfast_queue::store::{
    Cancel, ClaimLost, ClaimRequest, Claimed, Durability, Hint, ListQuery, Page, QueueSpec, QueueStatus,
    Renewal, Renewed, Settlement, StoreError, StoreLimits, Submission, SubmitError, Submitted, Upkeep,
};
use tokio::sync::{broadcast, oneshot};
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout, timeout_at};
use tokio_util::sync::CancellationToken;

use crate::claim::{self, Claim, Claiming};
use crate::ends::{Ending, Ends};
use crate::lane::{Command, Inbox, Ticket};
use crate::link::{Connector, Link};
use crate::publisher::Publisher;
use crate::queues::Declare;
use crate::read::{self, Read, Reading};
use crate::session::Sql;
use crate::shared::{Locks, Shared};
use crate::submit::{self, Submit, Submitting};
use crate::tallies::Seat;
use crate::url::PostgresUrl;
use crate::writer::{Outcome, Writer};
use crate::{OpenError, loaded, migrate, queues, retention, settle, telling, upkeep};

/// What a [`PostgresStore`] needs to know.
#[derive(Debug, Clone)]
pub struct PostgresConfig {
    /// The database.
    pub url: PostgresUrl,
    /// Where to listen for the hints of other processes: past a pooler, which has no sessions to listen in.
    /// The database itself if `None`.
    pub listen_url: Option<PostgresUrl>,
    /// Capacity, interruptions and retention.
    pub limits: StoreLimits,
}

/// Jobs in one schema of a PostgreSQL database, which several processes may share.
///
/// What the contract leaves to a store is decided as in `MemoryStore`, but that every claim lapses: a process's as
/// a worker's. Dropping the store without [`close`](JobStore::close) cuts its connections.
#[derive(Debug)]
pub struct PostgresStore {
    submits: Inbox<Submit>,
    claims: Inbox<Claim>,
    ends: Inbox<Ends>,
    reads: Inbox<Read>,
    publisher: Arc<Publisher>,
    /// Ends what serves calls.
    closing: CancellationToken,
    /// Ends what tells and hears hints.
    silence: CancellationToken,
    /// Dropped, they are cut.
    serving: Mutex<Option<JoinSet<()>>>,
    telling: Mutex<Option<JoinSet<()>>>,
}

/// Connections that accept submissions: more did not help where it was measured.
const SUBMITTING: usize = 2;
/// Connections that only read.
const READING: usize = 2;
/// How long the answer to a readiness probe may take.
const CHECK_MAX: Duration = Duration::from_secs(2);

static SUBMIT_SQLS: std::sync::LazyLock<Vec<&'static Sql>> =
    std::sync::LazyLock::new(|| with_writes(&[submit::READS]));
static CLAIM_SQLS: std::sync::LazyLock<Vec<&'static Sql>> =
    std::sync::LazyLock::new(|| with_writes(&[claim::READS]));
static ENDS_SQLS: std::sync::LazyLock<Vec<&'static Sql>> = std::sync::LazyLock::new(|| {
    with_writes(&[
        loaded::READS,
        settle::READS,
        upkeep::READS,
        retention::READS,
        queues::READS,
        submit::READS,
    ])
});

/// Statements of a connection that writes.
fn with_writes(reads: &[&[&'static Sql]]) -> Vec<&'static Sql> {
    let writes = [crate::changes::WRITES, crate::writer::ASKS];
    writes.iter().chain(reads).flat_map(|sqls| sqls.iter().copied()).collect()
}

impl PostgresStore {
    /// Connects, brings the schema up to date, and starts one task for each connection, on the runtime that this
    /// is called on.
    pub async fn open(config: PostgresConfig, metrics: StoreMetrics) -> Result<Self, OpenError> {
        let PostgresConfig { url, listen_url, limits } = config;
        let connector = Connector::new(url.clone())?;
        let listener = listen_url
            .map_or_else(|| Ok(connector.clone()), |listen| Connector::new(listen.in_schema_of(&url)))?;
        let locks = Locks::of(&url.parts().schema);
        let newest = prepare(&connector, &locks).await?;
        let ids = Mutex::new(JobIds::after(newest));
        let shared = Arc::new(Shared { limits, ids, locks });
        let publisher = Arc::new(Publisher::new());
        let seat = Seat::new(false);
        let link = Link::new(connector.clone(), &ENDS_SQLS);
        let mut writer = Writer::new(link, seat, Arc::clone(&publisher), metrics.clone());
        match writer.run(&mut Declare::store(&shared.limits, locks.room)).await {
            Outcome::Committed { .. } => {}
            Outcome::Failed(failure) => return Err(OpenError::Start { url, why: failure.to_string() }),
            Outcome::Unknown => return Err(OpenError::Lost { url }),
        }
        Self::start(connector, listener, shared, publisher, metrics, writer).await
    }

    async fn start(
        connector: Connector,
        listener: Connector,
        shared: Arc<Shared>,
        publisher: Arc<Publisher>,
        metrics: StoreMetrics,
        ends: Writer,
    ) -> Result<Self, OpenError> {
        let (closing, silence) = (CancellationToken::new(), CancellationToken::new());
        let store = Self {
            submits: Inbox::new(closing.clone()),
            claims: Inbox::new(closing.clone()),
            ends: Inbox::new(closing.clone()),
            reads: Inbox::new(closing.clone()),
            publisher: Arc::clone(&publisher),
            closing,
            silence: silence.clone(),
            serving: Mutex::default(),
            telling: Mutex::default(),
        };
        let writer = async |sqls, takes| {
            let link = Link::connected(connector.clone(), sqls).await?;
            Ok::<_, OpenError>(Writer::new(link, Seat::new(takes), Arc::clone(&publisher), metrics.clone()))
        };
        let mut serving = JoinSet::new();
        let mut seats = vec![ends.seat().number];
        for _ in 0..SUBMITTING {
            let writer = writer(&SUBMIT_SQLS, true).await?;
            seats.push(writer.seat().number);
            let left = HashMap::new();
            serving.spawn(store.submits.run(Submitting { writer, shared: Arc::clone(&shared), left }));
        }
        let writer = writer(&CLAIM_SQLS, false).await?;
        seats.push(writer.seat().number);
        serving.spawn(store.claims.run(Claiming {
            writer,
            shared: Arc::clone(&shared),
            schema: connector.url().parts().schema.clone(),
            back: store.ends.sender(),
            head: None,
        }));
        let seats: Arc<[i64]> = seats.into();
        serving.spawn(store.ends.run(Ending {
            writer: ends,
            shared: Arc::clone(&shared),
            seats: Arc::clone(&seats),
        }));
        for _ in 0..READING {
            let link = Link::connected(connector.clone(), read::READS).await?;
            let (shared, publisher, seats) =
                (Arc::clone(&shared), Arc::clone(&publisher), Arc::clone(&seats));
            serving.spawn(store.reads.run(Reading { link, shared, publisher, seats }));
        }
        let from = rand::random();
        let mut telling = JoinSet::new();
        telling.spawn(telling::tell(Arc::clone(&publisher), connector, from, silence.clone()));
        telling.spawn(telling::listen(publisher, listener, from, silence));
        *store.serving.lock() = Some(serving);
        *store.telling.lock() = Some(telling);
        Ok(store)
    }

    async fn ask<C: Command, T, E: From<StoreError>>(
        &self,
        inbox: &Inbox<C>,
        command: impl FnOnce(oneshot::Sender<Result<T, E>>) -> C,
    ) -> Result<T, E> {
        let (sender, answer) = oneshot::channel();
        inbox.put(command(sender)).await?;
        answered(answer.await)
    }
}

/// An answer that never comes means that whoever was to give it is gone.
fn answered<T, E: From<StoreError>>(answer: Result<Result<T, E>, oneshot::error::RecvError>) -> Result<T, E> {
    answer.unwrap_or_else(|gone| Err(StoreError::Unavailable(Box::new(gone)).into()))
}

/// Looks at the server, brings the schema up to date, and finds the newest job.
async fn prepare(connector: &Connector, locks: &Locks) -> Result<Option<JobId>, OpenError> {
    let url = connector.url();
    let failed = |source| OpenError::Connect { url: url.clone(), source };
    let (client, connection) = connector.connect().await.map_err(failed)?;
    let prepared = async {
        migrate::check(&client, url).await?;
        migrate::run(&client, url, locks.migrate).await?;
        migrate::newest(&client, url).await
    };
    tokio::select! {
        prepared = prepared => prepared,
        ended = connection => Err(match ended {
            Err(source) => failed(source),
            Ok(()) => OpenError::Lost { url: url.clone() },
        }),
    }
}

#[async_trait]
impl JobStore for PostgresStore {
    fn durability(&self) -> Durability {
        Durability::Commit
    }

    fn hints(&self) -> broadcast::Receiver<Hint> {
        self.publisher.subscribe()
    }

    async fn declare(&self, queues: &[QueueSpec]) -> Result<(), StoreError> {
        self.ask(&self.ends, |answer| Ends::Declare(queues.to_vec(), answer)).await
    }

    async fn pause(&self, queue: &QueueName, paused: bool) -> Result<bool, StoreError> {
        self.ask(&self.ends, |answer| Ends::Pause(queue.clone(), paused, answer)).await
    }

    async fn submit(&self, submission: Submission) -> Result<Vec<Submitted>, SubmitError> {
        let give_up_at = submission.give_up_at;
        let (sender, mut answer) = oneshot::channel();
        let ticket = Ticket::default();
        let put = self.submits.put(Submit { submission, ticket: ticket.clone(), answer: sender });
        timeout_at(give_up_at, put).await.map_err(|_| StoreError::TimedOut)??;
        match timeout_at(give_up_at, &mut answer).await {
            Ok(answer) => answered(answer),
            Err(_) if ticket.withdraw() => Err(StoreError::TimedOut.into()),
            // It is inside a transaction, whose end is to be told.
            Err(_) => answered(answer.await),
        }
    }

    async fn reopen(&self, id: JobId) -> Result<Change, SubmitError> {
        self.ask(&self.ends, |answer| Ends::Reopen(id, answer)).await
    }

    async fn claim(&self, request: ClaimRequest) -> Result<Vec<Claimed>, StoreError> {
        Ok(self.ask(&self.claims, |answer| Claim { request, answer }).await?.take())
    }

    async fn renew(&self, renewals: Vec<Renewal>) -> Result<Vec<Result<Renewed, ClaimLost>>, StoreError> {
        self.ask(&self.ends, |answer| Ends::Renew(renewals, answer)).await
    }

    async fn settle(
        &self,
        settlements: Vec<Settlement>,
    ) -> Result<Vec<Result<Change, ClaimLost>>, StoreError> {
        self.ask(&self.ends, |answer| Ends::Settle(settlements, answer)).await
    }

    async fn cancel(&self, id: JobId) -> Result<Cancel, StoreError> {
        self.ask(&self.ends, |answer| Ends::Cancel(id, answer)).await
    }

    async fn upkeep(&self, rows_max: usize) -> Result<Upkeep, StoreError> {
        self.ask(&self.ends, |answer| Ends::Upkeep(rows_max, answer)).await
    }

    async fn get(&self, ids: &[JobId]) -> Result<Vec<Option<Job>>, StoreError> {
        self.ask(&self.reads, |answer| Read::Get(ids.to_vec(), answer)).await
    }

    async fn list(&self, query: &ListQuery) -> Result<Page, StoreError> {
        self.ask(&self.reads, |answer| Read::List(Box::new(query.clone()), answer)).await
    }

    async fn queues(&self) -> Result<Vec<QueueStatus>, StoreError> {
        self.ask(&self.reads, Read::Queues).await
    }

    async fn check(&self) -> Result<(), StoreError> {
        let asked = timeout(CHECK_MAX, self.ask(&self.reads, Read::Check)).await;
        asked.unwrap_or_else(|_| Err(StoreError::Unavailable("the database does not answer".into())))
    }

    async fn close(&self, deadline: Instant) -> Result<(), StoreError> {
        self.closing.cancel();
        let (serving, telling) = (self.serving.lock().take(), self.telling.lock().take());
        let served = end(serving, deadline).await;
        self.silence.cancel();
        let told = end(telling, deadline).await;
        tokio::join!(
            self.submits.abandon(),
            self.claims.abandon(),
            self.ends.abandon(),
            self.reads.abandon()
        );
        if served && told {
            return Ok(());
        }
        Err(StoreError::Unavailable("the store was still at work when its time was up".into()))
    }
}

/// Waits for these tasks, and cuts them at the deadline. Whether they ended by themselves.
async fn end(tasks: Option<JoinSet<()>>, deadline: Instant) -> bool {
    let Some(mut tasks) = tasks else { return true };
    let all = async { while tasks.join_next().await.is_some() {} };
    if timeout_at(deadline, all).await.is_ok() {
        return true;
    }
    tasks.shutdown().await;
    false
}
