use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use futures_util::future::join3;
use steadfast_domain::{Change, Event, JobId, RawJson, Timestamp};
use steadfast_queue::store::{
    Cancel, ClaimId, ClaimLost, End, Renewal, Renewed, Settlement, Speaker, StoreError,
};
use tokio::sync::oneshot;
use tokio_postgres::Row;
use tokio_postgres::types::{ToSql, Type};
use uuid::Uuid;

use crate::changes::Changes;
use crate::ends::Stray;
use crate::error::Failure;
use crate::loaded::{Loaded, Locked};
use crate::row::{Stored, job_id, uuid};
use crate::session::{Session, Sql};
use crate::writer::{Begin, Begun, Group};

type Answer<T> = oneshot::Sender<Result<T, StoreError>>;

/// What is asked about single attempts.
#[derive(Debug)]
pub(crate) enum Item {
    Settle(Vec<Settlement>, Answer<Vec<Result<Change, ClaimLost>>>),
    Renew(Vec<Renewal>, Answer<Vec<Result<Renewed, ClaimLost>>>),
    Cancel(JobId, Answer<Cancel>),
    HandBack(Vec<ClaimId>),
    Stray(Stray),
}

/// The answer to an [`Item`], while it is not committed.
#[derive(Debug)]
enum Staged {
    Settled(Vec<Result<Change, ClaimLost>>),
    Cancelled(Cancel),
    /// What the renewals were answered is known with the commit; and nobody waits for what is handed back.
    Later,
}

/// Items that share a transaction.
pub(crate) struct Attempts {
    items: Vec<Item>,
    staged: Vec<Staged>,
    renewals: BTreeMap<(ClaimId, Speaker), Renewal>,
    /// The claims that were renewed.
    renewed: Vec<Row>,
    /// Whether all jobs are believed to be claimed, as those are that are settled for the first time.
    all_claimed: bool,
}

impl Attempts {
    pub(crate) fn new(items: Vec<Item>) -> Self {
        let mut renewals = BTreeMap::<(ClaimId, Speaker), Renewal>::new();
        for item in &items {
            let Item::Renew(all, _) = item else { continue };
            for renewal in all {
                // Of two for one claim the later one wins, part by part: not a worker's over the server's own.
                let key = (renewal.id, renewal.by);
                let earlier = renewals.remove(&key);
                let earlier = |part: fn(Renewal) -> Option<RawJson>| earlier.clone().and_then(part);
                let merged = Renewal {
                    progress: renewal.progress.clone().or_else(|| earlier(|renewal| renewal.progress)),
                    checkpoint: renewal.checkpoint.clone().or_else(|| earlier(|renewal| renewal.checkpoint)),
                    ..renewal.clone()
                };
                renewals.insert(key, merged);
            }
        }
        let may_wait = |item: &Item| matches!(item, Item::Cancel(..) | Item::Stray(_));
        let all_claimed = !items.iter().any(may_wait);
        Self { items, staged: Vec::new(), renewals, renewed: Vec::new(), all_claimed }
    }

    pub(crate) fn len(&self) -> usize {
        self.items.len()
    }

    pub(crate) fn halves(self) -> Vec<Vec<Item>> {
        let mut items = self.items;
        let rest = items.split_off(items.len() / 2);
        vec![rest, items]
    }

    /// Answers all. Unless the server was `heard`, it is not known which claims were renewed.
    pub(crate) fn answer(self, heard: bool) {
        let Self { items, staged, renewed, .. } = self;
        let renewed: HashMap<(ClaimId, Speaker), bool> =
            renewed.iter().filter_map(|row| read_renewed(row).ok()).collect();
        for (item, staged) in items.into_iter().zip(staged) {
            // The caller may be gone.
            match (item, staged) {
                (Item::Settle(_, answer), Staged::Settled(changes)) => _ = answer.send(Ok(changes)),
                (Item::Cancel(_, answer), Staged::Cancelled(cancel)) => _ = answer.send(Ok(cancel)),
                (Item::Renew(renewals, answer), _) if heard => {
                    let each = renewals.iter().map(|renewal| {
                        let cancel_requested = *renewed.get(&(renewal.id, renewal.by)).ok_or(ClaimLost)?;
                        Ok(Renewed { valid_for: renewal.lease, cancel_requested })
                    });
                    _ = answer.send(Ok(each.collect()));
                }
                (Item::Renew(_, answer), _) => {
                    let why = "the connection was lost while renewing";
                    _ = answer.send(Err(StoreError::Unavailable(why.into())));
                }
                _ => {}
            }
        }
    }

    /// Answers all with an error, which is told the jobs that it is about.
    pub(crate) fn fail(self, error: impl Fn(Vec<JobId>) -> StoreError) {
        for item in self.items {
            match item {
                Item::Settle(settlements, answer) => {
                    let ids = settlements.iter().map(|settlement| settlement.id.job).collect();
                    _ = answer.send(Err(error(ids)));
                }
                Item::Renew(_, answer) => _ = answer.send(Err(error(Vec::new()))),
                Item::Cancel(id, answer) => _ = answer.send(Err(error(vec![id]))),
                // They lapse.
                Item::HandBack(_) | Item::Stray(_) => {}
            }
        }
    }

    async fn load(&mut self, session: &Session) -> Result<Loaded, Failure> {
        let jobs = self.jobs();
        // Once: if some are not, the transaction is begun again, and all are locked in their order.
        if std::mem::take(&mut self.all_claimed) && !jobs.is_empty() {
            let loaded = Loaded::read_claimed(session, &jobs).await?;
            self.all_claimed = true;
            return Ok(loaded);
        }
        Loaded::read(session, &jobs, Locked::Wait).await
    }

    fn jobs(&self) -> Vec<JobId> {
        let of = |item: &Item| match item {
            Item::Settle(settlements, _) => settlements.iter().map(|s| s.id.job).collect(),
            Item::Cancel(id, _) => vec![*id],
            Item::HandBack(ids) => ids.iter().map(|id| id.job).collect(),
            Item::Stray(stray) => stray.jobs.clone(),
            Item::Renew(..) => Vec::new(),
        };
        self.items.iter().flat_map(of).collect()
    }
}

impl Group for Attempts {
    fn weight(&self) -> usize {
        self.renewals.len() + self.jobs().len()
    }

    async fn decide(&mut self, begin: Begin<'_>) -> Result<(Begun, Changes), Failure> {
        let (begins, loaded, begun) = join3(begin.begin(), self.load(begin.session), begin.begun()).await;
        begins?;
        let (mut loaded, begun) = (loaded?, begun?);
        let mut changes = Changes { has_more: !self.renewals.is_empty(), ..Changes::default() };
        let one = |item: &Item| match item {
            Item::Settle(settlements, _) => Staged::Settled(
                settlements.iter().map(|s| settle(s, &mut loaded, &begun, &mut changes)).collect(),
            ),
            Item::Cancel(id, _) => Staged::Cancelled(cancel(*id, &mut loaded, &begun, &mut changes)),
            Item::HandBack(ids) => {
                for id in ids {
                    // One that is lost has been handed back already.
                    let _ = settle(&hand_back(*id), &mut loaded, &begun, &mut changes);
                }
                Staged::Later
            }
            Item::Stray(stray) => {
                for id in stray.claims(&loaded) {
                    let _ = settle(&hand_back(id), &mut loaded, &begun, &mut changes);
                }
                Staged::Later
            }
            Item::Renew(..) => Staged::Later,
        };
        self.staged = self.items.iter().map(one).collect();
        loaded.save(begun.now, &mut changes)?;
        Ok((begun, changes))
    }

    /// Renews all in one statement.
    async fn last(&mut self, session: &Session, begun: &Begun) -> Result<(), Failure> {
        if self.renewals.is_empty() {
            return Ok(());
        }
        let renewals = || self.renewals.values();
        let jobs: Vec<Uuid> = renewals().map(|renewal| uuid(renewal.id.job)).collect();
        let fences: Vec<i64> = renewals().map(|renewal| renewal.id.fence.0 as i64).collect();
        let ends: Vec<i64> = renewals().map(|renewal| begun.now.plus(renewal.lease).unix_ms()).collect();
        let progress: Vec<_> = renewals().map(|r| r.progress.as_ref().map(RawJson::as_str)).collect();
        let checkpoints: Vec<_> = renewals().map(|r| r.checkpoint.as_ref().map(RawJson::as_str)).collect();
        let by_workers: Vec<bool> = renewals().map(|renewal| renewal.by == Speaker::Worker).collect();
        let now = begun.now.unix_ms();
        let values: [&(dyn ToSql + Sync); 7] =
            [&jobs, &fences, &ends, &progress, &checkpoints, &by_workers, &now];
        self.renewed = session.rows(&RENEW, &values).await?;
        Ok(())
    }
}

impl Stray {
    fn claims(&self, loaded: &Loaded) -> Vec<ClaimId> {
        let claim = |job: &JobId| {
            let claim = loaded.get(*job)?.stored.claim.as_ref()?;
            let is_it = claim.owner == self.owner && claim.started_at == self.started_at;
            is_it.then_some(ClaimId { job: *job, fence: claim.fence })
        };
        self.jobs.iter().filter_map(claim).collect()
    }
}

fn settle(
    settlement: &Settlement,
    loaded: &mut Loaded,
    begun: &Begun,
    changes: &mut Changes,
) -> Result<Change, ClaimLost> {
    let Settlement { id, by, end } = settlement;
    let stored = &loaded.get(id.job).ok_or(ClaimLost)?.stored;
    if let Some(change) = stored.settled_under(id.fence) {
        return if end.may_lead_to(change.state) { Ok(change) } else { Err(ClaimLost) };
    }
    let cancel_requested = held(stored, *id, *by, begun.now)?;
    let (now, end) = (begun.now, end.clone());
    let change = loaded.change(id.job, end.event(cancel_requested), now, changes, |stored, state| {
        end.record(&mut stored.job, state, now);
    });
    let change = change.ok_or(ClaimLost)?;
    if let Some(entry) = loaded.get_mut(id.job) {
        entry.stored.settled = Some((id.fence, change.version));
    }
    Ok(change)
}

/// Whether a cancel was requested of the job under this claim, while the claim holds and is the speaker's.
fn held(stored: &Stored, id: ClaimId, by: Speaker, now: Timestamp) -> Result<bool, ClaimLost> {
    let claim = stored.claim.as_ref().ok_or(ClaimLost)?;
    let is_theirs = claim.owner.parse().is_ok_and(|owner| by.may_speak_for(&owner));
    let holds = claim.fence == id.fence && is_theirs && claim.expires_at >= now;
    if holds { Ok(claim.cancel_requested) } else { Err(ClaimLost) }
}

fn hand_back(id: ClaimId) -> Settlement {
    Settlement { id, by: Speaker::Server, end: End::HandBack { checkpoint: None, after: Duration::ZERO } }
}

/// Ends an unclaimed job; of a claimed one stores the request and hints its holder.
fn cancel(id: JobId, loaded: &mut Loaded, begun: &Begun, changes: &mut Changes) -> Cancel {
    let Some(entry) = loaded.get_mut(id) else { return Cancel::NotFound };
    if let Some(claim) = &mut entry.stored.claim {
        claim.cancel_requested = true;
        changes.cancel_requested.push(uuid(id));
        changes.effects.cancels.push(ClaimId { job: id, fence: claim.fence });
        return Cancel::Requested;
    }
    let state = entry.state();
    let change = loaded.change(id, Event::Cancel, begun.now, changes, |_, _| ());
    change.map_or(Cancel::AlreadyTerminal(state), Cancel::Done)
}

fn read_renewed(row: &Row) -> Result<((ClaimId, Speaker), bool), Failure> {
    let fence = steadfast_domain::Fence(row.try_get::<_, i64>(1)? as u64);
    let by = if row.try_get(3)? { Speaker::Worker } else { Speaker::Server };
    Ok(((ClaimId { job: job_id(row.try_get(0)?), fence }, by), row.try_get(2)?))
}

/// What [`Attempts`] asks beside what [`Loaded`] does.
pub(crate) const READS: &[&Sql] = &[&RENEW];

// Whose claim it is stands at the beginning of its owner, as `Owner` writes itself.
static RENEW: Sql = Sql {
    text: "UPDATE {s}.claims c SET expires_at = n.expires_at, progress = coalesce(n.progress, c.progress), \
           checkpoint = coalesce(n.checkpoint, c.checkpoint) FROM unnest($1, $2, $3, $4, $5, $6) \
           AS n(job, fence, expires_at, progress, checkpoint, by_worker) \
           WHERE c.job = n.job AND c.fence = n.fence AND c.expires_at >= $7 \
           AND (c.owner LIKE 'worker:%' OR NOT n.by_worker) \
           RETURNING c.job, c.fence, c.cancel_requested, n.by_worker",
    types: &[
        Type::UUID_ARRAY,
        Type::INT8_ARRAY,
        Type::INT8_ARRAY,
        Type::TEXT_ARRAY,
        Type::TEXT_ARRAY,
        Type::BOOL_ARRAY,
        Type::INT8,
    ],
};
