//! From the settings to each component's own configuration.

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use prometheus::{Gauge, Registry};
use steadfast_api::{Access, Config as ApiConfig, Tls};
use steadfast_domain::{BootId, QueueName};
use steadfast_handlers::HttpConfig;
use steadfast_lifecycle::DrainTrigger;
use steadfast_queue::admission::{AdmissionConfig, JobRates, QueueConfig, QueueMode, SettleRates};
use steadfast_queue::pool::{PoolConfig, PoolQueue};
use steadfast_queue::spans::Tracer;
use steadfast_queue::store::{QueueSpec, Retention, StoreLimits};
use tokio::sync::watch;
use tokio::time::Instant;

use crate::reload::{Contents, Reloadable};
use crate::settings::{QueueSettings, Settings, TlsFiles, TokenFile, is_local};

pub(crate) fn store_limits(settings: &Settings) -> StoreLimits {
    StoreLimits {
        capacity_jobs: settings.capacity,
        capacity_bytes: settings.capacity_bytes,
        interruptions_max: settings.interruptions_max,
        retention: Retention {
            keep: settings.retention,
            keep_dead: settings.retention_dead,
            jobs_max: settings.retention_jobs,
            bytes_max: settings.retention_bytes,
        },
    }
}

/// The queues of the settings, and `default`, which always exists.
pub(crate) fn queues(settings: &Settings) -> Vec<QueueSettings> {
    let mut queues = settings.queues.clone();
    let default = QueueName::default_queue();
    if !queues.iter().any(|queue| queue.name == default) {
        queues.push(QueueSettings::new(default));
    }
    queues
}

pub(crate) fn queue_spec(queue: &QueueSettings) -> QueueSpec {
    QueueSpec {
        name: queue.name.clone(),
        capacity_jobs: queue.capacity,
        capacity_bytes: queue.capacity_bytes,
    }
}

/// `connections_max` may be lower than the settings', to fit the limit of open files.
pub(crate) fn api(settings: &Settings, connections_max: usize, tracer: Tracer) -> ApiConfig {
    ApiConfig {
        requests_max: settings.requests_max,
        held_max: settings.held_max,
        connections_max,
        has_admin_listener: settings.admin_listen.is_some(),
        header_timeout: settings.header_timeout,
        body_timeout: settings.body_timeout,
        request_timeout: settings.request_timeout,
        payload_bytes_max: settings.payload_max,
        tracer,
        ..ApiConfig::default()
    }
}

/// Who may do what, and how a new token file changes that.
pub(crate) fn access(token_file: Option<TokenFile>) -> (Access, Option<Reloadable>) {
    let Some(TokenFile { path, in_force, tokens }) = token_file else { return (Access::default(), None) };
    let access = Access::by(tokens);
    let (changed, file) = (access.clone(), path.clone());
    let reloadable = Reloadable::new("tokens", vec![path], in_force, move |contents| {
        changed.replace(TokenFile::tokens_in(&file, contents)?);
        Ok(())
    });
    (access, Some(reloadable))
}

/// TLS, and how new files change it.
pub(crate) fn tls(
    files: Option<TlsFiles>,
    registry: &Registry,
) -> Result<(Option<Arc<Tls>>, Option<Reloadable>), prometheus::Error> {
    let Some(TlsFiles { paths, in_force, tls }) = files else { return Ok((None, None)) };
    let expiry = Gauge::new(
        "steadfast_tls_certificate_expiry_timestamp_seconds",
        "When the certificate that new connections are shown ends; NaN where it does not say so.",
    )?;
    registry.register(Box::new(expiry.clone()))?;
    show_expiry(&tls, &expiry);
    let (changed, files) = (Arc::clone(&tls), paths.all());
    let apply = move |contents: &Contents| {
        paths.apply(contents, &changed)?;
        show_expiry(&changed, &expiry);
        Ok(())
    };
    Ok((Some(tls), Some(Reloadable::new("tls", files, in_force, apply))))
}

/// The certificate's end, and a word if that has been.
fn show_expiry(tls: &Tls, shown: &Gauge) {
    let end = tls.expires_at();
    let seconds =
        end.and_then(|end| end.duration_since(UNIX_EPOCH).ok()).map_or(f64::NAN, |end| end.as_secs_f64());
    shown.set(seconds);
    if end.is_some_and(|end| end <= SystemTime::now()) {
        tracing::warn!("the certificate has expired: clients will refuse it");
    }
}

/// A server that only this machine reaches may deliver to this machine.
pub(crate) fn http_kind(settings: &Settings) -> HttpConfig {
    let mut addresses = std::iter::once(settings.listen).chain(settings.admin_listen);
    let is_local = addresses.all(is_local);
    HttpConfig {
        allow_private: settings.allow_private_addresses,
        allow_loopback: settings.allow_private_addresses || is_local,
    }
}

pub(crate) fn admission(
    settings: &Settings,
    queues: &[QueueSettings],
    settle_rates: Arc<SettleRates>,
    job_rates: Arc<JobRates>,
    drain_ends: watch::Receiver<Option<Instant>>,
) -> AdmissionConfig {
    let queue = |queue: &QueueSettings| QueueConfig {
        spec: queue_spec(queue),
        mode: queue.mode,
        kinds: queue.kinds.clone(),
    };
    AdmissionConfig {
        payload_bytes_max: settings.payload_max,
        request_timeout: settings.request_timeout,
        queues: queues.iter().map(queue).collect(),
        settle_rates,
        job_rates,
        drain_ends,
    }
}

pub(crate) fn pool(
    settings: &Settings,
    queues: &[QueueSettings],
    settle_rates: Arc<SettleRates>,
    job_rates: Arc<JobRates>,
    tracer: Tracer,
    drain: DrainTrigger,
) -> PoolConfig {
    let queue = |queue: &QueueSettings| PoolQueue {
        name: queue.name.clone(),
        weight: queue.weight,
        concurrency: queue.concurrency,
        rate_limit: queue.rate_limit,
    };
    let pushed = queues.iter().filter(|queue| queue.mode == QueueMode::Push);
    PoolConfig {
        concurrency: settings.concurrency,
        lease: settings.lease,
        boot: BootId::from_random(rand::random()),
        queues: pushed.map(queue).collect(),
        settle_rates,
        job_rates,
        tracer,
        drain,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_queue_exists_once() {
        let default = QueueSettings { weight: 7, ..QueueSettings::new(QueueName::default_queue()) };
        let mut settings = Settings::default();
        assert_eq!(queues(&settings), [QueueSettings::new(QueueName::default_queue())]);
        settings.queues = vec![default.clone()];
        assert_eq!(queues(&settings), [default]);
    }

    #[test]
    fn loopback_is_delivered_to_only_from_loopback_or_by_a_setting() {
        let mut settings = Settings::default();
        assert!(http_kind(&settings).allow_loopback && !http_kind(&settings).allow_private);
        settings.admin_listen = Some(([0, 0, 0, 0], 8081).into());
        assert!(!http_kind(&settings).allow_loopback);
        settings.admin_listen = None;
        settings.listen = ([0, 0, 0, 0], 8080).into();
        assert!(!http_kind(&settings).allow_loopback);
        settings.allow_private_addresses = true;
        assert!(http_kind(&settings).allow_loopback && http_kind(&settings).allow_private);
    }
}
