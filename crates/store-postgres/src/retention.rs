use std::collections::BTreeMap;
use std::time::Duration;

use futures_util::future::{join, join3};
use steadfast_domain::{JobState, QueueName, Timestamp};
use steadfast_queue::store::Retention;
use tokio_postgres::Row;
use tokio_postgres::types::Type;
use uuid::Uuid;

use crate::changes::Changes;
use crate::error::Failure;
use crate::row::numbered;
use crate::session::{Session, Sql};
use crate::tallies::Counted;
use crate::writer::{Begin, Begun, Group};

/// What there is of ended jobs.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Kept {
    /// When the oldest one ended that is not `dead`, and the oldest that is.
    pub(crate) others: Option<Timestamp>,
    pub(crate) dead: Option<Timestamp>,
    pub(crate) jobs: i64,
    pub(crate) bytes: i64,
}

impl Kept {
    pub(crate) fn must_prune(&self, retention: &Retention, now: Timestamp) -> bool {
        let too_old = |at: Option<Timestamp>, keep| at.is_some_and(|at| now.since(at) >= keep);
        too_old(self.others, retention.keep)
            || too_old(self.dead, retention.keep_dead)
            || (self.is_too_much(retention) && self.others.or(self.dead).is_some())
    }

    fn is_too_much(&self, retention: &Retention) -> bool {
        self.jobs.max(0) as u64 > retention.jobs_max || self.bytes.max(0) as u64 > retention.bytes_max
    }
}

/// Deletes the terminal jobs whose time is up, then, while they are too many or too large, the oldest of all;
/// `dead` ones last.
pub(crate) struct Prune<'a> {
    rows_max: usize,
    retention: &'a Retention,
    lock: String,
    gone: Vec<Uuid>,
    keys: BTreeMap<Uuid, i32>,
}

/// A terminal job.
struct Ended {
    id: Uuid,
    queue: QueueName,
    counted: Counted,
    key: Option<Uuid>,
    at: Timestamp,
}

impl<'a> Prune<'a> {
    pub(crate) fn new(rows_max: usize, retention: &'a Retention, lock: i64) -> Self {
        // Whoever prunes has counted: a second one would take as much again.
        let lock = format!("SELECT pg_advisory_xact_lock({lock})");
        Self { rows_max, retention, lock, gone: Vec::new(), keys: BTreeMap::new() }
    }

    /// How many went.
    pub(crate) fn pruned(&self) -> usize {
        self.gone.len()
    }
}

impl Group for Prune<'_> {
    fn weight(&self) -> usize {
        self.gone.len().max(1)
    }

    async fn decide(&mut self, begin: Begin<'_>) -> Result<(Begun, Changes), Failure> {
        let session = begin.session;
        let most = self.rows_max as i64;
        let ((begins, locked, kept), (others, dead, begun)) = join(
            join3(begin.begin(), session.execute(&self.lock), session.rows(&KEPT, &[])),
            join3(session.rows(&OTHERS, &[&most]), session.rows(&DEAD, &[&most]), begin.begun()),
        )
        .await;
        begins?;
        locked?;
        let (kept, others, dead, begun) = (kept?, read(&others?)?, read(&dead?)?, begun?);
        let row = kept.first().ok_or(Failure::Overtaken)?;
        let mut kept = Kept { others: None, dead: None, jobs: row.try_get(0)?, bytes: row.try_get(1)? };
        let mut changes = Changes::default();
        (self.gone, self.keys) = (Vec::new(), BTreeMap::new());
        let (mut others, mut dead) = (others.into_iter().peekable(), dead.into_iter().peekable());
        let too_old = |keep: Duration| move |ended: &Ended| begun.now.since(ended.at) >= keep;
        while self.gone.len() < self.rows_max {
            let next = others
                .next_if(too_old(self.retention.keep))
                .or_else(|| dead.next_if(too_old(self.retention.keep_dead)));
            let too_much = kept.is_too_much(self.retention);
            let Some(ended) =
                next.or_else(|| if too_much { others.next().or_else(|| dead.next()) } else { None })
            else {
                break;
            };
            kept.jobs -= 1;
            kept.bytes -= ended.counted.payload_bytes + ended.counted.result_bytes;
            changes.tallies.moved(&ended.queue, Some(ended.counted), None);
            if let Some(key) = ended.key {
                *self.keys.entry(key).or_default() += 1;
            }
            self.gone.push(ended.id);
        }
        self.gone.sort_unstable();
        Ok((begun, changes))
    }

    /// A key goes with the last job that its submission made.
    async fn last(&mut self, session: &Session, _: &Begun) -> Result<(), Failure> {
        if !self.gone.is_empty() {
            session.rows(&DELETE, &[&self.gone]).await?;
        }
        if !self.keys.is_empty() {
            let (hashes, counts): (Vec<Uuid>, Vec<i32>) = self.keys.iter().unzip();
            let (released, gone) = join(
                session.rows(&RELEASE_KEYS, &[&hashes, &counts]),
                session.rows(&DELETE_KEYS, &[&hashes]),
            )
            .await;
            released?;
            gone?;
        }
        Ok(())
    }
}

fn read(rows: &[Row]) -> Result<Vec<Ended>, Failure> {
    let ended = |row: &Row| {
        let state = numbered(row.try_get(2)?, &JobState::ALL)?;
        Ok(Ended {
            id: row.try_get(0)?,
            queue: QueueName::new(row.try_get(1)?)?,
            counted: Counted { state, payload_bytes: row.try_get(3)?, result_bytes: row.try_get(4)? },
            key: row.try_get(5)?,
            at: Timestamp::from_unix_ms(row.try_get(6)?),
        })
    };
    rows.iter().map(ended).collect()
}

/// Adds the counters and the room of seats that nobody has any more to those of nobody's seat.
pub(crate) struct Fold {
    seats: Vec<i64>,
    /// The seats meant are all but these, if they were not used for [`FOLD_AFTER`].
    left_behind: bool,
    lock: i64,
}

/// How long a seat is unused before it is folded. One that is used again begins anew: nothing is lost by folding
/// it too early.
pub(crate) const FOLD_AFTER: Duration = Duration::from_secs(10 * 60);

impl Fold {
    /// Of these seats.
    pub(crate) fn seats(seats: Vec<i64>, lock: i64) -> Self {
        Self { seats, left_behind: false, lock }
    }

    /// Of the seats that processes which are gone have left behind. `own` are in use.
    pub(crate) fn left_behind(own: Vec<i64>, lock: i64) -> Self {
        Self { seats: own, left_behind: true, lock }
    }
}

impl Group for Fold {
    fn weight(&self) -> usize {
        1
    }

    async fn decide(&mut self, begin: Begin<'_>) -> Result<(Begun, Changes), Failure> {
        begin.begin().await?;
        let begun = begin.begun().await?;
        let before = begun.now.unix_ms() - FOLD_AFTER.as_millis() as i64;
        let used_before = if self.left_behind { before } else { i64::MAX };
        let alone = format!("SELECT pg_advisory_xact_lock({})", self.lock);
        let (alone, locked, folded) = join3(
            begin.session.execute(&alone),
            begin.session.rows(&LOCK_ALL, &[]),
            begin.session.rows(&FOLD, &[&self.seats, &self.left_behind, &used_before]),
        )
        .await;
        alone?;
        locked?;
        folded?;
        Ok((begun, Changes { has_more: true, ..Changes::default() }))
    }
}

/// What [`Prune`] and [`Fold`] ask.
pub(crate) const READS: &[&Sql] =
    &[&KEPT, &OTHERS, &DEAD, &DELETE, &RELEASE_KEYS, &DELETE_KEYS, &LOCK_ALL, &FOLD];

static KEPT: Sql = Sql {
    text: "SELECT coalesce(sum(completed + dead + cancelled + expired), 0)::bigint, \
           coalesce(sum(ended_bytes), 0)::bigint FROM {s}.tallies WHERE scope = ''",
    types: &[],
};

static OTHERS: Sql = Sql {
    text: "SELECT id, queue, state, payload_bytes, coalesce(octet_length(result), 0)::bigint, key_hash, \
           finished_at FROM {s}.jobs WHERE finished_at IS NOT NULL AND state <> 5 \
           ORDER BY finished_at, id LIMIT $1 FOR UPDATE SKIP LOCKED",
    types: &[Type::INT8],
};

static DEAD: Sql = Sql {
    text: "SELECT id, queue, state, payload_bytes, coalesce(octet_length(result), 0)::bigint, key_hash, \
           finished_at FROM {s}.jobs WHERE finished_at IS NOT NULL AND state = 5 \
           ORDER BY finished_at, id LIMIT $1 FOR UPDATE SKIP LOCKED",
    types: &[Type::INT8],
};

static DELETE: Sql = Sql { text: "DELETE FROM {s}.jobs WHERE id = ANY($1)", types: &[Type::UUID_ARRAY] };

static RELEASE_KEYS: Sql = Sql {
    text: "UPDATE {s}.keys k SET stored = k.stored - n.gone FROM unnest($1, $2) AS n(hash, gone) \
           WHERE k.hash = n.hash",
    types: &[Type::UUID_ARRAY, Type::INT4_ARRAY],
};

static DELETE_KEYS: Sql =
    Sql { text: "DELETE FROM {s}.keys WHERE hash = ANY($1) AND stored <= 0", types: &[Type::UUID_ARRAY] };

static LOCK_ALL: Sql = Sql { text: "SELECT FROM {s}.tallies ORDER BY scope, seat FOR UPDATE", types: &[] };

static FOLD: Sql = Sql {
    text: "WITH gone AS (DELETE FROM {s}.tallies WHERE seat <> 0 AND touched_at < $3 \
           AND ((seat = ANY($1)) <> $2) RETURNING *) \
           INSERT INTO {s}.tallies AS t (scope, seat, takes, free_jobs, free_bytes, scheduled, queued, \
           processing, retryable, completed, dead, cancelled, expired, bytes, ended_bytes, touched_at) \
           SELECT scope, 0, false, sum(free_jobs), sum(free_bytes), sum(scheduled), sum(queued), \
           sum(processing), sum(retryable), sum(completed), sum(dead), sum(cancelled), sum(expired), \
           sum(bytes), sum(ended_bytes), 0 FROM gone GROUP BY scope \
           ON CONFLICT (scope, seat) DO UPDATE SET free_jobs = t.free_jobs + excluded.free_jobs, \
           free_bytes = t.free_bytes + excluded.free_bytes, scheduled = t.scheduled + excluded.scheduled, \
           queued = t.queued + excluded.queued, processing = t.processing + excluded.processing, \
           retryable = t.retryable + excluded.retryable, completed = t.completed + excluded.completed, \
           dead = t.dead + excluded.dead, cancelled = t.cancelled + excluded.cancelled, \
           expired = t.expired + excluded.expired, bytes = t.bytes + excluded.bytes, \
           ended_bytes = t.ended_bytes + excluded.ended_bytes",
    types: &[Type::INT8_ARRAY, Type::BOOL, Type::INT8],
};
