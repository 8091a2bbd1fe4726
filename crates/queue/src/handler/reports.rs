use std::sync::{Arc, OnceLock};

use parking_lot::Mutex;
use steadfast_domain::RawJson;
use tokio::sync::{Notify, oneshot};
use tokio::task::JoinHandle;
use tokio_util::task::TaskTracker;

use super::CheckpointError;

/// What an attempt tells its pool while it runs: the newest progress, at most one checkpoint that is not
/// stored yet, and what goes on when its handler is cut off.
#[derive(Debug)]
pub(crate) struct Reports {
    outbox: Mutex<Outbox>,
    /// One checkpoint at a time, so that each caller hears of its own.
    turn: tokio::sync::Mutex<()>,
    /// Wakes the pool for a checkpoint; progress waits for the pool's next round.
    wake: Arc<Notify>,
    /// Made when it is needed: most attempts end with their handler.
    outliving: OnceLock<TaskTracker>,
}

#[derive(Debug, Default)]
struct Outbox {
    progress: Option<RawJson>,
    checkpoint: Option<Checkpoint>,
    closed: bool,
}

/// A checkpoint to be stored, and where to say that it is.
#[derive(Debug)]
pub(crate) struct Checkpoint {
    pub(crate) value: RawJson,
    pub(crate) stored: oneshot::Sender<Result<(), CheckpointError>>,
}

impl Reports {
    pub(crate) fn new(wake: Arc<Notify>) -> Self {
        let (outbox, turn) = (Mutex::default(), tokio::sync::Mutex::default());
        Self { outbox, turn, wake, outliving: OnceLock::new() }
    }

    /// Replaces the progress that has not been taken yet.
    pub(crate) fn progress(&self, progress: RawJson) {
        self.outbox.lock().progress = Some(progress);
    }

    /// Hands the checkpoint over and waits until it is stored. When the caller gives up waiting it may be
    /// stored all the same, unless a newer one takes its place.
    pub(crate) async fn checkpoint(&self, value: RawJson) -> Result<(), CheckpointError> {
        let _turn = self.turn.lock().await;
        let (stored, answer) = oneshot::channel();
        {
            let mut outbox = self.outbox.lock();
            if outbox.closed {
                return Err(CheckpointError::ClaimLost);
            }
            outbox.checkpoint = Some(Checkpoint { value, stored });
        }
        self.wake.notify_one();
        answer.await.unwrap_or(Err(CheckpointError::ClaimLost))
    }

    pub(crate) fn take_progress(&self) -> Option<RawJson> {
        self.outbox.lock().progress.take()
    }

    /// Returns progress that could not be written, unless there is newer.
    pub(crate) fn return_progress(&self, progress: RawJson) {
        self.outbox.lock().progress.get_or_insert(progress);
    }

    pub(crate) fn take_checkpoint(&self) -> Option<Checkpoint> {
        self.outbox.lock().checkpoint.take()
    }

    /// Runs `work` on the current runtime, as a part of the attempt that does not end with the handler.
    pub(crate) fn spawn_outliving<F>(&self, work: F) -> JoinHandle<F::Output>
    where
        F: Future<Output: Send + 'static> + Send + 'static,
    {
        self.outliving.get_or_init(TaskTracker::new).spawn(work)
    }

    /// Waits until all of that has ended. Called when the handler is gone, so that no more can begin.
    pub(crate) async fn outlived(&self) {
        if let Some(outliving) = self.outliving.get() {
            outliving.close();
            outliving.wait().await;
        }
    }

    /// The attempt is over: checkpoints under way and later ones are answered as lost.
    pub(crate) fn close(&self) {
        let mut outbox = self.outbox.lock();
        outbox.closed = true;
        outbox.checkpoint = None;
    }
}
