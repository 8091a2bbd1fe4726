use steadfast_domain::JobId;

/// What became of the attempts that ran as the server began to drain. The lists have no job in common.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PoolReport {
    /// Attempts settled with a verdict since [`Phase::LameDuck`](steadfast_lifecycle::Phase::LameDuck).
    pub finished: u64,
    /// Jobs whose attempt yielded since then: queued again, with their checkpoint.
    pub checkpointed: Vec<JobId>,
    /// Jobs handed back without a checkpoint after their attempt had really ended: claimable at once.
    pub handed_back: Vec<JobId>,
    /// Jobs handed back while their handler still ran: claimable once this process is gone.
    pub abandoned: Vec<JobId>,
    /// Jobs whose result or hand-back could not be committed in time. Their claims lapse or are recovered
    /// at the next start, as after a crash.
    pub unsettled: Vec<JobId>,
}
