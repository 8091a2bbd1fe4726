use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use reqwest::dns::Resolve;
use reqwest::{Client, redirect};
use rustls::{ClientConfig, RootCertStore};
use url::{Origin, Url};

use super::address::{AddressPolicy, Denied};
use super::resolver::PolicedResolver;

/// From the name's resolution to the end of the TLS handshake.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// Idle connections kept to one host and port.
const IDLE_PER_HOST_MAX: usize = 8;
/// Hosts and ports that one client may keep connections to.
const ORIGINS_MAX: usize = 128;
/// How long an idle connection is kept.
const IDLE_TIMEOUT: Duration = Duration::from_secs(15);
const USER_AGENT: &str = concat!("steadfast/", env!("CARGO_PKG_VERSION"));

/// Why the `http` kind cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum BuildError {
    /// The TLS library refused its configuration.
    #[error("TLS could not be set up for deliveries")]
    Tls(#[source] rustls::Error),
    /// The HTTP client could not be built.
    #[error("the HTTP client for deliveries could not be built")]
    Client(#[source] reqwest::Error),
}

/// Gives out the process's client, and bounds what that keeps open.
///
/// A client bounds its idle connections for each host only. So it is replaced by a fresh one once it has been
/// asked for [`ORIGINS_MAX`] different origins: its idle connections close when the last delivery that uses
/// it has ended, or after [`IDLE_TIMEOUT`].
pub(super) struct Clients {
    tls: ClientConfig,
    resolver: Arc<dyn Resolve>,
    policy: AddressPolicy,
    current: Mutex<Current>,
}

struct Current {
    client: Client,
    /// What it has been asked for: scheme, host and port.
    origins: HashSet<Origin>,
}

impl Clients {
    /// Clients that connect to where `names` says, as far as `policy` allows.
    pub(super) fn new(policy: AddressPolicy, names: impl Resolve + 'static) -> Result<Self, BuildError> {
        let tls = tls().map_err(BuildError::Tls)?;
        let resolver: Arc<dyn Resolve> = Arc::new(PolicedResolver { names, policy });
        let client = build(&tls, &resolver).map_err(BuildError::Client)?;
        let current = Mutex::new(Current { client, origins: HashSet::new() });
        Ok(Self { tls, resolver, policy, current })
    }

    /// The client for a delivery to `url`, if that is not an address the policy refuses: for literals the
    /// client itself asks no resolver.
    pub(super) fn for_url(&self, url: &Url) -> Result<Client, Denied> {
        self.policy.check_host(url)?;
        let origin = url.origin();
        let mut current = self.current.lock();
        if current.origins.len() >= ORIGINS_MAX && !current.origins.contains(&origin) {
            current.origins.clear();
            match build(&self.tls, &self.resolver) {
                Ok(fresh) => current.client = fresh,
                Err(error) => tracing::error!(%error, "the delivery client could not be replaced"),
            }
        }
        current.origins.insert(origin);
        Ok(current.client.clone())
    }
}

/// A client that speaks HTTP/1.1 only: a connection then carries one delivery at a time, and one that
/// breaks fails no other.
fn build(tls: &ClientConfig, resolver: &Arc<dyn Resolve>) -> Result<Client, reqwest::Error> {
    Client::builder()
        .tls_backend_preconfigured(tls.clone())
        .dns_resolver(Arc::clone(resolver))
        .no_proxy()
        .redirect(redirect::Policy::none())
        .http1_only()
        .user_agent(USER_AGENT)
        .connect_timeout(CONNECT_TIMEOUT)
        .pool_max_idle_per_host(IDLE_PER_HOST_MAX)
        .pool_idle_timeout(IDLE_TIMEOUT)
        .build()
}

/// Trusts what the platform trusts (on Linux also SSL_CERT_FILE and SSL_CERT_DIR, as OpenSSL does).
fn tls() -> Result<ClientConfig, rustls::Error> {
    let found = rustls_native_certs::load_native_certs();
    let mut roots = RootCertStore::empty();
    let (usable, ignored) = roots.add_parsable_certificates(found.certs);
    if usable == 0 {
        tracing::warn!(
            ignored,
            error = ?found.errors,
            "no trusted certificates found, https deliveries will fail: install the platform's CA certificates"
        );
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    Ok(ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth())
}

#[cfg(test)]
mod tests {
    use super::super::resolver::SystemResolver;
    use super::*;

    #[test]
    fn a_client_is_kept_for_so_many_origins_and_no_more() {
        let clients = Clients::new(AddressPolicy::default(), SystemResolver).unwrap();
        let ask = |n: usize| {
            clients.for_url(&Url::parse(&format!("http://host-{n}.example/")).unwrap()).unwrap();
            clients.current.lock().origins.len()
        };
        for n in 0..ORIGINS_MAX {
            assert_eq!(ask(n), n + 1);
        }
        assert_eq!(ask(7), ORIGINS_MAX, "a known origin needs no other client");
        assert_eq!(ask(ORIGINS_MAX), 1);
    }
}
