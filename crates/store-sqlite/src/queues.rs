use std::collections::BTreeMap;

use steadfast_domain::{JobState, QueueName, Timestamp};
use steadfast_queue::store::{QueueCounts, QueueSpec, QueueStatus, Refusal, StoreLimits};

use crate::ready::Ready;
use crate::room::Place;

/// A queue's place in [`Queues`].
pub(crate) type QueueIndex = u32;

/// Every queue, its counters, and the room that is left.
#[derive(Debug)]
pub(crate) struct Queues {
    limits: StoreLimits,
    all: Vec<Queue>,
    by_name: BTreeMap<QueueName, QueueIndex>,
    live: Load,
    ended: Load,
}

/// One queue.
#[derive(Debug)]
pub(crate) struct Queue {
    pub(crate) spec: QueueSpec,
    pub(crate) paused: bool,
    pub(crate) ready: Ready,
    /// Jobs by state, in the order of [`JobState::ALL`].
    pub(crate) depth: [u64; 8],
    live: Load,
    /// Bytes of its terminal jobs' payloads and results.
    pub(crate) ended_bytes: u64,
    /// Whether its row is behind its counters of terminal jobs.
    pub(crate) tally_changed: bool,
}

/// Jobs and their bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Load {
    pub(crate) jobs: u64,
    pub(crate) bytes: u64,
}

impl Load {
    pub(crate) fn add(&mut self, bytes: u64) {
        self.jobs += 1;
        self.bytes += bytes;
    }

    fn subtract(&mut self, bytes: u64) {
        self.jobs -= 1;
        self.bytes -= bytes;
    }
}

impl Queues {
    pub(crate) fn new(limits: StoreLimits) -> Self {
        Self {
            limits,
            all: Vec::new(),
            by_name: BTreeMap::new(),
            live: Load::default(),
            ended: Load::default(),
        }
    }

    /// The limits over all queues.
    pub(crate) fn limits(&self) -> &StoreLimits {
        &self.limits
    }

    /// Adds a queue that is not there.
    pub(crate) fn add(&mut self, spec: QueueSpec) -> QueueIndex {
        let index = self.all.len() as QueueIndex;
        self.by_name.insert(spec.name.clone(), index);
        self.all.push(Queue {
            spec,
            paused: false,
            ready: Ready::default(),
            depth: [0; 8],
            live: Load::default(),
            ended_bytes: 0,
            tally_changed: false,
        });
        index
    }

    /// Takes out the queue that was added last.
    pub(crate) fn remove_last(&mut self) {
        if let Some(queue) = self.all.pop() {
            self.by_name.remove(&queue.spec.name);
        }
    }

    /// Where a queue is.
    pub(crate) fn find(&self, name: &QueueName) -> Option<QueueIndex> {
        self.by_name.get(name).copied()
    }

    pub(crate) fn get(&self, index: QueueIndex) -> &Queue {
        &self.all[index as usize]
    }

    pub(crate) fn get_mut(&mut self, index: QueueIndex) -> &mut Queue {
        &mut self.all[index as usize]
    }

    pub(crate) fn iter_mut(&mut self) -> impl Iterator<Item = &mut Queue> {
        self.all.iter_mut()
    }

    /// Queues that have a ready suspect.
    pub(crate) fn with_suspects(&self) -> impl Iterator<Item = QueueIndex> {
        (0..).zip(&self.all).filter(|(_, queue)| queue.ready.has_suspects()).map(|(index, _)| index)
    }

    /// Terminal jobs stored, with the bytes of their payloads and results.
    pub(crate) fn ended(&self) -> Load {
        self.ended
    }

    /// Restores what the file says of a queue's terminal jobs.
    pub(crate) fn restore(&mut self, index: QueueIndex, ended: [(JobState, u64); 4], bytes: u64) {
        for (state, jobs) in ended {
            self.get_mut(index).depth[state as usize] = jobs;
            self.ended.jobs += jobs;
        }
        self.get_mut(index).ended_bytes = bytes;
        self.ended.bytes += bytes;
    }

    /// Counts a job in.
    pub(crate) fn count(&mut self, index: QueueIndex, state: JobState, bytes: u64) {
        let queue = &mut self.all[index as usize];
        queue.depth[state as usize] += 1;
        if state.is_terminal() {
            queue.ended_bytes += bytes;
            queue.tally_changed = true;
            self.ended.add(bytes);
        } else {
            queue.live.add(bytes);
            self.live.add(bytes);
        }
    }

    /// Counts a job out.
    pub(crate) fn discount(&mut self, index: QueueIndex, state: JobState, bytes: u64) {
        let queue = &mut self.all[index as usize];
        queue.depth[state as usize] -= 1;
        if state.is_terminal() {
            queue.ended_bytes -= bytes;
            queue.tally_changed = true;
            self.ended.subtract(bytes);
        } else {
            queue.live.subtract(bytes);
            self.live.subtract(bytes);
        }
    }

    /// Whether all of it fits, by queue. What never will is told from what does not now.
    pub(crate) fn room_for(&self, needed: &[(QueueIndex, Load)]) -> Result<(), Refusal> {
        let Some((first, _)) = needed.first() else { return Ok(()) };
        let mut all = Load::default();
        let mut checks = Vec::with_capacity(needed.len() + 1);
        for (index, load) in needed {
            all.jobs += load.jobs;
            all.bytes += load.bytes;
            let queue = self.get(*index);
            checks.push((&queue.spec.name, *load, queue.place()));
        }
        checks.push((&self.get(*first).spec.name, all, self.whole()));
        checks.iter().try_for_each(|(queue, load, place)| fits_empty(queue, *load, *place))?;
        checks.iter().try_for_each(|(queue, load, place)| fits_now(queue, *load, *place))
    }

    /// Each queue's name and where it is.
    pub(crate) fn names(&self) -> impl Iterator<Item = (QueueName, QueueIndex)> {
        self.by_name.iter().map(|(name, index)| (name.clone(), *index))
    }

    /// Each queue's own room, in the order of their places.
    pub(crate) fn places(&self) -> impl Iterator<Item = Place> {
        self.all.iter().map(Queue::place)
    }

    /// The room over all queues.
    pub(crate) fn whole(&self) -> Place {
        let capacity = Load { jobs: self.limits.capacity_jobs, bytes: self.limits.capacity_bytes };
        Place { live: self.live, capacity }
    }

    /// Every queue's figures, by name.
    pub(crate) fn status(&self, counts: &QueueCounts, now: Timestamp) -> Vec<QueueStatus> {
        let (jobs_max, bytes_max) = (self.limits.capacity_jobs, self.limits.capacity_bytes);
        let status = |queue: &Queue| QueueStatus {
            name: queue.spec.name.clone(),
            paused: queue.paused,
            depth: queue.depth,
            bytes: queue.live.bytes,
            capacity_jobs: queue.spec.capacity_jobs.map_or(jobs_max, |own| own.min(jobs_max)),
            capacity_bytes: queue.spec.capacity_bytes.map_or(bytes_max, |own| own.min(bytes_max)),
            oldest_ready_at: queue.ready.oldest_due_at(),
            now,
            counts: counts.of(&queue.spec.name),
        };
        self.by_name.values().map(|index| status(self.get(*index))).collect()
    }
}

impl Queue {
    fn place(&self) -> Place {
        let capacity = Load {
            jobs: self.spec.capacity_jobs.unwrap_or(u64::MAX),
            bytes: self.spec.capacity_bytes.unwrap_or(u64::MAX),
        };
        Place { live: self.live, capacity }
    }
}

/// Whether it would fit if nothing else was there.
pub(crate) fn fits_empty(queue: &QueueName, needed: Load, place: Place) -> Result<(), Refusal> {
    let Place { capacity, .. } = place;
    let (capacity, unit) = if needed.jobs > capacity.jobs {
        (capacity.jobs, "jobs")
    } else if needed.bytes > capacity.bytes {
        (capacity.bytes, "bytes")
    } else {
        return Ok(());
    };
    Err(Refusal::LargerThanCapacity { queue: queue.clone(), capacity, unit })
}

/// Whether it fits beside what is there.
pub(crate) fn fits_now(queue: &QueueName, needed: Load, place: Place) -> Result<(), Refusal> {
    let (queue, Place { live, capacity }) = (queue.clone(), place);
    if live.jobs + needed.jobs > capacity.jobs {
        return Err(Refusal::QueueFull { queue, depth: live.jobs, capacity: capacity.jobs });
    }
    if live.bytes + needed.bytes > capacity.bytes {
        return Err(Refusal::QueueBytesFull { queue, bytes: live.bytes, capacity: capacity.bytes });
    }
    Ok(())
}
