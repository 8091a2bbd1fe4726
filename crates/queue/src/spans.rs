//! Spans of OpenTelemetry, where traces are exported. Who begins one need not ask: a [`Tracer`] that is off makes
//! [`Span`]s that are nothing, and never calls what would describe them.
//!
//! ```text
//!  traceparent ─▶ span of the request ─▶ Job::trace ─▶ span of each attempt ─▶ span of its delivery ─▶ traceparent
//! ```

use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use opentelemetry::global::{BoxedSpan, BoxedTracer, ObjectSafeTracer};
use opentelemetry::trace::{
    Span as _, SpanBuilder, SpanContext, SpanId, SpanKind, Status, TraceContextExt, TraceFlags, TraceId,
    TraceState, Tracer as _,
};
use opentelemetry::{Context, KeyValue};
use steadfast_domain::{Job, Timestamp, TraceParent};

/// Begins spans. The default is off.
#[derive(Clone, Default)]
pub struct Tracer(Option<Arc<BoxedTracer>>);

/// What one span is told while it lasts: until it is dropped. The default is none.
#[derive(Debug, Default)]
pub struct Span(Option<Box<BoxedSpan>>);

/// Which side of the process boundary a span's parent was begun on: backends find by it where a trace enters.
#[derive(Debug, Clone, Copy)]
enum Side {
    Here,
    Elsewhere,
}

impl Tracer {
    /// Begins spans by this tracer of OpenTelemetry's.
    pub fn new(tracer: impl ObjectSafeTracer + Send + Sync + 'static) -> Self {
        Self(Some(Arc::new(BoxedTracer::new(Box::new(tracer)))))
    }

    /// Whether it begins any.
    pub const fn is_on(&self) -> bool {
        self.0.is_some()
    }

    /// Begins the span that `described` describes, inside of the one that `parent` names or, without one, as the
    /// first of a new trace. The parent's word on whether the trace is recorded holds, unless the sampler in use
    /// says otherwise.
    pub fn begin(&self, parent: Option<&TraceParent>, described: impl FnOnce() -> SpanBuilder) -> Span {
        self.begin_on(Side::Elsewhere, parent, described)
    }

    /// The same inside of a span of this process.
    pub(crate) fn begin_inside(
        &self,
        parent: Option<&TraceParent>,
        described: impl FnOnce() -> SpanBuilder,
    ) -> Span {
        self.begin_on(Side::Here, parent, described)
    }

    fn begin_on(
        &self,
        side: Side,
        parent: Option<&TraceParent>,
        described: impl FnOnce() -> SpanBuilder,
    ) -> Span {
        let Some(tracer) = &self.0 else { return Span(None) };
        let context = parent.map_or_else(Context::new, |parent| {
            Context::new().with_remote_span_context(context_of(parent, side))
        });
        Span(Some(Box::new(tracer.build_with_context(described(), &context))))
    }

    /// Begins the span of an attempt that begins now.
    pub(crate) fn begin_attempt(&self, job: &Job) -> Span {
        self.begin(job.trace.as_ref(), || attempt(job))
    }

    /// The span of an attempt that ran elsewhere, under a lease, and has ended.
    pub(crate) fn leased_attempt(
        &self,
        job: &Job,
        [started, ended]: [Timestamp; 2],
        outcome: &'static str,
        error: Option<&str>,
    ) {
        let mut span = self.begin(job.trace.as_ref(), || attempt(job).with_start_time(system_time(started)));
        span.attempt_ended(outcome, error);
        if let Some(span) = &mut span.0 {
            span.end_with_timestamp(system_time(ended));
        }
    }
}

impl Span {
    /// What goes out as `traceparent` to whoever works on behalf of this span, and what a job keeps of it.
    pub fn trace_parent(&self) -> Option<TraceParent> {
        let context = self.0.as_ref()?.span_context();
        let (trace, span) = (context.trace_id().to_bytes(), context.span_id().to_bytes());
        let flags = context.trace_flags().to_u8();
        context
            .is_valid()
            .then(|| TraceParent::from_parts(u128::from_be_bytes(trace), u64::from_be_bytes(span), flags))
    }

    /// Notes an attribute, if the span is recorded.
    pub fn note(&mut self, attribute: impl FnOnce() -> KeyValue) {
        if let Some(span) = self.0.as_mut().filter(|span| span.is_recording()) {
            span.set_attribute(attribute());
        }
    }

    /// What the span stands for went wrong; `error` says how, in one of few words. No sentence goes with it: it may
    /// hold what a job's payload or an endpoint said.
    pub fn failed(&mut self, error: &str) {
        self.note(|| KeyValue::new("error.type", error.to_owned()));
        if let Some(span) = &mut self.0 {
            span.set_status(Status::error(""));
        }
    }

    /// How the attempt that it stands for ended; `error` is the code of its failure.
    pub(crate) fn attempt_ended(&mut self, outcome: &'static str, error: Option<&str>) {
        self.note(|| KeyValue::new("steadfast.attempt.outcome", outcome));
        if let Some(error) = error {
            self.failed(error);
        }
    }
}

/// An attempt by OpenTelemetry's conventions for messages, in which a job is a message that is processed.
fn attempt(job: &Job) -> SpanBuilder {
    SpanBuilder::from_name(format!("process {}", job.queue)).with_kind(SpanKind::Consumer).with_attributes([
        KeyValue::new("messaging.system", "steadfast"),
        KeyValue::new("messaging.operation.type", "process"),
        KeyValue::new("messaging.operation.name", "process"),
        KeyValue::new("messaging.destination.name", job.queue.to_string()),
        KeyValue::new("messaging.message.id", job.id.to_string()),
        KeyValue::new("steadfast.job.kind", job.kind.to_string()),
        KeyValue::new("steadfast.job.attempt", i64::from(job.attempt)),
    ])
}

fn context_of(parent: &TraceParent, side: Side) -> SpanContext {
    let (trace, span, flags) = parent.parts();
    let is_remote = matches!(side, Side::Elsewhere);
    let (trace, span) = (TraceId::from_bytes(trace.to_be_bytes()), SpanId::from_bytes(span.to_be_bytes()));
    SpanContext::new(trace, span, TraceFlags::new(flags), is_remote, TraceState::NONE)
}

fn system_time(at: Timestamp) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_millis(at.unix_ms().unsigned_abs())
}

impl fmt::Debug for Tracer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Tracer").field(&self.is_on()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tracer_that_is_off_describes_nothing() {
        let mut span = Tracer::default().begin(None, || unreachable!("nobody wants to know"));
        span.note(|| unreachable!("nobody wants to know"));
        span.failed("any");
        assert_eq!(span.trace_parent(), None);
    }

    #[test]
    fn a_parent_is_read_as_it_was_written() {
        let parent = TraceParent::new("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01").unwrap();
        let context = context_of(&parent, Side::Elsewhere);
        assert_eq!(context.trace_id().to_string(), parent.trace_id());
        assert_eq!(context.span_id().to_string(), "b7ad6b7169203331");
        assert!(context.is_sampled() && context.is_remote());
        assert!(!context_of(&parent, Side::Here).is_remote());
    }
}
