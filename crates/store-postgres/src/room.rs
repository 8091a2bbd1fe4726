use std::collections::{BTreeMap, BTreeSet, HashMap};

use futures_util::future::join;
use steadfast_domain::{QueueName, Timestamp};
use steadfast_queue::store::Refusal;
use tokio_postgres::Row;
use tokio_postgres::types::Type;

use crate::changes::Changes;
use crate::error::Failure;
use crate::session::{Params, Session, Sql};
use crate::tallies::{ALL, Seat, Tallies};

/// Jobs and the bytes of their payloads.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Load {
    pub(crate) jobs: i64,
    pub(crate) bytes: i64,
}

/// What a scope without a limit may hold: more than there ever is, and sums of it never overflow.
pub(crate) const UNLIMITED: i64 = 1 << 60;

/// The free room of the scopes that a transaction needs, locked by it.
#[derive(Debug)]
pub(crate) struct Room {
    seat: Seat,
    scopes: BTreeMap<String, Scope>,
}

/// The free room of one queue or of the whole store.
#[derive(Debug, Default)]
struct Scope {
    capacity: Load,
    /// What this transaction may take without asking others.
    own: Load,
    /// Every seat's row, if all are locked: then `own` may be more than this seat's.
    all: Option<Vec<(Seat, Load)>>,
}

/// Why a load does not fit.
enum Short {
    /// Other seats may have room: their rows have to be locked.
    Here(String),
    Refused(Refusal),
}

/// Rows of other seats whose room changes hands, with what they have from now on.
#[derive(Debug, Default)]
pub(crate) struct Spread {
    scopes: Vec<String>,
    seats: Vec<i64>,
    jobs: Vec<i64>,
    bytes: Vec<i64>,
}

impl Room {
    /// Locks this seat's rows of the scopes, and every seat's of those in `dry`; in the order of scope and
    /// seat, as everybody does. Room moves between seats under `lock` only: else what came into a new row
    /// while others are waited for would not be seen.
    pub(crate) async fn lock(
        session: &Session,
        seat: Seat,
        queues: &BTreeSet<String>,
        dry: &BTreeSet<String>,
        lock: i64,
    ) -> Result<Vec<Row>, Failure> {
        let scopes: Vec<&str> = queues.iter().map(String::as_str).chain([ALL]).collect();
        let names: Vec<&str> = dry.iter().map(String::as_str).collect();
        let params: Params<'_> = &[&scopes, &names, &seat.number];
        if dry.is_empty() {
            return Ok(session.rows(&LOCK, params).await?);
        }
        let alone = format!("SELECT pg_advisory_xact_lock({lock})");
        let (alone, rows) = join(session.execute(&alone), session.rows(&LOCK, params)).await;
        alone?;
        Ok(rows?)
    }

    /// The capacities, read under the locks.
    pub(crate) async fn capacities(
        session: &Session,
        queues: &BTreeSet<String>,
    ) -> Result<Vec<Row>, Failure> {
        let scopes: Vec<&str> = queues.iter().map(String::as_str).chain([ALL]).collect();
        Ok(session.rows(&CAPACITIES, &[&scopes]).await?)
    }

    /// Locks and reads this seat's rows of the scopes alone, in one statement, and with them the time behind the
    /// locks. Capacities may be those of a moment before: what is refused for them now was refused then.
    pub(crate) async fn own(
        session: &Session,
        seat: Seat,
        queues: &BTreeSet<String>,
    ) -> Result<(Self, Timestamp), Failure> {
        let names: Vec<&str> = queues.iter().map(String::as_str).chain([ALL]).collect();
        let rows = session.rows(&OWN, &[&names, &seat.number]).await?;
        let (mut scopes, mut now) = (BTreeMap::new(), None);
        for row in &rows {
            let own = Load { jobs: row.try_get(3)?, bytes: row.try_get(4)? };
            let scope = Scope { capacity: capacity(row)?, own, all: None };
            scopes.insert(row.try_get(0)?, scope);
            // The last one was looked for behind all locks.
            now = now.max(Some(Timestamp::from_unix_ms(row.try_get(5)?)));
        }
        Ok((Self { seat, scopes }, now.ok_or(Failure::Overtaken)?))
    }

    pub(crate) fn new(
        seat: Seat,
        dry: &BTreeSet<String>,
        capacities: &[Row],
        locked: &[Row],
    ) -> Result<Self, Failure> {
        let mut scopes = BTreeMap::new();
        for row in capacities {
            let name: String = row.try_get(0)?;
            let all = dry.contains(&name).then(Vec::new);
            scopes.insert(name, Scope { capacity: capacity(row)?, own: Load::default(), all });
        }
        for row in locked {
            let Some(scope) = scopes.get_mut(row.try_get::<_, &str>(0)?) else { continue };
            let of = Seat { number: row.try_get(1)?, takes: row.try_get(2)? };
            let free = Load { jobs: row.try_get(3)?, bytes: row.try_get(4)? };
            if let Some(all) = &mut scope.all {
                all.push((of, free));
            }
            // With all rows locked, all room is this transaction's to take.
            scope.own.jobs += free.jobs;
            scope.own.bytes += free.bytes;
        }
        Ok(Self { seat, scopes })
    }

    /// Whether there is such a queue.
    pub(crate) fn has(&self, queue: &QueueName) -> bool {
        self.scopes.contains_key(queue.as_str())
    }

    /// Whether so much fits into these queues, and into the store, beside what `tallies` has taken already.
    /// What never will is told from what does not now. [`Failure::Overtaken`] and a name in `dry` when rows of
    /// other seats have to be locked to know.
    pub(crate) fn fits(
        &self,
        needed: &BTreeMap<QueueName, Load>,
        tallies: &Tallies,
        dry: &mut BTreeSet<String>,
    ) -> Result<Result<(), Refusal>, Failure> {
        let Some(first) = needed.keys().next() else { return Ok(Ok(())) };
        let mut all = Load::default();
        for load in needed.values() {
            all.jobs += load.jobs;
            all.bytes += load.bytes;
        }
        let queues = needed.iter().map(|(queue, load)| (queue.as_str(), queue, *load));
        let checks: Vec<_> = queues.chain([(ALL, first, all)]).collect();
        for (scope, queue, load) in &checks {
            if let Some(scope) = self.scopes.get(*scope)
                && let Err(refusal) = fits_empty(queue, *load, scope.capacity)
            {
                return Ok(Err(refusal));
            }
        }
        for (name, queue, load) in &checks {
            let Some(scope) = self.scopes.get(*name) else { continue };
            match scope.fits_now(name, queue, *load, tallies.freed(name)) {
                Ok(()) => {}
                Err(Short::Refused(refusal)) => return Ok(Err(refusal)),
                Err(Short::Here(name)) => {
                    dry.insert(name);
                    return Err(Failure::Overtaken);
                }
            }
        }
        Ok(Ok(()))
    }

    /// Shares what is left of the scopes whose rows are all locked among the seats that need room.
    pub(crate) fn spread(&self, tallies: &mut Tallies, spread: &mut Spread) {
        for (name, scope) in &self.scopes {
            let Some(all) = &scope.all else { continue };
            let (freed_jobs, freed_bytes) = tallies.freed(name);
            let left = Load { jobs: scope.own.jobs + freed_jobs, bytes: scope.own.bytes + freed_bytes };
            let takers = all.iter().filter(|(seat, _)| seat.takes && seat.number != self.seat.number);
            let shares = takers.count() as i64 + 1;
            // What is below zero, after a limit was lowered, stays with this seat.
            let share = Load { jobs: left.jobs.max(0) / shares, bytes: left.bytes.max(0) / shares };
            for (seat, had) in all.iter().filter(|(seat, _)| seat.number != self.seat.number) {
                let gets = if seat.takes { share } else { Load::default() };
                if gets != *had {
                    spread.push(name, *seat, gets);
                    tallies.room_came(name, had.jobs - gets.jobs, had.bytes - gets.bytes);
                }
            }
        }
    }

    /// What this seat has left of each scope, once `tallies` are written.
    pub(crate) fn left(&self, tallies: &Tallies) -> HashMap<String, Load> {
        let own = |scope: &Scope| match &scope.all {
            None => scope.own,
            Some(all) => all
                .iter()
                .find(|(seat, _)| seat.number == self.seat.number)
                .map_or(Load::default(), |row| row.1),
        };
        let left = |(name, scope): (&String, &Scope)| {
            let ((jobs, bytes), own) = (tallies.freed(name), own(scope));
            (name.clone(), Load { jobs: own.jobs + jobs, bytes: own.bytes + bytes })
        };
        self.scopes.iter().map(left).collect()
    }
}

impl Scope {
    fn fits_now(
        &self,
        name: &str,
        queue: &QueueName,
        needed: Load,
        (freed_jobs, freed_bytes): (i64, i64),
    ) -> Result<(), Short> {
        let left = Load { jobs: self.own.jobs + freed_jobs, bytes: self.own.bytes + freed_bytes };
        if needed.jobs <= left.jobs && needed.bytes <= left.bytes {
            return Ok(());
        }
        if self.all.is_none() {
            return Err(Short::Here(name.to_owned()));
        }
        let queue = queue.clone();
        Err(Short::Refused(if needed.jobs > left.jobs {
            let depth = (self.capacity.jobs - left.jobs) as u64;
            Refusal::QueueFull { queue, depth, capacity: self.capacity.jobs as u64 }
        } else {
            let bytes = (self.capacity.bytes - left.bytes) as u64;
            Refusal::QueueBytesFull { queue, bytes, capacity: self.capacity.bytes as u64 }
        }))
    }
}

/// The capacity in a row of [`CAPACITIES`] or [`OWN`].
fn capacity(row: &Row) -> Result<Load, Failure> {
    let limit = |column| Ok::<_, Failure>(row.try_get::<_, Option<i64>>(column)?.unwrap_or(UNLIMITED));
    Ok(Load { jobs: limit(1)?, bytes: limit(2)? })
}

fn fits_empty(queue: &QueueName, needed: Load, capacity: Load) -> Result<(), Refusal> {
    let refused = |capacity: i64, unit| {
        Err(Refusal::LargerThanCapacity { queue: queue.clone(), capacity: capacity as u64, unit })
    };
    if needed.jobs > capacity.jobs {
        return refused(capacity.jobs, "jobs");
    }
    if needed.bytes > capacity.bytes {
        return refused(capacity.bytes, "bytes");
    }
    Ok(())
}

impl Spread {
    fn push(&mut self, scope: &str, seat: Seat, has: Load) {
        self.scopes.push(scope.to_owned());
        self.seats.push(seat.number);
        self.jobs.push(has.jobs);
        self.bytes.push(has.bytes);
    }

    pub(crate) async fn write(&self, session: &Session) -> Result<(), Failure> {
        if !self.scopes.is_empty() {
            session.rows(&SPREAD, &[&self.scopes, &self.seats, &self.jobs, &self.bytes]).await?;
        }
        Ok(())
    }
}

/// Makes `free` what is free in a scope whose rows are all locked, and leaves it with this seat: where the limit
/// was lowered it may be less than nothing, and then no seat may believe that it has room.
pub(crate) fn gather<'r>(
    scope: &str,
    seat: Seat,
    rows: impl Iterator<Item = &'r Row>,
    free: (i64, i64),
    changes: &mut Changes,
) -> Result<(), Failure> {
    let mut own = Load::default();
    for row in rows {
        let of = Seat { number: row.try_get(1)?, takes: row.try_get(2)? };
        let has = Load { jobs: row.try_get(3)?, bytes: row.try_get(4)? };
        if of.number == seat.number {
            own = has;
        } else if has != Load::default() {
            changes.spread.push(scope, of, Load::default());
        }
    }
    changes.tallies.room_came(scope, free.0 - own.jobs, free.1 - own.bytes);
    Ok(())
}

pub(crate) static LOCK: Sql = Sql {
    text: "SELECT scope, seat, takes, free_jobs, free_bytes FROM {s}.tallies \
           WHERE (scope = ANY($1) AND seat = $3) OR scope = ANY($2) ORDER BY scope, seat FOR UPDATE",
    types: &[Type::TEXT_ARRAY, Type::TEXT_ARRAY, Type::INT8],
};

pub(crate) static OWN: Sql = Sql {
    text: "WITH own AS (SELECT scope, free_jobs, free_bytes FROM {s}.tallies \
           WHERE scope = ANY($1) AND seat = $2 ORDER BY scope FOR UPDATE) \
           SELECT q.name, q.capacity_jobs, q.capacity_bytes, coalesce(own.free_jobs, 0), \
           coalesce(own.free_bytes, 0), floor(extract(epoch FROM clock_timestamp()) * 1000)::bigint \
           FROM {s}.queues q LEFT JOIN own ON own.scope = q.name WHERE q.name = ANY($1)",
    types: &[Type::TEXT_ARRAY, Type::INT8],
};

pub(crate) static CAPACITIES: Sql = Sql {
    text: "SELECT name, capacity_jobs, capacity_bytes FROM {s}.queues WHERE name = ANY($1)",
    types: &[Type::TEXT_ARRAY],
};

pub(crate) static SPREAD: Sql = Sql {
    text: "UPDATE {s}.tallies t SET free_jobs = n.jobs, free_bytes = n.bytes \
           FROM unnest($1, $2, $3, $4) AS n(scope, seat, jobs, bytes) \
           WHERE t.scope = n.scope AND t.seat = n.seat",
    types: &[Type::TEXT_ARRAY, Type::INT8_ARRAY, Type::INT8_ARRAY, Type::INT8_ARRAY],
};
