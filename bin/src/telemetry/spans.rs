use std::sync::Arc;
use std::time::Duration;

use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::InstrumentationScope;
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans};
use opentelemetry_sdk::trace::SpanData;
use prometheus::IntCounterVec;
use prost::Message;
use tokio::time::{Instant, sleep};

use super::collector::Collector;
use super::span_queue::SpanQueue;
use super::{Finish, SCOPE};
use crate::settings::TracesSettings;

/// The first pause before a batch is sent again.
const RETRY_FIRST: Duration = Duration::from_millis(500);
/// The longest such pause.
const RETRY_MAX: Duration = Duration::from_secs(5);

/// Takes spans out of the queue and sends them, in batches, one after the other.
pub(super) struct Export {
    pub(super) collector: Collector,
    pub(super) queue: Arc<SpanQueue>,
    pub(super) resource: Resource,
    pub(super) settings: TracesSettings,
    pub(super) dropped: IntCounterVec,
}

impl Export {
    /// Exports until the end is asked for, and then what waits.
    pub(super) async fn run(&self, finish: &Finish) {
        loop {
            let is_last = tokio::select! {
                biased;
                _ = finish.asked() => true,
                () = self.queue.full() => false,
                () = sleep(self.settings.delay) => false,
            };
            loop {
                let batch = self.queue.take();
                if batch.is_empty() {
                    break;
                }
                self.deliver(batch, finish).await;
            }
            if is_last {
                break;
            }
        }
    }

    /// Sends a batch, again and again while that may help and its time is not up. What was not taken by then is
    /// dropped, so that newer spans get through.
    async fn deliver(&self, batch: Vec<SpanData>, finish: &Finish) {
        let spans = batch.len() as u64;
        let body = self.request(batch);
        let give_up_at = Instant::now() + self.settings.give_up_after;
        let mut pause = RETRY_FIRST;
        loop {
            let is_last = finish.is_asked();
            let Err(failure) = self.collector.send(body.clone()).await else { return };
            if is_last || !failure.may_pass() || Instant::now() + pause > give_up_at {
                self.dropped.with_label_values(&["not_exported"]).inc_by(spans);
                return;
            }
            tokio::select! {
                () = sleep(pause) => {}
                _ = finish.asked() => {}
            }
            pause = (pause * 2).min(RETRY_MAX);
        }
    }

    fn request(&self, batch: Vec<SpanData>) -> bytes::Bytes {
        let scope = InstrumentationScope {
            name: SCOPE.to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            ..InstrumentationScope::default()
        };
        let spans = batch.into_iter().map(Into::into).collect();
        let resource_spans = ResourceSpans {
            resource: Some(self.resource.clone()),
            scope_spans: vec![ScopeSpans { scope: Some(scope), spans, ..ScopeSpans::default() }],
            ..ResourceSpans::default()
        };
        ExportTraceServiceRequest { resource_spans: vec![resource_spans] }.encode_to_vec().into()
    }
}
