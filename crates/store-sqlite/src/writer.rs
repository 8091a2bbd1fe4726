use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use rusqlite::Connection;
use steadfast_queue::metrics::StoreMetrics;
use steadfast_queue::store::{ClaimId, Hint, QueueCounts, StoreLimits};
use tokio::sync::{broadcast, watch};
use tokio::time::Instant;

use crate::command::Command;
use crate::counts::Doubted;
use crate::error::Fault;
use crate::health::Health;
use crate::inbox::{Inbox, Patience, Taken};
use crate::load::{self, Opened};
use crate::lock::Lock;
use crate::log::Log;
use crate::memory::Memory;
use crate::reserve::Reserve;
use crate::room::Room;
use crate::schema;
use crate::session::Session;
use crate::transaction::Numbers;

/// The one thread that writes, and the only owner of the connection that can.
///
/// Whatever waits goes into one transaction, up to a bound, and shares its sync; then each caller gets its
/// own answer. It does not wait for more to come: those who come meanwhile share the next sync. Nothing is
/// answered before the commit that makes it true.
#[derive(Debug)]
pub(crate) struct Writer {
    pub(crate) path: PathBuf,
    pub(crate) limits: StoreLimits,
    pub(crate) inbox: Arc<Inbox>,
    pub(crate) hints: broadcast::Sender<Hint>,
    pub(crate) metrics: StoreMetrics,
    pub(crate) health: Health,
    pub(crate) reserve: Reserve,
    pub(crate) room: Arc<Room>,
    pub(crate) counts: QueueCounts,
    /// Of the transaction that made the file be opened again.
    pub(crate) doubted: Doubted,
    /// Set as the last thing: whether the file was flushed and closed in order.
    pub(crate) ended: watch::Sender<Option<Result<(), String>>>,
}

/// Why a connection is not served any more.
enum End {
    /// The store was closed, and nothing waits.
    Closed,
    /// A commit's outcome is unknown, or the log's. These claims must not be left behind, should they exist.
    Doubt(Vec<ClaimId>),
}

/// How long to wait before trying again to open a database whose last commit is in doubt.
const REOPEN_EVERY: Duration = Duration::from_millis(250);
/// Tries of which one is logged: a disk may be away for hours.
const SAY_EVERY_TRIES: u64 = 40;

/// Refuses what still waits when the writer ends, in order or by a panic.
struct LastWord(Arc<Inbox>);

impl Drop for LastWord {
    fn drop(&mut self) {
        self.0.abandon();
    }
}

impl Writer {
    /// Serves until the store is closed, then flushes and closes the file and lets go of the lock.
    pub(crate) fn run(mut self, opened: Opened, lock: Lock) {
        let _last_word = LastWord(Arc::clone(&self.inbox));
        let mut next = Some(opened);
        let mut closed = Err("the database could not be opened again after a failed commit".to_owned());
        while let Some(Opened { connection, log, memory, numbers, mut effects }) = next.take() {
            effects.publish(&self.hints, &mut self.counts, &memory.queues);
            match self.serve(&connection, &log, memory, numbers) {
                End::Closed => closed = close(connection, &mut self.reserve),
                End::Doubt(claims) => {
                    self.room.forget();
                    drop(connection);
                    next = self.reopen();
                    self.inbox.hand_back(claims);
                }
            }
        }
        if let Err(error) = &closed {
            tracing::error!(path = %self.path.display(), error, "the store was not closed in order");
        }
        drop(lock);
        self.ended.send_replace(Some(closed));
    }

    fn serve(&mut self, connection: &Connection, log: &Log, memory: Memory, numbers: Numbers) -> End {
        let mut session = match Session::new(connection, memory, numbers) {
            Ok(session) => session,
            Err(error) => {
                tracing::error!(%error, "cannot prepare the store's statements");
                return End::Doubt(Vec::new());
            }
        };
        self.room.committed(&session.memory.queues);
        let mut patience = Patience::None;
        loop {
            match self.inbox.take(patience) {
                Taken::End => return End::Closed,
                Taken::Nothing => patience = session.load_keys(),
                Taken::Batch(batch) => {
                    if let Err(claims) = self.serve_batch(&mut session, batch) {
                        return End::Doubt(claims);
                    }
                    if let Err(error) = log.shorten(connection)
                        && self.leaves_doubt(&error)
                    {
                        return End::Doubt(Vec::new());
                    }
                }
            }
        }
    }

    /// Whether a log that was not copied makes what was committed before doubtful, as a failed sync does. A
    /// full disk does not: the log is still whole, and is copied later.
    fn leaves_doubt(&mut self, error: &rusqlite::Error) -> bool {
        let fault = Fault::of_commit(error);
        self.health.failed(fault, error);
        if fault == Fault::Full {
            // New jobs would make it longer, and the next time it is copied into the reserve.
            match self.reserve.is_plenty() {
                true => self.reserve.refuse(),
                false => _ = self.reserve.release(),
            }
        }
        fault == Fault::Doubt
    }

    /// Serves a batch in one transaction, or in several when something in it fails. An error is doubt.
    fn serve_batch(&mut self, session: &mut Session<'_>, batch: Vec<Command>) -> Result<(), Vec<ClaimId>> {
        let now = Instant::now();
        let (late, batch): (Vec<_>, Vec<_>) = batch.into_iter().partition(|command| command.is_late(now));
        late.into_iter().for_each(Command::withdraw);
        let (queues, counts, health) = (&session.memory.queues, &self.counts, &mut self.health);
        let at_once = |command: Command| {
            command.answer_at_once(|now| queues.status(counts, now), || health.check(session.connection))
        };
        let batch: Vec<_> = batch.into_iter().filter_map(at_once).collect();
        if let Some(damage) = self.health.damage().map(str::to_owned) {
            self.room.forget();
            fail_all(batch, Fault::Unavailable, &damage);
            return Ok(());
        }
        let mut admits = self.reserve.admits(session.connection);
        // The last group is served next.
        let mut groups = vec![batch];
        while let Some(mut group) = groups.pop() {
            if group.is_empty() {
                continue;
            }
            let Err((fault, error)) = self.transact(session, &mut group, admits) else {
                fail::fail_point!("sqlite::answer::before");
                group.into_iter().for_each(|command| command.answer(&self.inbox));
                continue;
            };
            let cause = error.to_string();
            match fault {
                Fault::Data if group.len() > 1 => {
                    let rest = group.split_off(group.len() / 2);
                    groups.extend([rest, group]);
                }
                // Without its new jobs it may still fit, or with the room that is kept for it.
                Fault::Full if admits => {
                    admits = false;
                    self.reserve.refuse();
                    groups.push(group);
                }
                Fault::Full if self.reserve.release() => groups.push(group),
                Fault::Doubt => {
                    let mut claims = fail_all(group, fault, &cause);
                    let others = groups.into_iter().flatten().collect();
                    claims.extend(fail_all(others, Fault::Unavailable, &cause));
                    return Err(claims);
                }
                Fault::Data | Fault::Full | Fault::Unavailable => _ = fail_all(group, fault, &cause),
            }
        }
        Ok(())
    }

    /// Runs a group as one transaction. After an error nothing of it is left, except in doubt.
    fn transact(
        &mut self,
        session: &mut Session<'_>,
        group: &mut [Command],
        admits: bool,
    ) -> Result<(), (Fault, rusqlite::Error)> {
        let weight: usize = group.iter().map(Command::weight).sum();
        match session.attempt(group, &self.limits, admits) {
            Ok(took) => {
                if session.memory.has_changes() {
                    self.metrics.commit_seconds.observe(took.as_secs_f64());
                    self.metrics.batch_jobs.observe(weight as f64);
                    self.room.committed(&session.memory.queues);
                }
                session.memory.commit();
                session.effects.publish(&self.hints, &mut self.counts, &session.memory.queues);
                self.health.works();
                Ok(())
            }
            Err((fault, error)) => {
                self.health.failed(fault, &error);
                match session.take_back(fault) {
                    None => Err((fault, error)),
                    Some(doubted) => {
                        self.doubted = doubted;
                        Err((Fault::Doubt, error))
                    }
                }
            }
        }
    }

    /// Opens the database again after a commit whose outcome is unknown. A sync that failed proves nothing
    /// when it is repeated, since the kernel may have marked the pages clean: so the whole log is written
    /// into the database anew, with syncs of its own, before anything is believed and accepted again.
    /// `None` when the store was closed before that worked.
    fn reopen(&mut self) -> Option<Opened> {
        for tries in 0_u64.. {
            let cause = match load::open_anew(&self.path, &self.limits) {
                Ok(opened) => {
                    tracing::info!(path = %self.path.display(), "the store is open again");
                    self.end_doubt(&opened.connection);
                    self.health.works();
                    return Some(opened);
                }
                Err(error) if error.is_full() && self.reserve.release() => continue,
                Err(error) => error.to_string(),
            };
            if tries.is_multiple_of(SAY_EVERY_TRIES) {
                tracing::error!(path = %self.path.display(), tries, error = cause, "cannot open the store again");
            }
            let until = Instant::now() + REOPEN_EVERY;
            while let Some(left) = until.checked_duration_since(Instant::now()) {
                match self.inbox.take(Patience::For(left)) {
                    Taken::Batch(batch) => _ = fail_all(batch, Fault::Unavailable, &cause),
                    Taken::Nothing => {}
                    Taken::End => return None,
                }
            }
        }
        None
    }

    /// Counts the transaction in doubt if it happened, now that the file can tell.
    fn end_doubt(&mut self, connection: &Connection) {
        let doubted = std::mem::take(&mut self.doubted);
        match doubted.happened(connection) {
            Ok(true) => self.counts.add(&doubted.counts),
            Ok(false) => {}
            Err(error) => tracing::error!(%error, "cannot read what became of a commit; it is not counted"),
        }
    }
}

/// Says to every caller that it failed; returns the claims that must not be left behind.
fn fail_all(commands: Vec<Command>, fault: Fault, cause: &str) -> Vec<ClaimId> {
    commands.into_iter().flat_map(|command| command.fail(fault, cause)).collect()
}

/// Empties the log into the database and closes it.
fn close(connection: Connection, reserve: &mut Reserve) -> Result<(), String> {
    fail::fail_point!("sqlite::close::before_checkpoint");
    let mut emptied = schema::checkpoint(&connection);
    if emptied.as_ref().is_err_and(|error| Fault::of_commit(error) == Fault::Full) && reserve.release() {
        emptied = schema::checkpoint(&connection);
    }
    match emptied {
        Ok(true) => {}
        Ok(false) => tracing::warn!("a reader kept the log from being emptied; the next start does it"),
        Err(error) => return Err(error.to_string()),
    }
    schema::keep_log(&connection, false).map_err(|error| error.to_string())?;
    connection.close().map_err(|(_, error)| error.to_string())
}
