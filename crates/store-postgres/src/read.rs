use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::{join3, join4};
use steadfast_domain::{Job, JobId, Timestamp, limits};
use steadfast_queue::store::{ListQuery, Page, QueueStatus, StoreError};
use tokio::sync::oneshot;
use tokio::time::timeout;
use tokio_postgres::types::Type;
use uuid::Uuid;

use crate::error::{Failure, Fault};
use crate::lane::{Command, Serve};
use crate::link::Link;
use crate::publisher::Publisher;
use crate::queues;
use crate::row::{self, Stored, job_id, uuid};
use crate::session::{Session, Sql};
use crate::shared::Shared;

type Answer<T> = oneshot::Sender<Result<T, StoreError>>;

/// Jobs that were asked for, and by whom.
type Wanted = (Vec<JobId>, Answer<Vec<Option<Job>>>);

/// What changes nothing.
#[derive(Debug)]
pub(crate) enum Read {
    Get(Vec<JobId>, Answer<Vec<Option<Job>>>),
    List(Box<ListQuery>, Answer<Page>),
    Queues(Answer<Vec<QueueStatus>>),
    Check(Answer<()>),
}

impl Command for Read {
    fn weight(&self) -> usize {
        match self {
            Self::Get(ids, _) => ids.len(),
            // Alone, as far as others wait.
            Self::List(..) | Self::Queues(_) => limits::BATCH_JOBS_MAX,
            Self::Check(_) => 1,
        }
    }
}

/// What can be asked twice.
pub(crate) trait Question: Sync {
    type Answer: Send;

    fn ask(&self, session: &Session) -> impl Future<Output = Result<Self::Answer, Failure>> + Send;
}

/// Whether the server answers.
struct Ping;

/// The jobs with these ids, in their order.
struct Get<'a>(&'a [Uuid]);

impl Question for Ping {
    type Answer = ();

    async fn ask(&self, session: &Session) -> Result<(), Failure> {
        Ok(session.execute("").await?)
    }
}

impl Question for Get<'_> {
    type Answer = Vec<Job>;

    async fn ask(&self, session: &Session) -> Result<Vec<Job>, Failure> {
        get(session, self.0).await
    }
}

impl Question for ListQuery {
    type Answer = Page;

    async fn ask(&self, session: &Session) -> Result<Page, Failure> {
        list(session, self).await
    }
}

/// One connection that only reads.
pub(crate) struct Reading {
    pub(crate) link: Link,
    pub(crate) shared: Arc<Shared>,
    pub(crate) publisher: Arc<Publisher>,
    /// The seats of this process.
    pub(crate) seats: Arc<[i64]>,
}

/// The longest that a read may take, the way there included.
const READ_MAX: Duration = Duration::from_secs(12);
/// Attempts at a read whose connection was lost.
const ATTEMPTS: usize = 2;

impl Serve for Reading {
    type Command = Read;

    async fn serve(&mut self, batch: Vec<Read>) {
        let (mut gets, mut ids) = (Vec::new(), Vec::new());
        for read in batch {
            match read {
                Read::Get(wanted, answer) => {
                    ids.extend(wanted.iter().copied().map(uuid));
                    gets.push((wanted, answer));
                }
                Read::List(query, answer) => {
                    // Its caller may be gone, here as with every other answer.
                    let _ = answer.send(self.ask(&*query).await);
                }
                Read::Queues(answer) => {
                    let (shared, publisher) = (Arc::clone(&self.shared), Arc::clone(&self.publisher));
                    let (limits, counts, seats) =
                        (&shared.limits, &publisher.counts, Arc::clone(&self.seats));
                    let status = queues::Status { limits, counts, seats: &seats };
                    let _ = answer.send(self.ask(&status).await);
                }
                Read::Check(answer) => {
                    let _ = answer.send(self.ask(&Ping).await);
                }
            }
        }
        if !gets.is_empty() {
            self.get(gets, ids).await;
        }
    }

    async fn close(self) {
        self.link.close().await;
    }
}

impl Reading {
    /// Answers all that were asked for at once from one look.
    async fn get(&mut self, gets: Vec<Wanted>, mut ids: Vec<Uuid>) {
        ids.sort_unstable();
        ids.dedup();
        match self.ask(&Get(&ids)).await {
            Ok(jobs) => {
                for (wanted, answer) in gets {
                    let found = |id: &JobId| {
                        jobs.binary_search_by_key(id, |job: &Job| job.id).ok().map(|at| jobs[at].clone())
                    };
                    let _ = answer.send(Ok(wanted.iter().map(found).collect()));
                }
            }
            Err(error) => {
                let cause = error.to_string();
                for (_, answer) in gets {
                    let _ = answer.send(Err(StoreError::Unavailable(cause.clone().into())));
                }
            }
        }
    }

    /// Asks, a second time if the connection was lost.
    async fn ask<Q: Question>(&mut self, question: &Q) -> Result<Q::Answer, StoreError> {
        let mut attempts = 0;
        loop {
            attempts += 1;
            let answer = match self.link.session().await {
                Ok(session) => {
                    timeout(READ_MAX, question.ask(session)).await.unwrap_or(Err(Failure::Stalled))
                }
                Err(failure) => Err(failure),
            };
            match answer {
                Ok(answer) => return Ok(answer),
                Err(failure) => {
                    self.link.drop_session();
                    if failure.fault() != Fault::Lost || attempts == ATTEMPTS {
                        return Err(failure.to_store_error());
                    }
                }
            }
        }
    }
}

/// These jobs with all their parts, inside a transaction.
pub(crate) async fn whole(session: &Session, ids: &[Uuid]) -> Result<Vec<Stored>, Failure> {
    session.rows(&WHOLE, &[&ids]).await?.iter().map(row::read).collect()
}

async fn get(session: &Session, ids: &[Uuid]) -> Result<Vec<Job>, Failure> {
    let (begun, rows, now, ended) = join4(
        session.begin(None),
        session.rows(&WHOLE, &[&ids]),
        session.rows(&NOW, &[]),
        session.execute("ROLLBACK"),
    )
    .await;
    begun?;
    let (rows, now) = (rows?, moment(&now?)?);
    ended?;
    let mut jobs: Vec<Job> =
        rows.iter().map(|row| Ok(row::read(row)?.into_job(now))).collect::<Result<_, Failure>>()?;
    jobs.sort_unstable_by_key(|job| job.id);
    Ok(jobs)
}

/// The time that [`NOW`] has answered with.
pub(crate) fn moment(rows: &[tokio_postgres::Row]) -> Result<Timestamp, Failure> {
    let row = rows.first().ok_or(Failure::Overtaken)?;
    Ok(Timestamp::from_unix_ms(row.try_get(0)?))
}

async fn list(session: &Session, query: &ListQuery) -> Result<Page, Failure> {
    let limit = query.limit.clamp(1, limits::LIST_LIMIT_MAX);
    let before = query.before.map_or(Uuid::max(), uuid);
    let state = query.state.map(|state| state as i16);
    let (queue, kind) = (query.queue.as_ref().map(|q| q.as_str()), query.kind.as_ref().map(|k| k.as_str()));
    let tag = query.tag.as_ref();
    let (tag_key, tag_value) = (tag.map(|tag| tag.0.as_str()), tag.map(|tag| tag.1.as_str()));
    let (rows_max, examined_max) = (limit as i64 + 1, limits::LIST_EXAMINED_MAX as i64);
    let (begun, rows, window, ended) = join4(
        session.begin(None),
        session
            .rows(&LIST, &[&before, &examined_max, &queue, &state, &kind, &tag_key, &tag_value, &rows_max]),
        session.rows(&WINDOW, &[&before, &(examined_max - 1)]),
        session.execute("ROLLBACK"),
    )
    .await;
    begun?;
    let (rows, window) = (rows?, window?);
    ended?;
    let mut jobs = Vec::with_capacity(rows.len());
    for row in &rows {
        let now = Timestamp::from_unix_ms(row.try_get(NOW_IN_LIST)?);
        jobs.push(row::read(row)?.into_job(now));
    }
    let next = if jobs.len() > limit {
        jobs.truncate(limit);
        jobs.last().map(|job| job.id)
    } else if window.len() > 1 {
        window.first().map(|row| row.try_get(0)).transpose()?.map(job_id)
    } else {
        None
    };
    Ok(Page { jobs, next })
}

/// Which column of [`LIST`] holds the time.
const NOW_IN_LIST: usize = 38;

/// What [`Reading`] asks.
pub(crate) const READS: &[&Sql] = &[&WHOLE, &NOW, &LIST, &WINDOW, &queues::STATUS];

pub(crate) static WHOLE: Sql = Sql {
    text: concat!(
        "SELECT ",
        row::whole_job!(),
        " FROM {s}.jobs j LEFT JOIN {s}.claims c ON c.job = j.id WHERE j.id = ANY($1)"
    ),
    types: &[Type::UUID_ARRAY],
};

pub(crate) static NOW: Sql =
    Sql { text: "SELECT floor(extract(epoch FROM clock_timestamp()) * 1000)::bigint", types: &[] };

// A filter is held against the state as it reads: claimed jobs are `processing`, due ones `queued`.
static LIST: Sql = Sql {
    text: concat!(
        "SELECT ",
        row::listed_job!(),
        ", t.now FROM (SELECT floor(extract(epoch FROM statement_timestamp()) * 1000)::bigint AS now) t, \
         LATERAL (SELECT * FROM {s}.jobs w WHERE w.id < $1 ORDER BY w.id DESC LIMIT $2) j \
         LEFT JOIN {s}.claims c ON c.job = j.id \
         WHERE ($3 IS NULL OR j.queue = $3) AND ($5 IS NULL OR j.kind = $5) \
         AND ($6 IS NULL OR j.tags::jsonb ->> $6 = $7) \
         AND ($4 IS NULL OR $4 = CASE WHEN c.job IS NOT NULL THEN 2 \
         WHEN j.state IN (0, 3) AND j.run_at <= t.now THEN 1 ELSE j.state END) \
         ORDER BY j.id DESC LIMIT $8"
    ),
    types: &[Type::UUID, Type::INT8, Type::TEXT, Type::INT2, Type::TEXT, Type::TEXT, Type::TEXT, Type::INT8],
};

// The last row that a page may examine, and the one behind it.
static WINDOW: Sql = Sql {
    text: "SELECT id FROM {s}.jobs WHERE id < $1 ORDER BY id DESC OFFSET $2 LIMIT 2",
    types: &[Type::UUID, Type::INT8],
};

/// One question by itself, in a transaction of its own.
pub(crate) async fn alone(
    session: &Session,
    sql: &'static Sql,
    params: crate::session::Params<'_>,
) -> Result<Vec<tokio_postgres::Row>, Failure> {
    let (begun, rows, ended) =
        join3(session.begin(None), session.rows(sql, params), session.execute("ROLLBACK")).await;
    begun?;
    let rows = rows?;
    ended?;
    Ok(rows)
}
