mod lanes;

use std::collections::VecDeque;
use std::mem;

use parking_lot::{Condvar, Mutex};
use steadfast_queue::store::{ClaimId, StoreError};
use tokio::sync::Semaphore;

use crate::command::Command;
use lanes::{LANES, Lanes};
pub(crate) use lanes::{Patience, Ticket};

/// What waits for the writer: three lanes with room of their own, so that a flood of submissions never
/// stands before what would empty the queue.
#[derive(Debug)]
pub(crate) struct Inbox {
    waiting: Lanes<Command, ClaimId>,
    room: [Semaphore; LANES],
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

/// What the writer is to do next.
pub(crate) type Taken = lanes::Taken<Vec<Command>>;

/// Commands that may wait in each lane.
const LANE_COMMANDS_MAX: usize = 4_096;
/// Jobs and operations taken from each lane into one batch, unless the first command alone has more.
const BATCH_WEIGHT_MAX: usize = 1_024;
/// Payload bytes taken into one batch, unless the first command alone has more.
const BATCH_BYTES_MAX: usize = 8 << 20;

impl Inbox {
    pub(crate) fn new() -> Self {
        Self { waiting: Lanes::new(), room: std::array::from_fn(|_| Semaphore::new(LANE_COMMANDS_MAX)) }
    }

    /// Puts a command into its lane, when there is room in it. Dropping the future withdraws it.
    pub(crate) async fn put(&self, lane: Lane, command: Command) -> Result<Ticket, StoreError> {
        let room = self.room[lane as usize].acquire().await.map_err(|_| StoreError::Closed)?;
        // Whoever takes the command gives the room back: it may be gone before this returns.
        room.forget();
        self.waiting.put(lane as usize, command).ok_or(StoreError::Closed)
    }

    /// Takes a command back that the writer has not taken yet; `false` when it has.
    pub(crate) fn withdraw(&self, lane: Lane, ticket: Ticket) -> bool {
        let withdrawn = self.waiting.withdraw(lane as usize, ticket).is_some();
        self.room[lane as usize].add_permits(usize::from(withdrawn));
        withdrawn
    }

    /// Takes claims back whose caller is gone; as many as there are claims.
    pub(crate) fn hand_back(&self, ids: impl IntoIterator<Item = ClaimId>) {
        self.waiting.hand_back(ids);
    }

    /// Refuses new commands; those that wait are still served.
    pub(crate) fn close(&self) {
        self.waiting.close();
        self.room.iter().for_each(Semaphore::close);
    }

    /// Refuses everything, also what waits: the writer is gone.
    pub(crate) fn abandon(&self) {
        self.close();
        // Dropped outside of the lock: claims on their way take it as they are dropped.
        drop(self.waiting.clear());
    }

    /// The next batch.
    pub(crate) fn take(&self, patience: Patience) -> Taken {
        self.waiting.take(patience, |waiting| {
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
            batch
        })
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
