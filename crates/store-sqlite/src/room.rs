use std::collections::HashMap;

use parking_lot::RwLock;
use steadfast_domain::QueueName;
use steadfast_queue::store::{Refusal, Submission};

use crate::queues::{Load, QueueIndex, Queues, fits_empty, fits_now};

/// The room that is left as of the last commit, for submissions that would only be refused.
///
/// It says no and never yes: who is let in is decided in the transaction. A no is as true as the writer's,
/// since it was so at a moment between the question and its answer. But it costs the writer nothing, and
/// under overload, when nearly everything is refused, none of that stands before what makes room.
#[derive(Debug, Default)]
pub(crate) struct Room(RwLock<Committed>);

#[derive(Debug, Default)]
struct Committed {
    by_name: HashMap<QueueName, QueueIndex>,
    queues: Vec<Place>,
    whole: Place,
}

/// A queue's room, or that of all.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Place {
    pub(crate) live: Load,
    pub(crate) capacity: Load,
}

impl Room {
    /// The counters have changed with a commit: called before anybody is told of it.
    pub(crate) fn committed(&self, queues: &Queues) {
        let mut committed = self.0.write();
        let Committed { by_name, queues: places, whole } = &mut *committed;
        places.clear();
        places.extend(queues.places());
        *whole = queues.whole();
        if by_name.len() < places.len() {
            by_name.extend(queues.names());
        }
    }

    /// Nothing is known: everybody must ask the writer.
    pub(crate) fn forget(&self) {
        *self.0.write() = Committed::default();
    }

    /// The refusal of a submission for which there is no room now. Only of one job without keys: with a key
    /// it may be a repeat, which needs none.
    pub(crate) fn refuse(&self, submission: &Submission) -> Option<Refusal> {
        let ([job], None) = (&submission.jobs[..], &submission.key) else { return None };
        if job.unique_key.is_some() {
            return None;
        }
        let places = {
            let committed = self.0.read();
            [committed.queues[*committed.by_name.get(&job.queue)? as usize], committed.whole]
        };
        let needed = Load { jobs: 1, bytes: job.payload.len_bytes() as u64 };
        let fits = |check: fn(&QueueName, Load, Place) -> Result<(), Refusal>| {
            places.iter().try_for_each(|place| check(&job.queue, needed, *place))
        };
        fits(fits_empty).and_then(|()| fits(fits_now)).err()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use steadfast_domain::{JobState, KindName, NewJob, RawJson};
    use steadfast_queue::store::{QueueSpec, StoreLimits};
    use tokio::time::Instant;

    fn submission(jobs: usize) -> Submission {
        let job = || NewJob::new(KindName::new("echo").unwrap(), RawJson::encode(&"x").unwrap());
        let give_up_at = Instant::now() + Duration::from_secs(600);
        Submission { jobs: (0..jobs).map(|_| job()).collect(), key: None, give_up_at }
    }

    #[test]
    fn says_no_to_what_has_no_room_as_of_the_last_commit() {
        let mut queues = Queues::new(StoreLimits { capacity_jobs: 1, ..StoreLimits::default() });
        let name = QueueName::default_queue();
        let queue = queues.add(QueueSpec { name: name.clone(), capacity_jobs: None, capacity_bytes: None });
        let room = Room::default();
        assert_eq!(room.refuse(&submission(1)), None, "nothing is known yet");
        room.committed(&queues);
        assert_eq!(room.refuse(&submission(1)), None);

        queues.count(queue, JobState::Queued, 3);
        assert_eq!(room.refuse(&submission(1)), None, "not committed");
        room.committed(&queues);
        let full = Refusal::QueueFull { queue: name, depth: 1, capacity: 1 };
        assert_eq!(room.refuse(&submission(1)), Some(full));
        let mut with_key = submission(1);
        with_key.jobs[0].unique_key = Some(steadfast_domain::UniqueKey::new("one").unwrap());
        assert_eq!(room.refuse(&with_key), None, "it may need no room");
        assert_eq!(room.refuse(&submission(2)), None);

        queues.discount(queue, JobState::Queued, 3);
        room.committed(&queues);
        assert_eq!(room.refuse(&submission(1)), None);
        queues.count(queue, JobState::Queued, 3);
        room.committed(&queues);
        room.forget();
        assert_eq!(room.refuse(&submission(1)), None, "the writer has to say");
    }
}
