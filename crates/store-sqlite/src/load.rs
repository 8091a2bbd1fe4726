use std::collections::HashMap;
use std::path::Path;

use rusqlite::{Connection, OptionalExtension, Result, Row};
use steadfast_domain::{Fence, Invalid, JobId, JobIds, JobState, KindName, Priority, QueueName, Timestamp};
use steadfast_queue::store::{QueueSpec, StoreLimits};

use crate::OpenError;
use crate::claims::Claim;
use crate::effects::Effects;
use crate::log::Log;
use crate::memory::{Entry, Memory};
use crate::queues::QueueIndex;
use crate::ready::Waiting;
use crate::retention::DEAD_PACKS;
use crate::row::{index, text};
use crate::schema;
use crate::statements::Statements;
use crate::transaction::{Numbers, Transaction};

/// A database that is open for writing, with what the writer keeps in memory of it.
#[derive(Debug)]
pub(crate) struct Opened {
    pub(crate) connection: Connection,
    pub(crate) log: Log,
    pub(crate) memory: Memory,
    pub(crate) numbers: Numbers,
    /// What opening it has changed.
    pub(crate) effects: Effects,
}

/// Bits of a fencing token below the epoch.
const FENCE_BITS: u32 = 40;

const QUEUES: &str = "SELECT name, capacity_jobs, capacity_bytes, paused, ended_bytes, completed, dead, cancelled, expired \
         FROM queues";
const CLAIMS: &str = "SELECT c.job, j.low, c.fence, c.owner, c.started_at, c.expires_at, c.cancel_requested, \
         l.interruptions FROM claims c JOIN jobs j ON j.id = c.job JOIN live l ON l.id = c.job";
const LIVE: &str = "SELECT id, state, queue, kind, priority, run_at, expires_at, payload_bytes, interruptions, \
         unique_hash FROM live";
const NEWEST_JOB: &str = "SELECT id, low FROM jobs WHERE id = (SELECT max(id) FROM jobs)";
const NEWEST_PACK: &str = "SELECT coalesce(max(pack), ?1) FROM ended WHERE pack >= ?1 AND pack < ?2";

/// Opens the database, reads what lives in it, and takes back what earlier processes were running. Jobs that
/// have ended are not read. Nothing is written before everything that is read was found whole.
pub(crate) fn open(path: &Path, limits: &StoreLimits) -> Result<Opened, OpenError> {
    let connection = schema::open_writer(path)?;
    let opened = read(connection, limits).and_then(|mut opened| {
        take_over(&mut opened, limits)?;
        Ok(opened)
    });
    opened.map_err(|source| OpenError::sqlite(path.to_owned(), source))
}

/// Opens the database again in the same process, once the whole log is in it: see `Writer::reopen`.
pub(crate) fn open_anew(path: &Path, limits: &StoreLimits) -> Result<Opened, OpenError> {
    let sqlite = |source| OpenError::sqlite(path.to_owned(), source);
    let connection = schema::open_writer(path)?;
    if !schema::checkpoint(&connection).map_err(sqlite)? {
        let busy = rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_BUSY);
        return Err(sqlite(rusqlite::Error::SqliteFailure(busy, Some("a reader holds the log".to_owned()))));
    }
    let mut opened = read(connection, limits).map_err(sqlite)?;
    count_opening(&opened.connection, &mut opened.numbers).map_err(sqlite)?;
    Ok(opened)
}

/// Takes back what earlier processes were running: the file has one process at a time, so none of them
/// lives. Leases of remote workers stay.
fn take_over(opened: &mut Opened, limits: &StoreLimits) -> Result<()> {
    let Opened { connection, memory, numbers, effects, .. } = opened;
    let jobs: Vec<i64> = connection
        .prepare("SELECT job FROM claims WHERE expires_at IS NULL")?
        .query_map([], |row| row.get(0))?
        .collect::<Result<_>>()?;
    if jobs.is_empty() {
        return count_opening(connection, numbers);
    }
    let mut statements = Statements::prepare(connection)?;
    fail::fail_point!("sqlite::open::before_recovery");
    statements.begin.execute([])?;
    count_opening(connection, numbers)?;
    let mut tx =
        Transaction::new(&mut statements, memory, numbers, effects, limits, crate::clock::now(), true);
    for job in &jobs {
        if let Some(stored) = tx.job_to_change(*job as u64)? {
            tx.interrupt(stored)?;
        }
    }
    tx.finish()?;
    statements.commit.execute([])?;
    memory.commit();
    tracing::info!(jobs = jobs.len(), "took back the jobs of a process that did not stop in order");
    Ok(())
}

/// Every token from now on is above those of earlier openings.
fn count_opening(connection: &Connection, numbers: &mut Numbers) -> Result<()> {
    let count = "UPDATE meta SET epoch = epoch + 1 RETURNING epoch";
    let epoch: i64 = connection.query_row(count, [], |row| row.get(0))?;
    numbers.fence = (epoch as u64) << FENCE_BITS;
    Ok(())
}

fn read(mut connection: Connection, limits: &StoreLimits) -> Result<Opened> {
    let now = crate::clock::now();
    let log = Log::take_over(&mut connection)?;
    let mut memory = Memory::new(limits.clone());
    read_queues(&connection, &mut memory)?;
    read_claims(&connection, &mut memory)?;
    read_live(&connection, &mut memory, now)?;
    memory.commit();
    let newest_pack =
        |from: i64, below: i64| connection.query_row(NEWEST_PACK, (from, below), |row| row.get(0));
    let numbers = Numbers {
        ids: JobIds::after(connection.query_row(NEWEST_JOB, [], |row| job_id(row, 0)).optional()?),
        fence: 0,
        packs: [newest_pack(0, DEAD_PACKS)?, newest_pack(DEAD_PACKS, i64::MAX)?],
    };
    Ok(Opened { connection, log, memory, numbers, effects: Effects::default() })
}

fn job_id(row: &Row<'_>, column: usize) -> Result<JobId> {
    Ok(JobId::from_halves(row.get::<_, i64>(column)? as u64, row.get::<_, i64>(column + 1)? as u64))
}

fn read_queues(connection: &Connection, memory: &mut Memory) -> Result<()> {
    let mut statement = connection.prepare(QUEUES)?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        let limit = |column| Ok::<_, rusqlite::Error>(row.get::<_, Option<i64>>(column)?.map(|n| n as u64));
        let count = |column| Ok::<_, rusqlite::Error>(row.get::<_, i64>(column)? as u64);
        let name = text(row, 0, QueueName::new)?;
        let index =
            memory.queues.add(QueueSpec { name, capacity_jobs: limit(1)?, capacity_bytes: limit(2)? });
        let ended = [
            (JobState::Completed, count(5)?),
            (JobState::Dead, count(6)?),
            (JobState::Cancelled, count(7)?),
            (JobState::Expired, count(8)?),
        ];
        memory.queues.restore(index, ended, count(4)?);
        memory.queues.get_mut(index).paused = row.get(3)?;
    }
    Ok(())
}

fn read_claims(connection: &Connection, memory: &mut Memory) -> Result<()> {
    let mut statement = connection.prepare(CLAIMS)?;
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        let job = job_id(row, 0)?;
        let claim = Claim {
            job,
            fence: Fence(row.get::<_, i64>(2)? as u64),
            owner: text(row, 3, str::parse)?,
            started_at: Timestamp::from_unix_ms(row.get(4)?),
            expires_at: row.get::<_, Option<i64>>(5)?.map(Timestamp::from_unix_ms),
            cancel_requested: row.get(6)?,
            interruptions: row.get(7)?,
        };
        memory.set_claim(job.high(), Some(claim));
    }
    Ok(())
}

fn read_live(connection: &Connection, memory: &mut Memory, now: Timestamp) -> Result<()> {
    let mut statement = connection.prepare(LIVE)?;
    let mut rows = statement.query([])?;
    let mut queues: HashMap<Box<str>, QueueIndex> = HashMap::new();
    let mut kinds: HashMap<Box<str>, KindName> = HashMap::new();
    while let Some(row) = rows.next()? {
        let job = row.get::<_, i64>(0)? as u64;
        let queue = interned(&mut queues, row, 2, |name| {
            let name = QueueName::new(name)?;
            let spec = |name| QueueSpec { name, capacity_jobs: None, capacity_bytes: None };
            Ok(memory.queues.find(&name).unwrap_or_else(|| memory.queues.add(spec(name))))
        })?;
        let state =
            if memory.claims().has(job) { JobState::Processing } else { index(row, 1, &JobState::ALL)? };
        let entry = Entry {
            job,
            queue,
            state,
            waiting: Waiting {
                kind: interned(&mut kinds, row, 3, KindName::new)?,
                priority: index(row, 4, &Priority::ALL)?,
                run_at: Timestamp::from_unix_ms(row.get(5)?),
                interruptions: row.get(8)?,
            },
            expires_at: row.get::<_, Option<i64>>(6)?.map(Timestamp::from_unix_ms),
            bytes: row.get::<_, i64>(7)? as u64,
            unique_hash: row.get::<_, Option<i64>>(9)?.map(|hash| hash as u64),
        };
        memory.load(&entry, now);
    }
    Ok(())
}

/// The value of a name that many rows share.
fn interned<T: Clone>(
    known: &mut HashMap<Box<str>, T>,
    row: &Row<'_>,
    column: usize,
    make: impl FnOnce(&str) -> Result<T, Invalid>,
) -> Result<T> {
    let name = row.get_ref(column)?.as_str()?;
    if let Some(value) = known.get(name) {
        return Ok(value.clone());
    }
    let value = text(row, column, make)?;
    known.insert(name.into(), value.clone());
    Ok(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn start_up_scans_only_what_lives() {
        let directory = tempfile::tempdir().unwrap();
        let connection = schema::open_writer(&directory.path().join("jobs.db")).unwrap();
        for sql in [QUEUES, CLAIMS, LIVE, NEWEST_JOB, NEWEST_PACK] {
            let mut plan = connection.prepare(&format!("EXPLAIN QUERY PLAN {sql}")).unwrap();
            let holes = vec![0; plan.parameter_count()];
            let mut rows = plan.query(rusqlite::params_from_iter(holes)).unwrap();
            while let Some(row) = rows.next().unwrap() {
                let step: String = row.get(3).unwrap();
                let scanned = step.strip_prefix("SCAN ").unwrap_or("live");
                assert!(["queues", "c", "live"].contains(&scanned), "{sql}: {step}");
            }
        }
    }
}
