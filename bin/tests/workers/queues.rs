//! What a queue's table in the settings does to a whole server.

use std::time::Duration;

use steadfast_client::{Client, Error, SubmitOptions};
use steadfast_domain::{JobId, JobState, QueueName};
use steadfast_testkit::eventually;
use steadfast_testkit::harness::given_server;
use steadfast_testkit::history::until_all_ended;
use steadfast_wire::{ErrorCode, JobDocument, QueueMode, SubmitRequest};
use tokio::time::Instant;

const PROGRAM: &str = env!("CARGO_BIN_EXE_steadfast");

fn queue(name: &str) -> QueueName {
    QueueName::new(name).expect("a valid name")
}

async fn submit(
    client: &Client,
    queue: &str,
    kind: &str,
    wait: Option<Duration>,
) -> Result<JobDocument, Error> {
    let job =
        SubmitRequest { kind: kind.to_owned(), queue: Some(queue.to_owned()), ..SubmitRequest::default() };
    let options = SubmitOptions { wait, ..SubmitOptions::default() };
    client.submit(&job, &options).await.map(|submitted| submitted.job)
}

async fn state(client: &Client, id: JobId) -> JobState {
    client.job(id).await.expect("the job is there").state
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pull_queue_keeps_its_jobs_and_its_kinds() {
    let settings =
        "[queues.images]\nmode = \"pull\"\nkinds = [\"resize\", \"echo\"]\n[queues.any]\nmode = \"pull\"";
    let mut server = given_server(PROGRAM).settings(settings).start().await;
    let client = server.client();
    let mut waiting = Vec::new();
    for (queue, kind) in [("images", "resize"), ("images", "echo"), ("any", "whatever")] {
        waiting.push(submit(&client, queue, kind, None).await.expect("its kinds are accepted").id);
    }
    let refused = submit(&client, "images", "crop", None).await.expect_err("not one of its kinds");
    assert_eq!(refused.code(), Some(ErrorCode::UnknownKind));
    let refused = submit(&client, "default", "resize", None).await.expect_err("nobody runs it here");
    assert_eq!(refused.code(), Some(ErrorCode::UnknownKind));

    // What the pool took after them, it took past them.
    let pushed = submit(&client, "default", "echo", Some(Duration::from_secs(30))).await.expect("room");
    assert_eq!(pushed.state, JobState::Completed);
    for id in waiting {
        assert_eq!(state(&client, id).await, JobState::Queued);
    }
    let images = client.queue(&queue("images")).await.expect("it is declared");
    assert_eq!((images.mode, images.depth.queued), (Some(QueueMode::Pull), 2));
    // Whoever waits for a job hears of its end from the store, and may do so before its worker counts it.
    eventually("it is counted", async || {
        let rates =
            client.queue(&queue("default")).await.expect("it is declared").rates.expect("counted here");
        assert!(rates.submitted_per_second > 0.0, "{rates:?}");
        (rates.finished_per_second > 0.0).then_some(())
    })
    .await;
    server.stop().await.expect_code(0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_rate_limits_starts_and_not_submits() {
    const JOBS: u32 = 11;
    let settings = "[queues.slow]\nrate_limit = 10";
    let mut server = given_server(PROGRAM).settings(settings).start().await;
    let client = server.client();
    let began = Instant::now();
    for _ in 0..JOBS {
        submit(&client, "slow", "echo", None).await.expect("submits are not limited");
    }
    until_all_ended(&client).await;
    // The first may start at once, each of the others a tenth of a second after the one before it.
    assert!(began.elapsed() >= Duration::from_millis(100) * (JOBS - 1), "{:?}", began.elapsed());
    server.stop().await.expect_code(0);
}
