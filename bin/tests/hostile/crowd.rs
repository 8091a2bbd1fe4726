use std::io;
use std::net::SocketAddr;
use std::time::Duration;

use steadfast_domain::JobId;
use steadfast_testkit::raw::RawConnection;
use tokio::io::{AsyncReadExt, AsyncWriteExt, Interest};
use tokio::net::{TcpSocket, TcpStream};
use tokio::task::JoinSet;

use crate::http2;

/// How many kinds of clients there are: see [`Crowd::gather`].
pub(crate) const KINDS: usize = 13;
/// How many bodies one of each kind together leave unfinished.
pub(crate) const BODIES: usize = 3 + STREAMS as usize;
/// Streams of each HTTP/2 connection.
const STREAMS: u32 = 10;
/// Requests that a client sends at once and whose answers it does not read: far more than sockets take.
const PIPELINED: usize = 100;
/// Time between two bytes of one that trickles.
const TRICKLE: Duration = Duration::from_millis(100);
/// A socket that takes in next to nothing.
const RECEIVE_BYTES: u32 = 4 * 1024;

const HEAD: &str = "POST /v1/jobs HTTP/1.1\r\nHost: t\r\nContent-Type: application/json\r\n";

/// Clients that hang, until they are dropped.
pub(crate) struct Crowd {
    _silent: JoinSet<()>,
    _kept: Vec<RawConnection>,
    _trickling: JoinSet<()>,
}

impl Crowd {
    /// `of_each` of every kind. The answer with the job `large` is too long for the sockets together; the job
    /// `later` does not end by itself.
    pub(crate) async fn gather(address: SocketAddr, of_each: usize, large: JobId, later: JobId) -> Self {
        let (mut silent, mut kept, mut trickling) = (JoinSet::new(), Vec::new(), JoinSet::new());
        let large_path = format!("/v1/jobs/{large}");
        let events_path = format!("/v1/jobs/{later}/events");
        let get = |path: &str| format!("GET {path} HTTP/1.1\r\nHost: t\r\n\r\n");
        let streams = || (0..STREAMS).map(|stream| 2 * stream + 1);
        let hanging: [Vec<u8>; 9] = [
            Vec::new(),
            b"POST /v1/jobs HTTP/1.1\r\nHo".to_vec(),
            b"PRI * HTTP/2.0\r\n\r\n".to_vec(),
            format!("{HEAD}Content-Length: 99\r\n\r\n{{\"kind\":").into_bytes(),
            format!("{HEAD}Transfer-Encoding: chunked\r\n\r\n8\r\n{{\"kind\":\r\n9").into_bytes(),
            get(&large_path).repeat(PIPELINED).into_bytes(),
            get(&events_path).into_bytes(),
            [http2::hello(0), streams().flat_map(|stream| http2::get(stream, "/v1/jobs")).collect()].concat(),
            [http2::hello(65_535), streams().flat_map(http2::half_a_submit).collect()].concat(),
        ];
        for _ in 0..of_each {
            for bytes in &hanging {
                let stream = never_reads(address, bytes).await.expect("the bytes are sent");
                silent.spawn(hang_on(stream, address, bytes.clone()));
            }
            for path in ["/livez", &large_path] {
                kept.push(idle_after(address, path).await);
            }
            trickling.spawn(trickle(address, HEAD.replace("\r\nHost", "\r\nX: y\r\nHost").repeat(100)));
            let mut whole_head = TcpStream::connect(address).await.expect("a connection");
            let head = format!("{HEAD}Content-Length: 200000\r\n\r\n");
            whole_head.write_all(head.as_bytes()).await.expect("a head");
            trickling.spawn(trickle_on(whole_head, "x".repeat(200_000)));
        }
        Self { _silent: silent, _kept: kept, _trickling: trickling }
    }
}

/// Sends these bytes and never reads.
async fn never_reads(address: SocketAddr, bytes: &[u8]) -> io::Result<TcpStream> {
    let socket = TcpSocket::new_v4()?;
    socket.set_recv_buffer_size(RECEIVE_BYTES)?;
    let mut stream = socket.connect(address).await?;
    stream.write_all(bytes).await?;
    Ok(stream)
}

/// Comes again whenever it is cut off, as it is after 30 s with an answer that it does not read, until nobody listens.
async fn hang_on(stream: TcpStream, address: SocketAddr, bytes: Vec<u8>) {
    let mut stream = Ok(stream);
    while let Ok(connected) = stream {
        let _ = connected.ready(Interest::ERROR).await;
        stream = never_reads(address, &bytes).await;
    }
}

/// Asks once, reads the answer, and stays.
async fn idle_after(address: SocketAddr, path: &str) -> RawConnection {
    let mut connection = RawConnection::open(address).await.expect("a connection");
    connection.get(path).await.expect("a request");
    assert_eq!(connection.answer().await.expect("a whole answer").status, 200, "{path}");
    connection
}

async fn trickle(address: SocketAddr, text: String) {
    let stream = TcpStream::connect(address).await.expect("a connection");
    trickle_on(stream, text).await;
}

/// A byte now and then, until the server ends it.
async fn trickle_on(mut stream: TcpStream, text: String) {
    let mut bytes = text.bytes();
    let mut received = [0; 1024];
    loop {
        tokio::select! {
            read = stream.read(&mut received) => match read {
                Ok(1..) => {}
                _ => return,
            },
            () = tokio::time::sleep(TRICKLE) => {
                let Some(byte) = bytes.next() else { return };
                if stream.write_all(&[byte]).await.is_err() {
                    return;
                }
            }
        }
    }
}
