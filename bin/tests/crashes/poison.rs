//! A job that kills its process at every run: it is condemned, and those that ran beside it are not.

use std::fs::OpenOptions;
use std::io::Write;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use rustix::process::{Signal, getpid, kill_process};
use serde_json::json;
use steadfast_domain::{InvalidField, JobId, JobState, KindName, RawJson};
use steadfast_queue::{Failure, Finish, JobContext, JobHandler};
use steadfast_testkit::eventually;
use steadfast_testkit::harness::{Server, given_server};
use steadfast_testkit::history::{Evidence, Expected, History, all_jobs};
use steadfast_wire::JobDocument;
use tokio::sync::Barrier;

use crate::acting;

/// All of them run at once as long as nobody is suspected.
const JOBS: usize = 64;
/// Interruptions that end a job: the default of the setting.
const INTERRUPTIONS_MAX: u32 = 5;
/// After so many interruptions a job is suspect, and runs with no other suspect beside it.
const TOGETHER: u32 = 2;
/// How long a bystander runs when nobody kills it.
const WORKS_FOR: Duration = Duration::from_millis(20);
/// Where handlers write down each start, in the server's data directory.
const STARTS: &str = "starts";
/// More processes than any test here takes.
const LIVES_MAX: usize = 20;

/// Not a test: the server of the tests here, when this program is started as one.
#[test]
fn serve() {
    acting::serve_if_asked(|server| {
        let together = Arc::new(Barrier::new(JOBS));
        let kind = |name| KindName::new(name).expect("a valid kind");
        let bystander = Bystander { together: Arc::clone(&together) };
        let poison = Poison { together };
        server.handlers(move |built_in| {
            built_in.with(kind("poison"), poison).with(kind("bystander"), bystander)
        })
    });
}

/// Kills its process: once every other job runs, too, as long as nobody is suspected; after that at once.
struct Poison {
    together: Arc<Barrier>,
}

/// Runs until its process is killed, as long as nobody is suspected; after that it does its work.
struct Bystander {
    together: Arc<Barrier>,
}

#[async_trait]
impl JobHandler for Poison {
    fn check(&self, _payload: &RawJson) -> Result<(), Vec<InvalidField>> {
        Ok(())
    }

    async fn run(&self, context: JobContext) -> Result<Finish, Failure> {
        write_down_start(&context);
        if context.job().interruptions < TOGETHER {
            self.together.wait().await;
        }
        kill_process(getpid(), Signal::KILL).expect("a process may signal itself");
        std::future::pending().await
    }
}

#[async_trait]
impl JobHandler for Bystander {
    fn check(&self, _payload: &RawJson) -> Result<(), Vec<InvalidField>> {
        Ok(())
    }

    async fn run(&self, context: JobContext) -> Result<Finish, Failure> {
        write_down_start(&context);
        if context.job().interruptions < TOGETHER {
            self.together.wait().await;
            return std::future::pending().await;
        }
        tokio::time::sleep(WORKS_FOR).await;
        Ok(Finish::Completed(None))
    }
}

/// One line in one write: the server's process may end at any moment after it.
fn write_down_start(context: &JobContext) {
    let mut file =
        OpenOptions::new().create(true).append(true).open(STARTS).expect("the data directory is writable");
    file.write_all(format!("{}\n", context.job().id).as_bytes()).expect("the file is writable");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_poison_job_submitted_first_is_condemned_alone() {
    assert_condemned_alone(&[0]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_poison_job_submitted_last_is_condemned_alone() {
    assert_condemned_alone(&[JOBS - 1]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_poison_jobs_are_condemned_and_nobody_else() {
    assert_condemned_alone(&[20, 40]).await;
}

/// Of the jobs submitted, those at these places are poison.
async fn assert_condemned_alone(poisons: &[usize]) {
    let given = given_server(env!("CARGO_BIN_EXE_steadfast")).acted_by("poison::serve").concurrency(JOBS);
    let mut server = given.start().await;
    let (client, history) = (server.client(), History::new());
    for place in 0..JOBS {
        let kind = if poisons.contains(&place) { "poison" } else { "bystander" };
        let submitted = history.submit(&client, kind, &json!({})).await;
        // With the last job all are together, and its answer may die with the server.
        assert!(submitted.is_ok() || place + 1 == JOBS, "{submitted:?}");
    }
    let lives = supervise_until_all_ended(&mut server).await;

    let jobs = all_jobs(&server.client()).await;
    history.assert_kept(Evidence { jobs: &jobs, ..Evidence::default() }, Expected::Ended);
    assert_eq!(jobs.len(), JOBS);
    for job in &jobs {
        if job.kind == "poison" { assert_condemned(job, &server) } else { assert_completed(job, &server) }
    }
    // Twice together, then each poison job by itself, and the life that sees the last one condemned.
    let alone = poisons.len() * (INTERRUPTIONS_MAX - TOGETHER) as usize;
    assert_eq!(lives, TOGETHER as usize + alone + 1, "no start of the server was in vain");
    server.stop().await.expect_code(0);
}

/// Starts the server again whenever it has died, as a supervisor does; how many processes it took.
async fn supervise_until_all_ended(server: &mut Server) -> usize {
    for life in 1..LIVES_MAX {
        if survives_until_all_ended(server).await {
            return life;
        }
        server.exit().await;
        server.launch_again_with(|given| given);
    }
    panic!("after {LIVES_MAX} starts some job still goes round");
}

/// `false` when the server died before.
async fn survives_until_all_ended(server: &mut Server) -> bool {
    if !server.until_ready().await {
        return false;
    }
    let client = server.client();
    let process = server.process();
    eventually("every job has ended, or the server is dead", || {
        let (client, running) = (client.clone(), process.is_running());
        async move {
            if !running {
                return Some(false);
            }
            let queues = client.queues().await.ok()?.queues;
            queues.iter().all(|queue| queue.jobs == 0).then_some(true)
        }
    })
    .await
}

fn assert_condemned(job: &JobDocument, server: &Server) {
    assert_eq!((job.state, job.interruptions), (JobState::Dead, INTERRUPTIONS_MAX), "{job:?}");
    let code = job.errors.last().map(|error| error.code.as_str());
    assert_eq!(code, Some("interrupted"), "{job:?}");
    assert_eq!(starts_of(server, job.id), INTERRUPTIONS_MAX as usize, "{job:?}");
}

/// It was interrupted while nobody was suspected, and no more.
fn assert_completed(job: &JobDocument, server: &Server) {
    assert_eq!((job.state, job.attempt), (JobState::Completed, 1), "{job:?}");
    assert_eq!(job.interruptions, TOGETHER, "{job:?}");
    assert_eq!(starts_of(server, job.id), TOGETHER as usize + 1, "{job:?}");
}

fn starts_of(server: &Server, id: JobId) -> usize {
    let starts = std::fs::read_to_string(server.dir().join(STARTS)).expect("the handlers wrote it");
    starts.lines().filter(|line| *line == id.to_string()).count()
}
