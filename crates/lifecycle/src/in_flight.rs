use tokio_util::task::TaskTracker;
use tokio_util::task::task_tracker::TaskTrackerToken;

/// Counts things under way, so that a drain can wait for the last one.
#[derive(Debug, Clone, Default)]
pub struct InFlight(TaskTracker);

/// One thing under way, until it is dropped.
#[derive(Debug)]
pub struct InFlightGuard {
    _token: TaskTrackerToken,
}

impl InFlight {
    /// Nothing under way.
    pub fn new() -> Self {
        Self::default()
    }

    /// Counts one more. Enter first, look at the phase second: then a drain that has set the phase
    /// and waits cannot miss what passed.
    pub fn enter(&self) -> InFlightGuard {
        InFlightGuard { _token: self.0.token() }
    }

    /// How many are under way.
    pub fn count(&self) -> usize {
        self.0.len()
    }

    /// Waits for a moment when none is.
    pub async fn idle(&self) {
        // A tracker's wait ends only once it is closed; closing does not keep anything out.
        self.0.close();
        self.0.wait().await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio_util::task::AbortOnDropHandle;

    #[tokio::test]
    async fn idle_is_pending_until_the_last_guard_is_gone() {
        let in_flight = InFlight::new();
        let (first, second) = (in_flight.enter(), in_flight.enter());
        let waiting = in_flight.clone();
        let mut idle = AbortOnDropHandle::new(tokio::runtime::Handle::current().spawn(async move {
            waiting.idle().await;
        }));
        drop(first);
        tokio::task::yield_now().await;
        assert!(!idle.is_finished());
        assert_eq!(in_flight.count(), 1);
        drop(second);
        (&mut idle).await.unwrap();
        in_flight.idle().await;
    }
}
