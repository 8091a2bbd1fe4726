use std::collections::HashSet;
use std::iter::Peekable;
use std::time::Duration;

use steadfast_domain::{Event, Fence, JobId, KindName};

use super::clock::Now;
use super::ready::{InOrder, Place};
use super::state::{Claim, Entry, State};
use crate::store::{
    ClaimId, ClaimLost, ClaimRequest, Claimed, Owner, Renewal, Renewed, SUSPECT_ALONE_FOR, Speaker, Want,
};

/// What a claim takes, and what it found expired on the way.
#[derive(Default)]
struct Picked {
    taken: Vec<JobId>,
    seen: HashSet<JobId>,
    expired: Vec<JobId>,
}

/// One want's jobs in ready order.
struct Source<'a> {
    jobs: Peekable<InOrder<'a>>,
    suspect: Option<Place>,
    share: usize,
}

impl State {
    /// Each due or expired job that this meets is moved once, by whichever call meets it first: work that
    /// its submission or its retry has paid for.
    pub(super) fn claim(&mut self, request: &ClaimRequest, now: Now) -> Vec<Claimed> {
        while let Some(id) = self.next_due(now) {
            self.promote(id, now);
        }
        let Picked { taken, expired, .. } = self.pick(request, now);
        for id in expired {
            self.change(id, Event::Expire, now, |_, _| ());
        }
        taken.into_iter().filter_map(|id| self.take(id, request, now)).collect()
    }

    /// Heartbeat of one claim.
    pub(super) fn renew(&mut self, renewal: Renewal, now: Now) -> Result<Renewed, ClaimLost> {
        self.held(renewal.id, renewal.by, now)?;
        let entry = self.jobs.get_mut(&renewal.id.job).ok_or(ClaimLost)?;
        let claim = entry.claim.as_mut().ok_or(ClaimLost)?;
        let ends = lease_end(&claim.owner, renewal.lease, now);
        if let Some(old) = claim.ends {
            self.indexes.leases.remove(&(old, renewal.id.job));
        }
        if let Some(new) = ends {
            self.indexes.leases.insert((new, renewal.id.job));
        }
        claim.ends = ends;
        if renewal.progress.is_some() {
            entry.job.progress = renewal.progress;
        }
        if renewal.checkpoint.is_some() {
            entry.job.checkpoint = renewal.checkpoint;
        }
        let valid_for = if ends.is_some() { renewal.lease } else { Duration::MAX };
        Ok(Renewed { valid_for, cancel_requested: entry.job.cancel_requested })
    }

    /// The job under this claim, while the claim holds and is the speaker's.
    pub(super) fn held(&self, id: ClaimId, by: Speaker, now: Now) -> Result<&Entry, ClaimLost> {
        let entry = self.jobs.get(&id.job).ok_or(ClaimLost)?;
        let claim = entry.claim.as_ref().ok_or(ClaimLost)?;
        let lapsed = claim.ends.is_some_and(|ends| ends <= now.instant);
        let holds = claim.fence == id.fence && by.may_speak_for(&claim.owner) && !lapsed;
        if holds { Ok(entry) } else { Err(ClaimLost) }
    }

    fn pick(&self, request: &ClaimRequest, now: Now) -> Picked {
        let mut sources = self.sources(request, now);
        let mut picked = Picked::default();
        for source in &mut sources {
            let enough = request.max.min(picked.taken.len() + source.share);
            while picked.taken.len() < enough
                && let Some(place) = source.next()
            {
                self.consider(place, &mut picked, now);
            }
        }
        while picked.taken.len() < request.max {
            let first =
                sources.iter_mut().filter_map(|s| Some((s.peek()?, s))).min_by_key(|(place, _)| *place);
            let Some((place, source)) = first else { break };
            source.next();
            self.consider(place, &mut picked, now);
        }
        picked
    }

    /// Takes the job at this place, unless it is expired or another want has it.
    fn consider(&self, (_, id): Place, picked: &mut Picked, now: Now) {
        if !picked.seen.insert(id) {
            return;
        }
        if self.is_expired(id, now) {
            picked.expired.push(id);
        } else {
            picked.taken.push(id);
        }
    }

    fn sources(&self, request: &ClaimRequest, now: Now) -> Vec<Source<'_>> {
        let suspect = self.suspect_for(request, now);
        let mut sources = Vec::with_capacity(request.wants.len());
        for want in &request.wants {
            let Some(queue) = self.indexes.queues.get(&want.queue).filter(|queue| !queue.paused) else {
                continue;
            };
            let suspect =
                suspect.filter(|(_, id)| self.jobs.get(id).is_some_and(|entry| accepts(want, entry)));
            let jobs = queue.ready.bystanders(kinds_of(want)).peekable();
            sources.push(Source { jobs, suspect, share: want.share });
        }
        sources
    }

    /// The one suspect that this owner may take now: of all it wants, the one with the fewest
    /// interruptions. None while it has had another for less than [`SUSPECT_ALONE_FOR`], or while either of
    /// them is on its last chance.
    fn suspect_for(&self, request: &ClaimRequest, now: Now) -> Option<Place> {
        let mut held = self.indexes.suspects_held.get(&request.owner).into_iter().flatten().peekable();
        let is_alone = held.peek().is_none();
        if held.any(|(began, id)| {
            now.instant.duration_since(*began) < SUSPECT_ALONE_FOR || self.is_last_chance(*id)
        }) {
            return None;
        }
        let wanted = request.wants.iter().filter_map(|want| {
            let queue = self.indexes.queues.get(&want.queue).filter(|queue| !queue.paused)?;
            queue.ready.first_suspect(kinds_of(want), |id| !self.is_expired(id, now))
        });
        let (interruptions, place) = wanted.min()?;
        (is_alone || !self.limits.is_last_chance(interruptions)).then_some(place)
    }

    fn is_last_chance(&self, id: JobId) -> bool {
        self.jobs.get(&id).is_some_and(|entry| self.limits.is_last_chance(entry.job.interruptions))
    }

    fn is_expired(&self, id: JobId, now: Now) -> bool {
        self.jobs.get(&id).and_then(|entry| entry.job.expires_at()).is_some_and(|at| at <= now.at)
    }

    /// Makes the claim. The job changes its state, but not durably: no new version.
    fn take(&mut self, id: JobId, request: &ClaimRequest, now: Now) -> Option<Claimed> {
        let entry = self.jobs.get_mut(&id)?;
        let state = entry.job.state.after(Event::Claim)?;
        self.indexes.remove(entry);
        self.newest_fence = Fence(self.newest_fence.0 + 1);
        let ends = lease_end(&request.owner, request.lease, now);
        let claim =
            Claim { fence: self.newest_fence, owner: request.owner.clone(), began: now.instant, ends };
        entry.claim = Some(claim);
        entry.job.state = state;
        entry.job.attempt += 1;
        entry.job.started_at = Some(now.at);
        entry.job.owner = Some(request.owner.to_string());
        self.indexes.insert(entry, now);
        Some(Claimed {
            id: ClaimId { job: id, fence: self.newest_fence },
            job: entry.job.clone(),
            valid_for: if ends.is_some() { request.lease } else { Duration::MAX },
        })
    }
}

impl Source<'_> {
    fn peek(&mut self) -> Option<Place> {
        [self.jobs.peek().copied(), self.suspect].into_iter().flatten().min()
    }

    fn next(&mut self) -> Option<Place> {
        let next = self.peek()?;
        if self.suspect == Some(next) { self.suspect.take() } else { self.jobs.next() }
    }
}

fn kinds_of(want: &Want) -> Option<&[KindName]> {
    want.kinds.as_deref()
}

fn accepts(want: &Want, entry: &Entry) -> bool {
    entry.job.queue == want.queue && kinds_of(want).is_none_or(|kinds| kinds.contains(&entry.job.kind))
}

/// When a claim made or renewed now lapses. One so far off that no clock holds it never does.
fn lease_end(owner: &Owner, lease: Duration, now: Now) -> Option<tokio::time::Instant> {
    match owner {
        Owner::Process(_) => None,
        Owner::Worker(_) => now.instant.checked_add(lease),
    }
}
