//! From a family of Prometheus' to a metric of OTLP's. Names stay as they are, so that both say the same of one figure.

use std::time::SystemTime;

use opentelemetry_proto::tonic::common::v1::KeyValue;
use opentelemetry_proto::tonic::metrics::v1::metric::Data;
use opentelemetry_proto::tonic::metrics::v1::{
    AggregationTemporality, Gauge, Histogram, HistogramDataPoint, Metric, NumberDataPoint, Sum,
    number_data_point,
};
use prometheus::proto::{self, MetricFamily, MetricType};

use super::resource::attribute;

const CUMULATIVE: i32 = AggregationTemporality::Cumulative as i32;

/// What the figures cover: from when they were zero.
#[derive(Debug, Clone, Copy)]
pub(super) struct Span {
    pub(super) began: SystemTime,
    pub(super) now: SystemTime,
}

/// The metric; `None` for sorts that this project has none of.
pub(super) fn metric(family: &MetricFamily, span: Span) -> Option<Metric> {
    let series = family.get_metric().iter();
    let data = match family.get_field_type() {
        MetricType::COUNTER => Data::Sum(Sum {
            data_points: series.map(|one| number(one, one.get_counter().get_value(), span)).collect(),
            aggregation_temporality: CUMULATIVE,
            is_monotonic: true,
        }),
        MetricType::GAUGE => Data::Gauge(Gauge {
            data_points: series.map(|one| number(one, one.get_gauge().get_value(), span)).collect(),
        }),
        MetricType::HISTOGRAM => Data::Histogram(Histogram {
            data_points: series.map(|one| histogram(one, span)).collect(),
            aggregation_temporality: CUMULATIVE,
        }),
        MetricType::SUMMARY | MetricType::UNTYPED => return None,
    };
    Some(Metric {
        name: family.name().to_owned(),
        description: family.help().to_owned(),
        unit: unit(family.name()).to_owned(),
        data: Some(data),
        ..Metric::default()
    })
}

/// The unit that ends a name, as UCUM writes it.
fn unit(name: &str) -> &'static str {
    match name.trim_end_matches("_total") {
        name if name.ends_with("_seconds") => "s",
        name if name.ends_with("_bytes") => "By",
        _ => "",
    }
}

fn number(series: &proto::Metric, value: f64, span: Span) -> NumberDataPoint {
    NumberDataPoint {
        attributes: labels(series),
        start_time_unix_nano: nanos(span.began),
        time_unix_nano: nanos(span.now),
        value: Some(number_data_point::Value::AsDouble(value)),
        ..NumberDataPoint::default()
    }
}

fn histogram(series: &proto::Metric, span: Span) -> HistogramDataPoint {
    let histogram = series.get_histogram();
    let mut below = 0;
    let (mut explicit_bounds, mut bucket_counts) = (Vec::new(), Vec::new());
    // Prometheus counts all below a bound, OTLP those since the bound before; the last has no bound.
    for bucket in histogram.get_bucket().iter().filter(|bucket| bucket.upper_bound().is_finite()) {
        explicit_bounds.push(bucket.upper_bound());
        bucket_counts.push(bucket.cumulative_count().saturating_sub(below));
        below = bucket.cumulative_count();
    }
    bucket_counts.push(histogram.get_sample_count().saturating_sub(below));
    HistogramDataPoint {
        attributes: labels(series),
        start_time_unix_nano: nanos(span.began),
        time_unix_nano: nanos(span.now),
        count: histogram.get_sample_count(),
        sum: Some(histogram.get_sample_sum()),
        bucket_counts,
        explicit_bounds,
        ..HistogramDataPoint::default()
    }
}

fn labels(series: &proto::Metric) -> Vec<KeyValue> {
    series.get_label().iter().map(|label| attribute(label.name(), label.value())).collect()
}

fn nanos(time: SystemTime) -> u64 {
    let since = time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use prometheus::{HistogramOpts, HistogramVec, IntCounter, IntGaugeVec, Opts, Registry};

    use super::*;

    const AT: Span = Span { began: SystemTime::UNIX_EPOCH, now: SystemTime::UNIX_EPOCH };

    fn exported(collector: impl prometheus::core::Collector + 'static) -> Metric {
        let registry = Registry::new();
        registry.register(Box::new(collector)).unwrap();
        let now = SystemTime::UNIX_EPOCH + Duration::from_nanos(9);
        metric(&registry.gather()[0], Span { now, ..AT }).unwrap()
    }

    #[test]
    fn a_counter_is_a_sum_that_only_grows() {
        let counter = IntCounter::new("steadfast_jobs_retried_total", "Retried.").unwrap();
        counter.inc_by(3);
        let metric = exported(counter);
        assert_eq!(
            (metric.name.as_str(), metric.description.as_str()),
            ("steadfast_jobs_retried_total", "Retried.")
        );
        let Some(Data::Sum(sum)) = metric.data else { panic!("{metric:?}") };
        assert!(sum.is_monotonic && sum.aggregation_temporality == CUMULATIVE);
        let [point] = &sum.data_points[..] else { panic!("{sum:?}") };
        assert_eq!(point.value, Some(number_data_point::Value::AsDouble(3.0)));
        assert_eq!((point.start_time_unix_nano, point.time_unix_nano), (0, 9));
    }

    #[test]
    fn a_gauge_keeps_its_labels_and_has_the_unit_of_its_name() {
        let gauge = IntGaugeVec::new(Opts::new("steadfast_queue_bytes", "Bytes."), &["queue"]).unwrap();
        gauge.with_label_values(&["mail"]).set(7);
        let metric = exported(gauge);
        assert_eq!(metric.unit, "By");
        let Some(Data::Gauge(gauge)) = metric.data else { panic!("{metric:?}") };
        assert_eq!(gauge.data_points[0].attributes, [attribute("queue", "mail")]);
    }

    #[test]
    fn a_histogram_counts_between_its_bounds() {
        let opts = HistogramOpts::new("steadfast_job_run_seconds", "Run.").buckets(vec![0.1, 1.0]);
        let histogram = HistogramVec::new(opts, &[]).unwrap();
        for seconds in [0.05, 0.06, 0.5, 7.0] {
            histogram.with_label_values(&[] as &[&str]).observe(seconds);
        }
        let metric = exported(histogram);
        assert_eq!(metric.unit, "s");
        let Some(Data::Histogram(histogram)) = metric.data else { panic!("{metric:?}") };
        let point = &histogram.data_points[0];
        assert_eq!((&point.explicit_bounds[..], &point.bucket_counts[..]), (&[0.1, 1.0][..], &[2, 1, 1][..]));
        assert_eq!((point.count, point.sum), (4, Some(7.61)));
    }
}
