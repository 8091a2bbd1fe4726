//! How attempts end: fenced, once, and each by itself.

use std::time::Duration;

use steadfast_domain::{Fence, HISTORY_MAX, JobId, JobState, NewJob, limits};
use steadfast_queue::store::{ClaimId, ClaimLost, End, Failed, Renewal, Settlement, Speaker};
use tokio::task::JoinSet;

use super::Bench;
use super::subject::{BRIEF, LONG, Subject, completed, dead, echo, echoes, hand_back, json, of_kind, retry};

/// Each end leaves the state, the result, the error and the times it should.
pub async fn an_end_is_recorded_with_what_it_left(bench: &mut dyn Bench) {
    let store = Subject::open(bench).await;
    let result = Some(json(r#"{"n":1}"#));
    let ends = [
        (End::Completed { result: result.clone() }, JobState::Completed, 0),
        (dead(), JobState::Dead, 1),
        (retry(LONG), JobState::Retryable, 1),
        (hand_back(LONG), JobState::Queued, 0),
        (End::Cancelled, JobState::Cancelled, 0),
    ];
    for (end, state, errors) in ends {
        store.submit(echo()).await;
        let claimed = store.claim_one().await;
        let change = store.end(claimed.id, end).await;
        let job = store.job(claimed.id.job).await;
        assert_eq!((change.id, change.state, change.version), (job.id, state, job.version));
        assert_eq!((job.state, job.errors.len()), (state, errors));
        assert_eq!(job.finished_at, state.is_terminal().then_some(change.at));
        assert_eq!(job.result.is_some(), state == JobState::Completed);
        assert_eq!((job.owner.as_deref(), job.started_at), (None, claimed.job.started_at));
    }
}

/// A retry and a hand-back are due after the time they name, and not before.
pub async fn what_is_to_run_again_waits_for_its_time(bench: &mut dyn Bench) {
    let store = Subject::open(bench).await;
    store.submit_all(echoes(2)).await;
    let claimed = store.claim(2).await;
    let (after, ends) = (Duration::from_millis(30), [retry as fn(Duration) -> End, hand_back]);
    for (claimed, end) in claimed.iter().zip(ends) {
        let change = store.end(claimed.id, end(after)).await;
        let job = store.job(change.id).await;
        assert_eq!(job.run_at, change.at.plus(after));
    }
    let mut taken = 0;
    while taken < 2 {
        let claimed = store.until("it is due", async || store.claim(1).await.pop()).await;
        assert!(claimed.job.started_at >= Some(claimed.job.run_at), "taken before its time");
        taken += 1;
    }
}

/// A settlement repeated under its token is answered as the first time and changes nothing, even later.
pub async fn a_repeated_settlement_is_answered_as_the_first(bench: &mut dyn Bench) {
    let store = Subject::open(bench).await;
    let ends: [fn() -> End; 4] = [completed, dead, || retry(Duration::ZERO), || hand_back(Duration::ZERO)];
    for end in ends {
        store.submit(echo()).await;
        let claimed = store.until("it is ready", async || store.claim(1).await.pop()).await;
        let first = store.end(claimed.id, end()).await;
        let job = store.job(claimed.id.job).await;
        for _ in 0..3 {
            assert_eq!(store.settle(claimed.id, end()).await, Ok(first));
        }
        let again = store.job(claimed.id.job).await;
        assert_eq!((again.version, again.errors.len()), (job.version, job.errors.len()));
        if let Some(next) = store.claim(1).await.pop() {
            assert_eq!(store.settle(claimed.id, end()).await, Ok(first));
            assert_eq!(store.state(next.id.job).await, JobState::Processing);
            store.end(next.id, completed()).await;
        }
    }
}

/// Settlements at once under one token are one: all get the same answer.
pub async fn settlements_at_once_under_one_token_are_one(bench: &mut dyn Bench) {
    let store = Subject::open(bench).await;
    store.submit(echo()).await;
    let id = store.claim_one().await.id;
    let mut settlements = JoinSet::new();
    for _ in 0..20 {
        let store = store.clone();
        settlements.spawn(async move { store.settle(id, retry(LONG)).await });
    }
    let answers = settlements.join_all().await;
    let job = store.job(id.job).await;
    assert!(answers.iter().all(|answer| *answer == answers[0] && answer.is_ok()), "{answers:?}");
    assert_eq!((job.attempt, job.errors.len(), job.history.len()), (1, 1, 2));
}

/// After a hand-back, a result under the same token is refused, and so are heartbeats.
pub async fn a_result_after_the_hand_back_is_refused(bench: &mut dyn Bench) {
    let store = Subject::open(bench).await;
    store.submit(echo()).await;
    let stale = store.claim_one().await.id;
    store.end(stale, hand_back(Duration::ZERO)).await;
    for end in [completed(), dead(), retry(LONG)] {
        assert_eq!(store.settle(stale, end).await, Err(ClaimLost));
    }
    assert_eq!(store.renew(stale, LONG).await, Err(ClaimLost));
    let next = store.claim_one().await;
    assert_eq!(store.settle(stale, completed()).await, Err(ClaimLost));
    assert_eq!(store.renew(stale, LONG).await, Err(ClaimLost));
    assert_eq!(store.state(next.id.job).await, JobState::Processing);
    store.end(next.id, completed()).await;
}

/// A claim that lapsed may not speak, before its job is taken again and after.
pub async fn a_lapsed_claim_may_not_speak(bench: &mut dyn Bench) {
    let store = Subject::open(bench).await;
    let job = store.submit(echo()).await;
    let stale = store.lease("echo", BRIEF).await.id;
    store.until_state(job.id, JobState::Queued).await;
    let version = store.job(job.id).await.version;
    let checkpoint = Some(json("1"));
    let report = || Renewal {
        id: stale,
        by: Speaker::Server,
        lease: LONG,
        progress: None,
        checkpoint: checkpoint.clone(),
    };
    for _ in 0..2 {
        assert_eq!(store.settle(stale, completed()).await, Err(ClaimLost));
        assert_eq!(store.settle(stale, hand_back(LONG)).await, Err(ClaimLost));
        assert_eq!(store.report(report()).await, Err(ClaimLost));
        let now = store.job(job.id).await;
        assert_eq!((now.version, now.checkpoint), (version, None));
        store.claim(1).await;
    }
    assert_eq!(store.state(job.id).await, JobState::Processing);
}

/// A worker that names the token of a process's claim changes nothing, also beside the process itself. Under a
/// worker's claim it is heard.
pub async fn a_worker_has_no_say_in_what_a_process_runs(bench: &mut dyn Bench) {
    let store = Subject::open(bench).await;
    let says = |id, end| vec![Settlement { id, by: Speaker::Worker, end }];
    let reports = |id, by, text| {
        let part = Some(json(text));
        Renewal { id, by, lease: LONG, progress: part.clone(), checkpoint: part }
    };
    store.submit(echo()).await;
    let id = store.claim_one().await.id;
    let before = store.job(id.job).await;
    for end in [completed(), dead(), retry(LONG), hand_back(LONG), End::Cancelled] {
        assert_eq!(store.seam().settle(says(id, end)).await.expect("settles"), [Err(ClaimLost)]);
    }
    assert_eq!(store.report(reports(id, Speaker::Worker, "1")).await, Err(ClaimLost));
    let now = store.job(id.job).await;
    assert_eq!((now.version, now.state), (before.version, JobState::Processing));
    assert_eq!((now.progress, now.checkpoint), (None, None));

    let both = [(Speaker::Server, "2"), (Speaker::Worker, "3")].map(|(by, text)| reports(id, by, text));
    let answers = store.seam().renew(both.to_vec()).await.expect("renews");
    assert_eq!(answers.iter().map(Result::is_ok).collect::<Vec<_>>(), [true, false]);
    let now = store.job(id.job).await;
    assert_eq!((now.progress, now.checkpoint), (Some(json("2")), Some(json("2"))));
    store.end(id, completed()).await;

    store.submit(of_kind("k")).await;
    let id = store.lease("k", LONG).await.id;
    store.report(reports(id, Speaker::Worker, "4")).await.expect("holds");
    let answers = store.seam().settle(says(id, dead())).await.expect("settles");
    assert_eq!(answers[0].map(|change| change.state), Ok(JobState::Dead));
}

/// One bad settlement or renewal never fails another, and answers follow the order of the questions.
pub async fn one_bad_item_never_fails_another(bench: &mut dyn Bench) {
    let store = Subject::open(bench).await;
    store.submit_all(echoes(3)).await;
    let held: Vec<ClaimId> = store.claim(3).await.into_iter().map(|claimed| claimed.id).collect();
    let unknown = ClaimId { job: JobId::from_u128(7), fence: Fence(7) };
    let forged = ClaimId { fence: Fence(held[2].fence.0 + 1_000), ..held[1] };
    let renewals = [unknown, held[0], forged, held[2]].map(renewal).to_vec();
    let answers = store.seam().renew(renewals).await.expect("renews");
    assert_eq!(answers.iter().map(Result::is_ok).collect::<Vec<_>>(), [false, true, false, true]);

    let ends = [(forged, completed()), (held[2], dead()), (unknown, completed()), (held[0], completed())];
    let settlements = ends.map(|(id, end)| Settlement { id, by: Speaker::Server, end }).to_vec();
    let answers = store.seam().settle(settlements).await.expect("settles");
    let states: Vec<_> =
        answers.iter().map(|answer| answer.map(|change| (change.id, change.state))).collect();
    let expected = [
        Err(ClaimLost),
        Ok((held[2].job, JobState::Dead)),
        Err(ClaimLost),
        Ok((held[0].job, JobState::Completed)),
    ];
    assert_eq!(states, expected);
    assert_eq!(store.state(held[1].job).await, JobState::Processing);
}

/// A worker may say the same twice in one call: both get the answer of one. Tokens of any size, which no store gave, are
/// lost and no fault.
pub async fn what_is_said_twice_in_one_call_is_said_once(bench: &mut dyn Bench) {
    let store = Subject::open(bench).await;
    store.submit(echo()).await;
    let id = store.claim_one().await.id;
    let largest = ClaimId { fence: Fence(u64::MAX), ..id };
    let answers = store.seam().renew([id, largest, id].map(renewal).to_vec()).await.expect("renews");
    assert_eq!(answers.iter().map(Result::is_ok).collect::<Vec<_>>(), [true, false, true]);

    let ends = [(largest, dead()), (id, retry(LONG)), (id, retry(LONG)), (id, completed())];
    let settlements = ends.map(|(id, end)| Settlement { id, by: Speaker::Server, end }).to_vec();
    let answers = store.seam().settle(settlements).await.expect("settles");
    assert_eq!((answers[0], answers[1], answers[3]), (Err(ClaimLost), answers[2], Err(ClaimLost)));
    assert_eq!(answers[1].map(|change| change.state), Ok(JobState::Retryable));
    let job = store.job(id.job).await;
    assert_eq!((job.attempt, job.errors.len(), job.history.len()), (1, 1, 2));
}

fn renewal(id: ClaimId) -> Renewal {
    Renewal { id, by: Speaker::Server, lease: LONG, progress: None, checkpoint: None }
}

/// A retry consumes its attempt, a hand-back refunds it.
pub async fn attempts_are_counted_and_refunded(bench: &mut dyn Bench) {
    let store = Subject::open(bench).await;
    store.submit(echo()).await;
    let steps =
        [(hand_back(Duration::ZERO), 1, 0), (retry(Duration::ZERO), 1, 1), (retry(Duration::ZERO), 2, 2)];
    let steps = steps.into_iter().chain([(hand_back(Duration::ZERO), 3, 2), (completed(), 3, 3)]);
    for (end, running, counted) in steps {
        let claimed = store.until("it is ready", async || store.claim(1).await.pop()).await;
        assert_eq!(claimed.job.attempt, running);
        store.end(claimed.id, end).await;
        let job = store.job(claimed.id.job).await;
        assert_eq!((job.attempt, job.interruptions), (counted, 0));
    }
}

/// A job keeps its newest errors, numbered by attempt and cut to their limits, and its newest history.
pub async fn errors_and_history_keep_the_newest(bench: &mut dyn Bench) {
    let store = Subject::open(bench).await;
    let job = store.submit(echo()).await;
    let attempts = HISTORY_MAX as u32 + 5;
    for n in 1..=attempts {
        let claimed = store.until("it is ready", async || store.claim(1).await.pop()).await;
        let error =
            Failed { code: format!("code-{n}"), message: "é".repeat(limits::ERROR_MESSAGE_BYTES_MAX) };
        store.end(claimed.id, End::Retry { error, after: Duration::ZERO }).await;
    }
    let job = store.job(job.id).await;
    let kept: Vec<u32> = job.errors.iter().map(|error| error.attempt).collect();
    assert_eq!(kept, (attempts + 1 - limits::ERRORS_MAX as u32..=attempts).collect::<Vec<_>>());
    for error in &job.errors {
        assert_eq!(error.code, format!("code-{}", error.attempt));
        assert!(error.message.starts_with("éé") && error.message.len() <= limits::ERROR_MESSAGE_BYTES_MAX);
    }
    let versions: Vec<u64> = job.history.iter().map(|change| change.version.0).collect();
    let newest = u64::from(attempts) + 1;
    assert_eq!(versions, (newest + 1 - HISTORY_MAX as u64..=newest).collect::<Vec<_>>());
}

/// What a handler leaves is found by the next attempt: a hand-back's checkpoint replaces an earlier one, and
/// one without keeps it.
pub async fn a_hand_back_leaves_its_checkpoint_to_the_next_attempt(bench: &mut dyn Bench) {
    let store = Subject::open(bench).await;
    store.submit(echo()).await;
    let with = |text| End::HandBack { checkpoint: Some(json(text)), after: Duration::ZERO };
    for (end, found_next) in [(with("1"), "1"), (hand_back(Duration::ZERO), "1"), (with("2"), "2")] {
        let claimed = store.claim_one().await;
        store.end(claimed.id, end).await;
        assert_eq!(store.job(claimed.id.job).await.checkpoint, Some(json(found_next)));
    }
    assert_eq!(store.claim_one().await.job.checkpoint, Some(json("2")));
}

/// A checkpoint given with a heartbeat is found by the next attempt, also when this one is lost; of progress
/// the newest report is kept.
pub async fn a_checkpoint_outlives_its_lost_claim(bench: &mut dyn Bench) {
    let store = Subject::open(bench).await;
    store.submit(of_kind("k")).await;
    let claimed = store.lease("k", LONG).await;
    for n in 1..=3 {
        let (progress, checkpoint) = (Some(json(&format!("{{\"done\":{n}}}"))), Some(json(&n.to_string())));
        store
            .report(Renewal { id: claimed.id, by: Speaker::Server, lease: LONG, progress, checkpoint })
            .await
            .expect("holds");
    }
    store.report(renewal(claimed.id)).await.expect("holds");
    let job = store.job(claimed.id.job).await;
    assert_eq!((job.progress, job.checkpoint), (Some(json("{\"done\":3}")), Some(json("3"))));
    assert_eq!((job.version, job.attempt), (claimed.job.version, 1));

    store.renew(claimed.id, BRIEF).await.expect("holds");
    let next = store.until("it is ready again", async || store.claim(1).await.pop()).await;
    assert_eq!(next.job.checkpoint, Some(json("3")));
}

/// Payload, result, checkpoint and progress are bytes to a store: they come back as they were given.
pub async fn json_comes_back_byte_for_byte(bench: &mut dyn Bench) {
    let store = Subject::open(bench).await;
    for text in [
        r#""\u0000""#,
        r#"{"lone":"\ud800","a":1,"a":2}"#,
        "[1e999999,-0.0,1.0,123456789012345678901234567890]",
        "{ \"spaces\" :\t[ ] }",
        "null",
        r#""é \u00e9 \/ / 🦀""#,
    ] {
        let json = json(text);
        let job = store.submit(NewJob { payload: json.clone(), ..echo() }).await;
        assert_eq!(job.payload_bytes, text.len());
        let claimed = store.claim_one().await;
        assert_eq!(claimed.job.payload.as_ref().map(|json| json.as_str()), Some(text));
        let (progress, checkpoint) = (Some(json.clone()), Some(json.clone()));
        store
            .report(Renewal { id: claimed.id, by: Speaker::Server, lease: LONG, progress, checkpoint })
            .await
            .expect("holds");
        store.end(claimed.id, End::Completed { result: Some(json) }).await;
        let job = store.job(job.id).await;
        for stored in [job.payload, job.result, job.progress] {
            assert_eq!(stored.as_ref().map(|json| json.as_str()), Some(text));
        }
    }
}
