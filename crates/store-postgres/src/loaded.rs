use std::collections::BTreeMap;

use futures_util::future::try_join3;
use steadfast_domain::{Change, Event, JobId, JobState, Timestamp};
use steadfast_queue::store::SUSPECT_INTERRUPTIONS;
use tokio_postgres::Row;
use tokio_postgres::types::Type;
use uuid::Uuid;

use crate::changes::Changes;
use crate::error::Failure;
use crate::jobs::state_waiting;
use crate::row::{self, Stored, job_id, numbered, uuid};
use crate::session::{Session, Sql};
use crate::tallies::Counted;

/// Jobs that a transaction has locked in order to change them.
///
/// Whoever changes a job locks its row in `jobs`; only a claim does not, which locks the row in `waiting` that
/// it deletes. So both are locked here, and the claim is read after that: what is read stays true.
#[derive(Debug, Default)]
pub(crate) struct Loaded(BTreeMap<JobId, Entry>);

#[derive(Debug)]
pub(crate) struct Entry {
    pub(crate) stored: Stored,
    /// As which state it is counted while it waits.
    waiting: Option<JobState>,
    was_waiting: bool,
    was_claimed: bool,
    is_changed: bool,
}

/// Rows locked by somebody else.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Locked {
    /// Are waited for.
    Wait,
    /// Are left to whoever has them.
    Skip,
}

impl Loaded {
    /// Locks and reads these jobs; those that do not exist are left out.
    pub(crate) async fn read(session: &Session, ids: &[JobId], locked: Locked) -> Result<Self, Failure> {
        let mut ids: Vec<Uuid> = ids.iter().copied().map(uuid).collect();
        ids.sort_unstable();
        ids.dedup();
        if ids.is_empty() {
            return Ok(Self::default());
        }
        let lock = if locked == Locked::Wait { &LOCK } else { &LOCK_FREE };
        let (free, waiting, rows) = try_join3(
            session.rows(lock, &[&ids]),
            session.rows(&LOCK_WAITING, &[&ids]),
            session.rows(&READ, &[&ids]),
        )
        .await?;
        let mut entries = read_entries(&rows)?;
        for row in &waiting {
            if let Some(entry) = entries.get_mut(&job_id(row.try_get(0)?)) {
                entry.waiting = Some(numbered(row.try_get(1)?, &JobState::ALL)?);
                entry.was_waiting = true;
            }
        }
        if locked == Locked::Skip {
            let mut mine = BTreeMap::new();
            for row in &free {
                let id = job_id(row.try_get(0)?);
                mine.extend(entries.remove_entry(&id));
            }
            entries = mine;
        }
        Ok(Self(entries))
    }

    /// Locks and reads jobs that are all claimed, each row once. An error where one of them is not.
    pub(crate) async fn read_claimed(session: &Session, ids: &[JobId]) -> Result<Self, Failure> {
        let mut ids: Vec<Uuid> = ids.iter().copied().map(uuid).collect();
        ids.sort_unstable();
        ids.dedup();
        let rows = session.rows(&READ_CLAIMED, &[&ids]).await?;
        if rows.len() < ids.len() {
            return Err(Failure::Overtaken);
        }
        Ok(Self(read_entries(&rows)?))
    }

    pub(crate) fn get(&self, id: JobId) -> Option<&Entry> {
        self.0.get(&id)
    }

    pub(crate) fn get_mut(&mut self, id: JobId) -> Option<&mut Entry> {
        self.0.get_mut(&id)
    }

    /// The one way a stored job changes its state: `event` by the transition table, together with what else
    /// `edit` changes, which is told the state to come. `None`, and nothing done, where there is no such job
    /// or the table does not allow it.
    pub(crate) fn change(
        &mut self,
        id: JobId,
        event: Event,
        now: Timestamp,
        changes: &mut Changes,
        edit: impl FnOnce(&mut Stored, JobState),
    ) -> Option<Change> {
        let entry = self.0.get_mut(&id)?;
        let before = Counted::of(&entry.stored.job, entry.state());
        let state = before.state.after(event)?;
        if before.state == JobState::Processing && entry.stored.job.interruptions >= SUSPECT_INTERRUPTIONS {
            // Another suspect may have waited for this one's end.
            changes.effects.ready.insert(entry.stored.job.queue.clone());
        }
        entry.stored.end_attempt();
        entry.stored.job.finished_at = state.is_terminal().then_some(now);
        edit(&mut entry.stored, state);
        let job = &mut entry.stored.job;
        let change = job.record(state, now);
        entry.waiting = (!state.is_terminal()).then(|| state_waiting(job, now));
        entry.is_changed = true;
        let after = Counted::of(job, entry.waiting.unwrap_or(state));
        changes.tallies.moved(&job.queue, Some(before), Some(after));
        changes.effects.changed(job, Some(before.state), Some(change));
        if entry.waiting.is_some() && job.run_at <= now {
            changes.effects.ready.insert(job.queue.clone());
        }
        if let Some(hash) = entry.stored.unique_hash {
            if state.is_terminal() {
                changes.not_unique.push(hash);
                changes.uniques.remove(&hash);
            } else if before.state.is_terminal() {
                changes.uniques.insert(hash, uuid(id));
            }
        }
        Some(change)
    }

    /// Adds to `changes` what has become of the rows.
    pub(crate) fn save(&self, now: Timestamp, changes: &mut Changes) -> Result<(), Failure> {
        for entry in self.0.values().filter(|entry| entry.is_changed) {
            let job = &entry.stored.job;
            changes.changed.push(&entry.stored)?;
            if entry.was_waiting {
                changes.not_waiting.push(uuid(job.id));
            }
            if entry.was_claimed {
                changes.not_claimed.push(uuid(job.id));
            }
            if entry.waiting.is_some() {
                changes.waiting.push(job, now);
            }
        }
        Ok(())
    }
}

fn read_entries(rows: &[Row]) -> Result<BTreeMap<JobId, Entry>, Failure> {
    let mut entries = BTreeMap::new();
    for row in rows {
        let stored = row::read(row)?;
        let was_claimed = stored.claim.is_some();
        let entry = Entry { stored, waiting: None, was_waiting: false, was_claimed, is_changed: false };
        entries.insert(entry.stored.job.id, entry);
    }
    Ok(entries)
}

impl Entry {
    /// The job's state, as it is counted.
    pub(crate) fn state(&self) -> JobState {
        if self.stored.claim.is_some() {
            return JobState::Processing;
        }
        self.waiting.unwrap_or(self.stored.job.state)
    }
}

/// What [`Loaded::read`] asks.
pub(crate) const READS: &[&Sql] = &[&LOCK, &LOCK_FREE, &LOCK_WAITING, &READ, &READ_CLAIMED];

static LOCK: Sql = Sql {
    text: "SELECT id FROM {s}.jobs WHERE id = ANY($1) ORDER BY id FOR UPDATE",
    types: &[Type::UUID_ARRAY],
};

static LOCK_FREE: Sql = Sql {
    text: "SELECT id FROM {s}.jobs WHERE id = ANY($1) ORDER BY id FOR UPDATE SKIP LOCKED",
    types: &[Type::UUID_ARRAY],
};

static LOCK_WAITING: Sql = Sql {
    text: "SELECT id, state FROM {s}.waiting WHERE id = ANY($1) ORDER BY id FOR UPDATE",
    types: &[Type::UUID_ARRAY],
};

static READ: Sql = Sql {
    text: concat!(
        "SELECT ",
        row::job_to_change!(),
        " FROM {s}.jobs j LEFT JOIN {s}.claims c ON c.job = j.id WHERE j.id = ANY($1)"
    ),
    types: &[Type::UUID_ARRAY],
};

// One id after the other, each job before its claim, whatever the planner believes. A claim that has ended while
// its job was waited for is none.
static READ_CLAIMED: Sql = Sql {
    text: concat!(
        "SELECT held.* FROM unnest($1) AS n(id), LATERAL (SELECT ",
        row::job_to_change!(),
        " FROM {s}.jobs j JOIN {s}.claims c ON c.job = j.id WHERE j.id = n.id FOR UPDATE OF j, c) held"
    ),
    types: &[Type::UUID_ARRAY],
};
