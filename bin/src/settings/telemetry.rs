//! OpenTelemetry's own variables, as its specification defines them: which collector traces and metrics go to.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::ops::RangeInclusive;
use std::time::Duration;

use opentelemetry_sdk::trace::Sampler;
use percent_encoding::percent_decode_str;
use reqwest::Url;
use reqwest::header::{HeaderMap, HeaderName, HeaderValue};

use super::value::NotAllowed;
use super::{SettingsError, not_unicode};

/// The variables that are read, in the order of the documentation. Of a signal's own variable and the one for all
/// signals, its own counts.
pub const TELEMETRY_VARIABLES: [&str; 23] = [
    "OTEL_EXPORTER_OTLP_ENDPOINT",
    "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT",
    "OTEL_EXPORTER_OTLP_METRICS_ENDPOINT",
    "OTEL_EXPORTER_OTLP_HEADERS",
    "OTEL_EXPORTER_OTLP_TRACES_HEADERS",
    "OTEL_EXPORTER_OTLP_METRICS_HEADERS",
    "OTEL_EXPORTER_OTLP_TIMEOUT",
    "OTEL_EXPORTER_OTLP_TRACES_TIMEOUT",
    "OTEL_EXPORTER_OTLP_METRICS_TIMEOUT",
    "OTEL_EXPORTER_OTLP_PROTOCOL",
    "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL",
    "OTEL_EXPORTER_OTLP_METRICS_PROTOCOL",
    "OTEL_SERVICE_NAME",
    "OTEL_RESOURCE_ATTRIBUTES",
    "OTEL_TRACES_SAMPLER",
    "OTEL_TRACES_SAMPLER_ARG",
    "OTEL_TRACES_EXPORTER",
    "OTEL_METRICS_EXPORTER",
    "OTEL_METRIC_EXPORT_INTERVAL",
    "OTEL_BSP_SCHEDULE_DELAY",
    "OTEL_BSP_MAX_QUEUE_SIZE",
    "OTEL_BSP_MAX_EXPORT_BATCH_SIZE",
    "OTEL_BSP_EXPORT_TIMEOUT",
];
/// Ends all of it, whatever else is set.
pub const TELEMETRY_DISABLED: &str = "OTEL_SDK_DISABLED";

const SERVICE_NAME: &str = "service.name";
/// A time in milliseconds.
const MS: RangeInclusive<u64> = 1..=3_600_000;
const SPANS: RangeInclusive<u64> = 1..=1_000_000;

/// What is exported, and where to. Without an endpoint nothing is.
#[derive(Debug, Clone, Default)]
pub struct TelemetrySettings {
    /// Spans.
    pub traces: Option<TracesSettings>,
    /// What `/metrics` shows.
    pub metrics: Option<MetricsSettings>,
    /// What is said of this process with either: `service.name` always. Empty where there is neither.
    pub resource: BTreeMap<String, String>,
}

/// How spans are exported.
#[derive(Debug, Clone)]
pub struct TracesSettings {
    /// Where to.
    pub collector: CollectorSettings,
    /// Which traces are recorded.
    pub sampler: Sampler,
    /// How long a span waits for others, at most.
    pub delay: Duration,
    /// Spans that wait, at most; more are dropped.
    pub waiting_max: usize,
    /// Spans in one request.
    pub batch_max: usize,
    /// How long one batch is tried again and again.
    pub give_up_after: Duration,
}

/// How metrics are exported.
#[derive(Debug, Clone)]
pub struct MetricsSettings {
    /// Where to.
    pub collector: CollectorSettings,
    /// How often.
    pub interval: Duration,
}

/// A collector that takes one signal by OTLP over HTTP, as protobuf.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CollectorSettings {
    /// Where it takes the signal.
    pub url: Url,
    /// What it wants to be told besides, such as a key.
    pub headers: HeaderMap,
    /// How long one request may take.
    pub timeout: Duration,
}

impl TelemetrySettings {
    /// Reads the variables. One that is empty is not set, as the specification has it.
    pub(super) fn read(environment: &impl Fn(&str) -> Option<OsString>) -> Result<Self, SettingsError> {
        let variables = Variables(environment);
        if variables.switch(TELEMETRY_DISABLED)? {
            return Ok(Self::default());
        }
        let traces = variables.collector("TRACES", "v1/traces")?;
        let metrics = variables.collector("METRICS", "v1/metrics")?;
        if traces.is_none() && metrics.is_none() {
            return Ok(Self::default());
        }
        Ok(Self {
            traces: traces.map(|collector| variables.traces(collector)).transpose()?,
            metrics: metrics.map(|collector| variables.metrics(collector)).transpose()?,
            resource: variables.resource()?,
        })
    }
}

impl TelemetrySettings {
    /// Where each signal goes, without what may be a key; `None` where it goes nowhere.
    pub(crate) fn shown(&self) -> [(&'static str, Option<String>); 2] {
        let traces = self.traces.as_ref().map(|traces| traces.collector.shown());
        let metrics = self.metrics.as_ref().map(|metrics| metrics.collector.shown());
        [("traces", traces), ("metrics", metrics)]
    }
}

impl CollectorSettings {
    fn shown(&self) -> String {
        format!("{}{}", self.url.origin().ascii_serialization(), self.url.path())
    }
}

struct Variables<'a, E>(&'a E);

impl<E: Fn(&str) -> Option<OsString>> Variables<'_, E> {
    fn text(&self, name: &str) -> Result<Option<String>, SettingsError> {
        let Some(text) = (self.0)(name).filter(|text| !text.is_empty()) else { return Ok(None) };
        text.into_string().map(Some).map_err(|text| not_unicode(name, &text))
    }

    /// A signal's own variable or, without it, the one for all signals; with its name.
    fn of_signal(&self, signal: &str, what: &str) -> Result<Option<(String, String)>, SettingsError> {
        for name in [format!("OTEL_EXPORTER_OTLP_{signal}_{what}"), format!("OTEL_EXPORTER_OTLP_{what}")] {
            if let Some(text) = self.text(&name)? {
                return Ok(Some((name, text)));
            }
        }
        Ok(None)
    }

    /// Where a signal goes; `None` when it goes nowhere.
    fn collector(&self, signal: &str, path: &str) -> Result<Option<CollectorSettings>, SettingsError> {
        // First of all: where there is none, the other variables are some other program's.
        let Some((name, text)) = self.of_signal(signal, "ENDPOINT")? else { return Ok(None) };
        let exporter = format!("OTEL_{signal}_EXPORTER");
        match self.text(&exporter)?.as_deref() {
            None | Some("otlp") => {}
            Some("none") => return Ok(None),
            Some(other) => return Err(not_allowed(&exporter, other, "otlp or none")),
        }
        if let Some((name, protocol)) = self.of_signal(signal, "PROTOCOL")?
            && protocol != "http/protobuf"
        {
            return Err(not_allowed(&name, &protocol, "http/protobuf, the only protocol there is here"));
        }
        let mut url = endpoint(&name, &text)?;
        // The signal's own is taken as it is.
        if !name.contains(signal) {
            url.set_path(&format!("{}/{path}", url.path().trim_end_matches('/')));
        }
        let headers = match self.of_signal(signal, "HEADERS")? {
            Some((name, text)) => headers(&text).ok_or_else(|| headers_not_allowed(&name))?,
            None => HeaderMap::new(),
        };
        let timeout = match self.of_signal(signal, "TIMEOUT")? {
            Some((name, text)) => number(&name, &text, MS)?,
            None => 10_000,
        };
        Ok(Some(CollectorSettings { url, headers, timeout: Duration::from_millis(timeout) }))
    }

    fn traces(&self, collector: CollectorSettings) -> Result<TracesSettings, SettingsError> {
        let waiting_max = self.number("OTEL_BSP_MAX_QUEUE_SIZE", SPANS, 2_048)?;
        let batch_max =
            self.number("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", 1..=waiting_max, 512.min(waiting_max))?;
        Ok(TracesSettings {
            collector,
            sampler: self.sampler()?,
            delay: Duration::from_millis(self.number("OTEL_BSP_SCHEDULE_DELAY", MS, 5_000)?),
            waiting_max: waiting_max as usize,
            batch_max: batch_max as usize,
            give_up_after: Duration::from_millis(self.number("OTEL_BSP_EXPORT_TIMEOUT", MS, 30_000)?),
        })
    }

    fn metrics(&self, collector: CollectorSettings) -> Result<MetricsSettings, SettingsError> {
        let interval = self.number("OTEL_METRIC_EXPORT_INTERVAL", MS, 60_000)?;
        Ok(MetricsSettings { collector, interval: Duration::from_millis(interval) })
    }

    fn sampler(&self) -> Result<Sampler, SettingsError> {
        const NAME: &str = "OTEL_TRACES_SAMPLER";
        const ALLOWED: &str =
            "always_on, always_off, traceidratio, or one of them with parentbased_ in front";
        let text = self.text(NAME)?.unwrap_or_else(|| "parentbased_always_on".to_owned());
        let (root, is_parent_based) = match text.strip_prefix("parentbased_") {
            Some(root) => (root, true),
            None => (text.as_str(), false),
        };
        let sampler = match root {
            "always_on" => Sampler::AlwaysOn,
            "always_off" => Sampler::AlwaysOff,
            "traceidratio" => Sampler::TraceIdRatioBased(self.ratio()?),
            _ => return Err(not_allowed(NAME, &text, ALLOWED)),
        };
        Ok(if is_parent_based { Sampler::ParentBased(Box::new(sampler)) } else { sampler })
    }

    fn ratio(&self) -> Result<f64, SettingsError> {
        const NAME: &str = "OTEL_TRACES_SAMPLER_ARG";
        let Some(text) = self.text(NAME)? else { return Ok(1.0) };
        let ratio = text.parse().ok().filter(|ratio| (0.0..=1.0).contains(ratio));
        ratio.ok_or_else(|| not_allowed(NAME, &text, "a number from 0 to 1"))
    }

    fn resource(&self) -> Result<BTreeMap<String, String>, SettingsError> {
        const NAME: &str = "OTEL_RESOURCE_ATTRIBUTES";
        let text = self.text(NAME)?.unwrap_or_default();
        let allowed = "key=value pairs with commas between them, percent-encoded where they hold others";
        let mut resource = pairs(&text).ok_or_else(|| not_allowed(NAME, &text, allowed))?;
        if let Some(name) = self.text("OTEL_SERVICE_NAME")? {
            resource.insert(SERVICE_NAME.to_owned(), name);
        }
        resource.entry(SERVICE_NAME.to_owned()).or_insert_with(|| "steadfast".to_owned());
        Ok(resource)
    }

    fn number(&self, name: &str, range: RangeInclusive<u64>, default: u64) -> Result<u64, SettingsError> {
        self.text(name)?.map_or(Ok(default), |text| number(name, &text, range))
    }

    fn switch(&self, name: &str) -> Result<bool, SettingsError> {
        match self.text(name)? {
            None => Ok(false),
            Some(text) if text.eq_ignore_ascii_case("true") => Ok(true),
            Some(text) if text.eq_ignore_ascii_case("false") => Ok(false),
            Some(text) => Err(not_allowed(name, &text, "true or false")),
        }
    }
}

fn endpoint(name: &str, text: &str) -> Result<Url, SettingsError> {
    let is_base = |url: &Url| {
        matches!(url.scheme(), "http" | "https") && url.username().is_empty() && url.password().is_none()
    };
    Url::parse(text).ok().filter(is_base).ok_or_else(|| {
        // What stands before an @ may be a password.
        let shown = if text.contains('@') { "(not shown)" } else { text };
        not_allowed(name, shown, "a URL such as http://127.0.0.1:4318, without a user")
    })
}

/// `key=value` pairs. They are secrets: none is repeated, in no error and no log.
fn headers(text: &str) -> Option<HeaderMap> {
    let header = |(name, value): (String, String)| {
        let mut value = HeaderValue::try_from(value).ok()?;
        value.set_sensitive(true);
        Some((HeaderName::try_from(name).ok()?, value))
    };
    pairs(text)?.into_iter().map(header).collect()
}

fn headers_not_allowed(name: &str) -> SettingsError {
    not_allowed(name, "(not shown)", "key=value pairs with commas between them, each a header")
}

/// Pairs as in the header `Baggage`: their values percent-encoded.
fn pairs(text: &str) -> Option<BTreeMap<String, String>> {
    let pair = |pair: &str| {
        let (key, value) = pair.split_once('=')?;
        let value = percent_decode_str(value.trim()).decode_utf8().ok()?;
        let key = key.trim();
        (!key.is_empty()).then(|| (key.to_owned(), value.into_owned()))
    };
    text.split(',').filter(|text| !text.trim().is_empty()).map(pair).collect()
}

fn number(name: &str, text: &str, range: RangeInclusive<u64>) -> Result<u64, SettingsError> {
    let number = text.parse().ok().filter(|number| range.contains(number));
    number.ok_or_else(|| {
        not_allowed(name, text, &format!("a whole number from {} to {}", range.start(), range.end()))
    })
}

fn not_allowed(name: &str, text: &str, allowed: &str) -> SettingsError {
    SettingsError::not_allowed(name, NotAllowed { shown: text.to_owned(), allowed: allowed.to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;

    const ENDPOINT: (&str, &str) = ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://collector:4318");

    fn read(variables: &[(&str, &str)]) -> Result<TelemetrySettings, String> {
        let value = |name: &str| variables.iter().find(|(known, _)| *known == name);
        TelemetrySettings::read(&|name: &str| value(name).map(|(_, value)| OsString::from(value)))
            .map_err(|error| error.to_string())
    }

    fn urls(variables: &[(&str, &str)]) -> [Option<String>; 2] {
        let TelemetrySettings { traces, metrics, .. } = read(variables).unwrap();
        [traces.map(|traces| traces.collector), metrics.map(|metrics| metrics.collector)]
            .map(|collector| collector.map(|collector| collector.url.to_string()))
    }

    #[test]
    fn nothing_is_exported_without_an_endpoint_or_against_the_switches() {
        let nothing = [None, None];
        assert_eq!(urls(&[]), nothing);
        assert_eq!(urls(&[("OTEL_EXPORTER_OTLP_ENDPOINT", ""), ("OTEL_TRACES_EXPORTER", "otlp")]), nothing);
        assert_eq!(urls(&[ENDPOINT, (TELEMETRY_DISABLED, "True")]), nothing);
        assert_eq!(
            urls(&[ENDPOINT, ("OTEL_TRACES_EXPORTER", "none"), ("OTEL_METRICS_EXPORTER", "none")]),
            nothing
        );
    }

    #[test]
    fn without_an_endpoint_what_is_meant_for_other_programs_ends_no_start() {
        for variable in [
            ("OTEL_METRICS_EXPORTER", "prometheus"),
            ("OTEL_TRACES_EXPORTER", "console"),
            ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc"),
            ("OTEL_RESOURCE_ATTRIBUTES", "team"),
        ] {
            assert_eq!(urls(&[variable]), [None, None], "{variable:?}");
        }
    }

    #[test]
    fn a_base_gets_each_signals_path_and_a_signals_own_is_taken_as_it_is() {
        let [traces, metrics] =
            [Some("http://collector:4318/v1/traces"), Some("http://collector:4318/v1/metrics")]
                .map(|url| url.map(str::to_owned));
        assert_eq!(urls(&[ENDPOINT]), [traces.clone(), metrics.clone()]);
        assert_eq!(
            urls(&[("OTEL_EXPORTER_OTLP_ENDPOINT", "http://collector:4318/")]),
            [traces, metrics.clone()]
        );
        let own = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "https://traces.example/in");
        assert_eq!(urls(&[ENDPOINT, own]), [Some(own.1.to_owned()), metrics]);
        assert_eq!(urls(&[own]), [Some(own.1.to_owned()), None]);
    }

    #[test]
    fn headers_and_timeouts_are_the_signals_own_or_all_signals() {
        let variables = [
            ENDPOINT,
            ("OTEL_EXPORTER_OTLP_HEADERS", "api-key=all, x=a%20b"),
            ("OTEL_EXPORTER_OTLP_METRICS_HEADERS", "api-key=metrics"),
            ("OTEL_EXPORTER_OTLP_TIMEOUT", "700"),
            ("OTEL_EXPORTER_OTLP_TRACES_TIMEOUT", "80"),
        ];
        let TelemetrySettings { traces, metrics, .. } = read(&variables).unwrap();
        let (traces, metrics) = (traces.unwrap().collector, metrics.unwrap().collector);
        assert_eq!(
            (&traces.headers["api-key"], &traces.headers["x"]),
            (&"all".parse().unwrap(), &"a b".parse().unwrap())
        );
        assert_eq!((&metrics.headers["api-key"], metrics.headers.len()), (&"metrics".parse().unwrap(), 1));
        assert_eq!([traces.timeout, metrics.timeout].map(|time| time.as_millis()), [80, 700]);
        assert!(!format!("{traces:?}").contains("all"), "{traces:?}");
    }

    #[test]
    fn spans_are_batched_as_the_variables_say() {
        let defaults = read(&[ENDPOINT]).unwrap();
        let traces = defaults.traces.unwrap();
        assert_eq!((traces.waiting_max, traces.batch_max), (2_048, 512));
        assert_eq!((traces.delay.as_millis(), traces.give_up_after.as_millis()), (5_000, 30_000));
        assert_eq!(defaults.metrics.unwrap().interval.as_millis(), 60_000);
        let traces = read(&[
            ENDPOINT,
            ("OTEL_BSP_MAX_QUEUE_SIZE", "100"),
            ("OTEL_BSP_SCHEDULE_DELAY", "7"),
            ("OTEL_BSP_EXPORT_TIMEOUT", "9"),
        ])
        .unwrap()
        .traces
        .unwrap();
        assert_eq!((traces.waiting_max, traces.batch_max), (100, 100));
        assert_eq!((traces.delay.as_millis(), traces.give_up_after.as_millis()), (7, 9));
    }

    #[test]
    fn samplers_are_those_of_the_specification() {
        let sampler = |name: &'static str| {
            let variables = [ENDPOINT, ("OTEL_TRACES_SAMPLER", name), ("OTEL_TRACES_SAMPLER_ARG", "0.25")];
            format!("{:?}", read(&variables).unwrap().traces.unwrap().sampler)
        };
        assert_eq!(sampler(""), "ParentBased(AlwaysOn)");
        assert_eq!(sampler("always_off"), "AlwaysOff");
        assert_eq!(sampler("traceidratio"), "TraceIdRatioBased(0.25)");
        assert_eq!(sampler("parentbased_traceidratio"), "ParentBased(TraceIdRatioBased(0.25))");
    }

    #[test]
    fn the_service_has_a_name() {
        let name = |variables: &[_]| read(variables).unwrap().resource[SERVICE_NAME].clone();
        assert_eq!(name(&[ENDPOINT]), "steadfast");
        let attributes = ("OTEL_RESOURCE_ATTRIBUTES", "service.name=a,deployment.environment.name=b%2Cc");
        assert_eq!(name(&[ENDPOINT, attributes]), "a");
        assert_eq!(name(&[ENDPOINT, attributes, ("OTEL_SERVICE_NAME", "c")]), "c");
        assert_eq!(read(&[ENDPOINT, attributes]).unwrap().resource["deployment.environment.name"], "b,c");
    }

    #[test]
    fn what_is_not_allowed_is_named_and_secrets_are_not_repeated() {
        for (name, value) in [
            ("OTEL_SDK_DISABLED", "maybe"),
            ("OTEL_TRACES_EXPORTER", "zipkin"),
            ("OTEL_METRICS_EXPORTER", "prometheus"),
            ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc"),
            ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "http/json"),
            ("OTEL_EXPORTER_OTLP_METRICS_ENDPOINT", "collector:4318"),
            ("OTEL_EXPORTER_OTLP_TIMEOUT", "10s"),
            ("OTEL_TRACES_SAMPLER", "xray"),
            ("OTEL_BSP_MAX_QUEUE_SIZE", "0"),
            ("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "4096"),
            ("OTEL_METRIC_EXPORT_INTERVAL", "-1"),
            ("OTEL_RESOURCE_ATTRIBUTES", "team"),
        ] {
            let error = read(&[ENDPOINT, (name, value)]).unwrap_err();
            assert!(error.contains(name) && error.contains(value), "{error}");
        }
        for (name, value) in [
            ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "http://user:swordfish@collector"),
            ("OTEL_EXPORTER_OTLP_HEADERS", "swordfish"),
            ("OTEL_EXPORTER_OTLP_HEADERS", "a b=swordfish"),
        ] {
            let error = read(&[ENDPOINT, (name, value)]).unwrap_err();
            assert!(error.contains(name) && !error.contains("swordfish"), "{error}");
        }
        let ratio = [ENDPOINT, ("OTEL_TRACES_SAMPLER", "traceidratio"), ("OTEL_TRACES_SAMPLER_ARG", "2")];
        assert!(read(&ratio).unwrap_err().contains("OTEL_TRACES_SAMPLER_ARG"));
    }

    #[test]
    fn no_other_variable_is_read() {
        let asked = std::cell::RefCell::new(std::collections::BTreeSet::new());
        let environment = |name: &str| {
            asked.borrow_mut().insert(name.to_owned());
            (name == "OTEL_TRACES_SAMPLER")
                .then(|| "traceidratio".into())
                .or_else(|| name.ends_with("OTLP_ENDPOINT").then(|| "http://collector".into()))
        };
        TelemetrySettings::read(&environment).unwrap();
        let mut known: Vec<_> = TELEMETRY_VARIABLES.into_iter().chain([TELEMETRY_DISABLED]).collect();
        known.sort_unstable();
        assert_eq!(asked.into_inner().into_iter().collect::<Vec<_>>(), known);
    }
}
