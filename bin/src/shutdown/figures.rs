use steadfast_queue::store::QueueStatus;

/// What this process did with jobs in all, and what lives at its end, by what the ledger calls it.
pub(super) fn totals(live_at_start: u64, queues: &[QueueStatus]) -> [(&'static str, u64); 5] {
    let sum = |figure: fn(&QueueStatus) -> u64| queues.iter().map(figure).sum();
    [
        ("total_live_at_start", live_at_start),
        ("total_submitted", sum(|queue| queue.counts.all().submitted)),
        ("total_retried", sum(|queue| queue.counts.all().reopened)),
        ("total_finished", sum(|queue| queue.counts.all().ended.iter().sum())),
        ("total_live", sum(QueueStatus::live)),
    ]
}
