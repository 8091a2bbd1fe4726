use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use serde::Serialize;
use steadfast_client::history::{History, Told};
use steadfast_client::{Client, Error, SubmitOptions};
use steadfast_domain::{IdempotencyToken, RawJson};
use steadfast_wire::{Outcome, SubmitRequest};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::sleep;

/// Clients, each with one submit on its way.
const CLIENTS: usize = 64;
/// How long most jobs run, how long each fiftieth does.
const SHORT_MS: u64 = 20;
const LONG_MS: u64 = 2_000;
const LONG_EVERY: u64 = 50;
/// How long a client stays away that was not told how long; at most, when it was.
const AGAIN_AFTER: Duration = Duration::from_millis(100);
const AGAIN_AFTER_MAX: Duration = Duration::from_millis(500);

/// Clients that submit without a pause, and note what they are told.
pub(super) struct Crowd {
    shared: Arc<Shared>,
    going_home: watch::Sender<bool>,
    clients: JoinSet<()>,
}

struct Shared {
    client: Client,
    history: History,
    tally: Tally,
    going_home: watch::Receiver<bool>,
}

/// How often clients were told what.
#[derive(Debug, Default)]
struct Tally {
    accepted: AtomicU64,
    full: AtomicU64,
    away: AtomicU64,
    doubts: AtomicU64,
}

/// A tally as it stands.
#[derive(Debug, Clone, Copy, Serialize)]
pub(super) struct Figures {
    /// Submits that were answered 202.
    pub(super) accepted: u64,
    /// Submits that were refused since the queue was full.
    pub(super) refused_full: u64,
    /// Submits that were refused, or reached nobody, while the server stopped, was away or started.
    pub(super) refused_away: u64,
    /// Submits whose answer was lost, and that the same key found out about.
    pub(super) doubts_resolved: u64,
}

impl Crowd {
    /// Begins to submit.
    pub(super) fn begin(client: Client) -> Self {
        let (sender, going_home) = watch::channel(false);
        let (history, tally) = (History::new(), Tally::default());
        let shared = Arc::new(Shared { client, history, tally, going_home });
        let mut clients = JoinSet::new();
        for _ in 0..CLIENTS {
            clients.spawn(submit_on(Arc::clone(&shared)));
        }
        Self { shared, going_home: sender, clients }
    }

    /// Ends it: each client first gets to know what became of what it has sent.
    pub(super) async fn end(&mut self) {
        self.going_home.send_replace(true);
        while self.clients.join_next().await.is_some() {}
    }

    pub(super) fn history(&self) -> &History {
        &self.shared.history
    }

    pub(super) fn figures(&self) -> Figures {
        let Tally { accepted, full, away, doubts } = &self.shared.tally;
        let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Figures {
            accepted: count(accepted),
            refused_full: count(full),
            refused_away: count(away),
            doubts_resolved: count(doubts),
        }
    }
}

/// One client. A refused job is not tried again: the next one is another.
async fn submit_on(shared: Arc<Shared>) {
    while !*shared.going_home.borrow() {
        let mark = shared.history.begin(1);
        let ms = if rand::random_ratio(1, LONG_EVERY as u32) { LONG_MS } else { SHORT_MS };
        let job = mark.on(SubmitRequest {
            kind: "sleep".to_owned(),
            payload: RawJson::encode(&serde_json::json!({ "ms": ms })).ok(),
            ..SubmitRequest::default()
        });
        let key = IdempotencyToken::new(&format!("demo-{mark}")).ok();
        let options = SubmitOptions { key, ..SubmitOptions::default() };
        let mut in_doubt = false;
        let told = loop {
            match shared.client.submit(&job, &options).await {
                Ok(submitted) => break Ok(submitted.job.id),
                // The same key finds out. While nobody answers, there is nothing to be found out.
                Err(error) if in_doubt || error.outcome() == Outcome::Unknown => {
                    in_doubt = true;
                    sleep(pause(&error)).await;
                }
                Err(error) => break Err(error),
            }
        };
        let tally = &shared.tally;
        let counter = match &told {
            Ok(_) => &tally.accepted,
            Err(error) if error.problem().is_some_and(|problem| problem.status == 429) => &tally.full,
            Err(_) => &tally.away,
        };
        counter.fetch_add(1, Ordering::Relaxed);
        tally.doubts.fetch_add(u64::from(in_doubt), Ordering::Relaxed);
        match told {
            Ok(id) => shared.history.told(mark, Told::Accepted(vec![id])),
            Err(error) => {
                shared.history.told(mark, Told::by_error(&error));
                sleep(pause(&error)).await;
            }
        }
    }
}

/// The crowd is impatient: it comes back before it was asked to, so that there is something to see.
fn pause(error: &Error) -> Duration {
    error.retry_after().unwrap_or(AGAIN_AFTER).min(AGAIN_AFTER_MAX)
}
