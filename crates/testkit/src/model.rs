//! Random work on a store, held against a simple model of it.
//!
//! ```text
//!   proptest ──▶ Step ──▶ Call ──▶ the store ──▶ Answer ──▶ World::judge ──▶ after each step: every job read
//!    shrinks      one, two at once,                          │                and compared
//!                 time, a crash                              ▼
//!                                              what may be, given all answers so far
//! ```
//!
//! The model knows what the documentation of `JobStore` says and nothing of any store. It is told the answers and
//! says whether they may be: of two calls at once, whether one of the two orders explains both. Where time or a
//! crash decides (a lease of a millisecond, a deadline, a call that lost its caller), it keeps both
//! possibilities until an answer tells.
//!
//! One model serves every store: `model!(MyBench, Life::Durable)` is one test. What proptest found once stays in
//! `model-regressions.txt` beside this crate's manifest, and is tried first on every store. `PROPTEST_CASES` says
//! how many sequences are tried.

mod call;
mod judge;
mod known;
mod run;
mod step;
mod submitting;
mod world;

use std::env;

use proptest::test_runner::{Config, FileFailurePersistence, RngAlgorithm, TestError, TestRng, TestRunner};

use crate::conformance::Bench;

/// What proptest found.
const REGRESSIONS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/model-regressions.txt");
/// Tries to make a sequence that fails smaller.
const SHRINKS_MAX: u32 = 5_000;

/// What a store survives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Life {
    /// Nothing: there are no crashes in its sequences.
    OneProcess,
    /// The end of its process.
    Durable,
}

/// One test: sequences of random work agree with the model. The first argument makes a new
/// [`Bench`](crate::conformance::Bench); the last is how many sequences are tried unless `PROPTEST_CASES` says.
#[macro_export]
macro_rules! model {
    ($bench:expr, $life:expr, $cases:expr) => {
        #[test]
        fn random_work_agrees_with_the_model() {
            $crate::model::check($life, $cases, || ::std::boxed::Box::new($bench));
        }
    };
}

/// Holds so many random sequences against the model, each on a bench of its own.
///
/// # Panics
/// With the smallest sequence it can find that the model cannot explain.
pub fn check(life: Life, cases: u32, bench: impl Fn() -> Box<dyn Bench>) {
    let mut config = Config {
        failure_persistence: Some(Box::new(FileFailurePersistence::Direct(REGRESSIONS))),
        max_shrink_iters: SHRINKS_MAX,
        ..Config::default()
    };
    if env::var_os("PROPTEST_CASES").is_none() {
        config.cases = cases;
    }
    if let Err(error) = run_all(TestRunner::new(config), life, bench) {
        panic!("{error}");
    }
}

/// Whether the model can explain so many sequences, always the same ones: for whoever asks what it notices.
pub fn explains(life: Life, cases: u32, bench: impl Fn() -> Box<dyn Bench>) -> bool {
    let config = Config { cases, failure_persistence: None, max_shrink_iters: 0, ..Config::default() };
    let random = TestRng::deterministic_rng(RngAlgorithm::ChaCha);
    run_all(TestRunner::new_with_rng(config, random), life, bench).is_ok()
}

fn run_all(
    mut runner: TestRunner,
    life: Life,
    bench: impl Fn() -> Box<dyn Bench>,
) -> Result<(), TestError<step::Sequence>> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    let runtime = runtime.expect("a runtime");
    runner.run(&step::sequences(life), |sequence| {
        runtime.block_on(run::run(&mut *bench(), &sequence.0));
        Ok(())
    })
}
