use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::join3;
use steadfast_domain::Timestamp;
use steadfast_queue::metrics::StoreMetrics;
use tokio::time::{Instant, sleep_until, timeout};
use tokio_postgres::Row;
use tokio_postgres::types::Type;

use crate::changes::Changes;
use crate::counts::Turn;
use crate::effects::Effects;
use crate::error::{Failure, Fault};
use crate::link::Link;
use crate::publisher::Publisher;
use crate::session::{Session, Sql};
use crate::tallies::Seat;

/// What shares one transaction.
pub(crate) trait Group: Send {
    /// Operations in it.
    fn weight(&self) -> usize;

    /// Reads, locks and decides, beginning with `begin`, which must be polled first. May be called again, when
    /// the transaction has to be begun again. An error ends the transaction.
    fn decide(&mut self, begin: Begin<'_>) -> impl Future<Output = Result<(Begun, Changes), Failure>> + Send;

    /// Statements whose answers are not needed to decide: they go out with the writes and the commit.
    fn last(&mut self, session: &Session, begun: &Begun) -> impl Future<Output = Result<(), Failure>> + Send {
        let _ = (session, begun);
        async { Ok(()) }
    }
}

/// How a transaction begins.
#[derive(Clone, Copy)]
pub(crate) struct Begin<'a> {
    pub(crate) session: &'a Session,
    pub(crate) seat: Seat,
}

/// A transaction that has taken its locks.
#[derive(Debug)]
pub(crate) struct Begun {
    /// The time of everything in it, by the database's clock.
    pub(crate) now: Timestamp,
}

impl Begin<'_> {
    /// Begins.
    pub(crate) async fn begin(self) -> Result<(), Failure> {
        Ok(self.session.begin(Some(self.seat)).await?)
    }

    /// The transaction's time; to be asked behind its locks, so that later versions never have earlier
    /// times.
    pub(crate) async fn begun(self) -> Result<Begun, Failure> {
        let rows = self.session.rows(&BEGUN, &[]).await?;
        Begun::read(rows.first(), 0)
    }
}

impl Begun {
    /// The time in a column of a row that is always there.
    pub(crate) fn read(row: Option<&Row>, column: usize) -> Result<Self, Failure> {
        let row = row.ok_or(Failure::Overtaken)?;
        Ok(Self { now: Timestamp::from_unix_ms(row.try_get(column)?) })
    }
}

/// How a group ended.
#[derive(Debug)]
pub(crate) enum Outcome {
    /// It is committed. `heard`: what [`Group::last`] asked was answered.
    Committed { heard: bool },
    /// Nothing happened.
    Failed(Failure),
    /// It may have happened.
    Unknown,
}

/// One connection that writes, in transactions one after another.
pub(crate) struct Writer {
    link: Link,
    seat: Seat,
    publisher: Arc<Publisher>,
    metrics: StoreMetrics,
    /// Of its newest transaction.
    turn: i64,
    doubt: Option<Doubt>,
}

/// A transaction whose end is not known, and what it is to tell if it was committed.
struct Doubt {
    turn: Turn,
    effects: Effects,
}

/// Times that a transaction is begun again because another stood in its way.
const RETRIES_MAX: usize = 20;
/// Times that a transaction is begun again because its connection was lost.
const LOSSES_MAX: usize = 2;
/// The longest a round trip may take: longer than the server lets any statement run.
const ROUND_TRIP_MAX: Duration = Duration::from_secs(12);
/// The longest that reading and deciding may take: a few round trips.
const DECIDE_MAX: Duration = Duration::from_secs(15);
/// How long a lost connection may take to come back before a transaction's end is called unknown.
const DOUBT_MAX: Duration = Duration::from_secs(5);

impl Writer {
    pub(crate) fn new(link: Link, seat: Seat, publisher: Arc<Publisher>, metrics: StoreMetrics) -> Self {
        Self { link, seat, publisher, metrics, turn: 0, doubt: None }
    }

    pub(crate) fn seat(&self) -> Seat {
        self.seat
    }

    /// Runs a group until it is committed, or cannot be.
    pub(crate) async fn run(&mut self, group: &mut impl Group) -> Outcome {
        // The next one writes over what tells of it.
        if let Err(failure) = self.end_doubt().await {
            return Outcome::Failed(failure);
        }
        self.metrics.batch_jobs.observe(group.weight() as f64);
        let (mut retries, mut losses) = (0, 0);
        loop {
            let failure = match self.attempt(group).await {
                Ok(outcome) => return outcome,
                Err(failure) => failure,
            };
            match failure.fault() {
                Fault::Again if retries < RETRIES_MAX => retries += 1,
                // A connection may have been lost long before it was used.
                Fault::Lost if losses < LOSSES_MAX => losses += 1,
                _ => return Outcome::Failed(failure),
            }
        }
    }

    /// One transaction. An error says that it did not happen.
    async fn attempt(&mut self, group: &mut impl Group) -> Result<Outcome, Failure> {
        let session = self.link.session().await?;
        let begin = Begin { session, seat: self.seat };
        let decided = timeout(DECIDE_MAX, group.decide(begin)).await;
        let (begun, mut changes) = match decided.unwrap_or(Err(Failure::Stalled)) {
            Ok(decided) => decided,
            Err(failure) => {
                self.roll_back(&failure).await;
                return Err(failure);
            }
        };
        self.turn += 1;
        let (began, turn) = (Instant::now(), Turn { seat: self.seat.number, number: self.turn });
        self.publisher.counts.begin(turn, std::mem::take(&mut changes.effects.counts));
        let end = if changes.is_empty() { "ROLLBACK" } else { "COMMIT" };
        let ended = {
            let writes = changes.write(session, self.seat, begun.now, turn.number);
            let last = group.last(session, &begun);
            let all = timeout(ROUND_TRIP_MAX, join3(writes, last, session.execute(end))).await;
            all.map_or(Err(Failure::Stalled), |(written, last, ended)| {
                written.and(last).and(ended.map_err(Failure::from))
            })
        };
        match ended {
            Ok(()) => {
                self.metrics.commit_seconds.observe(began.elapsed().as_secs_f64());
                self.happened(turn, changes.effects);
                Ok(Outcome::Committed { heard: true })
            }
            Err(failure) if failure.fault() == Fault::Lost && !changes.is_empty() => {
                tracing::warn!(error = %failure, "the connection was lost in a commit");
                self.link.drop_session();
                match self.became(turn).await {
                    Some(true) => {
                        self.happened(turn, changes.effects);
                        Ok(Outcome::Committed { heard: false })
                    }
                    Some(false) => {
                        self.publisher.counts.end(turn, false);
                        Err(failure)
                    }
                    None => {
                        self.doubt = Some(Doubt { turn, effects: changes.effects });
                        Ok(Outcome::Unknown)
                    }
                }
            }
            Err(failure) => {
                self.publisher.counts.end(turn, false);
                self.roll_back(&failure).await;
                Err(failure)
            }
        }
    }

    /// Counts and tells what a transaction has changed.
    fn happened(&self, turn: Turn, effects: Effects) {
        self.publisher.counts.end(turn, true);
        self.publisher.publish(effects);
    }

    /// Ends a transaction that failed; if that does not work, the connection with it.
    async fn roll_back(&mut self, failure: &Failure) {
        let gone = match self.link.session().await {
            _ if failure.fault() == Fault::Lost => true,
            Ok(session) => {
                let ended = timeout(ROUND_TRIP_MAX, session.execute("ROLLBACK")).await;
                !ended.is_ok_and(|ended| ended.is_ok())
            }
            Err(_) => false,
        };
        if gone {
            self.link.drop_session();
        }
    }

    /// Whether a transaction whose commit was not answered was committed, as the server says when it is there
    /// again and has ended it. `None` when it is not there in time.
    async fn became(&mut self, turn: Turn) -> Option<bool> {
        let deadline = Instant::now() + DOUBT_MAX;
        while Instant::now() < deadline {
            if let Ok(session) = self.link.session().await {
                match ask(session, self.seat, turn.number).await {
                    Ok(committed) => return Some(committed),
                    Err(failure) => {
                        tracing::debug!(error = %failure, "the transaction's end cannot be read yet")
                    }
                }
                self.link.drop_session();
            }
            sleep_until(self.link.retry_at().max(Instant::now() + POLL).min(deadline)).await;
        }
        None
    }

    pub(crate) fn is_in_doubt(&self) -> bool {
        self.doubt.is_some()
    }

    /// Finds out how the transaction in doubt ended, if there is one: its callers were told that nobody knows, but what
    /// it did is still to be counted and hinted. An error when the server is not there to tell.
    pub(crate) async fn end_doubt(&mut self) -> Result<(), Failure> {
        let Some(Doubt { turn, effects }) = self.doubt.take() else { return Ok(()) };
        let asked = match self.link.session().await {
            Ok(session) => ask(session, self.seat, turn.number).await,
            Err(failure) => Err(failure),
        };
        match asked {
            Ok(true) => self.happened(turn, effects),
            Ok(false) => self.publisher.counts.end(turn, false),
            Err(failure) => {
                self.link.drop_session();
                self.doubt = Some(Doubt { turn, effects });
                return Err(failure);
            }
        }
        Ok(())
    }

    pub(crate) async fn close(self) {
        self.link.close().await;
    }
}

/// Time between two questions for a transaction's end.
const POLL: Duration = Duration::from_millis(20);

/// Whether the seat's last transaction is this one. Its lock, which `begin` takes, waits until the server has ended it.
async fn ask(session: &Session, seat: Seat, turn: i64) -> Result<bool, Failure> {
    let answers = timeout(
        ROUND_TRIP_MAX,
        join3(session.begin(Some(seat)), session.rows(&LAST, &[&seat.number]), session.execute("ROLLBACK")),
    )
    .await;
    let (begun, last, ended) = answers.map_err(|_| Failure::Stalled)?;
    begun?;
    let rows = last?;
    ended?;
    let last: Option<i64> = rows.first().map(|row| row.try_get(0)).transpose()?;
    Ok(last == Some(turn))
}

/// What every writer asks.
pub(crate) const ASKS: &[&Sql] = &[&BEGUN, &LAST];

static BEGUN: Sql =
    Sql { text: "SELECT floor(extract(epoch FROM clock_timestamp()) * 1000)::bigint", types: &[] };

// Not by the transaction's own number (`pg_xact_status`): a crash forgets those that had written nothing down, and the
// server gives them out again.
static LAST: Sql =
    Sql { text: "SELECT turn FROM {s}.tallies WHERE scope = '' AND seat = $1", types: &[Type::INT8] };
