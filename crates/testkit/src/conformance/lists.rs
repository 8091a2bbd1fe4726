//! Lists: newest first, filtered, in bounded pages, without bodies.

use std::collections::BTreeMap;
use std::time::Duration;

use steadfast_domain::{Job, JobId, JobState, NewJob, Start, Tags, limits};
use steadfast_queue::store::{End, ListQuery};

use super::Bench;
use super::subject::{
    LONG, Subject, completed, dead, echo, echoes, in_queue, json, kind_name, of_kind, only, queue_name, retry,
};

/// A list is newest first and goes on from page to page without gap or repeat.
pub async fn pages_go_from_the_newest_to_the_oldest(bench: &mut dyn Bench) {
    let store = Subject::open(bench).await;
    let mut submitted: Vec<JobId> = store.submit_all(echoes(25)).await.iter().map(|job| job.id).collect();
    submitted.reverse();
    for limit in [1, 4, 5, 25, 1_000] {
        let (mut listed, mut before) = (Vec::new(), None);
        loop {
            let query = ListQuery { limit, before, ..ListQuery::default() };
            let page = store.seam().list(&query).await.expect("reads");
            assert!(page.jobs.len() <= limit);
            listed.extend(page.jobs.iter().map(|job| job.id));
            before = page.next;
            if before.is_none() {
                break;
            }
        }
        assert_eq!(listed, submitted, "{limit} a page");
    }
}

/// New jobs between two pages never move the next one.
pub async fn new_jobs_never_move_the_next_page(bench: &mut dyn Bench) {
    let store = Subject::open(bench).await;
    let submitted = store.submit_all(echoes(4)).await;
    let query = ListQuery { limit: 2, ..ListQuery::default() };
    let first = store.seam().list(&query).await.expect("reads");
    store.submit_all(echoes(3)).await;
    let second = store.seam().list(&ListQuery { before: first.next, ..query }).await.expect("reads");
    let ids: Vec<JobId> = first.jobs.iter().chain(&second.jobs).map(|job| job.id).collect();
    assert_eq!(ids, [3, 2, 1, 0].map(|n: usize| submitted[n].id));
}

/// Every filter holds, alone and with the others.
pub async fn every_filter_holds(bench: &mut dyn Bench) {
    let store = Subject::open(bench).await;
    store.declare("other", None, None).await;
    let tagged = |key: &str, value: &str| {
        let tags = Tags::new(BTreeMap::from([(key.into(), value.into())])).expect("tags");
        NewJob { tags, ..echo() }
    };
    let jobs =
        store.submit_all(vec![of_kind("a"), in_queue("other"), tagged("k", "v"), tagged("k", "w")]).await;
    store.cancel(jobs[0].id).await;
    let all = ListQuery::default;
    let tag = |key: &str, value: &str| Some((key.to_owned(), value.to_owned()));
    let cases = [
        (all(), vec![3, 2, 1, 0]),
        (ListQuery { kind: Some(kind_name("a")), ..all() }, vec![0]),
        (ListQuery { queue: Some(queue_name("other")), ..all() }, vec![1]),
        (ListQuery { state: Some(JobState::Cancelled), ..all() }, vec![0]),
        (ListQuery { state: Some(JobState::Queued), ..all() }, vec![3, 2, 1]),
        (ListQuery { tag: tag("k", "v"), ..all() }, vec![2]),
        (ListQuery { tag: tag("k", ""), ..all() }, vec![]),
        (
            ListQuery { queue: Some(queue_name("default")), kind: Some(kind_name("echo")), ..all() },
            vec![3, 2],
        ),
        (ListQuery { state: Some(JobState::Dead), kind: Some(kind_name("a")), ..all() }, vec![]),
    ];
    for (query, expected) in cases {
        let listed: Vec<JobId> = store.list(query.clone()).await.iter().map(|job| job.id).collect();
        assert_eq!(listed, expected.iter().map(|n: &usize| jobs[*n].id).collect::<Vec<_>>(), "{query:?}");
    }
}

/// Each state is listed as it reads.
pub async fn every_state_is_listed_as_it_reads(bench: &mut dyn Bench) {
    let store = Subject::open(bench).await;
    for end in [retry(LONG), completed(), dead(), End::Cancelled] {
        store.submit(echo()).await;
        store.end(store.claim_one().await.id, end).await;
    }
    let late = store.submit(NewJob { deadline: Some(store.now().await), ..echo() }).await;
    store.until_state(late.id, JobState::Expired).await;
    store.submit(echo()).await;
    store.claim_one().await;
    store.submit(NewJob { start: Start::After(LONG), ..echo() }).await;
    store.submit(echo()).await;
    for state in JobState::ALL {
        let listed = store.list(ListQuery { state: Some(state), ..ListQuery::default() }).await;
        assert_eq!(listed.iter().map(|job| job.state).collect::<Vec<_>>(), [state]);
    }
}

/// A listed job is the stored one without payload, result and checkpoint.
pub async fn a_listed_job_has_no_bodies(bench: &mut dyn Bench) {
    let store = Subject::open(bench).await;
    store.submit(NewJob { payload: json("[1,2]"), ..echo() }).await;
    let checkpoint = Some(json("[3]"));
    let claimed = store.claim_one().await;
    store.end(claimed.id, End::HandBack { checkpoint, after: Duration::ZERO }).await;
    store.end(store.claim_one().await.id, End::Completed { result: Some(json("[4]")) }).await;
    let job = store.job(claimed.id.job).await;
    assert!(job.payload.is_some() && job.result.is_some());
    let listed = only(store.list(ListQuery::default()).await);
    assert_eq!(listed.payload_bytes, 5);
    let history = listed.history.clone();
    let expected = Job { payload: None, result: None, checkpoint: None, history, ..job };
    assert_eq!(listed, expected);
}

/// A filter that almost nothing passes goes through more rows than one page may examine, page by page.
pub async fn a_rare_job_is_found_over_many_pages(bench: &mut dyn Bench) {
    let store = Subject::open(bench).await;
    let rare = store.submit(of_kind("rare")).await;
    let batches = limits::LIST_EXAMINED_MAX / limits::BATCH_JOBS_MAX + 1;
    for _ in 0..batches {
        store.submit_all(echoes(limits::BATCH_JOBS_MAX)).await;
    }
    let mut query = ListQuery { kind: Some(kind_name("rare")), limit: 10, ..ListQuery::default() };
    let mut found = Vec::new();
    for _ in 0..5 {
        let page = store.seam().list(&query).await.expect("reads");
        found.extend(page.jobs.iter().map(|job| job.id));
        query.before = page.next;
        if page.next.is_none() {
            break;
        }
    }
    assert_eq!((found, query.before), (vec![rare.id], None));
}
