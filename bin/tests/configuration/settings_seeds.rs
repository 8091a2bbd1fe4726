//! What the fuzzer starts from, and what it once found, holds in every ordinary run of the tests.

/// Where the check looks for what it checks.
mod server {
    pub(crate) use steadfast::settings;
}

#[path = "../../../fuzz/checks/settings.rs"]
mod check;

#[test]
fn every_seed_of_the_settings_holds() {
    let seeds = concat!(env!("CARGO_MANIFEST_DIR"), "/../fuzz/seeds/settings");
    let mut count = 0;
    for entry in std::fs::read_dir(seeds).expect("the seeds are there") {
        let path = entry.expect("a seed").path();
        println!("{}", path.display());
        check::check(&std::fs::read(path).expect("a seed"));
        count += 1;
    }
    assert!(count > 20, "{count} seeds");
}
