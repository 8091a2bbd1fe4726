use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use reqwest::redirect;
use rustls::{ClientConfig, RootCertStore};
use url::{Host, Url};

use super::address::{AddressPolicy, Denied, allowed};

/// From the name's resolution to the end of the TLS handshake.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// Idle connections kept to one host and port.
const IDLE_PER_HOST_MAX: usize = 8;
/// How long one is kept.
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

/// The one client of a process. It speaks HTTP/1.1 only: a connection then carries one delivery at a
/// time, and one that breaks fails no other.
pub(super) fn build(
    policy: AddressPolicy,
    names: impl Resolve + 'static,
) -> Result<reqwest::Client, BuildError> {
    reqwest::Client::builder()
        .tls_backend_preconfigured(tls().map_err(BuildError::Tls)?)
        .dns_resolver(PolicedResolver { names, policy })
        .no_proxy()
        .redirect(redirect::Policy::none())
        .http1_only()
        .user_agent(USER_AGENT)
        .connect_timeout(CONNECT_TIMEOUT)
        .pool_max_idle_per_host(IDLE_PER_HOST_MAX)
        .pool_idle_timeout(IDLE_TIMEOUT)
        .build()
        .map_err(BuildError::Client)
}

/// Trusts what the platform trusts (on Linux also SSL_CERT_FILE and SSL_CERT_DIR, as OpenSSL does).
fn tls() -> Result<ClientConfig, rustls::Error> {
    let found = rustls_native_certs::load_native_certs();
    let mut roots = RootCertStore::empty();
    let (usable, ignored) = roots.add_parsable_certificates(found.certs);
    if usable == 0 {
        tracing::warn!(
            ignored,
            errors = ?found.errors,
            "no trusted certificates found, https deliveries will fail: install the platform's CA certificates"
        );
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    Ok(ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_no_client_auth())
}

impl AddressPolicy {
    /// Judges a URL's host if it is an address: literals never come to the resolver. The URL's parser has
    /// brought every way of writing one (octal, hexadecimal, one number) into one form.
    pub(super) fn check_host(self, url: &Url) -> Result<(), Denied> {
        match url.host() {
            Some(Host::Ipv4(ip)) => allowed(ip.into(), self),
            Some(Host::Ipv6(ip)) => allowed(ip.into(), self),
            Some(Host::Domain(_)) | None => Ok(()),
        }
    }

    /// The addresses among `found` that are allowed; the first refusal when none is.
    fn keep_allowed(self, found: Addrs) -> Result<Vec<SocketAddr>, Denied> {
        let mut refusal = None;
        let kept: Vec<_> = found
            .filter(|address| match allowed(address.ip(), self) {
                Ok(()) => true,
                Err(denied) => {
                    refusal.get_or_insert(denied);
                    false
                }
            })
            .collect();
        match refusal {
            Some(denied) if kept.is_empty() => Err(denied),
            _ => Ok(kept),
        }
    }
}

/// Judges every address that a name resolves to, each time a connection is made.
struct PolicedResolver<R> {
    names: R,
    policy: AddressPolicy,
}

impl<R: Resolve> Resolve for PolicedResolver<R> {
    fn resolve(&self, name: Name) -> Resolving {
        let (found, policy) = (self.names.resolve(name), self.policy);
        Box::pin(async move {
            let kept = policy.keep_allowed(found.await?)?;
            Ok(Box::new(kept.into_iter()) as Addrs)
        })
    }
}

/// Asks the operating system.
pub(super) struct SystemResolver;

impl Resolve for SystemResolver {
    fn resolve(&self, name: Name) -> Resolving {
        Box::pin(async move {
            let found = tokio::net::lookup_host((name.as_str(), 0)).await?;
            // The lookup's own iterator borrows the name.
            let found: Vec<_> = found.collect();
            Ok(Box::new(found.into_iter()) as Addrs)
        })
    }
}
