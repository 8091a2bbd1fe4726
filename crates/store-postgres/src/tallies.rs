use std::collections::BTreeMap;

use steadfast_domain::{Job, JobState, QueueName, Timestamp};
use tokio_postgres::types::Type;

use crate::session::{Result, Session, Sql};

/// The scope of the whole store.
pub(crate) const ALL: &str = "";

/// What a transaction changes about the counters, by scope: each queue it touches, and the whole store.
///
/// **Invariant:** room follows from the counters: what a live job adds to them it takes from the free room.
#[derive(Debug, Default)]
pub(crate) struct Tallies(BTreeMap<String, Tally>);

#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct Tally {
    depth: [i64; 8],
    /// Payload bytes of live jobs.
    bytes: i64,
    /// Payload and result bytes of ended ones.
    ended_bytes: i64,
    /// Room moved here from other seats.
    moved_jobs: i64,
    moved_bytes: i64,
}

/// What of a job is counted.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Counted {
    pub(crate) state: JobState,
    pub(crate) payload_bytes: i64,
    pub(crate) result_bytes: i64,
}

impl Counted {
    /// A job that is counted as in `state`.
    pub(crate) fn of(job: &Job, state: JobState) -> Self {
        let result_bytes = job.result.as_ref().map_or(0, |result| result.len_bytes() as i64);
        Self { state, payload_bytes: job.payload_bytes as i64, result_bytes }
    }
}

impl Tally {
    fn count(&mut self, counted: Counted, sign: i64) {
        self.depth[counted.state as usize] += sign;
        if counted.state.is_terminal() {
            self.ended_bytes += sign * (counted.payload_bytes + counted.result_bytes);
        } else {
            self.bytes += sign * counted.payload_bytes;
        }
    }

    /// All that is added to the row, in the order of its columns.
    fn figures(&self) -> [i64; FIGURES] {
        let (jobs, bytes) = self.freed();
        let [d0, d1, d2, d3, d4, d5, d6, d7] = self.depth;
        [jobs, bytes, d0, d1, d2, d3, d4, d5, d6, d7, self.bytes, self.ended_bytes]
    }

    /// What it does to the free room of its seat.
    fn freed(&self) -> (i64, i64) {
        let live = JobState::ALL.into_iter().filter(|state| !state.is_terminal());
        let live: i64 = live.map(|state| self.depth[state as usize]).sum();
        (self.moved_jobs - live, self.moved_bytes - self.bytes)
    }
}

impl Tallies {
    /// A job of the queue is counted no more as it was before, and as it is after.
    pub(crate) fn moved(&mut self, queue: &QueueName, before: Option<Counted>, after: Option<Counted>) {
        for scope in [ALL, queue.as_str()] {
            if !self.0.contains_key(scope) {
                self.0.insert(scope.to_owned(), Tally::default());
            }
            let Some(tally) = self.0.get_mut(scope) else { continue };
            if let Some(before) = before {
                tally.count(before, -1);
            }
            if let Some(after) = after {
                tally.count(after, 1);
            }
        }
    }

    /// Room of a scope came to this seat from others.
    pub(crate) fn room_came(&mut self, scope: &str, jobs: i64, bytes: i64) {
        let tally = self.0.entry(scope.to_owned()).or_default();
        tally.moved_jobs += jobs;
        tally.moved_bytes += bytes;
    }

    /// What the changes so far do to the free room of a scope.
    pub(crate) fn freed(&self, scope: &str) -> (i64, i64) {
        self.0.get(scope).map_or((0, 0), Tally::freed)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Adds the changes to the rows of a seat, in the order of the scopes. The row of the whole store is always
    /// one of them: it gets the transaction's `turn`.
    pub(crate) async fn write(&self, session: &Session, seat: Seat, now: Timestamp, turn: i64) -> Result<()> {
        let unchanged = Tally::default();
        let mut all: BTreeMap<&str, &Tally> =
            self.0.iter().map(|(scope, tally)| (scope.as_str(), tally)).collect();
        all.entry(ALL).or_insert(&unchanged);
        let scopes: Vec<&str> = all.keys().copied().collect();
        let figures: Vec<i64> = all.values().flat_map(|tally| tally.figures()).collect();
        session.rows(&WRITE, &[&scopes, &figures, &seat.number, &seat.takes, &now.unix_ms(), &turn]).await?;
        Ok(())
    }
}

/// Whose rows of the counters a connection changes. It stays the same when the connection is made again.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Seat {
    pub(crate) number: i64,
    /// Whether it needs room: submissions do.
    pub(crate) takes: bool,
}

impl Seat {
    pub(crate) fn new(takes: bool) -> Self {
        // 0 is the seat of nobody; negative ones would do as well.
        Self { number: rand::random_range(1..i64::MAX), takes }
    }
}

/// Figures of a scope that [`WRITE`] adds, one behind the other.
const FIGURES: usize = 12;

// All figures in one array: a set of rows for each would cost more than the rest of it.
pub(crate) static WRITE: Sql = Sql {
    text: "INSERT INTO {s}.tallies AS t (scope, seat, takes, free_jobs, free_bytes, scheduled, queued, \
           processing, retryable, completed, dead, cancelled, expired, bytes, ended_bytes, touched_at, turn) \
           SELECT n.scope, $3, $4, $2[n.at - 11], $2[n.at - 10], $2[n.at - 9], $2[n.at - 8], $2[n.at - 7], \
           $2[n.at - 6], $2[n.at - 5], $2[n.at - 4], $2[n.at - 3], $2[n.at - 2], $2[n.at - 1], $2[n.at], $5, $6 \
           FROM (SELECT scope, place::int * 12 FROM unnest($1) WITH ORDINALITY AS s(scope, place)) AS n(scope, at) \
           ON CONFLICT (scope, seat) DO UPDATE SET free_jobs = t.free_jobs + excluded.free_jobs, \
           free_bytes = t.free_bytes + excluded.free_bytes, scheduled = t.scheduled + excluded.scheduled, \
           queued = t.queued + excluded.queued, processing = t.processing + excluded.processing, \
           retryable = t.retryable + excluded.retryable, completed = t.completed + excluded.completed, \
           dead = t.dead + excluded.dead, cancelled = t.cancelled + excluded.cancelled, \
           expired = t.expired + excluded.expired, bytes = t.bytes + excluded.bytes, \
           ended_bytes = t.ended_bytes + excluded.ended_bytes, touched_at = excluded.touched_at, \
           turn = excluded.turn",
    types: &[Type::TEXT_ARRAY, Type::INT8_ARRAY, Type::INT8, Type::BOOL, Type::INT8, Type::INT8],
};
