//! Malformed requests without end, made of good ones: the same seed makes the same requests.

use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};

/// The good requests. None of them stops the server or a queue, or keeps its job from ending.
const SEEDS: [&str; 8] = [
    "GET /v1/jobs?limit=1&state=queued HTTP/1.1\r\nHost: t\r\nConnection: close\r\n\r\n",
    "GET /v1/jobs/01993c1e-0000-7000-8000-000000000000 HTTP/1.1\r\nHost: t\r\nConnection: close\r\n\r\n",
    "GET /v1/queues/default HTTP/1.1\r\nHost: t\r\nAccept: application/json\r\nConnection: close\r\n\r\n",
    "POST /v1/jobs HTTP/1.1\r\nHost: t\r\nConnection: close\r\nContent-Type: application/json\r\n\
     Content-Length: 41\r\n\r\n{\"kind\":\"echo\",\"payload\":{\"n\":[1,2,\"x\"]}}",
    "POST /v1/jobs HTTP/1.1\r\nHost: t\r\nConnection: close\r\nContent-Type: application/json\r\n\
     Idempotency-Key: \"k\"\r\nTransfer-Encoding: chunked\r\n\r\nf\r\n{\"kind\":\"echo\"}\r\n0\r\n\r\n",
    "POST /v1/jobs/batch HTTP/1.1\r\nHost: t\r\nConnection: close\r\nContent-Type: application/json\r\n\
     Content-Length: 44\r\n\r\n{\"jobs\":[{\"kind\":\"echo\"},{\"kind\":\"echo\"}] } ",
    "POST /v1/leases HTTP/1.1\r\nHost: t\r\nConnection: close\r\nContent-Type: application/json\r\n\
     Content-Length: 25\r\n\r\n{\"worker\":\"w\",\"limit\":10}",
    "GET /v1/ws HTTP/1.1\r\nHost: t\r\nConnection: close, Upgrade\r\nUpgrade: websocket\r\n\
     Sec-WebSocket-Version: 7\r\n\r\n",
];
/// Bytes that parsers stumble over.
const TRIPS: [&[u8]; 20] = [
    b"\r\n",
    b"\n",
    b"\r",
    b"\0",
    b"\r\n\r\n",
    b" ",
    b"\t",
    b":",
    b"\xff",
    b"\xc0\xae",
    b"%00",
    b"%2e%2e/",
    b"../",
    b"-1",
    b"18446744073709551616",
    b"Transfer-Encoding: chunked\r\n",
    b"Content-Length: 7\r\n",
    b"Host: u\r\n",
    b"Expect: 100-continue\r\n",
    b"ffffffffffffffff\r\n",
];
/// How often one request is changed, at most.
const CHANGES_MAX: usize = 4;

/// Makes requests.
pub(crate) struct Mutations(StdRng);

impl Mutations {
    pub(crate) fn new(seed: u64) -> Self {
        Self(StdRng::seed_from_u64(seed))
    }

    /// The next request. Few of them are good by chance.
    pub(crate) fn next(&mut self) -> Vec<u8> {
        if self.0.random_ratio(1, 20) {
            return (0..self.0.random_range(1..500)).map(|_| self.0.random()).collect();
        }
        let mut request = self.seed();
        for _ in 0..self.0.random_range(1..=CHANGES_MAX) {
            self.change(&mut request);
        }
        request
    }

    fn seed(&mut self) -> Vec<u8> {
        SEEDS.choose(&mut self.0).map(|seed| seed.as_bytes().to_vec()).unwrap_or_default()
    }

    fn change(&mut self, request: &mut Vec<u8>) {
        if request.is_empty() {
            return;
        }
        let at = self.0.random_range(0..request.len());
        let until = self.0.random_range(at..=request.len());
        match self.0.random_range(0..7) {
            0 => request[at] ^= 1 << self.0.random_range(0..8),
            1 => request[at] = self.0.random(),
            2 => drop(request.drain(at..until)),
            3 => {
                let again = request[at..until].to_vec();
                request.splice(at..at, again);
            }
            4 => request.truncate(at),
            5 => {
                let trip = TRIPS.choose(&mut self.0).copied().unwrap_or_default();
                request.splice(at..at, trip.iter().copied());
            }
            _ => {
                let other = self.seed();
                let from = self.0.random_range(0..other.len());
                request.truncate(at);
                request.extend_from_slice(&other[from..]);
            }
        }
    }
}
