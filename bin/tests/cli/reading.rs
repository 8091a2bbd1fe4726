use serde_json::json;
use steadfast_testkit::harness::Keep;

use crate::given::{assert_refused, document, documents, end_of, id, run, server, shell, text};

const NOBODY: &str = "01993c1e-5f2a-7000-8000-4fa1c2d3e4f5";

#[tokio::test(flavor = "multi_thread")]
async fn get_shows_a_job() {
    let server = server().store(Keep::Memory).start().await;
    let at = server.address();
    let submitted = document(at, r#"submit echo {"n":1} --tag customer=7 --wait"#).await;
    let id = id(&submitted);
    let job = document(at, &format!("get {id}")).await;
    assert_eq!((&job["state"], &job["result"]), (&json!("completed"), &json!({"n": 1})));

    let shown = text(at, &format!("get {id}")).await;
    for line in ["kind             echo", "attempts         1 of 5", "tag              customer=7"] {
        assert!(shown.lines().any(|shown| shown == line), "{line:?} is missing in:\n{shown}");
    }
    assert!(shown.contains(&id) && shown.contains("after it started"), "{shown}");
    assert!(!shown.contains("deadline"), "what the job does not have is not shown\n{shown}");
    assert_refused(run(at, &format!("get {NOBODY}")).await, 1, &["No such job", "job_not_found"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_others_wrote_cannot_steer_a_terminal() {
    let server = server().store(Keep::Memory).start().await;
    let at = server.address();
    let line = "steadfast submit echo $'\"\\u009b2J\"' --wait --output text";
    let shown = end_of(shell(at, line)).await.expect_code(0).stdout.text();
    assert!(!shown.contains('\u{9b}') && shown.contains("\"\\u{9b}2J\""), "{shown}");
}

#[tokio::test(flavor = "multi_thread")]
async fn list_shows_what_was_asked_for_newest_first() {
    let server = server().store(Keep::Memory).start().await;
    let at = server.address();
    assert_eq!(text(at, "list").await, "ID  STATE  KIND  QUEUE  ATTEMPTS  CREATED  RAN");
    assert_eq!(documents(at, "list").await, Vec::<serde_json::Value>::new());
    let mut ids = Vec::new();
    for line in [
        "submit echo --tag team=a --wait",
        "submit sleep {\"ms\":0} --wait",
        "submit echo --delay 1h --tag team=a",
    ] {
        ids.insert(0, id(&document(at, line).await));
    }
    let listed = async |line: &str| documents(at, line).await.iter().map(id).collect::<Vec<_>>();
    assert_eq!(listed("list").await, ids);
    assert_eq!(listed("list --limit 2").await, ids[..2]);
    assert_eq!(listed("list --state scheduled").await, ids[..1]);
    assert_eq!(listed("list --kind echo --queue default").await, [ids[0].clone(), ids[2].clone()]);
    assert_eq!(listed("list --tag team=a --state completed").await, ids[2..]);
    assert_eq!(listed("list --queue other").await, Vec::<String>::new());

    let table = text(at, "list --all").await;
    let rows: Vec<&str> = table.lines().collect();
    assert_eq!(rows.len(), 4, "{table}");
    assert!(rows[0].starts_with("ID ") && rows[1].starts_with(&ids[0]), "{table}");
    assert!(
        rows[1].contains("  scheduled  echo   default  0/5       ") && rows[1].ends_with("  -"),
        "{table}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn list_goes_over_all_pages_and_minds_no_reader_that_leaves() {
    let server = server().store(Keep::Memory).start().await;
    let at = server.address();
    let file = server.dir().join("jobs.ndjson");
    std::fs::write(&file, "{\"kind\":\"echo\"}\n".repeat(2_500)).expect("a file");
    let piped = format!("steadfast submit --wait --file - < {}", file.display());
    end_of(shell(at, &piped)).await.expect_code(0);
    assert_eq!(documents(at, "list --all").await.len(), 2_500);
    assert_eq!(documents(at, "list --limit 1700").await.len(), 1_700);
    assert_eq!(text(at, "list --all").await.lines().count(), 2_501);
    let exit = end_of(shell(at, "steadfast list --all | head -n 1 | wc -l")).await.expect_code(0);
    assert_eq!((exit.stdout.text().as_str(), exit.stderr.text().as_str()), ("1", ""));
}

#[tokio::test(flavor = "multi_thread")]
async fn queues_show_depth_and_capacity() {
    let server = server().capacity(70).settings("[queues.mail]\ncapacity = 7\n").start().await;
    let at = server.address();
    document(at, "submit echo --queue mail --delay 1h").await;
    let queues = documents(at, "queues").await;
    let names: Vec<_> = queues.iter().map(|queue| &queue["name"]).collect();
    assert_eq!(names, ["default", "mail"]);
    assert_eq!((&queues[1]["capacity"], &queues[1]["depth"]["scheduled"]), (&json!(7), &json!(1)));
    let table = text(at, "queues").await;
    let rows: Vec<Vec<&str>> = table.lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(rows[0][..5], ["NAME", "MODE", "STARTS", "JOBS", "CAPACITY"]);
    assert_eq!(rows[1][..5], ["default", "push", "yes", "0", "70"]);
    assert_eq!(rows[2][..5], ["mail", "push", "yes", "1", "7"]);
}
