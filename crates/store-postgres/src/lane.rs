use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::Duration;

use steadfast_queue::store::StoreError;
use tokio::sync::{Mutex, mpsc};
use tokio::time::timeout;
use tokio_util::sync::CancellationToken;

use crate::writer::Writer;

/// Where calls wait for one of the connections that serve their kind.
#[derive(Debug)]
pub(crate) struct Inbox<C> {
    sender: mpsc::Sender<C>,
    /// Whoever has the lock waits for the next batch.
    receiver: Arc<Mutex<mpsc::Receiver<C>>>,
    closing: CancellationToken,
}

/// Calls that wait; more wait for a place.
const WAITING_MAX: usize = 16_384;
/// Operations that share a transaction, about.
const BATCH_WEIGHT_MAX: usize = 1_024;
/// Payload bytes of a transaction, about.
const BATCH_BYTES_MAX: usize = 16 << 20;

/// Time between two questions for how a transaction ended.
const ASK_EVERY: Duration = Duration::from_secs(1);

/// What waits in an [`Inbox`].
pub(crate) trait Command: Send + 'static {
    /// How much of a batch it takes.
    fn weight(&self) -> usize;

    /// Payload bytes it brings.
    fn bytes(&self) -> usize {
        0
    }
}

/// One connection's work.
pub(crate) trait Serve: Send + 'static {
    type Command: Command;

    /// Does all of it and answers every caller.
    fn serve(&mut self, batch: Vec<Self::Command>) -> impl Future<Output = ()> + Send;

    /// Its writer, if it has one: what that did not find out is asked for while nothing comes.
    fn writer(&mut self) -> Option<&mut Writer> {
        None
    }

    /// Nothing more comes.
    fn close(self) -> impl Future<Output = ()> + Send;
}

impl<C: Command> Inbox<C> {
    /// An inbox that closes with `closing`; what waits then is served.
    pub(crate) fn new(closing: CancellationToken) -> Self {
        let (sender, receiver) = mpsc::channel(WAITING_MAX);
        Self { sender, receiver: Arc::new(Mutex::new(receiver)), closing }
    }

    /// Leaves a call. Waits for a place, if there is none.
    pub(crate) async fn put(&self, command: C) -> Result<(), StoreError> {
        if self.closing.is_cancelled() {
            return Err(StoreError::Closed);
        }
        self.sender.send(command).await.map_err(|_| StoreError::Closed)
    }

    /// The way in for those who must not wait.
    pub(crate) fn sender(&self) -> mpsc::WeakSender<C> {
        self.sender.downgrade()
    }

    /// Forgets what waits, when nobody serves any more.
    pub(crate) async fn abandon(&self) {
        let mut receiver = self.receiver.lock().await;
        receiver.close();
        while receiver.try_recv().is_ok() {}
    }

    /// What a connection does for as long as anybody may ask.
    pub(crate) fn run(
        &self,
        mut server: impl Serve<Command = C>,
    ) -> impl Future<Output = ()> + Send + 'static {
        let (receiver, closing) = (Arc::clone(&self.receiver), self.closing.clone());
        async move {
            loop {
                let next = async { take(&mut *receiver.lock().await, &closing).await };
                let doubting = server.writer().filter(|writer| writer.is_in_doubt());
                let batch = match doubting {
                    None => next.await,
                    Some(writer) => match timeout(ASK_EVERY, next).await {
                        Ok(batch) => batch,
                        Err(_) => {
                            // Asked again after the next pause, or before the next transaction.
                            let _ = writer.end_doubt().await;
                            continue;
                        }
                    },
                };
                if batch.is_empty() {
                    break;
                }
                server.serve(batch).await;
            }
            server.close().await;
        }
    }
}

/// The next batch: whatever waits, up to the bounds. Empty when nothing more comes.
async fn take<C: Command>(receiver: &mut mpsc::Receiver<C>, closing: &CancellationToken) -> Vec<C> {
    let mut batch = Vec::new();
    let first = match closing.run_until_cancelled(receiver.recv()).await {
        Some(first) => first,
        None => {
            receiver.close();
            receiver.recv().await
        }
    };
    let Some(first) = first else { return batch };
    let (mut weight, mut bytes) = (first.weight(), first.bytes());
    batch.push(first);
    while weight < BATCH_WEIGHT_MAX
        && bytes < BATCH_BYTES_MAX
        && let Ok(next) = receiver.try_recv()
    {
        weight += next.weight();
        bytes += next.bytes();
        batch.push(next);
    }
    batch
}

/// Lets the caller of a submission take it back while it waits, and whoever serves it begin it: one of them
/// comes first.
#[derive(Debug, Clone, Default)]
pub(crate) struct Ticket(Arc<AtomicU8>);

const WAITS: u8 = 0;
const BEGUN: u8 = 1;
const WITHDRAWN: u8 = 2;

impl Ticket {
    /// Begins it, unless it was withdrawn.
    pub(crate) fn begin(&self) -> bool {
        self.move_to(BEGUN)
    }

    /// Withdraws it, unless it has begun.
    pub(crate) fn withdraw(&self) -> bool {
        self.move_to(WITHDRAWN)
    }

    fn move_to(&self, next: u8) -> bool {
        self.0.compare_exchange(WAITS, next, Ordering::Relaxed, Ordering::Relaxed).is_ok()
    }
}
