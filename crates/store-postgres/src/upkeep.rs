use std::time::Duration;

use futures_util::future::join5;
use steadfast_domain::{Event, JobId, JobState, QueueName, Timestamp};
use steadfast_queue::store::{Interruption, StoreLimits, Upkeep};
use tokio_postgres::Row;
use tokio_postgres::types::Type;

use crate::changes::Changes;
use crate::error::Failure;
use crate::loaded::{Loaded, Locked};
use crate::retention::{FOLD_AFTER, Kept};
use crate::row::{job_id, numbered};
use crate::session::{Session, Sql};
use crate::tallies::Counted;
use crate::writer::{Begin, Begun, Group};

/// One bounded step: recovers lapsed claims, expires what is too late, promotes what is due.
pub(crate) struct Chores<'a> {
    rows_max: usize,
    limits: &'a StoreLimits,
    /// What is left to do, and when, once this is done.
    next: Option<Next>,
    changed: usize,
    now: Timestamp,
}

/// The moments at which there is something to do, and what is kept of ended jobs.
struct Next {
    lapses: Option<Timestamp>,
    expires: Option<Timestamp>,
    due: Option<Timestamp>,
    kept: Kept,
    oldest_seat: Option<Timestamp>,
}

impl<'a> Chores<'a> {
    pub(crate) fn new(rows_max: usize, limits: &'a StoreLimits) -> Self {
        Self { rows_max, limits, next: None, changed: 0, now: Timestamp::from_unix_ms(0) }
    }

    /// What was done.
    pub(crate) fn done(&self) -> Upkeep {
        let Some(next) = &self.next else { return Upkeep::default() };
        // A claim holds through its last millisecond.
        let lapses = next.lapses.map(|at| at.plus(Duration::from_millis(1)));
        let moments = || [lapses, next.expires, next.due].into_iter().flatten();
        let more = self.changed >= self.rows_max && moments().any(|at| at <= self.now);
        Upkeep { changed: self.changed, more, next_due: moments().min().map(|at| at.since(self.now)) }
    }

    /// Whether retention lets something go.
    pub(crate) fn must_prune(&self) -> bool {
        self.next.as_ref().is_some_and(|next| next.kept.must_prune(&self.limits.retention, self.now))
    }

    /// Whether a seat was left behind by a process that is gone.
    pub(crate) fn must_fold(&self) -> bool {
        let oldest = self.next.as_ref().and_then(|next| next.oldest_seat);
        oldest.is_some_and(|at| self.now.since(at) > FOLD_AFTER)
    }
}

impl Group for Chores<'_> {
    fn weight(&self) -> usize {
        self.changed.max(1)
    }

    async fn decide(&mut self, begin: Begin<'_>) -> Result<(Begun, Changes), Failure> {
        let session = begin.session;
        let most = self.rows_max as i64;
        let (begins, due, lapsed, expired, begun) = join5(
            begin.begin(),
            promote(session, most),
            session.rows(&LAPSED, &[&most]),
            session.rows(&EXPIRED, &[&most]),
            begin.begun(),
        )
        .await;
        begins?;
        let (due, lapsed, expired, begun) = (due?, ids(&lapsed?)?, ids(&expired?)?, begun?);
        let mut late: Vec<JobId> = lapsed.into_iter().chain(expired).take(self.rows_max).collect();
        late.sort_unstable();
        late.dedup();
        let mut loaded = Loaded::read(session, &late, Locked::Skip).await?;
        let mut changes = Changes::default();
        count_promoted(&due, &mut changes)?;
        let ended = late.iter().filter(|id| self.end(**id, &mut loaded, &begun, &mut changes)).count();
        self.changed = due.len() + ended;
        loaded.save(begun.now, &mut changes)?;
        self.now = begun.now;
        Ok((begun, changes))
    }

    /// Looks, behind the writes, at what is left.
    async fn last(&mut self, session: &Session, _: &Begun) -> Result<(), Failure> {
        let rows = session.rows(&NEXT, &[]).await?;
        let row = rows.first().ok_or(Failure::Overtaken)?;
        let time =
            |column| Ok::<_, Failure>(row.try_get::<_, Option<i64>>(column)?.map(Timestamp::from_unix_ms));
        let kept = Kept { others: time(3)?, dead: time(4)?, jobs: row.try_get(5)?, bytes: row.try_get(6)? };
        self.next =
            Some(Next { lapses: time(0)?, expires: time(1)?, due: time(2)?, kept, oldest_seat: time(7)? });
        Ok(())
    }
}

impl Chores<'_> {
    /// Ends the claim of a job if it has lapsed, or the wait of one that is too late.
    fn end(&self, id: JobId, loaded: &mut Loaded, begun: &Begun, changes: &mut Changes) -> bool {
        let now = begun.now;
        let Some(entry) = loaded.get(id) else { return false };
        let job = &entry.stored.job;
        let changed = match &entry.stored.claim {
            Some(claim) if claim.expires_at < now => {
                let most = self.limits.interruptions_max;
                let interruption = Interruption::of(job, claim.cancel_requested, most);
                loaded.change(id, interruption.event(), now, changes, |stored, _| {
                    interruption.record(&mut stored.job, now);
                })
            }
            None if job.expires_at().is_some_and(|at| at <= now) => {
                loaded.change(id, Event::Expire, now, changes, |_, _| ())
            }
            _ => None,
        };
        changed.is_some()
    }
}

/// Puts the waiting jobs whose time has come among the ready ones. They have read as `queued` since then, so this
/// is no change of state.
pub(crate) async fn promote(session: &Session, rows_max: i64) -> Result<Vec<Row>, Failure> {
    Ok(session.rows(&PROMOTE, &[&rows_max]).await?)
}

/// Counts what [`promote`] has done.
pub(crate) fn count_promoted(rows: &[Row], changes: &mut Changes) -> Result<(), Failure> {
    for row in rows {
        let queue = QueueName::new(row.try_get(0)?)?;
        let counted = |state| Counted { state, payload_bytes: 0, result_bytes: 0 };
        let state = numbered(row.try_get(1)?, &JobState::ALL)?;
        changes.tallies.moved(&queue, Some(counted(state)), Some(counted(JobState::Queued)));
        changes.effects.ready.insert(queue);
    }
    Ok(())
}

fn ids(rows: &[Row]) -> Result<Vec<JobId>, Failure> {
    rows.iter().map(|row| Ok(job_id(row.try_get(0)?))).collect()
}

/// What [`Chores`] asks beside what [`Loaded`] does.
pub(crate) const READS: &[&Sql] = &[&LAPSED, &EXPIRED, &PROMOTE, &NEXT];

static LAPSED: Sql = Sql {
    text: "SELECT job FROM {s}.claims \
           WHERE expires_at < floor(extract(epoch FROM statement_timestamp()) * 1000)::bigint \
           ORDER BY expires_at LIMIT $1",
    types: &[Type::INT8],
};

static EXPIRED: Sql = Sql {
    text: "SELECT id FROM {s}.waiting WHERE expires_at IS NOT NULL \
           AND expires_at <= floor(extract(epoch FROM statement_timestamp()) * 1000)::bigint \
           ORDER BY expires_at LIMIT $1",
    types: &[Type::INT8],
};

pub(crate) static PROMOTE: Sql = Sql {
    text: "UPDATE {s}.waiting w SET ready = true, state = 1 FROM (SELECT id, state FROM {s}.waiting \
           WHERE NOT ready AND due_at <= floor(extract(epoch FROM statement_timestamp()) * 1000)::bigint \
           ORDER BY due_at LIMIT $1 FOR UPDATE SKIP LOCKED) due \
           WHERE w.id = due.id RETURNING w.queue, due.state",
    types: &[Type::INT8],
};

static NEXT: Sql = Sql {
    text: "SELECT (SELECT min(expires_at) FROM {s}.claims), \
           (SELECT min(expires_at) FROM {s}.waiting WHERE expires_at IS NOT NULL), \
           (SELECT min(due_at) FROM {s}.waiting WHERE NOT ready), \
           (SELECT min(finished_at) FROM {s}.jobs WHERE finished_at IS NOT NULL AND state <> 5), \
           (SELECT min(finished_at) FROM {s}.jobs WHERE finished_at IS NOT NULL AND state = 5), \
           coalesce(sum(completed + dead + cancelled + expired), 0)::bigint, \
           coalesce(sum(ended_bytes), 0)::bigint, min(touched_at) FILTER (WHERE seat <> 0) \
           FROM {s}.tallies WHERE scope = ''",
    types: &[],
};
