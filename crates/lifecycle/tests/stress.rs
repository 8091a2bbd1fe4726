//! Many small servers at once, each started and stopped many times: phases, drain requests, tasks, counts,
//! and the last resort together.
#![allow(clippy::expect_used, reason = "a panic is how a test fails")]

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use steadfast_lifecycle::{
    DrainCause, DrainTrigger, InFlight, LastResort, Ledger, Phase, PhaseSender, Phases, Tasks, drain_channel,
    phases,
};
use tokio::time::Instant;

/// Servers at once.
const SERVERS: u64 = 10;
/// Starts and stops of each.
const CYCLES: u64 = 50;
/// The longest anything may take that ends at all.
const PATIENCE: Duration = Duration::from_secs(600);

/// SplitMix64 (Steele, Lea and Flood 2014): all the chance there is comes from one seed.
struct Chance(u64);

impl Chance {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % bound
    }

    fn split(&mut self) -> Self {
        Self(self.below(u64::MAX))
    }

    async fn yields(&mut self) {
        for _ in 0..self.below(12) {
            tokio::task::yield_now().await;
        }
    }
}

/// What a server's requests and its stop share.
struct Server {
    phases: Phases,
    in_flight: InFlight,
    /// From here on nothing may be under way.
    closed: AtomicBool,
    /// How often each phase was entered.
    entered: [AtomicUsize; Phase::ALL.len()],
}

impl Server {
    /// Requests until one is refused: each is counted first and looks at the phase second.
    async fn requests(self: Arc<Self>, mut chance: Chance) {
        loop {
            let _counted = self.in_flight.enter();
            if self.phases.current() >= Phase::Draining {
                return;
            }
            chance.yields().await;
            assert!(!self.closed.load(Ordering::SeqCst), "a request under way after the last had ended");
        }
    }

    /// Moves through every phase; another does the same at the same time.
    async fn moves(self: Arc<Self>, sender: Arc<PhaseSender>, mut chance: Chance) {
        for (phase, entered) in Phase::ALL.into_iter().zip(&self.entered) {
            chance.yields().await;
            if sender.advance(phase) {
                entered.fetch_add(1, Ordering::SeqCst);
            }
            assert!(self.phases.current() >= phase);
        }
    }
}

/// Asks for a drain as a person would, or by the end of something the server cannot do without.
fn ask(tasks: &Tasks, drain: &DrainTrigger, mut chance: Chance) {
    if chance.below(2) == 0 {
        let drain = drain.clone();
        tasks.spawn("asks", async move {
            chance.yields().await;
            drain.request(DrainCause::Asked);
        });
    } else {
        tasks.spawn_essential("fails", drain, async move {
            chance.yields().await;
            // A panic without its message on standard error.
            std::panic::resume_unwind(Box::new(()));
        });
    }
}

async fn starts_and_stops(mut chance: Chance) {
    let (sender, phases) = phases();
    let (drain, mut asked) = drain_channel();
    let (sender, tasks) = (Arc::new(sender), Tasks::new());
    let server = Arc::new(Server {
        phases,
        in_flight: InFlight::new(),
        closed: AtomicBool::new(false),
        entered: Default::default(),
    });
    for _ in 0..3 {
        tasks.spawn("requests", Arc::clone(&server).requests(chance.split()));
    }
    for _ in 0..2 {
        ask(&tasks, &drain, chance.split());
    }

    assert!(matches!(asked.requested().await, DrainCause::Asked | DrainCause::TaskFailed("fails")));
    let last_resort = LastResort::arm(Instant::now() + PATIENCE, Ledger::default()).expect("a thread");
    let moves = |chance| tasks.spawn("moves", Arc::clone(&server).moves(Arc::clone(&sender), chance));
    let moving = [moves(chance.split()), moves(chance.split())];
    for phase in [Phase::LameDuck, Phase::Draining, Phase::Cancelling, Phase::Handback] {
        let now = server.phases.at_least(phase).await;
        assert!(now >= phase);
        last_resort.tighten(Instant::now() + PATIENCE);
        if phase == Phase::Draining {
            server.in_flight.idle().await;
            server.closed.store(true, Ordering::SeqCst);
        }
    }
    for moves in moving {
        moves.await.expect("it moves through all phases");
    }
    assert!(tasks.join(Instant::now() + PATIENCE).await.is_empty());
    assert_eq!((tasks.count(), server.in_flight.count()), (0, 0));
    assert!(server.entered.iter().all(|entered| entered.load(Ordering::SeqCst) <= 1), "entered twice");
    last_resort.disarm();
    drop(sender);
    assert_eq!(server.phases.current(), Phase::Stopped);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn ten_servers_start_and_stop_fifty_times() {
    let tasks = Tasks::new();
    let server = |seed| {
        tasks.spawn("server", async move {
            let mut chance = Chance(seed);
            for _ in 0..CYCLES {
                starts_and_stops(chance.split()).await;
            }
        })
    };
    let running: Vec<_> = (0..SERVERS).map(|seed| (seed, server(seed))).collect();
    for (seed, server) in running {
        server.await.unwrap_or_else(|error| panic!("seed {seed}: {error}"));
    }
    assert_eq!(tasks.count(), 0);
}
