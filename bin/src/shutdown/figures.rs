use prometheus::proto::{Metric, MetricFamily};
use steadfast_domain::JobState;

/// What the ledger calls a figure, and the metric that has it.
const TOTALS: [(&str, &str); 4] = [
    ("total_live_at_start", "steadfast_jobs_live_at_start"),
    ("total_submitted", "steadfast_jobs_submitted_total"),
    ("total_retried", "steadfast_jobs_retried_total"),
    ("total_finished", "steadfast_jobs_finished_total"),
];
/// What is stored of jobs, by state.
const JOBS: &str = "steadfast_jobs";

/// What this process did with jobs in all, and what lives at its end. Empty if the store did not answer.
pub(super) fn totals(families: &[MetricFamily]) -> Vec<(&'static str, u64)> {
    let metrics = |name| {
        let family = families.iter().find(move |family| family.name() == name)?;
        Some(family.get_metric().iter())
    };
    let Some(jobs) = metrics(JOBS) else { return Vec::new() };
    let totals = TOTALS.map(|(what, name)| (what, metrics(name).into_iter().flatten().map(value).sum()));
    let live = jobs.filter(|metric| is_live(metric)).map(value).sum();
    totals.into_iter().chain([("total_live", live)]).collect()
}

fn value(metric: &Metric) -> u64 {
    (metric.get_counter().get_value() + metric.get_gauge().get_value()) as u64
}

fn is_live(metric: &Metric) -> bool {
    let state = |value| JobState::parse(value).is_ok_and(|state| !state.is_terminal());
    metric.get_label().iter().any(|label| label.name() == "state" && state(label.value()))
}
