//! What `sslmode` and `sslrootcert` promise, on a server that takes nobody without TLS and on one that has none.

use std::path::Path;

use steadfast_domain::JobState;
use steadfast_queue::JobStore;
use steadfast_queue::store::{End, Settlement, Speaker, StoreLimits};
use steadfast_testkit::postgres::{Cluster, SERVER_NAME};
use tokio::sync::OnceCell;
use tokio::time::Instant;

use crate::given::{Given, NEVER, boot, claim, echo, job, submit};

static TLS_ONLY: OnceCell<Cluster> = OnceCell::const_new();

async fn tls_only() -> &'static Cluster {
    TLS_ONLY.get_or_init(Cluster::start_with_tls_only).await
}

/// A URL of the server by a name, with a schema of its own and these parameters.
fn by_name(cluster: &Cluster, name: &str, parameters: &str) -> String {
    format!("{}&schema={}&{parameters}", cluster.url_by_name(name), cluster.new_schema_name())
}

fn verified(mode: &str, roots: &Path) -> String {
    format!("sslmode={mode}&sslrootcert={}", roots.display())
}

/// Opens a store, lets one job live its life, and closes the store.
async fn works(url: String) {
    let store = Given::at(url, StoreLimits::default()).open().await;
    let id = submit(&store, echo()).await.id;
    let claimed = claim(&store, &boot(), 1, NEVER).await.remove(0);
    assert_eq!(claimed.job.id, id);
    let end = Settlement { id: claimed.id, by: Speaker::Server, end: End::Completed { result: None } };
    assert!(store.settle(vec![end]).await.unwrap()[0].is_ok());
    assert_eq!(job(&store, id).await.state, JobState::Completed);
    store.close(Instant::now() + NEVER).await.unwrap();
}

/// Why a store does not open.
async fn refusal(url: String) -> String {
    Given::at(url, StoreLimits::default()).try_open().await.err().unwrap().to_string()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_lives_its_life_over_tls() {
    let cluster = tls_only().await;
    for mode in ["require", "prefer"] {
        works(by_name(cluster, "any.example", &format!("sslmode={mode}"))).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn without_tls_a_server_that_wants_it_says_so() {
    let cluster = tls_only().await;
    let why = refusal(by_name(cluster, SERVER_NAME, "sslmode=disable")).await;
    assert!(why.contains("no encryption"), "{why}");
}

#[tokio::test(flavor = "multi_thread")]
async fn only_those_who_prefer_tls_go_without_it() {
    let cluster = Cluster::shared().await;
    works(by_name(cluster, SERVER_NAME, "sslmode=prefer")).await;
    let why = refusal(by_name(cluster, SERVER_NAME, "sslmode=require")).await;
    assert!(why.contains("server does not support TLS"), "{why}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_is_who_it_says_is_trusted() {
    let cluster = tls_only().await;
    let right = cluster.right_authority();
    works(by_name(cluster, SERVER_NAME, &verified("verify-full", right))).await;
    works(by_name(cluster, "any.example", &verified("verify-ca", right))).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_for_another_name_is_refused_by_name() {
    let cluster = tls_only().await;
    let right = cluster.right_authority();
    let why = refusal(by_name(cluster, "other.example", &verified("verify-full", right))).await;
    assert!(why.contains("other.example") && why.contains(SERVER_NAME), "{why}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_of_another_authority_is_refused() {
    let cluster = tls_only().await;
    let wrong = cluster.wrong_authority();
    // As libpq has it, `require` checks the authority when there is one named.
    for mode in ["verify-full", "verify-ca", "require"] {
        let why = refusal(by_name(cluster, SERVER_NAME, &verified(mode, wrong))).await;
        let told = format!("no authority in {} has signed the server's certificate", wrong.display());
        assert!(why.contains(&told), "{mode}: {why}");
    }
    let why = refusal(by_name(cluster, SERVER_NAME, "sslmode=verify-full")).await;
    assert!(why.contains("no authority in the operating system's roots"), "{why}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_without_a_name_is_reached() {
    let cluster = Cluster::shared().await;
    // postgres://USER:PASSWORD@HOST:PORT/DATABASE
    let url = cluster.url();
    let password = url.split(['@', ':']).nth(2).unwrap();
    let (port, schema) = (cluster.port(), cluster.new_schema_name());
    works(format!(
        "postgres:///postgres?hostaddr=127.0.0.1&port={port}&user=steadfast&password={password}&schema={schema}"
    ))
    .await;
}
