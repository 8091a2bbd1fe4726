use std::sync::Arc;

use tokio::sync::Notify;

/// Asks `main` for a drain, as SIGTERM does. Asking twice is asking once.
#[derive(Debug, Clone)]
pub struct DrainTrigger(Arc<Notify>);

/// Where `main` hears of it.
#[derive(Debug)]
pub struct DrainRequests(Arc<Notify>);

/// A way for the inside of the server to ask for its drain.
pub fn drain_channel() -> (DrainTrigger, DrainRequests) {
    let notify = Arc::new(Notify::new());
    (DrainTrigger(Arc::clone(&notify)), DrainRequests(notify))
}

impl DrainTrigger {
    /// Asks; kept until `main` listens.
    pub fn request(&self) {
        self.0.notify_one();
    }
}

impl DrainRequests {
    /// Waits for the next request.
    pub async fn requested(&mut self) {
        self.0.notified().await;
    }
}
