use parking_lot::Mutex;
use prometheus::core::Collector;
use prometheus::proto::MetricFamily;
use prometheus::{GaugeVec, IntCounter, IntCounterVec, IntGaugeVec, Opts};
use steadfast_domain::{JobState, KindName};
use steadfast_queue::store::QueueStatus;

/// What a scrape shows of the store, made anew each time from one answer of it: so the counters and what is stored
/// agree with each other.
#[derive(Debug, Default)]
pub(crate) struct StoreFigures {
    newest: Mutex<Counters>,
}

/// The counters of one answer.
#[derive(Debug, Default)]
struct Counters {
    families: Vec<MetricFamily>,
    /// The sum of all. None ever falls, so of two answers the one with less is the older.
    sum: u64,
}

impl StoreFigures {
    /// The figures of a store that answered, each kind under its label.
    pub(crate) fn answered<'a>(
        &self,
        queues: &'a [QueueStatus],
        label: impl Fn(&'a KindName) -> &'a str,
        other: &'a str,
    ) -> Result<Vec<MetricFamily>, prometheus::Error> {
        let counters = counters(queues, |kind| kind.map_or(other, &label))?;
        let families = [counters.clone(), gauges(queues)?].concat();
        let answered = Counters { families: counters, sum: sum(queues) };
        let mut newest = self.newest.lock();
        // Of two who asked at once, the one with the older answer may come here last.
        if answered.sum >= newest.sum {
            *newest = answered;
        }
        Ok(families)
    }

    /// The figures of a store that does not answer: the counters as it answered last, and nothing of what is stored.
    pub(crate) fn silent(&self) -> Vec<MetricFamily> {
        self.newest.lock().families.clone()
    }
}

/// What this process has done with jobs.
fn counters<'a>(
    queues: &'a [QueueStatus],
    label: impl Fn(Option<&'a KindName>) -> &'a str,
) -> Result<Vec<MetricFamily>, prometheus::Error> {
    let submitted = IntCounterVec::new(
        Opts::new("steadfast_jobs_submitted_total", "Jobs that this process accepted."),
        &["queue", "kind"],
    )?;
    let finished = IntCounterVec::new(
        Opts::new("steadfast_jobs_finished_total", "Jobs that this process brought to their end."),
        &["queue", "kind", "state"],
    )?;
    let retried = IntCounter::new(
        "steadfast_jobs_retried_total",
        "Dead and cancelled jobs that this process opened again on request.",
    )?;
    for status in queues {
        let queue = status.name.as_str();
        for (kind, counts) in status.counts.by_kind() {
            let kind = label(kind);
            submitted.with_label_values(&[queue, kind]).inc_by(counts.submitted);
            retried.inc_by(counts.reopened);
            for state in JobState::ALL.into_iter().filter(|state| state.is_terminal()) {
                let labels = [queue, kind, state.as_str()];
                finished.with_label_values(&labels).inc_by(counts.ended_as(state));
            }
        }
    }
    let families = [submitted.collect(), finished.collect(), retried.collect()].concat();
    // Before the first job there is nothing to write of some.
    Ok(families.into_iter().filter(|family| !family.get_metric().is_empty()).collect())
}

fn sum(queues: &[QueueStatus]) -> u64 {
    let of_queue = |status: &QueueStatus| {
        let all = status.counts.all();
        all.submitted + all.reopened + all.ended.iter().sum::<u64>()
    };
    queues.iter().map(of_queue).sum()
}

/// What is stored.
fn gauges(queues: &[QueueStatus]) -> Result<Vec<MetricFamily>, prometheus::Error> {
    let jobs = IntGaugeVec::new(Opts::new("steadfast_jobs", "Stored jobs by state."), &["queue", "state"])?;
    let gauge = |name, help| IntGaugeVec::new(Opts::new(name, help), &["queue"]);
    let capacity_jobs = gauge("steadfast_queue_capacity_jobs", "Jobs that are not terminal, at most.")?;
    let capacity_bytes = gauge("steadfast_queue_capacity_bytes", "Bytes of their payloads, at most.")?;
    let bytes = gauge("steadfast_queue_bytes", "Payload bytes of jobs that are not terminal.")?;
    let paused = gauge("steadfast_queue_paused", "1 for a queue that is paused, else 0.")?;
    let oldest = GaugeVec::new(
        Opts::new("steadfast_oldest_ready_age_seconds", "For how long the oldest ready job has been due."),
        &["queue"],
    )?;
    for status in queues {
        let queue = status.name.as_str();
        for state in JobState::ALL {
            jobs.with_label_values(&[queue, state.as_str()]).set(signed(status.depth_in(state)));
        }
        capacity_jobs.with_label_values(&[queue]).set(signed(status.capacity_jobs));
        capacity_bytes.with_label_values(&[queue]).set(signed(status.capacity_bytes));
        bytes.with_label_values(&[queue]).set(signed(status.bytes));
        paused.with_label_values(&[queue]).set(status.paused.into());
        let age = status.oldest_ready_at.map_or(0.0, |at| status.now.since(at).as_secs_f64());
        oldest.with_label_values(&[queue]).set(age);
    }
    Ok([
        jobs.collect(),
        capacity_jobs.collect(),
        capacity_bytes.collect(),
        bytes.collect(),
        paused.collect(),
        oldest.collect(),
    ]
    .concat())
}

fn signed(count: u64) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use prometheus::TextEncoder;
    use steadfast_domain::{QueueName, Timestamp};
    use steadfast_queue::store::JobCounts;

    use super::*;

    /// A store's answer after so many jobs were submitted.
    fn answer(submitted: usize) -> Vec<QueueStatus> {
        let mut counts = JobCounts::default();
        for _ in 0..submitted {
            counts.moved(&KindName::new("echo").unwrap(), None, Some(JobState::Queued));
        }
        vec![QueueStatus {
            name: QueueName::default_queue(),
            paused: false,
            depth: [0; 8],
            bytes: 0,
            capacity_jobs: 9,
            capacity_bytes: 9,
            oldest_ready_at: None,
            now: Timestamp::from_unix_ms(0),
            counts,
        }]
    }

    #[test]
    fn counters_never_fall_though_an_older_answer_comes_last() {
        let figures = StoreFigures::default();
        for submitted in [2, 1] {
            figures.answered(&answer(submitted), KindName::as_str, "other").unwrap();
        }
        let shown = TextEncoder::new().encode_to_string(&figures.silent()).unwrap();
        let line = "steadfast_jobs_submitted_total{kind=\"echo\",queue=\"default\"} 2";
        assert!(shown.lines().any(|shown| shown == line), "{shown}");
    }
}
