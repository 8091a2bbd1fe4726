use steadfast_testkit::history::all_jobs;

use crate::{all_said_to, assert_no_complaint, given, statuses};

/// A submit whose job is never to be.
const HIDDEN_BODY: &str = r#"{"kind":"echo","tags":{"hidden":"yes"}}"#;
const HEAD: &str = "POST /v1/jobs HTTP/1.1\r\nHost: t\r\nContent-Type: application/json\r\n";
const JOB: &str = r#"{"kind":"echo"}"#;

/// A whole submit, to be hidden in or behind another.
fn hidden() -> String {
    format!("{HEAD}Content-Length: {}\r\n\r\n{HIDDEN_BODY}", HIDDEN_BODY.len())
}

/// `text` as one chunk.
fn chunk(text: &str) -> String {
    format!("{:x}\r\n{text}\r\n", text.len())
}

/// The requests, each as one that a proxy may have passed on for one.
fn cases() -> Vec<(&'static str, String)> {
    let hidden = hidden();
    let (length, whole) = (JOB.len(), format!("{}0\r\n\r\n{hidden}", chunk(JOB)));
    let after = |head: &str| format!("{HEAD}{head}\r\n\r\n{whole}");
    let both = whole.len();
    vec![
        ("CL.TE", after(&format!("Content-Length: {both}\r\nTransfer-Encoding: chunked"))),
        ("TE.CL", after(&format!("Transfer-Encoding: chunked\r\nContent-Length: {both}"))),
        ("TE.CL, too short a length", after("Transfer-Encoding: chunked\r\nContent-Length: 4")),
        ("TE in upper case", after(&format!("Content-Length: {both}\r\nTRANSFER-ENCODING: CHUNKED"))),
        ("TE after a tab", after(&format!("Content-Length: {both}\r\nTransfer-Encoding:\tchunked"))),
        (
            "a space before the colon",
            after(&format!("Content-Length: {both}\r\nTransfer-Encoding : chunked")),
        ),
        ("a tab before the colon", after(&format!("Content-Length: {both}\r\nTransfer-Encoding\t: chunked"))),
        ("a space before the name", after(&format!("Content-Length: {both}\r\n Transfer-Encoding: chunked"))),
        ("obs-fold", after(&format!("Content-Length: {both}\r\nTransfer-Encoding:\r\n chunked"))),
        (
            "obs-fold in another header",
            after(&format!("X: y\r\n\tTransfer-Encoding: chunked\r\nContent-Length: {both}")),
        ),
        ("a coding nobody knows", after(&format!("Content-Length: {both}\r\nTransfer-Encoding: xchunked"))),
        (
            "chunked is not last",
            after(&format!("Content-Length: {both}\r\nTransfer-Encoding: chunked, identity")),
        ),
        (
            "chunked is last",
            after(&format!("Content-Length: {both}\r\nTransfer-Encoding: identity, chunked")),
        ),
        ("chunked twice", after(&format!("Content-Length: {both}\r\nTransfer-Encoding: chunked, chunked"))),
        ("two TE headers", after("Transfer-Encoding: chunked\r\nTransfer-Encoding: identity")),
        ("two TE headers, the other way", after("Transfer-Encoding: identity\r\nTransfer-Encoding: chunked")),
        ("a vertical tab in TE", after(&format!("Content-Length: {both}\r\nTransfer-Encoding: \x0bchunked"))),
        ("quoted chunked", after(&format!("Content-Length: {both}\r\nTransfer-Encoding: \"chunked\""))),
        ("two lengths", format!("{HEAD}Content-Length: {length}\r\nContent-Length: 0\r\n\r\n{JOB}{hidden}")),
        ("two lengths in one", format!("{HEAD}Content-Length: {length}, 0\r\n\r\n{JOB}{hidden}")),
        ("a length with a sign", format!("{HEAD}Content-Length: +{length}\r\n\r\n{JOB}{hidden}")),
        ("a negative length", format!("{HEAD}Content-Length: -1\r\n\r\n{JOB}{hidden}")),
        ("a length in hexadecimal", format!("{HEAD}Content-Length: 0x{length:x}\r\n\r\n{JOB}{hidden}")),
        ("a length with an underscore", format!("{HEAD}Content-Length: 1_5\r\n\r\n{JOB}{hidden}")),
        (
            "a length beyond 64 bits",
            format!("{HEAD}Content-Length: 18446744073709551631\r\n\r\n{JOB}{hidden}"),
        ),
        ("a length that is empty", format!("{HEAD}Content-Length: \r\n\r\n{JOB}{hidden}")),
        ("a carriage return alone", format!("{HEAD}X: y\rContent-Length: 0\r\n\r\n{hidden}")),
        ("a NUL in a header", format!("{HEAD}X: y\0Content-Length: {length}\r\n\r\n{JOB}{hidden}")),
        ("TE in HTTP/1.0", after("Transfer-Encoding: chunked").replacen("HTTP/1.1", "HTTP/1.0", 1)),
        (
            "a chunk size with a sign",
            format!("{HEAD}Transfer-Encoding: chunked\r\n\r\n+f\r\n{JOB}\r\n0\r\n\r\n{hidden}"),
        ),
        (
            "a chunk size with 0x",
            format!("{HEAD}Transfer-Encoding: chunked\r\n\r\n0xf\r\n{JOB}\r\n0\r\n\r\n{hidden}"),
        ),
        (
            "a chunk size that is empty",
            format!("{HEAD}Transfer-Encoding: chunked\r\n\r\n\r\n{JOB}\r\n0\r\n\r\n{hidden}"),
        ),
        (
            "a chunk size that wraps around",
            format!(
                "{HEAD}Transfer-Encoding: chunked\r\n\r\n1000000000000000f\r\n{JOB}\r\n0\r\n\r\n{hidden}"
            ),
        ),
        (
            "a chunk longer than its size",
            format!("{HEAD}Transfer-Encoding: chunked\r\n\r\n5\r\n{JOB}\r\n0\r\n\r\n{hidden}"),
        ),
        (
            "a chunk size that ends with a line feed alone",
            format!("{HEAD}Transfer-Encoding: chunked\r\n\r\nf\n{JOB}\r\n0\r\n\r\n{hidden}"),
        ),
        (
            "a chunk extension with the hidden request",
            format!(
                "{HEAD}Transfer-Encoding: chunked\r\n\r\nf;{}\r\n{JOB}\r\n0\r\n\r\n{hidden}",
                hidden.replace("\r\n", "\n")
            ),
        ),
        (
            "a chunk extension without end",
            format!(
                "{HEAD}Transfer-Encoding: chunked\r\n\r\nf;{}\r\n{JOB}\r\n0\r\n\r\n{hidden}",
                "x".repeat(100_000)
            ),
        ),
        (
            "a body on a GET",
            format!(
                "GET /v1/jobs HTTP/1.1\r\nHost: t\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{hidden}",
                hidden.len()
            ),
        ),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hidden_request_is_never_executed() {
    let server = given().flag("--header-timeout", "2s").flag("--body-timeout", "2s").start().await;
    for (name, request) in cases() {
        let said = all_said_to(server.address(), request.as_bytes()).await;
        let statuses = statuses(&said);
        assert!(statuses.len() <= 1, "{name}: a second answer: {said}");
        assert!(matches!(statuses[..], [] | [200 | 202 | 400 | 408 | 413]), "{name}: {said}");
        let jobs = all_jobs(&server.client()).await;
        assert!(jobs.iter().all(|job| job.tags.is_empty()), "{name}: the hidden request was executed");
    }
    server.assert_serves().await;
    assert_no_complaint(&server);
}

/// Two requests on one connection are fine where nobody can doubt where the first ends.
#[tokio::test(flavor = "multi_thread")]
async fn requests_in_a_row_are_executed_where_their_ends_are_plain() {
    let server = given().start().await;
    let chunked = format!("{HEAD}Transfer-Encoding: chunked\r\n\r\n{}0\r\n", chunk(JOB));
    let firsts = [
        format!("{HEAD}Content-Length: {}\r\n\r\n{JOB}", JOB.len()),
        format!("{chunked}\r\n"),
        // A trailer is none of the head's fields, whatever it is called.
        format!("{chunked}Content-Length: 0\r\n\r\n"),
    ];
    let last = hidden().replacen("Host: t", "Host: t\r\nConnection: close", 1);
    for (first, jobs) in firsts.into_iter().zip([2, 4, 6]) {
        let said = all_said_to(server.address(), format!("{first}{last}").as_bytes()).await;
        assert_eq!(statuses(&said), [202, 202], "{said}");
        assert_eq!(all_jobs(&server.client()).await.len(), jobs);
    }
}

/// An encoded body is refused by its head, and thrown away as it is: nothing is inflated, however small it is sent.
#[tokio::test(flavor = "multi_thread")]
async fn an_encoded_body_is_refused_and_never_inflated() {
    let server = given().start().await;
    for coding in ["gzip", "x-gzip", "deflate", "br", "zstd", "GZIP", "gzip, gzip", "identity, gzip"] {
        let bomb = "\x1f".repeat(1_000);
        let head = format!(
            "{HEAD}Content-Encoding: {coding}\r\nContent-Length: 1000\r\nConnection: close\r\n\r\n{bomb}"
        );
        let said = all_said_to(server.address(), head.as_bytes()).await;
        assert_eq!(statuses(&said), [415], "{coding}: {said}");
        let chunked = format!(
            "{HEAD}Transfer-Encoding: {coding}, chunked\r\nConnection: close\r\n\r\n{}0\r\n\r\n",
            chunk("\x1f")
        );
        let said = all_said_to(server.address(), chunked.as_bytes()).await;
        assert!(matches!(statuses(&said)[..], [400 | 415]), "{coding}: {said}");
    }
    assert!(all_jobs(&server.client()).await.is_empty());
}
