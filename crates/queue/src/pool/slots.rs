use std::collections::HashMap;
use std::mem;
use std::sync::Arc;

use parking_lot::Mutex;
use steadfast_domain::QueueName;
use steadfast_lifecycle::{InFlight, InFlightGuard};
use tokio::sync::Notify;
use tokio::time::Instant;

use super::PoolQueue;
use super::rate_limit::RateLimit;

/// The places for attempts, and which queues may have work for them.
///
/// A slot is reserved before its job is claimed and held until that job is settled, so a settlement never
/// lacks a place. The place that a slot has among the running is free again when the handler has returned, so
/// that the next job need not wait for a commit; and a claim never takes more than there are such places.
/// Queues share them by weighted fair queueing: each claim goes to the queue that has been served least for
/// its weight (stride scheduling, Waldspurger and Weihl 1995). A queue that may start no more by its own rate or
/// its own bound holds neither places nor turns back from the others, and does not make up for them later.
#[derive(Debug)]
pub(super) struct Slots {
    places: Mutex<Places>,
    /// Whether any queue has a rate: else nobody looks at the time.
    limited: bool,
    /// A slot came free, or a queue may have work. Only the claim loop waits for it.
    changed: Notify,
    held: InFlight,
    index: HashMap<QueueName, usize>,
}

#[derive(Debug)]
struct Places {
    /// Attempts more that may run.
    free: usize,
    /// Slots more that may be held.
    slots: usize,
    queues: Vec<Queue>,
    /// How far the queue served last had been served: where a queue that was idle starts anew.
    served: f64,
}

#[derive(Debug)]
struct Queue {
    name: QueueName,
    weight: f64,
    /// Attempts more that it may run.
    free: usize,
    /// How fast it may start them.
    limit: Option<RateLimit>,
    /// Whether a claim may find work: hints and polls set it, a claim that finds too little clears it.
    ready: bool,
    /// How often it was said to have work: a claim knows nothing of what was said after it was sent.
    said_ready: u64,
    /// Slots it was given, divided by its weight.
    served: f64,
}

/// Slots of one queue, to be filled by one claim.
#[derive(Debug)]
pub(super) struct Reservation {
    pub(super) queue: QueueName,
    pub(super) slots: Vec<Slot>,
    index: usize,
    said_ready: u64,
}

/// What one attempt needs from before its claim until its settlement is answered, free again when it is
/// dropped.
#[derive(Debug)]
pub(super) struct Slot {
    slots: Arc<Slots>,
    queue: usize,
    /// Whether it has a place among the running.
    runs: bool,
    _held: InFlightGuard,
}

/// Slots for each attempt that may run: its own, and those of attempts that have ended while the commits that
/// settle them are under way, two or three of them. When the store is away, claims stop here.
const SLOTS_PER_PLACE: usize = 4;

impl Slots {
    pub(super) fn new(concurrency: usize, queues: &[PoolQueue]) -> Arc<Self> {
        let free = concurrency.max(1);
        let limited = queues.iter().any(|queue| queue.rate_limit.is_some());
        let index = queues.iter().enumerate().map(|(n, queue)| (queue.name.clone(), n)).collect();
        let queues = queues
            .iter()
            .map(|queue| Queue {
                name: queue.name.clone(),
                weight: f64::from(queue.weight.max(1)),
                free: queue.concurrency.unwrap_or(free).clamp(1, free),
                limit: queue.rate_limit.map(RateLimit::new),
                ready: true,
                said_ready: 0,
                served: 0.0,
            })
            .collect();
        let slots = free.saturating_mul(SLOTS_PER_PLACE);
        let places = Mutex::new(Places { free, slots, queues, served: 0.0 });
        Arc::new(Self { places, limited, changed: Notify::new(), held: InFlight::new(), index })
    }

    /// Slots for the next claim: those of the ready queue whose turn it is, as many as its weight gives it
    /// among the ready ones, at least `least`, or whatever its rate allows if that is less: a rate bounds the
    /// number of its claims, too. `None` when so many are not free or no queue has work.
    pub(super) fn reserve(self: &Arc<Self>, least: usize) -> Option<Reservation> {
        let mut places = self.places.lock();
        let places = &mut *places;
        let free = places.free.min(places.slots);
        if free < least.max(1) {
            return None;
        }
        let waiting = places.queues.iter().filter(|queue| queue.waits());
        let weights: f64 = waiting.map(|queue| queue.weight).sum();
        let next = places.queues.iter_mut().enumerate().filter(|(_, queue)| queue.waits());
        let (index, queue) = next.min_by(|(_, a), (_, b)| a.served.total_cmp(&b.served))?;
        let by_rate = queue.starts_by_rate();
        let share = (free as f64 * queue.weight / weights) as usize;
        let count = share.max(1).min(queue.free).min(by_rate);
        if count < least.min(by_rate) {
            return None;
        }
        places.free -= count;
        places.slots -= count;
        places.served = places.served.max(queue.served);
        queue.take(count, places.served);
        let slots = (0..count)
            .map(|_| Slot { slots: Arc::clone(self), queue: index, runs: true, _held: self.held.enter() })
            .collect();
        Some(Reservation { queue: queue.name.clone(), slots, index, said_ready: queue.said_ready })
    }

    /// The queue may have work. A queue the pool does not take from is ignored.
    pub(super) fn ready(&self, queue: &QueueName) {
        if let Some(index) = self.index.get(queue) {
            self.places.lock().wake(*index);
            self.changed.notify_one();
        }
    }

    /// The reservation's claim found this many jobs. When that is fewer than it has slots, the queue gets back
    /// its turns, and counts as empty unless it was said to be ready since.
    pub(super) fn claimed(&self, reservation: &Reservation, found: usize) {
        let missing = reservation.slots.len().saturating_sub(found);
        if missing > 0 {
            let queue = &mut self.places.lock().queues[reservation.index];
            queue.give_back(missing);
            queue.ready &= queue.said_ready != reservation.said_ready;
        }
    }

    /// When a queue that has work and a place for it may start the next by its rate. `None` when no queue waits
    /// for that alone. To be asked before [`reserve`](Self::reserve): what may start by then, it finds.
    pub(super) fn rate_allows_at(&self) -> Option<Instant> {
        if !self.limited {
            return None;
        }
        let places = self.places.lock();
        if places.free.min(places.slots) == 0 {
            return None;
        }
        let waiting = places.queues.iter().filter(|queue| queue.ready && queue.free > 0);
        waiting.filter_map(|queue| queue.limit.as_ref()?.starts_at()).min()
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
    fn vacate(&mut self, queue: usize) {
        self.free += 1;
        self.queues[queue].free += 1;
    }

    /// A queue that had nothing does not make up for what it did not ask for.
    fn wake(&mut self, index: usize) {
        let queue = &mut self.queues[index];
        queue.said_ready += 1;
        if !queue.ready {
            queue.ready = true;
            queue.served = queue.served.max(self.served);
        }
    }
}

impl Queue {
    fn waits(&self) -> bool {
        self.ready && self.free > 0 && self.starts_by_rate() > 0
    }

    fn starts_by_rate(&self) -> usize {
        self.limit.as_ref().map_or(usize::MAX, RateLimit::starts)
    }

    /// So many slots are its own, from the turn `since` on: those before it, it could not take.
    fn take(&mut self, slots: usize, since: f64) {
        self.free -= slots;
        self.served = self.served.max(since) + slots as f64 / self.weight;
        if let Some(limit) = &mut self.limit {
            limit.take(slots);
        }
    }

    /// So many slots it has no job for.
    fn give_back(&mut self, slots: usize) {
        self.served -= slots as f64 / self.weight;
        if let Some(limit) = &mut self.limit {
            limit.give_back(slots);
        }
    }
}

impl Slot {
    /// Its attempt runs no more.
    pub(super) fn ran(&mut self) {
        if mem::take(&mut self.runs) {
            self.slots.places.lock().vacate(self.queue);
            self.slots.changed.notify_one();
        }
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        {
            let mut places = self.slots.places.lock();
            if self.runs {
                places.vacate(self.queue);
            }
            places.slots += 1;
        }
        self.slots.changed.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::StartRate;
    use super::*;

    fn queue(name: &str, weight: u32, concurrency: Option<usize>) -> PoolQueue {
        PoolQueue { name: QueueName::new(name).unwrap(), weight, concurrency, rate_limit: None }
    }

    fn limited(name: &str, per_second: u64) -> PoolQueue {
        PoolQueue { rate_limit: StartRate::from_thousandths(per_second * 1_000), ..queue(name, 1, None) }
    }

    /// Reserves one slot at a time, as if every queue always had work, and counts who got it.
    fn served(slots: &Arc<Slots>, rounds: usize) -> HashMap<String, usize> {
        let mut served = HashMap::new();
        for _ in 0..rounds {
            let reservation = slots.reserve(1).unwrap();
            *served.entry(reservation.queue.to_string()).or_default() += reservation.slots.len();
            slots.ready(&reservation.queue);
        }
        served
    }

    /// Whose turn it was, when its claim has found this many jobs and they have ended.
    fn finds(slots: &Arc<Slots>, found: usize) -> String {
        let reservation = slots.reserve(1).unwrap();
        slots.claimed(&reservation, found);
        reservation.queue.to_string()
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
        while let Some(reservation) = slots.reserve(1) {
            slots.ready(&reservation.queue);
            held.push(reservation);
        }
        let of =
            |name| held.iter().filter(|r| r.queue.as_str() == name).map(|r| r.slots.len()).sum::<usize>();
        assert_eq!((of("a"), of("b")), (2, 6));
        drop(held);
        assert!(slots.reserve(1).is_some());
    }

    #[test]
    fn an_idle_queue_saves_no_turns() {
        let slots = Slots::new(1, &[queue("busy", 1, None), queue("late", 1, None)]);
        finds(&slots, 0);
        finds(&slots, 0);
        for _ in 0..100 {
            slots.ready(&QueueName::new("busy").unwrap());
            assert_eq!(finds(&slots, 1), "busy");
        }
        finds(&slots, 0);
        slots.all_ready();
        let served = served(&slots, 10);
        assert_eq!((served["busy"], served["late"]), (5, 5));
    }

    #[test]
    fn a_place_is_free_when_its_attempt_has_run_and_a_slot_when_it_is_settled() {
        let slots = Slots::new(1, &[queue("a", 1, Some(1))]);
        let mut unsettled = Vec::new();
        for _ in 0..SLOTS_PER_PLACE {
            let mut slot = slots.reserve(1).unwrap().slots.remove(0);
            slots.all_ready();
            assert!(slots.reserve(1).is_none(), "one runs");
            slot.ran();
            unsettled.push(slot);
        }
        assert!(slots.reserve(1).is_none(), "what is claimed is bounded");
        unsettled.pop();
        let last = slots.reserve(1).unwrap();
        drop((unsettled, last));
        slots.all_ready();
        assert_eq!(slots.reserve(1).unwrap().slots.len(), 1, "no place was given back twice");
    }

    #[test]
    fn a_claim_that_finds_too_little_says_nothing_of_what_came_after_it() {
        let slots = Slots::new(8, &[queue("a", 1, Some(2)), queue("b", 1, None)]);
        let [of_a, of_b] = [slots.reserve(1).unwrap(), slots.reserve(1).unwrap()];
        slots.ready(&of_a.queue);
        slots.claimed(&of_a, 0);
        slots.claimed(&of_b, of_b.slots.len() - 1);
        drop(of_a);
        let next = slots.reserve(1).unwrap();
        assert_eq!((next.queue.as_str(), next.slots.len()), ("a", 2));
        assert!(slots.reserve(1).is_none(), "b is empty and a full");
    }

    #[test]
    fn a_reservation_has_at_least_what_was_asked_for() {
        let slots = Slots::new(8, &[queue("narrow", 1, Some(2)), queue("wide", 1, None)]);
        assert!(slots.reserve(3).is_none(), "it is the narrow one's turn");
        assert_eq!(slots.reserve(2).unwrap().slots.len(), 2);
    }

    #[test]
    fn what_a_queue_could_not_take_it_does_not_make_up_for() {
        let slots =
            Slots::new(2, &[queue("narrow", 1, Some(1)), queue("busy", 1, None), queue("late", 1, None)]);
        let mut narrow = slots.reserve(1).unwrap();
        assert_eq!([finds(&slots, 1), finds(&slots, 0)], ["busy", "late"]);
        for _ in 0..100 {
            assert_eq!(finds(&slots, 1), "busy");
        }
        narrow.slots.remove(0).ran();
        assert_eq!(finds(&slots, 1), "narrow", "it is its turn at last");
        slots.all_ready();
        let served = served(&slots, 30);
        assert_eq!((served["narrow"], served["busy"], served["late"]), (10, 10, 10));
    }

    #[tokio::test(start_paused = true)]
    async fn a_claim_asks_for_no_more_than_the_rate_allows_and_leaves_the_rest_to_others() {
        let slots = Slots::new(64, &[limited("slow", 50), queue("busy", 1, None)]);
        let (of_slow, of_busy) = (slots.reserve(1).unwrap(), slots.reserve(2).unwrap());
        assert_eq!((of_slow.queue.as_str(), of_slow.slots.len()), ("slow", 5), "its burst");
        assert_eq!((of_busy.queue.as_str(), of_busy.slots.len()), ("busy", 59), "every other place");
        drop(of_busy);
        let allowed_at = slots.rate_allows_at().unwrap();
        assert_eq!(allowed_at, Instant::now() + Duration::from_millis(20));
        tokio::time::sleep_until(allowed_at).await;
        assert_eq!(slots.rate_allows_at(), None, "it may start now");
        let next = slots.reserve(8).unwrap();
        assert_eq!((next.queue.as_str(), next.slots.len()), ("slow", 1), "though fewer than asked for");
    }

    #[tokio::test(start_paused = true)]
    async fn a_rate_wakes_nobody_without_work_or_without_a_place() {
        let slots = Slots::new(5, &[limited("slow", 50)]);
        let held = slots.reserve(1).unwrap();
        assert_eq!((held.slots.len(), slots.rate_allows_at()), (5, None), "no place");
        slots.claimed(&held, 3);
        drop(held);
        assert_eq!(slots.rate_allows_at(), None, "no work");
        slots.all_ready();
        assert_eq!(slots.reserve(1).unwrap().slots.len(), 2, "what the claim did not find may start");
        assert!(slots.rate_allows_at().is_some());
    }
}
