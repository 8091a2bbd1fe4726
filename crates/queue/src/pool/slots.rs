use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;
use steadfast_domain::QueueName;
use steadfast_lifecycle::{InFlight, InFlightGuard};
use tokio::sync::Notify;

use super::PoolQueue;

/// The places for attempts, and which queues may have work for them.
///
/// A slot is reserved before its job is claimed and held until that job is settled, so a settlement never
/// lacks a place and a claim never takes more than can run. Queues share the slots by weighted fair queueing:
/// each claim goes to the queue that has been served least for its weight (stride scheduling, Waldspurger and
/// Weihl 1995).
#[derive(Debug)]
pub(super) struct Slots {
    places: Mutex<Places>,
    /// A slot came free, or a queue may have work. Only the claim loop waits for it.
    changed: Notify,
    held: InFlight,
    index: HashMap<QueueName, usize>,
}

#[derive(Debug)]
struct Places {
    free: usize,
    queues: Vec<Queue>,
    /// How far the queue served last had been served: where a queue that was idle starts anew.
    served: f64,
}

#[derive(Debug)]
struct Queue {
    name: QueueName,
    weight: f64,
    free: usize,
    /// Whether a claim may find work: hints and polls set it, a claim that finds too little clears it.
    ready: bool,
    /// Slots it was given, divided by its weight.
    served: f64,
}

/// Slots of one queue, to be filled by one claim.
#[derive(Debug)]
pub(super) struct Reservation {
    pub(super) queue: QueueName,
    pub(super) slots: Vec<Slot>,
}

/// A place for one attempt, free again when it is dropped.
#[derive(Debug)]
pub(super) struct Slot {
    slots: Arc<Slots>,
    queue: usize,
    _held: InFlightGuard,
}

impl Slots {
    pub(super) fn new(concurrency: usize, queues: &[PoolQueue]) -> Arc<Self> {
        let free = concurrency.max(1);
        let index = queues.iter().enumerate().map(|(n, queue)| (queue.name.clone(), n)).collect();
        let queues = queues
            .iter()
            .map(|queue| Queue {
                name: queue.name.clone(),
                weight: f64::from(queue.weight.max(1)),
                free: queue.concurrency.unwrap_or(free).clamp(1, free),
                ready: true,
                served: 0.0,
            })
            .collect();
        let places = Mutex::new(Places { free, queues, served: 0.0 });
        Arc::new(Self { places, changed: Notify::new(), held: InFlight::new(), index })
    }

    /// Slots for the next claim: those of the ready queue whose turn it is, as many as its weight gives it
    /// among the ready ones. Until it is [`ready`](Self::ready) again the queue counts as empty. `None` when
    /// no slot is free or no queue has work.
    pub(super) fn reserve(self: &Arc<Self>) -> Option<Reservation> {
        let mut places = self.places.lock();
        let places = &mut *places;
        if places.free == 0 {
            return None;
        }
        let waiting = places.queues.iter().filter(|queue| queue.waits());
        let weights: f64 = waiting.map(|queue| queue.weight).sum();
        let next = places.queues.iter_mut().enumerate().filter(|(_, queue)| queue.waits());
        let (index, queue) = next.min_by(|(_, a), (_, b)| a.served.total_cmp(&b.served))?;
        let share = (places.free as f64 * queue.weight / weights) as usize;
        let count = share.max(1).min(queue.free).min(places.free);
        places.free -= count;
        places.served = queue.served;
        queue.free -= count;
        queue.ready = false;
        queue.served += count as f64 / queue.weight;
        let slots = (0..count)
            .map(|_| Slot { slots: Arc::clone(self), queue: index, _held: self.held.enter() })
            .collect();
        Some(Reservation { queue: queue.name.clone(), slots })
    }

    /// The queue may have work. A queue the pool does not take from is ignored.
    pub(super) fn ready(&self, queue: &QueueName) {
        if let Some(index) = self.index.get(queue) {
            self.places.lock().wake(*index);
            self.changed.notify_one();
        }
    }

    /// A claim for `reserved` slots of the queue found this many jobs. One that found as many as it asked for
    /// may find more; one that found fewer gives back its turns.
    pub(super) fn claimed(&self, queue: &QueueName, reserved: usize, found: usize) {
        if found >= reserved {
            self.ready(queue);
        } else if let Some(index) = self.index.get(queue) {
            let queue = &mut self.places.lock().queues[*index];
            queue.served -= (reserved - found) as f64 / queue.weight;
        }
    }

    /// Every queue may have work.
    pub(super) fn all_ready(&self) {
        {
            let mut places = self.places.lock();
            (0..places.queues.len()).for_each(|index| places.wake(index));
        }
        self.changed.notify_one();
    }

    /// Waits for a change since the last call returned: none is lost in between.
    pub(super) async fn changed(&self) {
        self.changed.notified().await;
    }

    /// Waits for a moment when no slot is held.
    pub(super) async fn idle(&self) {
        self.held.idle().await;
    }
}

impl Places {
    /// A queue that had nothing does not make up for what it did not ask for.
    fn wake(&mut self, index: usize) {
        let queue = &mut self.queues[index];
        if !queue.ready {
            queue.ready = true;
            queue.served = queue.served.max(self.served);
        }
    }
}

impl Queue {
    fn waits(&self) -> bool {
        self.ready && self.free > 0
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        {
            let mut places = self.slots.places.lock();
            places.free += 1;
            places.queues[self.queue].free += 1;
        }
        self.slots.changed.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn queue(name: &str, weight: u32, concurrency: Option<usize>) -> PoolQueue {
        PoolQueue { name: QueueName::new(name).unwrap(), weight, concurrency }
    }

    /// Reserves one slot at a time, as if every queue always had work, and counts who got it.
    fn served(slots: &Arc<Slots>, rounds: usize) -> HashMap<String, usize> {
        let mut served = HashMap::new();
        for _ in 0..rounds {
            let reservation = slots.reserve().unwrap();
            *served.entry(reservation.queue.to_string()).or_default() += reservation.slots.len();
            slots.ready(&reservation.queue);
        }
        served
    }

    #[test]
    fn single_slots_go_round_by_weight() {
        let slots = Slots::new(1, &[queue("a", 3, None), queue("b", 1, None)]);
        let served = served(&slots, 400);
        assert_eq!((served["a"], served["b"]), (300, 100));
    }

    #[test]
    fn a_queue_keeps_to_its_own_bound_and_all_to_the_pools() {
        let slots = Slots::new(8, &[queue("a", 1, Some(2)), queue("b", 1, None)]);
        let mut held = Vec::new();
        while let Some(reservation) = slots.reserve() {
            slots.ready(&reservation.queue);
            held.push(reservation);
        }
        let of =
            |name| held.iter().filter(|r| r.queue.as_str() == name).map(|r| r.slots.len()).sum::<usize>();
        assert_eq!((of("a"), of("b")), (2, 6));
        drop(held);
        assert!(slots.reserve().is_some());
    }

    #[test]
    fn an_idle_queue_saves_no_turns() {
        let slots = Slots::new(1, &[queue("busy", 1, None), queue("late", 1, None)]);
        drop(slots.reserve());
        drop(slots.reserve());
        for _ in 0..100 {
            slots.ready(&QueueName::new("busy").unwrap());
            assert_eq!(slots.reserve().unwrap().queue.as_str(), "busy");
        }
        slots.all_ready();
        let served = served(&slots, 10);
        assert_eq!((served["busy"], served["late"]), (5, 5));
    }
}
