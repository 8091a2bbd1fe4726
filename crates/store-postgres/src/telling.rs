//! Hints between processes: one connection that notifies, one that listens.

use std::future::poll_fn;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join3;
use tokio::time::{Instant, sleep, sleep_until};
use tokio_postgres::AsyncMessage;
use tokio_postgres::types::Type;
use tokio_util::sync::CancellationToken;

use crate::error::{Failure, chain};
use crate::link::{Connector, Link};
use crate::publisher::{News, Publisher};
use crate::session::{Session, Sql};

/// How long news is gathered before it is told.
const GATHER: Duration = Duration::from_millis(10);
/// Time between two attempts to listen again.
const LISTEN_AGAIN: Duration = Duration::from_millis(500);

/// The channel of a schema's processes.
fn channel(schema: &str) -> String {
    format!("{schema}_hints")
}

/// Tells the others what this process has changed, until `end`. A notification takes a lock of the whole
/// cluster until its commit ends, so it has a transaction of its own, which waits for no sync.
pub(crate) async fn tell(publisher: Arc<Publisher>, connector: Connector, from: u64, end: CancellationToken) {
    let channel = channel(&connector.url().parts().schema);
    let mut link = Link::new(connector, NOTIFIES);
    while end.run_until_cancelled(publisher.has_news()).await.is_some() {
        sleep(GATHER).await;
        let Some(news) = publisher.take(from) else { continue };
        let told = match link.session().await {
            Ok(session) => notify(session, &channel, &news.encode()).await,
            Err(failure) => Err(failure),
        };
        if let Err(failure) = told {
            tracing::debug!(error = %failure, "the other processes were not told");
            link.drop_session();
            publisher.lost();
            sleep_until(link.retry_at()).await;
        }
    }
    link.close().await;
}

async fn notify(session: &Session, channel: &str, payload: &str) -> Result<(), Failure> {
    let (begun, told, ended) = join3(
        session.execute("BEGIN; SET LOCAL synchronous_commit = off; SET LOCAL statement_timeout = '5s'"),
        session.rows(&NOTIFY, &[&channel, &payload]),
        session.execute("COMMIT"),
    )
    .await;
    begun?;
    told?;
    Ok(ended?)
}

const NOTIFIES: &[&Sql] = &[&NOTIFY];

static NOTIFY: Sql = Sql { text: "SELECT pg_notify($1, $2)", types: &[Type::TEXT, Type::TEXT] };

/// Passes on what the others tell, until `end`. After a gap everything has to be looked at.
pub(crate) async fn listen(
    publisher: Arc<Publisher>,
    connector: Connector,
    from: u64,
    end: CancellationToken,
) {
    let mut was_lost = false;
    loop {
        let began = Instant::now();
        let listening = listen_once(&publisher, &connector, from, was_lost);
        match end.run_until_cancelled(listening).await {
            None => return,
            Some(Ok(())) => tracing::debug!("the connection that listens ended"),
            Some(Err(error)) => {
                tracing::debug!(error = chain(&error), "the connection that listens was lost");
            }
        }
        was_lost = true;
        if end.run_until_cancelled(sleep_until(began + LISTEN_AGAIN)).await.is_none() {
            return;
        }
    }
}

async fn listen_once(
    publisher: &Publisher,
    connector: &Connector,
    from: u64,
    was_lost: bool,
) -> Result<(), tokio_postgres::Error> {
    let (client, mut connection) = connector.connect().await?;
    let listen = format!("LISTEN \"{}\"", channel(&connector.url().parts().schema));
    let mut listening = pin!(async {
        client.batch_execute(&listen).await?;
        if was_lost {
            publisher.here([steadfast_queue::store::Hint::Everything]);
        }
        Ok::<_, tokio_postgres::Error>(())
    });
    let mut is_listening = false;
    loop {
        let message = tokio::select! {
            biased;
            listens = &mut listening, if !is_listening => {
                listens?;
                is_listening = true;
                continue;
            }
            message = poll_fn(|cx| connection.poll_message(cx)) => message,
        };
        match message {
            None => return Ok(()),
            Some(Err(error)) => return Err(error),
            Some(Ok(AsyncMessage::Notification(notification))) => {
                let news = News::decode(notification.payload());
                if news.from != from {
                    publisher.here(news.hints());
                }
            }
            Some(Ok(_)) => {}
        }
    }
}
