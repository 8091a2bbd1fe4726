use std::collections::{BTreeMap, BTreeSet};

use futures_util::future::{join4, join5};
use steadfast_domain::{QueueName, Timestamp};
use steadfast_queue::store::{QueueCounts, QueueSpec, QueueStatus, StoreLimits};
use tokio_postgres::Row;
use tokio_postgres::types::Type;

use crate::changes::Changes;
use crate::counts::{Counts, Turn};
use crate::error::Failure;
use crate::read::{self, Question};
use crate::room::{Room, UNLIMITED};
use crate::session::{Session, Sql};
use crate::tallies::ALL;
use crate::writer::{Begin, Begun, Group};

/// Makes queues exist with these limits, and gives the whole store its own.
///
/// What is free is made to fit the new limit with all rows of the queue locked. Where several processes have
/// different limits for the whole store, the last one to start wins.
#[derive(Debug)]
pub(crate) struct Declare {
    limits: BTreeMap<String, (Option<i64>, Option<i64>)>,
    lock: i64,
    hints: bool,
}

impl Declare {
    /// Of these queues.
    pub(crate) fn queues(specs: &[QueueSpec], lock: i64) -> Self {
        let limit = |limit: Option<u64>| limit.map(bounded);
        let limits = specs.iter().map(|spec| {
            (spec.name.as_str().to_owned(), (limit(spec.capacity_jobs), limit(spec.capacity_bytes)))
        });
        Self { limits: limits.collect(), lock, hints: true }
    }

    /// Of the whole store.
    pub(crate) fn store(limits: &StoreLimits, lock: i64) -> Self {
        let both = (Some(bounded(limits.capacity_jobs)), Some(bounded(limits.capacity_bytes)));
        Self { limits: BTreeMap::from([(ALL.to_owned(), both)]), lock, hints: false }
    }
}

fn bounded(limit: u64) -> i64 {
    i64::try_from(limit).unwrap_or(UNLIMITED).min(UNLIMITED)
}

fn lock_text(lock: i64) -> String {
    format!("SELECT pg_advisory_xact_lock({lock})")
}

impl Group for Declare {
    fn weight(&self) -> usize {
        self.limits.len()
    }

    async fn decide(&mut self, begin: Begin<'_>) -> Result<(Begun, Changes), Failure> {
        let session = begin.session;
        let scopes: BTreeSet<String> = self.limits.keys().cloned().collect();
        let names: Vec<&str> = self.limits.keys().map(String::as_str).collect();
        let (jobs, bytes): (Vec<Option<i64>>, Vec<Option<i64>>) = self.limits.values().copied().unzip();
        let (begins, written, locked, sums, begun) = join5(
            begin.begin(),
            session.rows(&DECLARE, &[&names, &jobs, &bytes]),
            Room::lock(session, begin.seat, &BTreeSet::new(), &scopes, self.lock),
            session.rows(&LIVE, &[&names]),
            begin.begun(),
        )
        .await;
        begins?;
        written?;
        let mut changes = Changes { has_more: true, ..Changes::default() };
        changes.effects.queues = self.hints;
        let mut live = BTreeMap::new();
        for row in &sums? {
            live.insert(row.try_get::<_, String>(0)?, (row.try_get(1)?, row.try_get(2)?));
        }
        let locked = locked?;
        for (scope, (jobs, bytes)) in &self.limits {
            let (live_jobs, live_bytes): (i64, i64) = live.get(scope).copied().unwrap_or_default();
            let free = (jobs.unwrap_or(UNLIMITED) - live_jobs, bytes.unwrap_or(UNLIMITED) - live_bytes);
            let rows = locked.iter().filter(|row| row.try_get::<_, &str>(0).is_ok_and(|name| name == scope));
            crate::room::gather(scope, begin.seat, rows, free, &mut changes)?;
        }
        Ok((begun?, changes))
    }
}

/// Pauses or resumes a queue.
#[derive(Debug)]
pub(crate) struct Pause {
    queue: QueueName,
    paused: bool,
    lock: String,
    /// Whether there is such a queue.
    pub(crate) exists: bool,
}

impl Pause {
    pub(crate) fn new(queue: QueueName, paused: bool, lock: i64) -> Self {
        Self { queue, paused, lock: lock_text(lock), exists: false }
    }
}

impl Group for Pause {
    fn weight(&self) -> usize {
        1
    }

    async fn decide(&mut self, begin: Begin<'_>) -> Result<(Begun, Changes), Failure> {
        let session = begin.session;
        let (begins, locked, updated, begun) = join4(
            begin.begin(),
            session.execute(&self.lock),
            session.rows(&PAUSE, &[&self.queue.as_str(), &self.paused]),
            begin.begun(),
        )
        .await;
        begins?;
        locked?;
        self.exists = !updated?.is_empty();
        let mut changes = Changes { has_more: self.exists, ..Changes::default() };
        if self.exists {
            changes.effects.queues = true;
            if !self.paused {
                changes.effects.ready.insert(self.queue.clone());
            }
        }
        Ok((begun?, changes))
    }
}

/// The figures of every queue.
pub(crate) struct Status<'a> {
    pub(crate) limits: &'a StoreLimits,
    pub(crate) counts: &'a Counts,
    /// The seats of this process.
    pub(crate) seats: &'a [i64],
}

impl Question for Status<'_> {
    type Answer = Vec<QueueStatus>;

    async fn ask(&self, session: &Session) -> Result<Vec<QueueStatus>, Failure> {
        let look = self.counts.look();
        let rows = read::alone(session, &STATUS, &[&self.seats]).await?;
        // All rows have the same turns.
        let turns = rows.first().map(|row| row.try_get::<_, Vec<i64>>(15)).transpose()?.unwrap_or_default();
        let turns = turns.as_chunks().0.iter().map(|[seat, number]| Turn { seat: *seat, number: *number });
        let counts = look.as_of(&turns.collect::<Vec<_>>());
        rows.iter().map(|row| self.read(row, &counts)).collect()
    }
}

impl Status<'_> {
    fn read(&self, row: &Row, counts: &QueueCounts) -> Result<QueueStatus, Failure> {
        let mut depth = [0; 8];
        for (state, depth) in depth.iter_mut().enumerate() {
            *depth = row.try_get::<_, i64>(4 + state)?.max(0) as u64;
        }
        let capacity = |column, all: u64| {
            Ok::<_, Failure>(row.try_get::<_, Option<i64>>(column)?.map_or(all, |own| all.min(own as u64)))
        };
        let name = QueueName::new(row.try_get(0)?)?;
        Ok(QueueStatus {
            counts: counts.of(&name),
            name,
            paused: row.try_get(1)?,
            depth,
            bytes: row.try_get::<_, i64>(12)?.max(0) as u64,
            capacity_jobs: capacity(2, self.limits.capacity_jobs)?,
            capacity_bytes: capacity(3, self.limits.capacity_bytes)?,
            oldest_ready_at: row.try_get::<_, Option<i64>>(13)?.map(Timestamp::from_unix_ms),
            now: Timestamp::from_unix_ms(row.try_get(14)?),
        })
    }
}

/// What [`Declare`] and [`Pause`] ask.
pub(crate) const READS: &[&Sql] = &[&DECLARE, &LIVE, &PAUSE];

static DECLARE: Sql = Sql {
    text: "INSERT INTO {s}.queues (name, capacity_jobs, capacity_bytes) SELECT * FROM unnest($1, $2, $3) \
           ON CONFLICT (name) DO UPDATE SET capacity_jobs = excluded.capacity_jobs, \
           capacity_bytes = excluded.capacity_bytes",
    types: &[Type::TEXT_ARRAY, Type::INT8_ARRAY, Type::INT8_ARRAY],
};

static LIVE: Sql = Sql {
    text: "SELECT scope, sum(scheduled + queued + processing + retryable)::bigint, sum(bytes)::bigint \
           FROM {s}.tallies WHERE scope = ANY($1) GROUP BY scope",
    types: &[Type::TEXT_ARRAY],
};

static PAUSE: Sql = Sql {
    text: "UPDATE {s}.queues SET paused = $2 WHERE name = $1 RETURNING name",
    types: &[Type::TEXT, Type::BOOL],
};

// The oldest ready job is the first of one of its lanes: the kinds are found by skipping from one to the next. The turns,
// each behind its seat, are read in the same statement, so they say which transactions the figures have.
pub(crate) static STATUS: Sql = Sql {
    text: "SELECT q.name, q.paused, q.capacity_jobs, q.capacity_bytes, t.*, \
           LEAST((WITH RECURSIVE k(kind) AS ( \
             (SELECT w.kind FROM {s}.waiting w WHERE w.queue = q.name AND w.ready \
              AND w.interruptions < 2 ORDER BY w.kind LIMIT 1) \
             UNION ALL SELECT (SELECT w.kind FROM {s}.waiting w WHERE w.queue = q.name AND w.ready \
              AND w.interruptions < 2 AND w.kind > k.kind ORDER BY w.kind LIMIT 1) \
             FROM k WHERE k.kind IS NOT NULL) \
             SELECT min(first.due_at) FROM k, generate_series(0, 3) p(priority), LATERAL ( \
              SELECT w.due_at FROM {s}.waiting w WHERE w.queue = q.name AND w.kind = k.kind \
              AND w.priority = p.priority AND w.ready AND w.interruptions < 2 \
              ORDER BY w.due_at, w.id LIMIT 1) first), \
             (SELECT min(w.due_at) FROM {s}.waiting w WHERE w.queue = q.name AND w.ready \
              AND w.interruptions >= 2)), \
           floor(extract(epoch FROM statement_timestamp()) * 1000)::bigint, \
           ARRAY(SELECT unnest(ARRAY[seat, turn]) FROM {s}.tallies WHERE scope = '' AND seat = ANY($1)) \
           FROM {s}.queues q, LATERAL (SELECT coalesce(sum(scheduled), 0)::bigint, \
           coalesce(sum(queued), 0)::bigint, coalesce(sum(processing), 0)::bigint, \
           coalesce(sum(retryable), 0)::bigint, coalesce(sum(completed), 0)::bigint, \
           coalesce(sum(dead), 0)::bigint, coalesce(sum(cancelled), 0)::bigint, \
           coalesce(sum(expired), 0)::bigint, coalesce(sum(bytes), 0)::bigint \
           FROM {s}.tallies WHERE scope = q.name) t WHERE q.name <> '' ORDER BY q.name",
    types: &[Type::INT8_ARRAY],
};
