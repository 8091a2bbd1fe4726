use prometheus::core::{Collector, Desc};
use prometheus::proto::MetricFamily;
use prometheus::{Gauge, GaugeVec, IntGauge, IntGaugeVec, Opts, Registry};

use crate::{Ledger, Phase, Phases};

/// The phase and the drain as metrics. Read when asked for, so no one has to keep them up to date:
/// `steadfast_phase{phase}`, `steadfast_draining`, `steadfast_shutdown_duration_seconds`,
/// `steadfast_shutdown_step_seconds{step}`.
#[derive(Debug)]
pub struct LifecycleMetrics {
    phases: Phases,
    ledger: Ledger,
    phase: IntGaugeVec,
    draining: IntGauge,
    duration_seconds: Gauge,
    step_seconds: GaugeVec,
}

impl LifecycleMetrics {
    /// Registers them.
    ///
    /// # Errors
    /// When one of the names is taken.
    pub fn register(registry: &Registry, phases: Phases, ledger: Ledger) -> Result<(), prometheus::Error> {
        let phase = Opts::new("steadfast_phase", "1 for the phase the server is in, 0 for the others");
        let step = Opts::new("steadfast_shutdown_step_seconds", "Time each step of the drain took so far");
        registry.register(Box::new(Self {
            phases,
            ledger,
            phase: IntGaugeVec::new(phase, &["phase"])?,
            draining: IntGauge::new("steadfast_draining", "1 from the beginning of the drain on")?,
            duration_seconds: Gauge::new(
                "steadfast_shutdown_duration_seconds",
                "Time since the drain began; 0 before",
            )?,
            step_seconds: GaugeVec::new(step, &["step"])?,
        }))
    }
}

impl Collector for LifecycleMetrics {
    fn desc(&self) -> Vec<&Desc> {
        [self.phase.desc(), self.draining.desc(), self.duration_seconds.desc(), self.step_seconds.desc()]
            .concat()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        let current = self.phases.current();
        for phase in Phase::ALL {
            self.phase.with_label_values(&[phase.as_str()]).set((phase == current).into());
        }
        self.draining.set((current >= Phase::LameDuck).into());
        self.duration_seconds.set(self.ledger.elapsed().unwrap_or_default().as_secs_f64());
        for (step, took) in self.ledger.steps() {
            self.step_seconds.with_label_values(&[step]).set(took.as_secs_f64());
        }
        [
            self.phase.collect(),
            self.draining.collect(),
            self.duration_seconds.collect(),
            self.step_seconds.collect(),
        ]
        .concat()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_scrape_sees_the_phase_and_the_drain_as_they_are() {
        let (sender, phases) = crate::phases();
        let (registry, ledger) = (Registry::new(), Ledger::new());
        LifecycleMetrics::register(&registry, phases, ledger.clone()).unwrap();
        assert!(scrape(&registry).contains("steadfast_phase{phase=\"starting\"} 1\n"));

        sender.advance(Phase::Draining);
        ledger.begin("SIGTERM");
        let _timer = ledger.step("draining", Duration::from_secs(30));
        tokio::time::advance(Duration::from_millis(250)).await;
        let text = scrape(&registry);
        for line in [
            "steadfast_phase{phase=\"starting\"} 0",
            "steadfast_phase{phase=\"draining\"} 1",
            "steadfast_draining 1",
            "steadfast_shutdown_duration_seconds 0.25",
            "steadfast_shutdown_step_seconds{step=\"draining\"} 0.25",
        ] {
            assert!(text.lines().any(|found| found == line), "{line} is not in\n{text}");
        }
    }

    fn scrape(registry: &Registry) -> String {
        prometheus::TextEncoder::new().encode_to_string(&registry.gather()).unwrap()
    }
}
