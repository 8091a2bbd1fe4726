use std::collections::VecDeque;
use std::mem;
use std::time::Duration;

use tokio::time::Instant;

// From the module around this file, so that a model can put its own in their place.
use super::{Condvar, Mutex};

/// Commands on their way to the one thread that takes them, in lanes, and items handed back to it, which
/// need no place in one.
///
/// The only wake-up of ours that a thread waits for: `crates/models` tries it in every order of events.
#[derive(Debug)]
pub(crate) struct Lanes<C, H> {
    waiting: Mutex<Waiting<C, H>>,
    arrived: Condvar,
}

/// What waits.
#[derive(Debug)]
pub(crate) struct Waiting<C, H> {
    pub(crate) lanes: [VecDeque<(Ticket, C)>; LANES],
    pub(crate) handed_back: Vec<H>,
    next_ticket: Ticket,
    closed: bool,
}

pub(crate) const LANES: usize = 3;

/// Names a waiting command.
pub(crate) type Ticket = u64;

/// How long to wait for the first command.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Patience {
    None,
    For(Duration),
    Endless,
}

/// What the taker is to do next.
#[derive(Debug)]
pub(crate) enum Taken<B> {
    Batch(B),
    Nothing,
    /// Closed, and nothing waits any more.
    End,
}

impl<C, H> Lanes<C, H> {
    pub(crate) fn new() -> Self {
        let waiting =
            Waiting { lanes: no_commands(), handed_back: Vec::new(), next_ticket: 0, closed: false };
        Self { waiting: Mutex::new(waiting), arrived: Condvar::new() }
    }

    /// Puts a command at the end of its lane; `None` when they are closed.
    pub(crate) fn put(&self, lane: usize, command: C) -> Option<Ticket> {
        let mut waiting = self.waiting.lock();
        if waiting.closed {
            return None;
        }
        let ticket = waiting.next_ticket;
        waiting.next_ticket += 1;
        waiting.lanes[lane].push_back((ticket, command));
        drop(waiting);
        self.arrived.notify_one();
        Some(ticket)
    }

    /// Takes a command back that has not been taken yet; `None` when it has.
    pub(crate) fn withdraw(&self, lane: usize, ticket: Ticket) -> Option<C> {
        let mut waiting = self.waiting.lock();
        let commands = &mut waiting.lanes[lane];
        let place = commands.binary_search_by_key(&ticket, |(ticket, _)| *ticket).ok()?;
        commands.remove(place).map(|(_, command)| command)
    }

    /// Hands items back, whether or not the lanes are closed.
    pub(crate) fn hand_back(&self, items: impl IntoIterator<Item = H>) {
        self.waiting.lock().handed_back.extend(items);
        self.arrived.notify_one();
    }

    /// Lets no more commands in; those that wait can still be taken.
    pub(crate) fn close(&self) {
        self.waiting.lock().closed = true;
        self.arrived.notify_one();
    }

    /// Every command that still waits, taken out.
    pub(crate) fn clear(&self) -> [VecDeque<(Ticket, C)>; LANES] {
        mem::replace(&mut self.waiting.lock().lanes, no_commands())
    }

    /// Waits until there is something, and takes of it what `take` takes.
    pub(crate) fn take<B>(&self, patience: Patience, take: impl FnOnce(&mut Waiting<C, H>) -> B) -> Taken<B> {
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
        Taken::Batch(take(&mut waiting))
    }
}

impl<C, H> Waiting<C, H> {
    fn is_empty(&self) -> bool {
        self.handed_back.is_empty() && self.lanes.iter().all(VecDeque::is_empty)
    }
}

fn no_commands<C>() -> [VecDeque<(Ticket, C)>; LANES] {
    std::array::from_fn(|_| VecDeque::new())
}
