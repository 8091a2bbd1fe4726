use tokio::sync::watch;

/// Where the server is in its life. Phases only go forward; DESIGN.md's table "Life of the server" says
/// what each one means for workers and connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Phase {
    /// The listener is bound, the store is opening.
    Starting,
    /// Serving.
    Ready,
    /// Not ready any more for whoever asks `/readyz`, but still accepting; no new work is begun.
    LameDuck,
    /// Nothing new is accepted; what runs may finish.
    Draining,
    /// What still runs is told to checkpoint and return.
    Cancelling,
    /// What still runs is cut off and goes back to its queue.
    Handback,
    /// Stores are flushed and closed, the ledger is written.
    Stopped,
}

impl Phase {
    /// Every phase, in order.
    pub const ALL: [Self; 7] = [
        Self::Starting,
        Self::Ready,
        Self::LameDuck,
        Self::Draining,
        Self::Cancelling,
        Self::Handback,
        Self::Stopped,
    ];

    /// The name used in JSON and metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Ready => "ready",
            Self::LameDuck => "lame_duck",
            Self::Draining => "draining",
            Self::Cancelling => "cancelling",
            Self::Handback => "handback",
            Self::Stopped => "stopped",
        }
    }
}

/// Moves the server through its phases. There is one, and `main` holds it.
#[derive(Debug)]
pub struct PhaseSender(watch::Sender<Phase>);

/// A read-only view of the phase.
#[derive(Debug, Clone)]
pub struct Phases(watch::Receiver<Phase>);

/// A new life, in [`Phase::Starting`].
pub fn phases() -> (PhaseSender, Phases) {
    let (sender, receiver) = watch::channel(Phase::Starting);
    (PhaseSender(sender), Phases(receiver))
}

impl PhaseSender {
    /// Goes forward to `phase`. Going back or standing still changes nothing and returns `false`.
    pub fn advance(&self, phase: Phase) -> bool {
        self.0.send_if_modified(|current| {
            let forward = phase > *current;
            if forward {
                *current = phase;
            }
            forward
        })
    }
}

impl Phases {
    /// The phase now.
    pub fn current(&self) -> Phase {
        *self.0.borrow()
    }

    /// Waits until the phase is `phase` or a later one, and returns it. When the sender is gone, the
    /// server's life is over: returns [`Phase::Stopped`].
    pub async fn at_least(&self, phase: Phase) -> Phase {
        let mut receiver = self.0.clone();
        receiver.wait_for(|current| *current >= phase).await.map_or(Phase::Stopped, |current| *current)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn phases_go_forward_only() {
        let (sender, phases) = phases();
        assert!(sender.advance(Phase::Draining));
        assert!(!sender.advance(Phase::Ready));
        assert!(!sender.advance(Phase::Draining));
        assert_eq!(phases.at_least(Phase::LameDuck).await, Phase::Draining);
    }

    #[tokio::test]
    async fn a_life_without_its_owner_is_over() {
        let (sender, phases) = phases();
        drop(sender);
        assert_eq!(phases.at_least(Phase::Ready).await, Phase::Stopped);
    }
}
