use std::time::Duration;

use steadfast_domain::{Event, JobId};

use super::clock::Now;
use super::state::State;
use crate::store::Upkeep;

/// One row's worth of housekeeping.
enum Chore {
    Recover(JobId),
    Expire(JobId),
    Promote(JobId),
    Prune(JobId),
}

impl State {
    pub(super) fn upkeep(&mut self, rows_max: usize, now: Now) -> Upkeep {
        let mut changed = 0;
        while changed < rows_max
            && let Some(chore) = self.next_chore(now)
        {
            match chore {
                Chore::Recover(id) => self.interrupt(id, now),
                Chore::Expire(id) => _ = self.change(id, Event::Expire, now, |_, _| ()),
                Chore::Promote(id) => self.promote(id, now),
                Chore::Prune(id) => self.forget(id),
            }
            changed += 1;
        }
        Upkeep { changed, more: self.next_chore(now).is_some(), next_due: self.next_moment(now) }
    }

    /// The next waiting job whose time has come.
    pub(super) fn next_due(&self, now: Now) -> Option<JobId> {
        self.indexes.timed.first().filter(|(at, _)| *at <= now.at).map(|(_, id)| *id)
    }

    /// Work that is due, what matters most first.
    fn next_chore(&self, now: Now) -> Option<Chore> {
        let lapsed = || self.indexes.leases.first().filter(|(ends, _)| *ends <= now.instant);
        let expired = || self.indexes.expiring.first().filter(|(at, _)| *at <= now.at);
        lapsed()
            .map(|(_, id)| Chore::Recover(*id))
            .or_else(|| expired().map(|(_, id)| Chore::Expire(*id)))
            .or_else(|| self.next_due(now).map(Chore::Promote))
            .or_else(|| self.next_past_retention(now).map(Chore::Prune))
    }

    /// The next terminal job to go: the oldest whose time is up, else, while they are too many or too
    /// large, the oldest of all; `dead` ones last.
    fn next_past_retention(&self, now: Now) -> Option<JobId> {
        let (ended, retention) = (&self.indexes.ended, &self.limits.retention);
        let (other, dead) = (ended.others.first(), ended.dead.first());
        let too_old = |keep: Duration| move |(at, _): &&(_, JobId)| now.at.since(*at) >= keep;
        let too_many = ended.jobs() > retention.jobs_max || ended.bytes > retention.bytes_max;
        other
            .filter(too_old(retention.keep))
            .or_else(|| dead.filter(too_old(retention.keep_dead)))
            .or_else(|| other.or(dead).filter(|_| too_many))
            .map(|(_, id)| *id)
    }

    /// From now, when a waiting job is due or expires, or a lease ends.
    fn next_moment(&self, now: Now) -> Option<Duration> {
        let timed = [self.indexes.timed.first(), self.indexes.expiring.first()];
        let timed = timed.into_iter().flatten().map(|(at, _)| at.since(now.at));
        let lease = self.indexes.leases.first().map(|(ends, _)| ends.saturating_duration_since(now.instant));
        timed.chain(lease).min()
    }
}
