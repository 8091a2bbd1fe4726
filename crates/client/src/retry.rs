use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use steadfast_wire::Outcome;
use tokio::time::{Instant, sleep};

use crate::Error;
use crate::backoff::Backoff;

/// Whether a call that was done twice has the same effect as one that was done once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Repeat {
    /// A read, a cancel, a settlement, a submit under an idempotency key.
    Safe,
    /// Anything else: it is repeated only when it is certain that nothing happened.
    Unsafe,
}

/// How long and how often a failed call is sent again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RetryConfig {
    /// The longest wait before the second try; it doubles from try to try.
    pub first_wait: Duration,
    /// The longest wait before any try, unless the server asks for a longer one.
    pub wait_max: Duration,
    /// From the first try on: a wait that would end later is not begun. Zero: nothing is repeated.
    pub give_up_after: Duration,
}

impl Default for RetryConfig {
    fn default() -> Self {
        Self {
            first_wait: Duration::from_millis(100),
            wait_max: Duration::from_secs(10),
            give_up_after: Duration::from_secs(10),
        }
    }
}

/// Sends failed calls again. Clones share one budget: at most a tenth of all their calls are repeats, with ten in
/// reserve and one every five seconds for who calls rarely, so that a server in trouble does not get a multiple of its
/// load from clients that mean well.
///
/// What is sent again is decided by [`Error::may_be_repeated`], when by the server's `retry_after` and full jitter.
///
/// A refusal counts like any failure. Who sends as much as a full queue takes, and comes back exactly when the
/// server said, should not call that a repeat: such a caller takes the refusal out of `call` as an answer and
/// paces itself by it.
#[derive(Debug, Clone, Default)]
pub struct Retries {
    config: RetryConfig,
    budget: Arc<Mutex<Budget>>,
}

impl Retries {
    /// With a budget of their own.
    pub fn new(config: RetryConfig) -> Self {
        Self { config, budget: Arc::default() }
    }

    /// Makes the call until it succeeds, fails for good, or has no time or budget left: then the last error.
    /// Each try is what `call` returns: the same request, with the same idempotency key.
    pub async fn run<T, Fut>(&self, repeat: Repeat, mut call: impl FnMut() -> Fut) -> Result<T, Error>
    where
        Fut: Future<Output = Result<T, Error>>,
    {
        let began = Instant::now();
        self.budget.lock().earn();
        let mut backoff = Backoff::new(self.config.first_wait, self.config.wait_max);
        loop {
            let error = match call().await {
                Ok(answer) => return Ok(answer),
                Err(error) => error,
            };
            let wait = backoff.next(rand::random(), error.retry_after());
            let in_time = began.elapsed().saturating_add(wait) <= self.config.give_up_after;
            if !error.may_be_repeated(repeat) || !in_time || !self.budget.lock().spend() {
                return Err(error);
            }
            sleep(wait).await;
        }
    }
}

impl Error {
    /// Whether the same call may do better soon and may be sent again: what certainly left nothing behind, and
    /// what may have been done only where doing it twice does no harm.
    pub fn may_be_repeated(&self, repeat: Repeat) -> bool {
        let soon = match self {
            // A proxy has no server, no answer in time, or too many requests. Any other stranger's answer says
            // that the address is wrong.
            Self::Unexpected { status, .. } => matches!(status, 429 | 502 | 503 | 504),
            _ => self.may_pass(),
        };
        soon && (repeat == Repeat::Safe || self.outcome() == Outcome::None)
    }
}

/// A token bucket, in tenths of a repeat.
#[derive(Debug)]
struct Budget {
    tenths: f64,
    counted: Instant,
}

/// What a repeat costs.
const REPEAT_TENTHS: f64 = 10.0;
/// What a call brings in.
const CALL_TENTHS: f64 = 1.0;
/// What a second brings in: who calls rarely may still wait for a server, a repeat every five seconds.
const SECOND_TENTHS: f64 = 2.0;
/// What there is at first and at most: ten repeats.
const RESERVE_TENTHS: f64 = 10.0 * REPEAT_TENTHS;

impl Default for Budget {
    fn default() -> Self {
        Self { tenths: RESERVE_TENTHS, counted: Instant::now() }
    }
}

impl Budget {
    /// Counts a call.
    fn earn(&mut self) {
        self.add(CALL_TENTHS);
    }

    /// Takes a repeat out, if there is one.
    fn spend(&mut self) -> bool {
        let now = Instant::now();
        let passed = now - std::mem::replace(&mut self.counted, now);
        self.add(SECOND_TENTHS * passed.as_secs_f64());
        let enough = self.tenths >= REPEAT_TENTHS;
        if enough {
            self.tenths -= REPEAT_TENTHS;
        }
        enough
    }

    fn add(&mut self, tenths: f64) {
        self.tenths = (self.tenths + tenths).min(RESERVE_TENTHS);
    }
}

#[cfg(test)]
mod tests {
    use std::cell::{Cell, RefCell};

    use steadfast_wire::{ErrorCode, Problem};

    use super::*;

    const CONFIG: RetryConfig = RetryConfig {
        first_wait: Duration::from_millis(100),
        wait_max: Duration::from_secs(10),
        give_up_after: Duration::from_secs(600),
    };

    fn refused(code: ErrorCode, outcome: Outcome, retry_after_ms: Option<u64>) -> Error {
        let problem = Problem::new(code, "", "");
        Error::Refused(Box::new(Problem { outcome: Some(outcome), retry_after_ms, ..problem }))
    }

    fn full(retry_after_ms: u64) -> Error {
        refused(ErrorCode::QueueFull, Outcome::None, Some(retry_after_ms))
    }

    fn stranger(status: u16) -> Error {
        Error::Unexpected { status, reason: String::new(), retry_after: None }
    }

    #[tokio::test(start_paused = true)]
    async fn a_call_is_repeated_when_the_server_said_until_it_succeeds() {
        let (began, tries) = (Instant::now(), RefCell::new(Vec::new()));
        let retries = Retries::new(CONFIG);
        let answer = retries.run(Repeat::Unsafe, || async {
            tries.borrow_mut().push(began.elapsed());
            if tries.borrow().len() < 4 { Err(full(1_000)) } else { Ok(7) }
        });
        assert_eq!(answer.await.unwrap(), 7);
        let tries = tries.into_inner();
        assert_eq!(tries.len(), 4);
        assert!(tries.windows(2).all(|pair| pair[1] - pair[0] >= Duration::from_secs(1)), "{tries:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn the_last_error_is_told_when_the_time_is_over() {
        let (began, tries) = (Instant::now(), Cell::new(0));
        let config = RetryConfig { give_up_after: Duration::from_secs(5), ..CONFIG };
        let retries = Retries::new(config);
        let answer = retries.run(Repeat::Safe, || async {
            tries.set(tries.get() + 1);
            Err::<(), _>(full(if tries.get() < 3 { 1_000 } else { 4_000 }))
        });
        assert_eq!(answer.await.unwrap_err().retry_after(), Some(Duration::from_secs(4)));
        assert_eq!(tries.get(), 3);
        assert!(began.elapsed() < Duration::from_secs(5), "the wait that is too long is not begun");
    }

    #[tokio::test(start_paused = true)]
    async fn without_time_nothing_is_repeated() {
        let tries = Cell::new(0);
        let config = RetryConfig { give_up_after: Duration::ZERO, ..CONFIG };
        let retries = Retries::new(config);
        let answer = retries.run(Repeat::Safe, || async {
            tries.set(tries.get() + 1);
            Err::<(), _>(full(50))
        });
        answer.await.unwrap_err();
        assert_eq!(tries.get(), 1);
    }

    #[tokio::test(start_paused = true)]
    async fn at_most_a_tenth_of_all_calls_are_repeats_and_ten_more() {
        // Waits that take no time: what time brings in is not looked at here.
        let config = RetryConfig { first_wait: Duration::ZERO, ..CONFIG };
        let (retries, tries) = (Retries::new(config), Cell::new(0));
        let failing = || async {
            tries.set(tries.get() + 1);
            Err::<(), _>(full(0))
        };
        // Clones share the budget.
        retries.clone().run(Repeat::Safe, failing).await.unwrap_err();
        assert_eq!(tries.replace(0), 11, "the first call has the whole reserve");
        for _ in 0..200 {
            retries.run(Repeat::Safe, failing).await.unwrap_err();
        }
        assert_eq!(tries.get(), 220);
        for _ in 0..1_000 {
            retries.run(Repeat::Safe, async || Ok(())).await.unwrap();
        }
        tries.set(0);
        retries.run(Repeat::Safe, failing).await.unwrap_err();
        assert_eq!(tries.get(), 11, "a long time of peace saves no more than the reserve");
    }

    #[tokio::test(start_paused = true)]
    async fn a_single_call_may_be_repeated_for_as_long_as_it_has_time() {
        let config = RetryConfig { wait_max: Duration::from_secs(10), ..CONFIG };
        let (retries, began, tries) = (Retries::new(config), Instant::now(), Cell::new(0_u32));
        let answer = retries.run(Repeat::Safe, || async {
            tries.set(tries.get() + 1);
            // The longest wait, of 15 s, still ends in time.
            if began.elapsed() < Duration::from_secs(500) { Err(full(5_000)) } else { Ok(()) }
        });
        answer.await.unwrap();
        assert!((34..=101).contains(&tries.get()), "a wait is of 5 to 15 s: {tries:?}");
    }

    #[test]
    fn only_what_may_pass_and_does_no_harm_twice_is_repeated() {
        let both =
            |error: Error| (error.may_be_repeated(Repeat::Safe), error.may_be_repeated(Repeat::Unsafe));
        assert_eq!(both(full(50)), (true, true));
        assert_eq!(both(refused(ErrorCode::ShuttingDown, Outcome::None, Some(50))), (true, true));
        assert_eq!(both(refused(ErrorCode::TimedOut, Outcome::Unknown, Some(50))), (true, false));
        assert_eq!(both(refused(ErrorCode::IdempotencyInFlight, Outcome::Unknown, None)), (true, false));
        assert_eq!(both(refused(ErrorCode::InvalidJob, Outcome::None, None)), (false, false));
        assert_eq!(both(refused(ErrorCode::Internal, Outcome::Unknown, None)), (false, false));
        for status in [429, 502, 503, 504] {
            assert_eq!(both(stranger(status)), (true, false), "{status}");
        }
        for status in [200, 301, 400, 404, 500] {
            assert_eq!(both(stranger(status)), (false, false), "{status}");
        }
    }
}
