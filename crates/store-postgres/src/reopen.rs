use std::collections::{BTreeMap, BTreeSet};

use futures_util::future::join3;
use steadfast_domain::{Change, Event, JobId, Timestamp};
use steadfast_queue::store::{Refusal, StoreError, SubmitError};

use crate::changes::Changes;
use crate::error::Failure;
use crate::loaded::{Loaded, Locked};
use crate::room::{Load, Room};
use crate::submit::find_uniques;
use crate::tallies::{ALL, Tallies};
use crate::writer::{Begin, Begun, Group};

/// `dead` or `cancelled` back to `queued`.
#[derive(Debug)]
pub(crate) struct Reopen {
    id: JobId,
    lock: i64,
    staged: Option<Result<Change, Refusal>>,
}

impl Reopen {
    pub(crate) fn new(id: JobId, lock: i64) -> Self {
        Self { id, lock, staged: None }
    }

    pub(crate) fn answer(self) -> Result<Change, SubmitError> {
        match self.staged {
            Some(staged) => Ok(staged?),
            None => Err(StoreError::Unavailable("the transaction decided nothing".into()).into()),
        }
    }
}

impl Group for Reopen {
    fn weight(&self) -> usize {
        1
    }

    async fn decide(&mut self, begin: Begin<'_>) -> Result<(Begun, Changes), Failure> {
        let (begins, loaded, begun) =
            join3(begin.begin(), Loaded::read(begin.session, &[self.id], Locked::Wait), begin.begun()).await;
        begins?;
        let (mut loaded, begun) = (loaded?, begun?);
        let mut changes = Changes::default();
        let now = begun.now;
        self.staged = Some(match self.room(&loaded, begin, now).await? {
            Err(refusal) => Err(refusal),
            Ok(room) => {
                let change = loaded.change(self.id, Event::Reopen, now, &mut changes, |stored, _| {
                    stored.job.attempt = 0;
                    stored.job.interruptions = 0;
                    stored.job.run_at = now;
                });
                room.spread(&mut changes.tallies, &mut changes.spread);
                change.ok_or(Refusal::JobNotFound)
            }
        });
        loaded.save(begun.now, &mut changes)?;
        Ok((begun, changes))
    }
}

impl Reopen {
    /// The room that the job goes into, if it may.
    async fn room(
        &self,
        loaded: &Loaded,
        begin: Begin<'_>,
        now: Timestamp,
    ) -> Result<Result<Room, Refusal>, Failure> {
        let Some(entry) = loaded.get(self.id) else { return Ok(Err(Refusal::JobNotFound)) };
        let (job, state) = (&entry.stored.job, entry.state());
        if state.after(Event::Reopen).is_none() {
            let reads = entry.stored.clone().into_job(now).state;
            return Ok(Err(Refusal::State(reads)));
        }
        if job.deadline.is_some_and(|deadline| deadline <= now) {
            return Ok(Err(Refusal::DeadlinePassed));
        }
        if let Some(hash) = entry.stored.unique_hash
            && !find_uniques(begin.session, &[hash]).await?.is_empty()
        {
            return Ok(Err(Refusal::UniqueKeyTaken));
        }
        // This seat has only what came back to it, so everybody is asked at once.
        let queues = BTreeSet::from([job.queue.as_str().to_owned()]);
        let mut dry: BTreeSet<String> = queues.iter().cloned().chain([ALL.to_owned()]).collect();
        let locked = Room::lock(begin.session, begin.seat, &queues, &dry, self.lock).await?;
        let capacities = Room::capacities(begin.session, &queues).await?;
        let room = Room::new(begin.seat, &dry, &capacities, &locked)?;
        let needed = Load { jobs: 1, bytes: job.payload_bytes as i64 };
        let needed = BTreeMap::from([(job.queue.clone(), needed)]);
        Ok(room.fits(&needed, &Tallies::default(), &mut dry)?.map(|()| room))
    }
}
