use std::path::Path;
use std::sync::Arc;

use parking_lot::Mutex;
use rusqlite::{Connection, OptionalExtension, Result};
use steadfast_domain::{Job, JobId, limits};
use steadfast_queue::store::{ListQuery, Page, StoreError};
use tokio::sync::Semaphore;
use tokio::task;

use crate::health::Damage;
use crate::row::{self, Bodies};

/// Connections that only read: each sees what is committed, and none stands in the writer's way. A read is
/// bounded, since a long one would keep the log from being emptied.
#[derive(Debug)]
pub(crate) struct Readers {
    idle: Mutex<Vec<Connection>>,
    damage: Damage,
    permits: Arc<Semaphore>,
}

/// Reads at the same time; more wait their turn.
const READERS: usize = 4;

impl Readers {
    pub(crate) fn open(path: &Path, damage: Damage) -> Result<Arc<Self>> {
        let connections = (0..READERS).map(|_| crate::schema::open_reader(path)).collect::<Result<_>>()?;
        let permits = Arc::new(Semaphore::new(READERS));
        Ok(Arc::new(Self { idle: Mutex::new(connections), damage, permits }))
    }

    /// Runs a bounded read on a connection of its own. Dropping the future abandons the answer only.
    pub(crate) async fn run<T: Send + 'static>(
        self: &Arc<Self>,
        read: impl FnOnce(&Connection) -> Result<T> + Send + 'static,
    ) -> Result<T, StoreError> {
        let permit = Arc::clone(&self.permits).acquire_owned().await.map_err(|_| StoreError::Closed)?;
        let readers = Arc::clone(self);
        let answer = task::spawn_blocking(move || {
            // Dropped last: whoever has all permits has all connections.
            let _permit = permit;
            let connection = readers.idle.lock().pop()?;
            let answer = read(&connection).inspect_err(|error| readers.damage.look_for(error));
            readers.idle.lock().push(connection);
            Some(answer)
        });
        match answer.await {
            Ok(Some(answer)) => answer.map_err(|error| StoreError::Unavailable(Box::new(error))),
            Ok(None) => Err(StoreError::Closed),
            Err(panicked) => Err(StoreError::Unavailable(Box::new(panicked))),
        }
    }

    /// Refuses new reads, waits for those that run, and closes the connections.
    pub(crate) async fn close(&self) {
        let all = Arc::clone(&self.permits).acquire_many_owned(READERS as u32).await;
        self.permits.close();
        self.idle.lock().clear();
        drop(all);
    }

    /// Refuses new reads and closes the connections that are idle.
    pub(crate) fn abandon(&self) {
        self.permits.close();
        self.idle.lock().clear();
    }
}

/// Committed jobs in the order asked for.
pub(crate) fn get(connection: &Connection, ids: &[JobId]) -> Result<Vec<Option<Job>>> {
    let mut statement = connection.prepare_cached(&row::select(Bodies::Read, "WHERE j.id = ?1"))?;
    let now = crate::clock::now();
    let mut one = |id: &JobId| {
        let stored = statement.query_row([id.high() as i64], row::read).optional()?;
        Ok(stored.map(|stored| stored.into_job(now)).filter(|job| job.id == *id))
    };
    ids.iter().map(&mut one).collect()
}

/// A page of jobs, newest first.
pub(crate) fn list(connection: &Connection, query: &ListQuery) -> Result<Page> {
    let limit = query.limit.clamp(1, limits::LIST_LIMIT_MAX);
    let before = query.before.map_or(i64::MAX, |id| i64::try_from(id.high()).unwrap_or(i64::MAX));
    let newest_first = "WHERE j.id < ?1 ORDER BY j.id DESC";
    let mut statement = connection.prepare_cached(&row::select(Bodies::Skip, newest_first))?;
    let mut rows = statement.query([before])?;
    let now = crate::clock::now();
    let mut page = Page { jobs: Vec::new(), next: None };
    let mut examined = 0;
    while let Some(row) = rows.next()? {
        if page.jobs.len() == limit || examined == limits::LIST_EXAMINED_MAX {
            return Ok(page);
        }
        let job = row::read(row)?.into_job(now);
        examined += 1;
        page.next = Some(job.id);
        if matches(query, &job) {
            page.jobs.push(job);
        }
    }
    page.next = None;
    Ok(page)
}

fn matches(query: &ListQuery, job: &Job) -> bool {
    query.queue.as_ref().is_none_or(|queue| *queue == job.queue)
        && query.state.is_none_or(|state| state == job.state)
        && query.kind.as_ref().is_none_or(|kind| *kind == job.kind)
        && query.tag.as_ref().is_none_or(|(key, value)| job.tags.has(key, value))
}
