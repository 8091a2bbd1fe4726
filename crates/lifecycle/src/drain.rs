use tokio::sync::mpsc;

/// Asks `main` for a drain, as SIGTERM does. Asking twice is asking once.
#[derive(Debug, Clone)]
pub struct DrainTrigger(mpsc::Sender<DrainCause>);

/// Where `main` hears of it.
#[derive(Debug)]
pub struct DrainRequests(mpsc::Receiver<DrainCause>);

/// Why the inside of the server asks for its drain.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DrainCause {
    /// Somebody asked for it.
    Asked,
    /// This task panicked, and without it the server does not do what it promises.
    TaskFailed(&'static str),
}

/// Requests kept until `main` listens. One that finds no room changes nothing: a drain is asked for already.
const REQUESTS_MAX: usize = 16;

/// A way for the inside of the server to ask for its drain.
pub fn drain_channel() -> (DrainTrigger, DrainRequests) {
    let (sender, receiver) = mpsc::channel(REQUESTS_MAX);
    (DrainTrigger(sender), DrainRequests(receiver))
}

impl DrainTrigger {
    /// Asks; kept until `main` listens.
    pub fn request(&self, cause: DrainCause) {
        // Full, or nobody listens any more: the drain is on its way.
        let _ = self.0.try_send(cause);
    }
}

impl DrainRequests {
    /// Waits for the next request.
    pub async fn requested(&mut self) -> DrainCause {
        match self.0.recv().await {
            Some(cause) => cause,
            None => std::future::pending().await,
        }
    }
}
