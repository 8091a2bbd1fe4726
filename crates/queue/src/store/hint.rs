use steadfast_domain::{Change, QueueName};

use super::ClaimId;

/// Something that a commit changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Hint {
    /// A queue has ready work.
    Ready(QueueName),
    /// A job of this queue changed its state.
    Changed(Change, QueueName),
    /// The holder of this claim is to stop for good.
    CancelRequested(ClaimId),
    /// A queue was declared, paused or resumed.
    Queues,
    /// More than could be told, or something that was not heard: look at everything.
    Everything,
}

/// Hints a slow reader may fall behind before it must look at everything.
pub const HINTS_MAX: usize = 4_096;
