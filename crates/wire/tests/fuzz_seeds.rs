//! What the fuzzer starts from, and what it once found, holds in every ordinary run of the tests.
#![allow(clippy::expect_used, reason = "a panic is how a test fails")]

#[path = "../../../fuzz/checks/submit_body.rs"]
mod submit_body;

#[test]
fn every_seed_of_the_submit_body_holds() {
    let seeds = concat!(env!("CARGO_MANIFEST_DIR"), "/../../fuzz/seeds/submit_body");
    let mut count = 0;
    for entry in std::fs::read_dir(seeds).expect("the seeds are there") {
        let path = entry.expect("a seed").path();
        println!("{}", path.display());
        submit_body::check(&std::fs::read(path).expect("a seed"));
        count += 1;
    }
    assert!(count > 20, "{count} seeds");
}
