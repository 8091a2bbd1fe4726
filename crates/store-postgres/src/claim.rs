use std::collections::{HashMap, HashSet};
use std::mem;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::{join, join3};
use steadfast_domain::{JobState, KindName, QueueName, Timestamp};
use steadfast_queue::store::{
    ClaimId, ClaimRequest, Claimed, Owner, SUSPECT_ALONE_FOR, StoreError, StoreLimits,
};
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;
use tokio_postgres::Row;
use tokio_postgres::types::Type;
use uuid::Uuid;

use crate::changes::Changes;
use crate::ends::{Ends, Stray};
use crate::error::Failure;
use crate::lane::{Command, Serve};
use crate::row::{self, job_id};
use crate::session::{Params, Session, Sql};
use crate::shared::{Shared, lock_number};
use crate::tallies::Counted;
use crate::upkeep;
use crate::writer::{Begin, Begun, Group, Outcome, Writer};

/// One request for work.
#[derive(Debug)]
pub(crate) struct Claim {
    pub(crate) request: ClaimRequest,
    pub(crate) answer: oneshot::Sender<Result<Granted, StoreError>>,
}

impl Command for Claim {
    /// Each has a transaction of its own: what one takes, the next must not see.
    fn weight(&self) -> usize {
        usize::MAX / 2
    }
}

/// Claims on their way to their caller. Dropped on the way, because the caller is gone, they go back.
#[derive(Debug)]
pub(crate) struct Granted {
    claims: Vec<Claimed>,
    back: mpsc::WeakSender<Ends>,
}

impl Granted {
    /// The caller has them.
    pub(crate) fn take(mut self) -> Vec<Claimed> {
        mem::take(&mut self.claims)
    }
}

impl Drop for Granted {
    fn drop(&mut self) {
        if let (false, Some(back)) = (self.claims.is_empty(), self.back.upgrade()) {
            let ids = self.claims.iter().map(|claimed| claimed.id).collect();
            // Where there is no place they lapse.
            let _ = back.try_send(Ends::HandBack(ids));
        }
    }
}

/// The connection that claims.
pub(crate) struct Claiming {
    pub(crate) writer: Writer,
    pub(crate) shared: Arc<Shared>,
    pub(crate) schema: String,
    pub(crate) back: mpsc::WeakSender<Ends>,
    pub(crate) head: Option<Head>,
}

/// Where the ready jobs of a backlog begin. Before them stand the index entries of those that were claimed since the
/// last vacuum, and a claim that begins at the beginning walks over all of them: a page more for each hundred.
#[derive(Debug)]
pub(crate) struct Head {
    wanted: Vec<Wanted>,
    due_at: i64,
    /// When to begin at the beginning again.
    until: Instant,
}

type Wanted = (QueueName, Option<Arc<[KindName]>>);

/// How long the oldest ready job must have waited to make a backlog of it.
const BACKLOG_AGE: Duration = Duration::from_secs(10);
/// How long a job that comes back before the head of a backlog may be overlooked; while there are others.
const OVERLOOKED_MAX: Duration = Duration::from_millis(250);

impl Serve for Claiming {
    type Command = Claim;

    async fn serve(&mut self, batch: Vec<Claim>) {
        for Claim { request, answer } in batch {
            if answer.is_closed() {
                continue;
            }
            let claims = self.claim(request).await;
            let granted = claims.map(|claims| Granted { claims, back: self.back.clone() });
            // The caller may be gone: then they go back as they are dropped.
            let _ = answer.send(granted);
        }
    }

    fn writer(&mut self) -> Option<&mut Writer> {
        Some(&mut self.writer)
    }

    async fn close(self) {
        self.writer.close().await;
    }
}

impl Claiming {
    /// From the head of the backlog, and if nothing is left behind that, from the beginning.
    async fn claim(&mut self, request: ClaimRequest) -> Result<Vec<Claimed>, StoreError> {
        let wanted = request.wants.iter().map(|want| (want.queue.clone(), want.kinds.clone()));
        let (wanted, now): (Vec<Wanted>, _) = (wanted.collect(), Instant::now());
        let head = self.head.take().filter(|head| now < head.until && head.wanted == wanted);
        if let Some(head) = head {
            let (claims, due_at) = self.claim_from(head.due_at, request.clone()).await?;
            if !claims.is_empty() {
                self.head = due_at.map(|due_at| Head { due_at, ..head });
                return Ok(claims);
            }
        }
        let (claims, due_at) = self.claim_from(i64::MIN, request).await?;
        self.head = due_at.map(|due_at| Head { wanted, due_at, until: now + OVERLOOKED_MAX });
        Ok(claims)
    }

    /// Claims jobs that were due at `from` or later. Also where the next claim may begin.
    async fn claim_from(
        &mut self,
        from: i64,
        request: ClaimRequest,
    ) -> Result<(Vec<Claimed>, Option<i64>), StoreError> {
        let owner = request.owner.to_string();
        let owner_lock = match &request.owner {
            // Its claims all come through this one connection.
            Owner::Process(_) => None,
            Owner::Worker(_) => Some(lock_number(&self.schema, "owner", &owner)),
        };
        let mut taking = Taking {
            request,
            from,
            owner,
            pause_lock: self.shared.locks.pause,
            owner_lock,
            limits: &self.shared.limits,
            taken: Vec::new(),
            oldest: None,
            rows: Vec::new(),
            now: None,
        };
        match self.writer.run(&mut taking).await {
            Outcome::Committed { heard: true } => {
                let claims = taking.claimed().map_err(|failure| failure.to_store_error())?;
                Ok((claims, taking.head()))
            }
            Outcome::Failed(failure) => Err(failure.to_store_error()),
            // The caller is told that it has none: those that there may be go back.
            Outcome::Committed { heard: false } | Outcome::Unknown => {
                if let (Some(back), Some(now)) = (self.back.upgrade(), taking.now) {
                    let jobs = taking.taken.iter().copied().map(job_id).collect();
                    let stray = Stray { jobs, owner: taking.owner, started_at: now };
                    let _ = back.try_send(Ends::Stray(stray));
                }
                Err(StoreError::Unavailable("the connection was lost while claiming".into()))
            }
        }
    }
}

/// Due jobs that one claim puts among the ready ones; housekeeping does the rest.
const PROMOTED_MAX: i64 = 1_000;

/// A request's transaction.
struct Taking<'a> {
    request: ClaimRequest,
    /// Jobs that were due before are left out.
    from: i64,
    owner: String,
    /// What is locked before it looks: that by everybody who claims, this by nobody else.
    pause_lock: i64,
    owner_lock: Option<i64>,
    limits: &'a StoreLimits,
    taken: Vec<Uuid>,
    /// When the first one that was offered was due.
    oldest: Option<i64>,
    /// The claimed jobs, as they were read behind their claims.
    rows: Vec<Row>,
    now: Option<Timestamp>,
}

/// A place in ready order: due time plus priority penalty, then id.
type Place = (i64, Uuid);

type Rows = crate::session::Result<Vec<Row>>;

/// One want's jobs in ready order, the last one first.
#[derive(Default)]
struct Source {
    bystanders: Vec<Place>,
    suspect: Option<Place>,
    share: usize,
}

/// The wanted kinds of the wanted queues, each with the number of its want.
#[derive(Default)]
struct Lanes {
    wants: Vec<i32>,
    queues: Vec<String>,
    kinds: Vec<String>,
}

impl Lanes {
    fn push(&mut self, want: usize, queue: &QueueName, kind: &str) {
        self.wants.push(want as i32);
        self.queues.push(queue.as_str().to_owned());
        self.kinds.push(kind.to_owned());
    }
}

impl Group for Taking<'_> {
    fn weight(&self) -> usize {
        self.request.max
    }

    async fn decide(&mut self, begin: Begin<'_>) -> Result<(Begun, Changes), Failure> {
        let session = begin.session;
        let locks: Params<'_> = &[&self.pause_lock, &self.owner_lock];
        let first = join3(begin.begin(), session.rows(&LOCKS, locks), upkeep::promote(session, PROMOTED_MAX));
        let ((begins, locked, due), looked) = match self.wanted_lanes() {
            Some(lanes) => join(first, self.look(begin, &lanes)).await,
            None => {
                let first = first.await;
                let lanes = self.lanes_there_are(session).await?;
                (first, self.look(begin, &lanes).await)
            }
        };
        begins?;
        locked?;
        let mut changes = Changes::default();
        upkeep::count_promoted(&due?, &mut changes)?;
        let looked = looked?;
        let [bystanders, suspects, held] = parts(&looked)?;
        // Read behind the locks, for the suspects held or for none.
        let begun = Begun::read(held.first().copied(), 2)?;
        let mut sources: Vec<Source> = Vec::new();
        for want in &self.request.wants {
            sources.push(Source { share: want.share, ..Source::default() });
        }
        let mut queues = HashMap::new();
        self.oldest = None;
        for row in bystanders {
            let due_at: i64 = row.try_get(4)?;
            self.oldest = Some(self.oldest.map_or(due_at, |oldest| oldest.min(due_at)));
            let (want, place): (i32, Place) = (row.try_get(1)?, (row.try_get(2)?, row.try_get(3)?));
            if let Some(source) = sources.get_mut(want as usize) {
                source.bystanders.push(place);
                queues.insert(place.1, want as usize);
            }
        }
        for source in &mut sources {
            source.bystanders.sort_unstable_by(|a, b| b.cmp(a));
        }
        self.offer_suspect(&suspects, &held, begun.now, &mut sources, &mut queues)?;
        self.taken = pick(&mut sources, self.request.max);
        self.now = Some(begun.now);
        for id in &self.taken {
            if let Some(want) = queues.get(id).and_then(|want| self.request.wants.get(*want)) {
                let counted = |state| Counted { state, payload_bytes: 0, result_bytes: 0 };
                let (before, after) = (counted(JobState::Queued), counted(JobState::Processing));
                changes.tallies.moved(&want.queue, Some(before), Some(after));
            }
        }
        Ok((begun, changes))
    }

    /// Makes claims of what waited, and reads the jobs under them. The jobs' own rows stay as they are.
    async fn last(&mut self, session: &Session, begun: &Begun) -> Result<(), Failure> {
        if !self.taken.is_empty() {
            let (now, ends) = (begun.now.unix_ms(), begun.now.plus(self.request.lease).unix_ms());
            let mut ids = self.taken.clone();
            ids.sort_unstable();
            self.rows = session.rows(&CLAIM, &[&ids, &self.owner, &now, &ends]).await?;
        }
        Ok(())
    }
}

impl Taking<'_> {
    /// The lanes to look into, if every want names its kinds.
    fn wanted_lanes(&self) -> Option<Lanes> {
        let mut lanes = Lanes::default();
        for (number, want) in self.request.wants.iter().enumerate() {
            let kinds: HashSet<&KindName> = want.kinds.as_ref()?.iter().collect();
            kinds.into_iter().for_each(|kind| lanes.push(number, &want.queue, kind.as_str()));
        }
        Some(lanes)
    }

    /// The lanes to look into: where any kind is wanted, those of which there is a job.
    async fn lanes_there_are(&self, session: &Session) -> Result<Lanes, Failure> {
        let mut lanes = Lanes::default();
        for (number, want) in self.request.wants.iter().enumerate() {
            if let Some(kinds) = &want.kinds {
                let kinds: HashSet<&KindName> = kinds.iter().collect();
                kinds.into_iter().for_each(|kind| lanes.push(number, &want.queue, kind.as_str()));
                continue;
            }
            for row in session.rows(&KINDS, &[&want.queue.as_str()]).await? {
                if let Some(kind) = row.try_get::<_, Option<&str>>(0)? {
                    lanes.push(number, &want.queue, kind);
                }
            }
        }
        Ok(lanes)
    }

    /// Locks what these lanes offer, and looks behind that at what the owner has, and at the clock.
    async fn look(&self, begin: Begin<'_>, lanes: &Lanes) -> Rows {
        let params: Params<'_> =
            &[&lanes.wants, &lanes.queues, &lanes.kinds, &(self.request.max as i64), &self.from, &self.owner];
        begin.session.rows(&LOOK, params).await
    }

    /// Gives the sources the one suspect that this owner may take now: of all it wants, the one with the fewest
    /// interruptions. None while it has had another for less than [`SUSPECT_ALONE_FOR`] (through the last
    /// millisecond, since times are cut to them), or while either of them is on its last chance.
    fn offer_suspect(
        &self,
        suspects: &[&Row],
        held: &[&Row],
        now: Timestamp,
        sources: &mut [Source],
        queues: &mut HashMap<Uuid, usize>,
    ) -> Result<(), Failure> {
        let mut first: Option<(i32, Place)> = None;
        for row in suspects {
            let suspect = (row.try_get(5)?, (row.try_get(2)?, row.try_get(3)?));
            first = Some(first.map_or(suspect, |first| first.min(suspect)));
        }
        let Some((interruptions, place)) = first else { return Ok(()) };
        for row in held {
            let Some(began) = row.try_get::<_, Option<i64>>(4)?.map(Timestamp::from_unix_ms) else {
                continue;
            };
            let both = [interruptions, row.try_get(5)?];
            if now.since(began) <= SUSPECT_ALONE_FOR
                || both.into_iter().any(|interruptions| self.limits.is_last_chance(interruptions as u32))
            {
                return Ok(());
            }
        }
        for row in suspects {
            let want: i32 = row.try_get(1)?;
            if row.try_get::<_, Uuid>(3)? == place.1
                && let Some(source) = sources.get_mut(want as usize)
            {
                source.suspect = Some(place);
                queues.insert(place.1, want as usize);
            }
        }
        Ok(())
    }

    /// Where the next claim may begin, if there is a backlog.
    fn head(&self) -> Option<i64> {
        let waits = self.now?.since(Timestamp::from_unix_ms(self.oldest?));
        self.oldest.filter(|_| waits >= BACKLOG_AGE)
    }

    /// The claims, in the order in which they were taken.
    fn claimed(&self) -> Result<Vec<Claimed>, Failure> {
        let (Some(now), lease) = (self.now, self.request.lease) else { return Ok(Vec::new()) };
        let mut found = HashMap::new();
        for row in &self.rows {
            let stored = row::read(row)?;
            let Some(fence) = stored.claim.as_ref().map(|claim| claim.fence) else { continue };
            let id = ClaimId { job: stored.job.id, fence };
            found.insert(id.job, Claimed { id, job: stored.into_job(now), valid_for: lease });
        }
        Ok(self.taken.iter().filter_map(|id| found.remove(&job_id(*id))).collect())
    }
}

/// The parts of [`LOOK`].
fn parts(rows: &[Row]) -> Result<[Vec<&Row>; 3], Failure> {
    let mut parts: [Vec<&Row>; 3] = Default::default();
    for row in rows {
        let part: i32 = row.try_get(0)?;
        parts.get_mut(part as usize).ok_or(Failure::Overtaken)?.push(row);
    }
    Ok(parts)
}

/// Each source up to its share, then regardless of shares up to `max`, in ready order.
fn pick(sources: &mut [Source], max: usize) -> Vec<Uuid> {
    let (mut taken, mut seen) = (Vec::new(), HashSet::new());
    for source in sources.iter_mut() {
        let enough = max.min(taken.len().saturating_add(source.share));
        while taken.len() < enough
            && let Some((_, id)) = source.next()
        {
            if seen.insert(id) {
                taken.push(id);
            }
        }
    }
    while taken.len() < max {
        let first = sources.iter_mut().filter_map(|source| Some((source.peek()?, source)));
        let Some((_, source)) = first.min_by_key(|(place, _)| *place) else { break };
        if let Some((_, id)) = source.next()
            && seen.insert(id)
        {
            taken.push(id);
        }
    }
    taken
}

impl Source {
    fn peek(&self) -> Option<Place> {
        [self.bystanders.last().copied(), self.suspect].into_iter().flatten().min()
    }

    fn next(&mut self) -> Option<Place> {
        let next = self.peek()?;
        if self.suspect == Some(next) { self.suspect.take() } else { self.bystanders.pop() }
    }
}

/// What [`Claiming`] asks beside what every writer does.
pub(crate) const READS: &[&Sql] = &[&LOCKS, &KINDS, &upkeep::PROMOTE, &LOOK, &CLAIM];

static LOCKS: Sql = Sql {
    text: "SELECT pg_advisory_xact_lock_shared($1), pg_advisory_xact_lock($2)",
    types: &[Type::INT8, Type::INT8],
};

// By skipping from one kind to the next, with suspects and without.
static KINDS: Sql = Sql {
    text: "(WITH RECURSIVE k(kind) AS ( \
             (SELECT kind FROM {s}.waiting WHERE queue = $1 AND ready AND interruptions < 2 \
              ORDER BY kind LIMIT 1) \
             UNION ALL SELECT (SELECT w.kind FROM {s}.waiting w WHERE w.queue = $1 AND w.ready \
              AND w.interruptions < 2 AND w.kind > k.kind ORDER BY w.kind LIMIT 1) \
             FROM k WHERE k.kind IS NOT NULL) SELECT kind FROM k) \
           UNION SELECT kind FROM {s}.waiting WHERE queue = $1 AND ready AND interruptions >= 2",
    types: &[Type::TEXT],
};

// Three parts, each of (part, want, place or time, id, due or begun at, interruptions): bystanders and suspects
// that are offered, then the time with each suspect that the owner has, or alone. Whether a queue is paused is read
// here, behind the lock that a pause takes alone.
static LOOK: Sql = Sql {
    text: "SELECT 0, l.want, r.place, r.id, r.due_at, 0 FROM unnest($1, $2, $3) AS l(want, queue, kind) \
           JOIN {s}.queues q ON q.name = l.queue AND NOT q.paused, generate_series(0, 3) p(priority), \
           LATERAL (SELECT w.place, w.id, w.due_at FROM {s}.waiting w WHERE w.queue = l.queue \
           AND w.kind = l.kind AND w.priority = p.priority AND w.due_at >= $5 AND w.ready \
           AND w.interruptions < 2 AND (w.expires_at IS NULL \
           OR w.expires_at > floor(extract(epoch FROM statement_timestamp()) * 1000)::bigint) \
           ORDER BY w.due_at, w.id LIMIT $4 FOR UPDATE SKIP LOCKED) r \
           UNION ALL \
           SELECT 1, l.want, r.place, r.id, NULL, r.interruptions \
           FROM unnest($1, $2, $3) AS l(want, queue, kind) \
           JOIN {s}.queues q ON q.name = l.queue AND NOT q.paused, \
           LATERAL (SELECT w.place, w.id, w.interruptions FROM {s}.waiting w WHERE w.queue = l.queue \
           AND w.kind = l.kind AND w.ready AND w.interruptions >= 2 AND (w.expires_at IS NULL \
           OR w.expires_at > floor(extract(epoch FROM statement_timestamp()) * 1000)::bigint) \
           ORDER BY w.interruptions, w.place, w.id LIMIT 1 FOR UPDATE SKIP LOCKED) r \
           UNION ALL \
           SELECT 2, NULL, floor(extract(epoch FROM clock_timestamp()) * 1000)::bigint, NULL, \
           c.started_at, c.interruptions \
           FROM (SELECT) one LEFT JOIN {s}.claims c ON c.owner = $6 AND c.interruptions >= 2",
    types: &[Type::INT4_ARRAY, Type::TEXT_ARRAY, Type::TEXT_ARRAY, Type::INT8, Type::INT8, Type::TEXT],
};

// One statement, so that each job is looked up once for each of its rows. `OFFSET 0` keeps the planner from
// walking over all jobs instead, when it believes that there are few.
static CLAIM: Sql = Sql {
    text: concat!(
        "WITH ready AS (DELETE FROM {s}.waiting WHERE id = ANY($1) RETURNING id, interruptions), \
         c AS (INSERT INTO {s}.claims (job, fence, owner, started_at, expires_at, interruptions) \
         SELECT id, nextval('{s}.fences'), $2, $3, $4, interruptions FROM ready RETURNING *) \
         SELECT ",
        row::whole_job!(),
        " FROM c, LATERAL (SELECT * FROM {s}.jobs WHERE id = c.job OFFSET 0) j"
    ),
    types: &[Type::UUID_ARRAY, Type::TEXT, Type::INT8, Type::INT8],
};
