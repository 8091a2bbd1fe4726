use std::sync::Arc;
use std::time::Duration;

use reqwest::Url;
use reqwest::header::{AUTHORIZATION, HeaderMap, HeaderValue};
use rustls::crypto::ring;
use rustls::{ClientConfig, RootCertStore};

/// The longest a connection attempt may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// The longest a call may take: the server's own longest wait, 30 s, and as much again.
const CALL_TIMEOUT: Duration = Duration::from_secs(60);

/// Why there is no client.
#[derive(Debug, thiserror::Error)]
pub enum SetupError {
    /// The address is not one of an HTTP server.
    #[error("{0:?} is not the address of a server; give one such as http://127.0.0.1:8080")]
    InvalidServer(String),
    /// The token has characters that no header can carry.
    #[error("the token is not one: it must be visible ASCII characters")]
    InvalidToken,
    /// Nothing is there to judge the server's certificate by.
    #[error("there are no certificates of authorities to trust: {0}")]
    NoAuthorities(String),
    /// The TLS library refused its configuration.
    #[error("TLS could not be set up")]
    Tls(#[source] rustls::Error),
    /// The HTTP client could not be built.
    #[error("the HTTP client could not be built")]
    Http(#[source] reqwest::Error),
}

/// The server's address, checked.
pub(crate) fn server_url(server: &str) -> Result<Url, SetupError> {
    match Url::parse(server) {
        Ok(url) if matches!(url.scheme(), "http" | "https") => Ok(url),
        Ok(_) | Err(_) => Err(SetupError::InvalidServer(server.to_owned())),
    }
}

/// Connections to it, with no proxy and no redirects followed.
pub(crate) fn http_client(server: &Url, token: Option<&str>) -> Result<reqwest::Client, SetupError> {
    let headers = token.map_or_else(|| Ok(HeaderMap::new()), authorization)?;
    reqwest::Client::builder()
        .default_headers(headers)
        .tls_backend_preconfigured(tls(server)?)
        .connect_timeout(CONNECT_TIMEOUT)
        .timeout(CALL_TIMEOUT)
        .redirect(reqwest::redirect::Policy::none())
        .no_proxy()
        .build()
        .map_err(SetupError::Http)
}

fn authorization(token: &str) -> Result<HeaderMap, SetupError> {
    let visible = !token.is_empty() && token.bytes().all(|byte| byte.is_ascii_graphic());
    let value = visible.then(|| HeaderValue::try_from(format!("Bearer {token}")).ok()).flatten();
    let mut value = value.ok_or(SetupError::InvalidToken)?;
    value.set_sensitive(true);
    Ok(HeaderMap::from_iter([(AUTHORIZATION, value)]))
}

fn tls(server: &Url) -> Result<ClientConfig, SetupError> {
    let roots = if server.scheme() == "https" { authorities()? } else { RootCertStore::empty() };
    Ok(ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(SetupError::Tls)?
        .with_root_certificates(roots)
        .with_no_client_auth())
}

/// What the platform trusts (on Linux also SSL_CERT_FILE and SSL_CERT_DIR, as OpenSSL does).
fn authorities() -> Result<RootCertStore, SetupError> {
    let found = rustls_native_certs::load_native_certs();
    let mut roots = RootCertStore::empty();
    let (usable, _) = roots.add_parsable_certificates(found.certs);
    if usable == 0 {
        let reasons: Vec<_> = found.errors.iter().map(ToString::to_string).collect();
        let reasons = if reasons.is_empty() { "none were found".to_owned() } else { reasons.join("; ") };
        return Err(SetupError::NoAuthorities(reasons));
    }
    Ok(roots)
}
