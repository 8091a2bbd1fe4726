use std::time::Duration;

use steadfast_queue::spans::Tracer;

/// The limits of the server's outside.
#[derive(Debug, Clone)]
pub struct Config {
    /// Submits and reads worked on at once; one more is refused. A held answer gives its place back while
    /// it waits, a stream after its head.
    pub requests_max: usize,
    /// Held answers and event streams at once.
    pub held_max: usize,
    /// Connections at once. [`RESERVED_CONNECTIONS`](crate::RESERVED_CONNECTIONS) more are accepted for
    /// health, metrics and control alone.
    pub connections_max: usize,
    /// Whether there is an admin listener: then metrics are served there, and only there.
    pub has_admin_listener: bool,
    /// How long a request's head may take from the connection's first byte or from the answer before; also
    /// how long an idle connection is kept.
    pub header_timeout: Duration,
    /// How long a request's body may take to arrive.
    pub body_timeout: Duration,
    /// How long the server may take for an answer, waits on the client's wish not counted.
    pub request_timeout: Duration,
    /// How long a client may leave an answer unread until its connection is cut: with no byte taken, over
    /// HTTP/2 with an answer, or an event of a stream, not taken whole.
    pub stall_timeout: Duration,
    /// Bytes of one payload; bodies may be [`ENVELOPE_BYTES_MAX`](crate::ENVELOPE_BYTES_MAX) larger.
    pub payload_bytes_max: usize,
    /// Where each request is a span.
    pub tracer: Tracer,
}

impl Default for Config {
    /// The defaults of API.md, and 30 s for `stall_timeout`.
    fn default() -> Self {
        Self {
            requests_max: 1024,
            held_max: 10_000,
            connections_max: 10_000,
            has_admin_listener: false,
            header_timeout: Duration::from_secs(10),
            body_timeout: Duration::from_secs(30),
            request_timeout: Duration::from_secs(30),
            stall_timeout: Duration::from_secs(30),
            payload_bytes_max: 256 * 1024,
            tracer: Tracer::default(),
        }
    }
}
