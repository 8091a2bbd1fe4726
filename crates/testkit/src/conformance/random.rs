//! Random work: whatever is done in whatever order, the promises that hold of every moment hold.

use std::collections::BTreeMap;
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use steadfast_domain::{Event, JobId, JobState, NewJob, Priority, Start};
use steadfast_queue::store::{Cancel, ClaimId, ClaimLost, End, How, Refusal};

use super::Bench;
use super::counters::assert_figures;
use super::subject::{LONG, Subject, accepted, completed, dead, hand_back, of_kind, retry, unique};
use super::versions::assert_history;

/// Few enough that the store is often full.
const CAPACITY: u64 = 12;
/// Calls of one run.
const STEPS: u32 = 600;
/// Runs, each with another seed.
const RUNS: u64 = 3;

/// Any sequence of calls is answered as capacity, keys, claims and the table of transitions say, and leaves
/// states, attempts, histories and figures that agree.
pub async fn random_work_agrees_with_the_model(bench: &mut dyn Bench) {
    let store = Subject::open_for_jobs(bench, CAPACITY).await;
    for seed in 0..RUNS {
        let mut life = Life { random: StdRng::seed_from_u64(seed), ..Life::new(&store) };
        for step in 1..=STEPS {
            life.act().await;
            if step % 100 == 0 {
                life.agree().await;
            }
        }
        life.end_all().await;
    }
}

/// The store, and what it must hold by its answers.
struct Life<'a> {
    store: &'a Subject,
    random: StdRng,
    jobs: BTreeMap<JobId, Known>,
    /// Every claim ever given; the newest of its job may hold.
    claims: Vec<ClaimId>,
}

/// What is known of one job.
struct Known {
    state: JobState,
    attempt: u32,
    claim: Option<ClaimId>,
    cancel_requested: bool,
    unique: Option<String>,
}

impl<'a> Life<'a> {
    fn new(store: &'a Subject) -> Self {
        Self { store, random: StdRng::seed_from_u64(0), jobs: BTreeMap::new(), claims: Vec::new() }
    }

    async fn act(&mut self) {
        match self.random.random_range(0..20) {
            0..7 => self.submit().await,
            7..11 => self.claim().await,
            11..17 => self.settle().await,
            17..19 => self.cancel().await,
            _ => self.reopen().await,
        }
    }

    async fn submit(&mut self) {
        let name = self.random.random_bool(0.3).then(|| format!("u{}", self.random.random_range(0..5)));
        let start = if self.random.random_bool(0.1) { Start::After(LONG) } else { Start::Now };
        let priority = Priority::ALL[self.random.random_range(0..4)];
        let kind = format!("k{}", self.random.random_range(0..3));
        let job = name.as_deref().map_or_else(|| of_kind(&kind), unique);
        let answer = self.store.try_submit_one(NewJob { start, priority, ..job }).await;
        if let Some(live) = name.as_deref().and_then(|name| self.live_with(name)) {
            let answer = answer.expect("answered with the live job");
            assert_eq!((answer.job.id, answer.how), (live, How::Deduplicated));
        } else if self.live() == CAPACITY {
            assert!(matches!(answer, Err(Refusal::QueueFull { .. })), "{answer:?}");
        } else {
            let job = accepted(answer.expect("there is room"));
            let known =
                Known { state: job.state, attempt: 0, claim: None, cancel_requested: false, unique: name };
            self.jobs.insert(job.id, known);
        }
    }

    async fn claim(&mut self) {
        self.store.upkeep().await;
        for claimed in self.store.claim(self.random.random_range(1..4)).await {
            let known = self.jobs.get_mut(&claimed.id.job).expect("claimed jobs were submitted");
            assert_eq!(known.state, JobState::Queued, "{claimed:?}");
            assert_eq!(claimed.job.attempt, known.attempt + 1);
            known.state = JobState::Processing;
            known.attempt += 1;
            known.claim = Some(claimed.id);
            self.claims.push(claimed.id);
        }
    }

    async fn settle(&mut self) {
        let Some(id) = self.pick_claim() else { return };
        let after = if self.random.random_bool(0.8) { Duration::ZERO } else { LONG };
        let (end, event) = match self.random.random_range(0..4) {
            0 => (completed(), Event::Complete),
            1 => (retry(after), Event::Retry),
            2 => (dead(), Event::Die),
            _ => (hand_back(after), Event::HandBack),
        };
        let answer = self.store.settle(id, end.clone()).await;
        let known = self.jobs.get_mut(&id.job).expect("claimed jobs were submitted");
        if known.claim != Some(id) {
            // Only a repeat of what it said before is answered, and it changes nothing.
            return;
        }
        let event = if known.cancel_requested && event != Event::Complete { Event::Cancel } else { event };
        let state = known.state.after(event).expect("a running attempt may end in any way");
        assert_eq!(answer.map(|change| change.state), Ok(state));
        assert_eq!(self.store.settle(id, end.clone()).await, answer);
        known.attempt -= u32::from(matches!(end, End::HandBack { .. }));
        let due = state == JobState::Retryable && after.is_zero();
        known.state = if due { JobState::Queued } else { state };
        (known.claim, known.cancel_requested) = (None, false);
    }

    async fn cancel(&mut self) {
        let Some(id) = self.pick_job() else { return };
        let answer = self.store.cancel(id).await;
        let known = self.jobs.get_mut(&id).expect("picked from these");
        match answer {
            Cancel::Requested => {
                assert_eq!(known.state, JobState::Processing);
                known.cancel_requested = true;
            }
            Cancel::Done(change) => {
                assert_eq!(Some(change.state), known.state.after(Event::Cancel));
                known.state = change.state;
            }
            Cancel::AlreadyTerminal(state) => assert!(state == known.state && state.is_terminal()),
            Cancel::NotFound => panic!("job {id} was accepted"),
        }
    }

    async fn reopen(&mut self) {
        let Some(id) = self.pick_job() else { return };
        let (live, known) = (self.live(), &self.jobs[&id]);
        let taken = known.unique.as_deref().is_some_and(|name| self.live_with(name).is_some());
        let answer = self.store.reopen(id).await;
        match known.state.after(Event::Reopen) {
            None => assert_eq!(answer, Err(Refusal::State(known.state))),
            Some(_) if taken => assert_eq!(answer, Err(Refusal::UniqueKeyTaken)),
            Some(_) if live == CAPACITY => assert!(matches!(answer, Err(Refusal::QueueFull { .. }))),
            Some(state) => {
                assert_eq!(answer.map(|change| change.state), Ok(state));
                let known = self.jobs.get_mut(&id).expect("picked from these");
                (known.state, known.attempt) = (state, 0);
            }
        }
    }

    /// What is stored is what the answers said.
    async fn agree(&self) {
        for (id, known) in &self.jobs {
            let job = self.store.job(*id).await;
            assert_eq!((job.state, job.attempt), (known.state, known.attempt), "{id}");
            assert_eq!(job.cancel_requested, known.cancel_requested, "{id}");
            assert_history(&job);
        }
        assert_figures(self.store).await;
        assert_eq!(self.store.queue("default").await.live(), self.live());
    }

    /// Ends what lives, so that the next run begins with room; afterwards no old claim may speak.
    async fn end_all(&mut self) {
        for (id, known) in &self.jobs {
            match known.claim {
                Some(claim) => _ = self.store.end(claim, End::Cancelled).await,
                None => _ = self.store.cancel(*id).await,
            }
        }
        for id in &self.claims {
            assert_eq!(self.store.renew(*id, LONG).await, Err(ClaimLost));
        }
        assert_eq!(self.store.queue("default").await.live(), 0);
    }

    fn live(&self) -> u64 {
        self.jobs.values().filter(|known| !known.state.is_terminal()).count() as u64
    }

    fn live_with(&self, name: &str) -> Option<JobId> {
        let same = |known: &Known| known.unique.as_deref() == Some(name) && !known.state.is_terminal();
        self.jobs.iter().find(|(_, known)| same(known)).map(|(id, _)| *id)
    }

    fn pick_job(&mut self) -> Option<JobId> {
        let index = self.random.random_range(0..self.jobs.len().max(1));
        self.jobs.keys().nth(index).copied()
    }

    /// Mostly a claim that holds, now and then an old one.
    fn pick_claim(&mut self) -> Option<ClaimId> {
        let held: Vec<ClaimId> = self.jobs.values().filter_map(|known| known.claim).collect();
        let from = if self.random.random_bool(0.9) { &held } else { &self.claims };
        let index = self.random.random_range(0..from.len().max(1));
        from.get(index).copied()
    }
}
