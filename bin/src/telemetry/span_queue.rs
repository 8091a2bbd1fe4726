use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use opentelemetry::Context;
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::trace::{Span, SpanData, SpanProcessor};
use parking_lot::Mutex;
use prometheus::IntCounter;
use tokio::sync::Notify;

/// Spans that have ended and are not exported yet: at most so many. Another one is dropped and counted.
#[derive(Debug)]
pub(super) struct SpanQueue {
    waiting: Mutex<VecDeque<SpanData>>,
    waiting_max: usize,
    batch_max: usize,
    /// There is a whole batch.
    full: Notify,
    dropped: IntCounter,
}

/// What the SDK hands ended spans to.
#[derive(Debug)]
pub(super) struct Processor(pub(super) Arc<SpanQueue>);

impl SpanQueue {
    pub(super) fn new(waiting_max: usize, batch_max: usize, dropped: IntCounter) -> Self {
        Self { waiting: Mutex::default(), waiting_max, batch_max, full: Notify::new(), dropped }
    }

    fn push(&self, span: SpanData) {
        let is_batch = {
            let mut waiting = self.waiting.lock();
            if waiting.len() >= self.waiting_max {
                drop(waiting);
                self.dropped.inc();
                return;
            }
            waiting.push_back(span);
            waiting.len() == self.batch_max
        };
        if is_batch {
            self.full.notify_one();
        }
    }

    /// The oldest spans, a batch of them at most.
    pub(super) fn take(&self) -> Vec<SpanData> {
        let mut waiting = self.waiting.lock();
        let batch = waiting.len().min(self.batch_max);
        waiting.drain(..batch).collect()
    }

    /// Waits for a whole batch. Cancel-safe.
    pub(super) async fn full(&self) {
        // The batch that it was told of may have been taken since.
        while self.len() < self.batch_max {
            self.full.notified().await;
        }
    }

    pub(super) fn len(&self) -> usize {
        self.waiting.lock().len()
    }
}

impl SpanProcessor for Processor {
    fn on_start(&self, _span: &mut Span, _context: &Context) {}

    fn on_end(&self, span: SpanData) {
        self.0.push(span);
    }

    /// Flushing is the exporting thread's.
    fn force_flush(&self) -> OTelSdkResult {
        Ok(())
    }

    fn shutdown_with_timeout(&self, _timeout: Duration) -> OTelSdkResult {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use opentelemetry::trace::{Tracer as _, TracerProvider as _};
    use opentelemetry_sdk::trace::SdkTracerProvider;
    use tokio::time::timeout;

    use super::*;

    #[tokio::test]
    async fn spans_wait_in_order_up_to_a_bound_and_a_whole_batch_is_told_of() {
        let dropped = IntCounter::new("dropped", "dropped").unwrap();
        let queue = Arc::new(SpanQueue::new(5, 3, dropped.clone()));
        let provider =
            SdkTracerProvider::builder().with_span_processor(Processor(Arc::clone(&queue))).build();
        let tracer = provider.tracer("test");
        let end = |names: &[&'static str]| names.iter().for_each(|name| drop(tracer.start(*name)));

        end(&["a", "b"]);
        timeout(Duration::ZERO, queue.full()).await.unwrap_err();
        end(&["c", "d", "e", "f", "g"]);
        timeout(Duration::ZERO, queue.full()).await.unwrap();
        assert_eq!(dropped.get(), 2);
        let names = || queue.take().into_iter().map(|span| span.name).collect::<Vec<_>>();
        assert_eq!(
            (names(), names(), names()),
            (vec!["a".into(), "b".into(), "c".into()], vec!["d".into(), "e".into()], vec![])
        );
        end(&["h", "i", "j"]);
        assert_eq!(names().len(), 3, "nobody has waited for them");
        timeout(Duration::ZERO, queue.full()).await.unwrap_err();
    }
}
