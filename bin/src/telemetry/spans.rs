use std::cell::Cell;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTraceServiceRequest, ExportTraceServiceResponse,
};
use opentelemetry_proto::tonic::common::v1::InstrumentationScope;
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans};
use opentelemetry_sdk::trace::SpanData;
use prometheus::{IntCounter, IntCounterVec};
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
    collector: Collector,
    queue: Arc<SpanQueue>,
    resource: Resource,
    settings: TracesSettings,
    /// Spans of the batch that is being sent.
    in_hand: Cell<usize>,
    /// Spans that the collector did not answer for, or not well.
    not_exported: IntCounter,
    /// Spans that it left out of what it took.
    rejected: IntCounter,
}

impl Export {
    pub(super) fn new(
        collector: Collector,
        queue: Arc<SpanQueue>,
        resource: Resource,
        settings: TracesSettings,
        dropped: &IntCounterVec,
    ) -> Self {
        let dropped = |reason| dropped.with_label_values(&[reason]);
        let (not_exported, rejected) = (dropped("not_exported"), dropped("rejected"));
        Self { collector, queue, resource, settings, in_hand: Cell::default(), not_exported, rejected }
    }

    /// Exports until the end is asked for, and then what waits.
    pub(super) async fn run(&self, finish: &Finish) {
        let mut is_last = false;
        loop {
            is_last = is_last
                || tokio::select! {
                    biased;
                    _ = finish.asked() => true,
                    () = self.queue.full() => false,
                    () = sleep(self.settings.delay) => false,
                };
            let batch = self.queue.take();
            if !batch.is_empty() {
                self.in_hand.set(batch.len());
                self.deliver(batch, is_last, finish).await;
                self.in_hand.set(0);
            } else if is_last {
                break;
            }
        }
    }

    /// Spans that wait or are being sent.
    pub(super) fn unsent(&self) -> usize {
        self.queue.len() + self.in_hand.get()
    }

    /// Sends a batch, again and again while that may help and its time is not up. What was not taken by then is
    /// dropped, so that newer spans get through.
    async fn deliver(&self, batch: Vec<SpanData>, mut is_last: bool, finish: &Finish) {
        let spans = batch.len() as u64;
        let body = self.request(batch);
        let give_up_at = Instant::now() + self.settings.give_up_after;
        let mut pause = RETRY_FIRST;
        loop {
            let failure = match self.collector.send(body.clone()).await {
                Ok(answer) => return self.rejected.inc_by(rejected(answer).min(spans)),
                Err(failure) => failure,
            };
            if is_last || !failure.may_pass() || Instant::now() + pause > give_up_at {
                self.not_exported.inc_by(spans);
                return;
            }
            tokio::select! {
                biased;
                _ = finish.asked() => is_last = true,
                () = sleep(pause) => {}
            }
            pause = (pause * 2).min(RETRY_MAX);
        }
    }

    fn request(&self, batch: Vec<SpanData>) -> Bytes {
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

/// How many spans the collector says that it left out.
fn rejected(answer: Bytes) -> u64 {
    let partial = ExportTraceServiceResponse::decode(answer).ok().and_then(|answer| answer.partial_success);
    partial.and_then(|partial| u64::try_from(partial.rejected_spans).ok()).unwrap_or(0)
}
