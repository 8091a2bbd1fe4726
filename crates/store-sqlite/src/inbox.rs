use std::collections::VecDeque;
use std::mem;
use std::time::Duration;

use parking_lot::{Condvar, Mutex};
use steadfast_queue::store::{ClaimId, StoreError};
use tokio::sync::Semaphore;
use tokio::time::Instant;

use crate::command::Command;

/// What waits for the writer: three lanes with room of their own, so that a flood of submissions never
/// stands before what would empty the queue.
#[derive(Debug)]
pub(crate) struct Inbox {
    waiting: Mutex<Waiting>,
    arrived: Condvar,
    room: [Semaphore; 3],
}

/// A lane. Within a batch they are served in this order: what ends jobs makes room for those that come,
/// which can be claimed at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Lane {
    /// Settlements, renewals, cancels and everything else that is small.
    Ends,
    /// Submissions and reopenings.
    Submissions,
    /// Claims.
    Claims,
}

#[derive(Debug, Default)]
struct Waiting {
    lanes: [VecDeque<(Ticket, Command)>; 3],
    handed_back: Vec<ClaimId>,
    next_ticket: Ticket,
    closed: bool,
}

/// Names a waiting command.
pub(crate) type Ticket = u64;

/// Commands that may wait in each lane.
const LANE_COMMANDS_MAX: usize = 4_096;
/// Jobs and operations taken from each lane into one batch, unless the first command alone has more.
const BATCH_WEIGHT_MAX: usize = 1_024;
/// Payload bytes taken into one batch, unless the first command alone has more.
const BATCH_BYTES_MAX: usize = 8 << 20;

/// How long to wait for the first command.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Patience {
    None,
    For(Duration),
    Endless,
}

/// What the writer is to do next.
#[derive(Debug)]
pub(crate) enum Taken {
    Batch(Vec<Command>),
    Nothing,
    /// Closed, and nothing waits any more.
    End,
}

impl Inbox {
    pub(crate) fn new() -> Self {
        Self {
            waiting: Mutex::default(),
            arrived: Condvar::new(),
            room: std::array::from_fn(|_| Semaphore::new(LANE_COMMANDS_MAX)),
        }
    }

    /// Puts a command into its lane, when there is room in it. Dropping the future withdraws it.
    pub(crate) async fn put(&self, lane: Lane, command: Command) -> Result<Ticket, StoreError> {
        let room = self.room[lane as usize].acquire().await.map_err(|_| StoreError::Closed)?;
        let mut waiting = self.waiting.lock();
        if waiting.closed {
            return Err(StoreError::Closed);
        }
        // The writer gives the room back as it takes the command.
        room.forget();
        let ticket = waiting.next_ticket;
        waiting.next_ticket += 1;
        waiting.lanes[lane as usize].push_back((ticket, command));
        drop(waiting);
        self.arrived.notify_one();
        Ok(ticket)
    }

    /// Takes a command back that the writer has not taken yet; `false` when it has.
    pub(crate) fn withdraw(&self, lane: Lane, ticket: Ticket) -> bool {
        let mut waiting = self.waiting.lock();
        let commands = &mut waiting.lanes[lane as usize];
        let Ok(place) = commands.binary_search_by_key(&ticket, |(ticket, _)| *ticket) else {
            return false;
        };
        commands.remove(place);
        self.room[lane as usize].add_permits(1);
        true
    }

    /// Takes claims back whose caller is gone; as many as there are claims.
    pub(crate) fn hand_back(&self, ids: impl IntoIterator<Item = ClaimId>) {
        self.waiting.lock().handed_back.extend(ids);
        self.arrived.notify_one();
    }

    /// Refuses new commands; those that wait are still served.
    pub(crate) fn close(&self) {
        self.waiting.lock().closed = true;
        self.room.iter().for_each(Semaphore::close);
        self.arrived.notify_one();
    }

    /// Refuses everything, also what waits: the writer is gone.
    pub(crate) fn abandon(&self) {
        self.close();
        let waiting = mem::take(&mut self.waiting.lock().lanes);
        // Outside of the lock: claims on their way take it as they are dropped.
        drop(waiting);
    }

    /// The next batch.
    pub(crate) fn take(&self, patience: Patience) -> Taken {
        let mut waiting = self.waiting.lock();
        let until = match patience {
            Patience::For(time) => Some(Instant::now() + time),
            Patience::None | Patience::Endless => None,
        };
        while waiting.is_empty() {
            match (waiting.closed, patience, until) {
                (true, ..) => return Taken::End,
                (false, Patience::None, _) => return Taken::Nothing,
                (false, _, Some(until)) => {
                    if self.arrived.wait_until(&mut waiting, until.into_std()).timed_out() {
                        return Taken::Nothing;
                    }
                }
                (false, _, None) => self.arrived.wait(&mut waiting),
            }
        }
        let mut batch = Vec::new();
        let handed_back = mem::take(&mut waiting.handed_back);
        if !handed_back.is_empty() {
            batch.push(Command::HandBack(handed_back));
        }
        for (lane, room) in waiting.lanes.iter_mut().zip(&self.room) {
            let before = batch.len();
            take_lane(lane, &mut batch);
            room.add_permits(batch.len() - before);
        }
        Taken::Batch(batch)
    }
}

impl Waiting {
    fn is_empty(&self) -> bool {
        self.handed_back.is_empty() && self.lanes.iter().all(VecDeque::is_empty)
    }
}

fn take_lane(lane: &mut VecDeque<(Ticket, Command)>, batch: &mut Vec<Command>) {
    let (mut weight, mut bytes) = (0, 0);
    while let Some((_, command)) = lane.front() {
        let (more, more_bytes) = (command.weight(), command.bytes());
        if weight > 0 && (more > BATCH_WEIGHT_MAX - weight || bytes + more_bytes > BATCH_BYTES_MAX) {
            break;
        }
        weight = more.saturating_add(weight + 1).min(BATCH_WEIGHT_MAX);
        bytes += more_bytes;
        batch.extend(lane.pop_front().map(|(_, command)| command));
    }
}
