use std::net::{Ipv4Addr, SocketAddr};

use tokio::io::{AsyncReadExt, AsyncWriteExt, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;

/// What becomes of the connection whose answer is lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fate {
    /// It stays open, and nothing comes.
    Held,
    /// It ends.
    Closed,
}

/// Passes the first requests and their answers, passes one more on and keeps its answer to itself. Everything after
/// that it passes both ways.
pub(crate) struct LossyProxy {
    address: SocketAddr,
    answered: watch::Receiver<bool>,
    _serving: JoinSet<()>,
}

impl LossyProxy {
    pub(crate) async fn to(server: SocketAddr, answers: usize, fate: Fate) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a free port");
        let address = listener.local_addr().expect("an address");
        let (tell, answered) = watch::channel(false);
        let mut serving = JoinSet::new();
        serving.spawn(async move {
            let (mut first, _) = listener.accept().await.expect("a client");
            let mut to = TcpStream::connect(server).await.expect("the server");
            for _ in 0..answers {
                to.write_all(&message(&mut first).await).await.expect("the server reads");
                first.write_all(&message(&mut to).await).await.expect("the client reads");
            }
            to.write_all(&message(&mut first).await).await.expect("the server reads");
            message(&mut to).await;
            let held = (fate == Fate::Held).then_some(first);
            tell.send_replace(true);
            let mut passing = JoinSet::new();
            while let Ok((mut client, _)) = listener.accept().await {
                let mut to = TcpStream::connect(server).await.expect("the server");
                passing.spawn(async move { copy_bidirectional(&mut client, &mut to).await });
            }
            drop(held);
        });
        Self { address, answered, _serving: serving }
    }

    pub(crate) const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Waits until the server has given the answer that is lost.
    pub(crate) async fn until_answered(&self) {
        self.answered.clone().wait_for(|answered| *answered).await.expect("the proxy serves");
    }
}

/// A request or an answer, with its body.
pub(crate) async fn message(stream: &mut TcpStream) -> Vec<u8> {
    let mut message = Vec::new();
    while !is_whole(&message) {
        stream.read_buf(&mut message).await.expect("the rest of a message");
    }
    message
}

fn is_whole(message: &[u8]) -> bool {
    let text = String::from_utf8_lossy(message);
    let Some((head, body)) = text.split_once("\r\n\r\n") else { return false };
    let length = |line: &str| line.to_ascii_lowercase().strip_prefix("content-length: ")?.parse().ok();
    body.len() >= head.lines().find_map(length).unwrap_or(0)
}
