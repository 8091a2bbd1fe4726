//! What is trusted for where it comes from: the server's own machine, and the admin listener.
//!
//! Two that are on the machine do not speak for it: a delivery of a job, whose address a client chose, and a browser, which
//! a web page has sent here under a name of the page's own (DNS rebinding). The first has a header that no payload can
//! take away, the second says that name.

use std::net::{IpAddr, SocketAddr};

use axum::extract::Request;
use http::header::HOST;
use http::uri::Authority;
use http::{HeaderMap, HeaderValue};
use steadfast_domain::JobId;
use steadfast_wire::ErrorCode;

use crate::connections::Peer;
use crate::problem::Refused;

/// Headers that a proxy adds: behind one on this machine, everybody would be a peer on this machine.
const FORWARDED: [&str; 3] = ["forwarded", "x-forwarded-for", "via"];

/// Whether it comes from the server's machine, as far as that shows.
pub(super) fn is_local(peer: Option<&Peer>, request: &Request) -> bool {
    let is_forwarded = |headers: &HeaderMap| FORWARDED.iter().any(|name| headers.contains_key(*name));
    peer.is_some_and(Peer::is_loopback) && !is_forwarded(request.headers())
}

/// Whether a request is trusted for where it comes from, or why not.
pub(super) fn trusted(peer: Option<&Peer>, request: &Request) -> Result<(), Refused> {
    if request.headers().contains_key(JobId::HEADER) {
        let detail = "a delivery of a job is trusted with nothing, wherever it comes from";
        return Err(Refused::new(ErrorCode::Forbidden, detail));
    }
    named_as_it_is(peer, request)
}

/// Whether a request by loopback asks for this machine, or why that is not plain. From elsewhere it may ask by any name,
/// since those who run the server may have given it that one.
pub(super) fn named_as_it_is(peer: Option<&Peer>, request: &Request) -> Result<(), Refused> {
    if !peer.is_some_and(Peer::is_loopback) {
        return Ok(());
    }
    // HTTP/2 names the host in the target, HTTP/1.1 in a header.
    let authority = match (request.uri().authority(), request.headers().get(HOST)) {
        (Some(authority), _) => Some(authority.clone()),
        // The usual one, not copied.
        (None, Some(host)) if is_address(host) => return Ok(()),
        (None, Some(host)) => Authority::try_from(host.as_bytes()).ok(),
        // A browser says one.
        (None, None) => return Ok(()),
    };
    let name = authority.as_ref().map(Authority::host);
    if name.is_some_and(is_of_this_machine) {
        return Ok(());
    }
    // The name may be anything; the header's length is bounded.
    let name = name.map_or_else(|| "what is no host".to_owned(), |name| format!("{name:?}"));
    let detail = format!(
        "asked for as {name} from the server's own machine: without a token only an address or a name \
         without a dot is taken there, since a web page may give this machine a name of its own"
    );
    Err(Refused::new(ErrorCode::Forbidden, detail))
}

fn is_address(host: &HeaderValue) -> bool {
    host.to_str().is_ok_and(|host| host.parse::<SocketAddr>().is_ok())
}

/// A name without a dot is nobody's on the Internet.
fn is_of_this_machine(host: &str) -> bool {
    let address = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(host);
    address.parse::<IpAddr>().is_ok()
        || !host.contains('.')
        || host.to_ascii_lowercase().ends_with(".localhost")
}

#[cfg(test)]
mod tests {
    use axum::body::Body;

    use super::*;
    use crate::connections::Entrance;

    fn request(headers: &[(&str, &[u8])]) -> Request {
        let mut request = Request::builder().uri("/v1/drain");
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        request.body(Body::empty()).unwrap()
    }

    fn peer(address: [u8; 4]) -> Peer {
        Peer::new((address, 50_000).into(), Entrance::Main, false)
    }

    /// Whether a request from this machine for this host is let pass.
    fn passes(host: &[u8]) -> bool {
        named_as_it_is(Some(&peer([127, 0, 0, 1])), &request(&[("host", host)])).is_ok()
    }

    #[test]
    fn a_delivery_is_trusted_with_nothing() {
        let peer = peer([127, 0, 0, 1]);
        let host = ("host", b"127.0.0.1:8080".as_slice());
        assert!(trusted(Some(&peer), &request(&[host])).is_ok());
        assert!(trusted(Some(&peer), &request(&[host, ("steadfast-job-id", b"x")])).is_err());
    }

    #[test]
    fn a_name_of_somebody_elses_is_not_this_machine() {
        for host in [
            "127.0.0.1:8080",
            "127.0.0.1",
            "[::1]:8080",
            "[::1]",
            "localhost:8080",
            "LOCALHOST",
            "jobs.localhost:1",
            "thismachine",
        ] {
            assert!(passes(host.as_bytes()), "{host}");
        }
        for host in [
            "evil.example:8080",
            "evil.example",
            "localhost.evil.example",
            "127.0.0.1.evil.example:80",
            "127.0.0.1:x@evil.example",
            "[::1]@evil.example",
        ] {
            assert!(!passes(host.as_bytes()), "{host}");
        }
        assert!(named_as_it_is(Some(&peer([127, 0, 0, 1])), &request(&[])).is_ok(), "a browser says one");
        let jobs = request(&[("host", b"jobs.example")]);
        assert!(named_as_it_is(Some(&peer([192, 0, 2, 1])), &jobs).is_ok(), "it may be its name");
    }

    #[test]
    fn what_cannot_be_read_as_a_host_is_not_this_machine() {
        for host in [b"evil\xff.example".as_slice(), b"\xff", b"", b"[::1", b"127.0.0.1:80:80", b"a b"] {
            assert!(!passes(host), "{}", String::from_utf8_lossy(host));
        }
    }
}
