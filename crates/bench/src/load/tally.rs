use std::time::Duration;

use hdrhistogram::Histogram;

use crate::error::BenchError;
use crate::process::Usage;

/// The longest latency that is told apart: a minute, in microseconds.
const LATENCY_US_MAX: u64 = 60_000_000;
/// Significant digits of a latency.
const DIGITS: u8 = 3;

/// The latencies of the answers, by status, in microseconds.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    by_status: Vec<(u16, Histogram<u64>)>,
    /// The body of the first answer that was not as expected.
    odd: Option<(u16, String)>,
}

impl Tally {
    /// Counts one answer.
    pub(crate) fn record(&mut self, status: u16, latency: Duration) {
        let at = self.by_status.iter().position(|(known, _)| *known == status).unwrap_or_else(|| {
            #[expect(clippy::expect_used, reason = "constants that the histogram allows")]
            let empty = Histogram::new_with_max(LATENCY_US_MAX, DIGITS)
                .expect("a maximum above 1 and at most 5 digits are allowed");
            self.by_status.push((status, empty));
            self.by_status.len() - 1
        });
        self.by_status[at].1.saturating_record(latency.as_micros() as u64);
    }

    /// Keeps the body of an answer that is not one of the expected ones, if it is the first.
    pub(crate) fn keep_odd(&mut self, status: u16, body: &[u8]) {
        self.odd.get_or_insert_with(|| (status, String::from_utf8_lossy(body).into_owned()));
    }

    /// How many answers had this status.
    pub(crate) fn count(&self, status: u16) -> u64 {
        self.latencies(status).map_or(0, Histogram::len)
    }

    /// How many answers there were.
    pub(crate) fn total(&self) -> u64 {
        self.by_status.iter().map(|(_, latencies)| latencies.len()).sum()
    }

    /// The latency that `quantile` (0 to 1) of the answers with this status did not exceed.
    pub(crate) fn latency(&self, status: u16, quantile: f64) -> Option<Duration> {
        let latencies = self.latencies(status).filter(|latencies| !latencies.is_empty())?;
        Some(Duration::from_micros(latencies.value_at_quantile(quantile)))
    }

    fn latencies(&self, status: u16) -> Option<&Histogram<u64>> {
        self.by_status.iter().find(|(known, _)| *known == status).map(|(_, latencies)| latencies)
    }
}

/// What one run of the load generator found.
#[derive(Debug)]
pub(crate) struct Measured {
    /// The time over which answers were counted.
    pub(crate) time: Duration,
    /// Those answers.
    pub(crate) tally: Tally,
    /// What the server's process used in that time.
    pub(crate) usage: Usage,
    /// Requests of an open loop's schedule that had no answer in the end.
    pub(crate) unanswered: u64,
}

impl Measured {
    /// Answers with this status in a second.
    pub(crate) fn rate(&self, status: u16) -> f64 {
        self.tally.count(status) as f64 / self.time.as_secs_f64()
    }

    /// Microseconds of processor time the server took for each answer.
    pub(crate) fn cpu_us_per_answer(&self) -> f64 {
        self.usage.cpu.as_secs_f64() * 1e6 / self.tally.total().max(1) as f64
    }

    /// How often the server's threads went to sleep, for each answer.
    pub(crate) fn sleeps_per_answer(&self) -> f64 {
        self.usage.sleeps as f64 / self.tally.total().max(1) as f64
    }

    /// Itself, if every request had an answer and all of these statuses.
    pub(crate) fn with_only(self, what: &str, statuses: &[u16]) -> Result<Self, BenchError> {
        if let Some((status, body)) = &self.tally.odd {
            return Err(BenchError::invalid(what, format!("an answer {status}: {body}")));
        }
        if let Some((odd, _)) = self.tally.by_status.iter().find(|(status, _)| !statuses.contains(status)) {
            return Err(BenchError::invalid(what, format!("an answer {odd}")));
        }
        if self.unanswered > 0 || self.tally.total() == 0 {
            let (answered, unanswered) = (self.tally.total(), self.unanswered);
            return Err(BenchError::invalid(what, format!("{answered} answers, {unanswered} missing")));
        }
        Ok(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn measured(statuses: &[u16], unanswered: u64) -> Measured {
        let mut tally = Tally::default();
        for (number, status) in statuses.iter().enumerate() {
            tally.record(*status, Duration::from_millis(number as u64 + 1));
        }
        let usage = Usage { cpu: Duration::from_micros(30), sleeps: 6 };
        Measured { time: Duration::from_millis(500), tally, usage, unanswered }
    }

    #[test]
    fn answers_are_counted_by_status() {
        let measured = measured(&[202, 202, 429], 0);
        assert_eq!((measured.rate(202), measured.rate(429), measured.rate(503)), (4.0, 2.0, 0.0));
        assert_eq!((measured.cpu_us_per_answer(), measured.sleeps_per_answer()), (10.0, 2.0));
        assert_eq!(measured.tally.latency(503, 0.5), None);
        let slowest = measured.tally.latency(202, 1.0).unwrap();
        assert!((1_998..=2_002).contains(&slowest.as_micros()), "{slowest:?}");
    }

    #[test]
    fn an_unexpected_status_or_a_missing_answer_spoils_a_measurement() {
        assert!(measured(&[202, 202], 0).with_only("submit", &[202]).is_ok());
        assert!(measured(&[202, 503], 0).with_only("submit", &[202]).is_err());
        assert!(measured(&[202, 202], 1).with_only("submit", &[202]).is_err());
        assert!(measured(&[], 0).with_only("submit", &[202]).is_err());
    }
}
