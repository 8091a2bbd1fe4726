//! A TCP proxy that stands between a client and a server and makes their network fail when a test says so.
//!
//! ```text
//!   client ──▶ Proxy ──▶ server        pass, delay, stall: how bytes go on
//!                                      cut: what is open ends now; cut_off: and nothing new comes about
//! ```

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use socket2::SockRef;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{ReadHalf, WriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;

/// What is read at once, and so what is held back of a connection that stalls.
const CHUNK_BYTES: usize = 16 * 1024;

/// The proxy. It serves while this lives; then its connections are closed.
#[derive(Debug)]
pub struct Proxy {
    address: SocketAddr,
    orders: watch::Sender<Orders>,
    _serving: JoinSet<()>,
}

#[derive(Debug, Clone, Copy)]
struct Orders {
    course: Course,
    /// How often connections were cut, and how the last time.
    cuts: usize,
    cut: Cut,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Course {
    Pass,
    Delay(Duration),
    Stall,
    Refuse,
}

/// How a connection ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cut {
    /// With a reset (RST): what was on its way is lost.
    Reset,
    /// In order (FIN), both ways.
    End,
    /// Not at all: it stays open, and nothing passes on it any more, as when a router between forgot it.
    Silent,
}

impl Proxy {
    /// A proxy to `server`, on a free port of the loopback address. It passes everything.
    ///
    /// # Panics
    /// When no port can be listened on.
    pub async fn to(server: SocketAddr) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a free port");
        let address = listener.local_addr().expect("a bound listener has an address");
        let (orders, followed) = watch::channel(Orders { course: Course::Pass, cuts: 0, cut: Cut::End });
        let mut serving = JoinSet::new();
        serving.spawn(serve(listener, server, followed));
        Self { address, orders, _serving: serving }
    }

    /// Where it listens.
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// From now on everything passes, what was held back first.
    pub fn pass(&self) {
        self.set(Course::Pass);
    }

    /// From now on each piece of data waits so long before it passes, in both directions.
    pub fn delay(&self, time: Duration) {
        self.set(Course::Delay(time));
    }

    /// From now on nothing passes, and every connection stays open, new ones too.
    pub fn stall(&self) {
        self.set(Course::Stall);
    }

    /// Ends every connection there is now. New ones are treated as before.
    pub fn cut(&self, cut: Cut) {
        self.orders.send_modify(|orders| {
            orders.cuts += 1;
            orders.cut = cut;
        });
    }

    /// Ends every connection there is now, and resets new ones: of what was held back nothing passes.
    pub fn cut_off(&self, cut: Cut) {
        self.orders.send_modify(|orders| {
            *orders = Orders { course: Course::Refuse, cuts: orders.cuts + 1, cut };
        });
    }

    fn set(&self, course: Course) {
        self.orders.send_modify(|orders| orders.course = course);
    }
}

async fn serve(listener: TcpListener, server: SocketAddr, orders: watch::Receiver<Orders>) {
    let mut connections = JoinSet::new();
    while let Ok((client, _)) = listener.accept().await {
        connections.spawn(carry(client, server, orders.clone()));
        while connections.try_join_next().is_some() {}
    }
}

/// One connection, from its acceptance to its end.
async fn carry(mut client: TcpStream, to: SocketAddr, mut orders: watch::Receiver<Orders>) {
    let Orders { course, cuts, .. } = *orders.borrow_and_update();
    if course == Course::Refuse {
        return end(client, Cut::Reset).await;
    }
    let mut cut = orders.clone();
    let cut = cut.wait_for(|orders| orders.cuts > cuts);
    let mut server = None;
    let how = tokio::select! {
        // What is to end and was held back until now ends.
        biased;
        cut = cut => cut.map_or(Cut::End, |orders| orders.cut),
        how = exchange(&mut client, &mut server, to, orders) => how,
    };
    end(client, how).await;
    if let Some(server) = server {
        end(server, how).await;
    }
}

/// Carries both directions until both have ended, and says how the connection is to end.
async fn exchange(
    client: &mut TcpStream,
    server: &mut Option<TcpStream>,
    to: SocketAddr,
    mut orders: watch::Receiver<Orders>,
) -> Cut {
    held_back(&mut orders).await;
    let Ok(connected) = TcpStream::connect(to).await else { return Cut::Reset };
    let ((from_client, to_client), (from_server, to_server)) =
        (client.split(), server.insert(connected).split());
    let there = forward(from_client, to_server, orders.clone());
    let back = forward(from_server, to_client, orders);
    // A reset on one side is one on the other; an end is passed on, and the other direction goes on.
    match tokio::try_join!(there, back) {
        Ok(_) => Cut::End,
        Err(_) => Cut::Reset,
    }
}

/// One direction, to the end of what its sender sends.
async fn forward(
    mut from: ReadHalf<'_>,
    mut to: WriteHalf<'_>,
    mut orders: watch::Receiver<Orders>,
) -> io::Result<()> {
    let mut chunk = vec![0; CHUNK_BYTES];
    loop {
        let bytes = from.read(&mut chunk).await?;
        held_back(&mut orders).await;
        if bytes == 0 {
            return to.shutdown().await;
        }
        to.write_all(&chunk[..bytes]).await?;
    }
}

/// Waits as long as the orders hold back what is to go on now.
async fn held_back(orders: &mut watch::Receiver<Orders>) {
    // Once the proxy is gone, its connections are, too.
    let Ok(now) = orders.wait_for(|orders| orders.course != Course::Stall).await.map(|orders| *orders) else {
        return;
    };
    if let Course::Delay(time) = now.course {
        tokio::time::sleep(time).await;
    }
}

async fn end(mut stream: TcpStream, how: Cut) {
    // Both fail only when the connection has ended already.
    match how {
        Cut::Reset => drop(SockRef::from(&stream).set_linger(Some(Duration::ZERO))),
        Cut::End => drop(stream.shutdown().await),
        Cut::Silent => std::future::pending().await,
    }
}
