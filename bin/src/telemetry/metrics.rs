use std::time::{Duration, SystemTime};

use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::common::v1::InstrumentationScope;
use opentelemetry_proto::tonic::metrics::v1::{ResourceMetrics, ScopeMetrics};
use opentelemetry_proto::tonic::resource::v1::Resource;
use prost::Message;
use steadfast_api::App;
use tokio::time::{MissedTickBehavior, interval};

use super::collector::Collector;
use super::families::{Span, metric};
use super::{Finish, SCOPE};

/// Sends what `/metrics` shows, every so often. What a collector missed is in the next figures, since they only grow:
/// nothing is sent twice.
pub(super) struct Export {
    collector: Collector,
    resource: Resource,
    every: Duration,
    began: SystemTime,
}

impl Export {
    /// Counts are taken to begin now.
    pub(super) fn new(collector: Collector, resource: Resource, every: Duration) -> Self {
        Self { collector, resource, every, began: SystemTime::now() }
    }

    /// Exports until the end is asked for, and then once more: by then the drain is over and its figures stay as they
    /// are.
    pub(super) async fn run(self, app: &App, finish: &Finish) {
        let mut ticks = interval(self.every);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        // The first comes at once.
        ticks.tick().await;
        loop {
            let is_last = tokio::select! {
                biased;
                _ = finish.asked() => true,
                _ = ticks.tick() => false,
            };
            // A failure has been told of.
            let _ = self.collector.send(self.request(app).await).await;
            if is_last {
                break;
            }
        }
    }

    async fn request(&self, app: &App) -> bytes::Bytes {
        let span = Span { began: self.began, now: SystemTime::now() };
        let families = app.gather().await;
        let scope = InstrumentationScope {
            name: SCOPE.to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            ..InstrumentationScope::default()
        };
        let metrics = families.iter().filter_map(|family| metric(family, span)).collect();
        let resource_metrics = ResourceMetrics {
            resource: Some(self.resource.clone()),
            scope_metrics: vec![ScopeMetrics { scope: Some(scope), metrics, ..ScopeMetrics::default() }],
            ..ResourceMetrics::default()
        };
        ExportMetricsServiceRequest { resource_metrics: vec![resource_metrics] }.encode_to_vec().into()
    }
}
