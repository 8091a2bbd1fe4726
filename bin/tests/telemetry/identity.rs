//! Live at start + submitted + retried = finished + live.

use serde_json::Value;
use steadfast_client::Client;
use steadfast_domain::JobState;
use steadfast_testkit::eventually;
use steadfast_testkit::harness::{Keep, Server, given_server};
use steadfast_testkit::history::all_jobs;
use steadfast_testkit::postgres::Cluster;
use steadfast_wire::{BatchRequest, JobDocument, SubmitRequest};
use tokio::task::JoinSet;

use crate::everything::{
    COUNTED, SHORT_MS, echo, ended, everything, given_everything, lease, sleep, submit, until_processing,
    work,
};
use crate::exposition::PROGRAM;
use crate::scrape::Scrape;

fn later() -> SubmitRequest {
    SubmitRequest { delay_ms: Some(3_600_000), ..echo() }
}

/// The terms of the identity, as one scrape has them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Terms {
    start: i64,
    submitted: i64,
    retried: i64,
    finished: i64,
    live: i64,
}

impl Terms {
    fn of(scrape: &Scrape) -> Self {
        let live = JobState::ALL.into_iter().filter(|state| !state.is_terminal());
        Self {
            start: scrape.sum("steadfast_jobs_live_at_start", &[]),
            submitted: scrape.sum("steadfast_jobs_submitted_total", &[]),
            retried: scrape.sum("steadfast_jobs_retried_total", &[]),
            finished: scrape.sum("steadfast_jobs_finished_total", &[]),
            live: live.map(|state| scrape.sum("steadfast_jobs", &[("state", state.as_str())])).sum(),
        }
    }

    fn of_ledger(ledger: &Value) -> Self {
        let term = |name| ledger[format!("total_{name}")].as_i64().expect("a figure");
        Self {
            start: term("live_at_start"),
            submitted: term("submitted"),
            retried: term("retried"),
            finished: term("finished"),
            live: term("live"),
        }
    }

    /// By how many jobs the counters make more than there are.
    fn off_by(&self) -> i64 {
        self.start + self.net() - self.live
    }

    /// What the counters make of jobs since the start.
    fn net(&self) -> i64 {
        self.submitted + self.retried - self.finished
    }

    /// Everything that was counted.
    fn moved(&self) -> i64 {
        self.submitted + self.retried + self.finished
    }
}

async fn terms(server: &Server) -> Terms {
    Terms::of(&Scrape::of(server.address()).await)
}

#[track_caller]
fn assert_counted(scrape: &Scrape) {
    for (series, value) in COUNTED {
        assert!(scrape.has_line(&format!("{series} {value}")), "{series} {value} is not in\n{}", scrape.text);
    }
    assert_eq!(Terms::of(scrape).off_by(), 0, "{}", scrape.text);
}

#[tokio::test(flavor = "multi_thread")]
async fn figures_of_a_memory_store_add_up() {
    let server = given_everything(given_server(PROGRAM)).store(Keep::Memory).start().await;
    everything(&[&server.client()]).await;
    assert_counted(&Scrape::of(server.address()).await);
    assert_adds_up_under_load(&server).await;
    assert_the_ledger_has_them(server).await;
}

/// A crash takes the counters with it; the next process begins with what it finds. What it recovers as it opens the
/// store is counted, too, and what retention lets go is not.
#[tokio::test(flavor = "multi_thread")]
async fn figures_of_a_file_add_up_from_process_to_process() {
    let mut server = given_everything(given_server(PROGRAM)).start().await;
    let client = server.client();
    everything(&[&client]).await;
    assert_counted(&Scrape::of(server.address()).await);

    client.submit_batch(&BatchRequest { jobs: vec![later(); 3] }, None).await.expect("room");
    let sleeps = submit(&client, &sleep()).await;
    until_processing(&client, sleeps).await;
    server.kill().await;
    server.start_again_with(|given| given.flag("--retention-jobs", "1")).await;

    let scrape = Scrape::of(server.address()).await;
    let recovered = Terms { start: 4, submitted: 0, retried: 0, finished: 1, live: 3 };
    assert_eq!(Terms::of(&scrape), recovered, "{}", scrape.text);
    assert!(scrape.has_line(r#"steadfast_jobs_finished_total{kind="sleep",queue="default",state="dead"} 1"#));
    eventually("retention lets all but one go", async || {
        let scrape = Scrape::of(server.address()).await;
        let stored = scrape.sum("steadfast_jobs", &[]);
        (stored == 3 + 1).then_some(())
    })
    .await;
    assert_eq!(terms(&server).await, recovered);
    assert_adds_up_under_load(&server).await;
    assert_the_ledger_has_them(server).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn figures_of_replicas_add_up_together() {
    let given =
        given_everything(given_server(PROGRAM)).store(Keep::Postgres(Cluster::shared().await.new_schema()));
    let mut replicas = given.start_replicas(2).await;
    let [a, b] = [replicas[0].client(), replicas[1].client()];
    everything(&[&a, &b]).await;
    // A commit is seen by readers of the database a moment before its own process counts it.
    let counted = |scrapes: &[Scrape; 2]| {
        let sum = |series: &str| -> i64 {
            let value = |scrape: &Scrape| {
                let line = scrape.text.lines().find_map(|line| line.strip_prefix(series)).unwrap_or(" 0");
                line.trim().parse::<i64>().expect("a number")
            };
            scrapes.iter().map(value).sum()
        };
        COUNTED.iter().all(|(series, value)| sum(series) == *value)
    };
    eventually("both have counted all of it", async || {
        let scrapes = [Scrape::of(replicas[0].address()).await, Scrape::of(replicas[1].address()).await];
        counted(&scrapes).then_some(())
    })
    .await;

    submit(&b, &later()).await;
    let before = [terms(&replicas[0]).await, terms(&replicas[1]).await];
    assert_eq!(before[0].net() + before[1].net(), before[1].live, "{before:?}");
    replicas[0].kill().await;
    replicas[0].start_again().await;
    assert_eq!(terms(&replicas[0]).await.start, 1, "the job for later");
    let a = replicas[0].client();
    let id = submit(&b, &work()).await;
    lease(&a, SHORT_MS).await;
    ended(&b, id, JobState::Dead).await;
    submit(&a, &work()).await;
    eventually("the sums agree", async || {
        let after = [terms(&replicas[0]).await, terms(&replicas[1]).await];
        let made = after[0].net() + after[1].net() - before[1].net();
        (before[1].live + made == after[1].live && after[1].live == 2).then_some(())
    })
    .await;
    replicas[0].stop().await.expect_code(0);
    assert_adds_up_under_load(&replicas[1]).await;
}

/// The counters of a process that alone changes a store, and what is stored, come from one moment: every scrape is exact.
async fn assert_adds_up_under_load(server: &Server) {
    // What other replicas did before is no part of it.
    let off_by_others = terms(server).await.off_by();
    let mut load = begin_load(&server.client());
    let mut moved = Vec::new();
    while !load.is_empty() {
        let terms = terms(server).await;
        assert_eq!(terms.off_by(), off_by_others, "{terms:?}");
        moved.push(terms.moved());
        while let Some(done) = load.try_join_next() {
            done.expect("accepted");
        }
    }
    moved.dedup();
    assert!(moved.len() > 3, "the load is seen under way: {moved:?}");
    until_ended(&server.client()).await;
    assert_eq!(terms(server).await.off_by(), off_by_others);
}

/// What the last scrape shows is what the ledger says.
async fn assert_the_ledger_has_them(mut server: Server) {
    let last = terms(&server).await;
    assert_eq!(Terms::of_ledger(&server.stop().await.expect_code(0).ledger()), last);
}

/// Clients that submit, alone and in batches, and cancel some of it again.
fn begin_load(client: &Client) -> JoinSet<()> {
    const CLIENTS: usize = 4;
    const ROUNDS: usize = 30;
    let mut load = JoinSet::new();
    for _ in 0..CLIENTS {
        let client = client.clone();
        load.spawn(async move {
            for _ in 0..ROUNDS {
                // A refusal is as good: the queue is small.
                let _ = client.submit_batch(&BatchRequest { jobs: vec![echo(); 4] }, None).await;
                if let Ok(submitted) = client.submit(&echo(), &Default::default()).await {
                    // It may have run meanwhile.
                    let _ = client.cancel(submitted.job.id).await;
                }
            }
        });
    }
    load
}

/// Waits until nothing is left but what waits for a worker or for another time.
async fn until_ended(client: &Client) {
    let live =
        |job: &JobDocument| job.kind == "echo" && job.run_at <= job.created_at && !job.state.is_terminal();
    eventually("the load has ended", async || {
        let jobs = all_jobs(client).await;
        (!jobs.iter().any(live)).then_some(())
    })
    .await;
}
