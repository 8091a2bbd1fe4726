//! What is trusted for where it comes from: the server's own machine, and the admin listener.
//!
//! Two that are on the machine do not speak for it: a delivery of a job, whose address a client chose, and a browser, which
//! a web page has sent here under a name of the page's own (DNS rebinding). The first has a header that no payload can
//! take away, the second says that name.

use std::net::IpAddr;

use axum::extract::Request;
use http::HeaderMap;
use http::header::HOST;
use steadfast_wire::ErrorCode;

use crate::connections::Peer;
use crate::problem::Refused;

/// Headers that a proxy adds: behind one on this machine, everybody would be a peer on this machine.
const FORWARDED: [&str; 3] = ["forwarded", "x-forwarded-for", "via"];
/// What every delivery of a job says.
const DELIVERY: &str = "steadfast-job-id";

/// Whether it comes from the server's machine, as far as that shows.
pub(super) fn is_local(request: &Request) -> bool {
    let is_forwarded = |headers: &HeaderMap| FORWARDED.iter().any(|name| headers.contains_key(*name));
    is_loopback(request) && !is_forwarded(request.headers())
}

/// Whether a request is trusted for where it comes from, or why not.
pub(super) fn trusted(request: &Request) -> Result<(), Refused> {
    if request.headers().contains_key(DELIVERY) {
        let detail = "a delivery of a job is trusted with nothing, wherever it comes from";
        return Err(Refused::new(ErrorCode::Forbidden, detail));
    }
    named_as_it_is(request)
}

/// Whether a request from this machine asks for this machine, or why that is not plain.
pub(super) fn named_as_it_is(request: &Request) -> Result<(), Refused> {
    let Some(name) = host_of(request).filter(|_| is_loopback(request)) else { return Ok(()) };
    // A name without a dot is nobody's on the Internet.
    let is_this = name.parse::<IpAddr>().is_ok()
        || !name.contains('.')
        || name.to_ascii_lowercase().ends_with(".localhost");
    if is_this {
        return Ok(());
    }
    // The name may be anything; the header's length is bounded.
    let detail = format!(
        "asked for as {name:?} from the server's own machine: without a token only an address or a name \
         without a dot is taken there, since a web page may give this machine a name of its own"
    );
    Err(Refused::new(ErrorCode::Forbidden, detail))
}

fn is_loopback(request: &Request) -> bool {
    request.extensions().get::<Peer>().is_some_and(Peer::is_loopback)
}

/// The host, its port and brackets apart. HTTP/2 names it in the target, HTTP/1.1 in a header.
fn host_of(request: &Request) -> Option<&str> {
    let host = match request.uri().authority() {
        Some(authority) => authority.as_str(),
        None => request.headers().get(HOST)?.to_str().ok()?,
    };
    match host.strip_prefix('[') {
        Some(address) => address.split(']').next(),
        None => host.split(':').next(),
    }
}

#[cfg(test)]
mod tests {
    use axum::body::Body;

    use super::*;
    use crate::connections::Entrance;

    fn request(headers: &[(&str, &str)]) -> Request {
        let mut request = Request::builder().uri("/v1/drain");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        let mut request = request.body(Body::empty()).unwrap();
        request.extensions_mut().insert(Peer::new(([127, 0, 0, 1], 50_000).into(), Entrance::Main, false));
        request
    }

    #[test]
    fn a_delivery_is_trusted_with_nothing() {
        assert!(trusted(&request(&[("host", "127.0.0.1:8080")])).is_ok());
        assert!(trusted(&request(&[("host", "127.0.0.1:8080"), ("steadfast-job-id", "x")])).is_err());
    }

    #[test]
    fn a_name_of_somebody_elses_is_not_this_machine() {
        for host in
            ["127.0.0.1:8080", "[::1]:8080", "localhost:8080", "LOCALHOST", "jobs.localhost:1", "thismachine"]
        {
            assert!(named_as_it_is(&request(&[("host", host)])).is_ok(), "{host}");
        }
        for host in
            ["evil.example:8080", "evil.example", "localhost.evil.example", "127.0.0.1.evil.example:80"]
        {
            assert!(named_as_it_is(&request(&[("host", host)])).is_err(), "{host}");
        }
        assert!(named_as_it_is(&request(&[])).is_ok(), "a browser says one");
    }
}
