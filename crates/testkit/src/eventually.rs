use std::future::Future;
use std::time::Duration;

use tokio::time::Instant;

/// How long a test waits for what must happen before it fails: far beyond what any of it takes, since it
/// only ever bounds a failing run.
pub const PATIENCE: Duration = Duration::from_secs(30);
/// Time between two looks at something that can only be polled.
const LOOK_EVERY: Duration = Duration::from_millis(5);

/// Looks again and again until `probe` finds something, and returns it.
///
/// # Panics
/// When it has found nothing for [`PATIENCE`]; `what` names it.
pub async fn eventually<T, F, Fut>(what: &str, probe: F) -> T
where
    F: FnMut() -> Fut,
    Fut: Future<Output = Option<T>>,
{
    within(PATIENCE, probe).await.unwrap_or_else(|| panic!("not within {PATIENCE:?}: {what}"))
}

/// Looks again and again until `probe` finds something, or `None` when `time` is over.
pub async fn within<T, F, Fut>(time: Duration, mut probe: F) -> Option<T>
where
    F: FnMut() -> Fut,
    Fut: Future<Output = Option<T>>,
{
    let deadline = Instant::now() + time;
    loop {
        if let Some(found) = probe().await {
            return Some(found);
        }
        if Instant::now() >= deadline {
            return None;
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
}
