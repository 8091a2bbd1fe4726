use std::time::Duration;

use rusqlite::Connection;
use steadfast_queue::store::StoreLimits;
use tokio::time::Instant;

use crate::command::Command;
use crate::counts::Doubted;
use crate::effects::Effects;
use crate::error::Fault;
use crate::inbox::Patience;
use crate::memory::Memory;
use crate::statements::Statements;
use crate::transaction::{Numbers, Transaction};

/// A connection's statements, what is kept in memory of its file, and how commits are synced.
#[derive(Debug)]
pub(crate) struct Session<'c> {
    pub(crate) connection: &'c Connection,
    statements: Statements<'c>,
    pub(crate) memory: Memory,
    numbers: Numbers,
    pub(crate) effects: Effects,
    syncing: bool,
}

/// Due jobs that one transaction puts among the ready ones; housekeeping does the rest.
const PROMOTED_MAX: usize = 10_000;
/// How long to wait before trying again to read the idempotency keys in an idle moment.
const LOAD_KEYS_EVERY: Duration = Duration::from_secs(1);

impl<'c> Session<'c> {
    /// A session whose first commit waits for its sync, as the connection was opened to.
    pub(crate) fn new(
        connection: &'c Connection,
        memory: Memory,
        numbers: Numbers,
    ) -> rusqlite::Result<Self> {
        let statements = Statements::prepare(connection)?;
        Ok(Self { connection, statements, memory, numbers, effects: Effects::default(), syncing: true })
    }

    /// Everything up to the commit, and the commit: how long that took.
    pub(crate) fn attempt(
        &mut self,
        group: &mut [Command],
        limits: &StoreLimits,
        admits: bool,
    ) -> Result<Duration, (Fault, rusqlite::Error)> {
        let in_statement = |error| (Fault::of_statement(&error), error);
        let now = crate::clock::now();
        // A claim that meets an expired job ends it, and that must last.
        let durable = group.iter().any(Command::is_durable) || self.memory.next_expired(now).is_some();
        self.sync_commits(durable).map_err(in_statement)?;
        self.statements.begin.execute([]).map_err(in_statement)?;
        for queue in std::iter::from_fn(|| self.memory.promote_next(now)).take(PROMOTED_MAX) {
            self.effects.ready(queue);
        }
        let Self { statements, memory, numbers, effects, .. } = self;
        let mut tx = Transaction::new(statements, memory, numbers, effects, limits, now, admits);
        group.iter_mut().try_for_each(|command| command.run(&mut tx)).map_err(in_statement)?;
        tx.finish().map_err(in_statement)?;
        let began = Instant::now();
        self.commit().map_err(|error| (Fault::of_commit(&error), error))?;
        Ok(began.elapsed())
    }

    fn commit(&mut self) -> rusqlite::Result<()> {
        fail::fail_point!("sqlite::commit::before");
        fail::fail_point!("sqlite::commit::fails", |_| Err(sync_failed()));
        self.statements.commit.execute([])?;
        fail::fail_point!("sqlite::commit::unknown", |_| Err(sync_failed()));
        fail::fail_point!("sqlite::commit::after");
        Ok(())
    }

    /// Takes back a transaction that failed with `fault`. `Some` when it may have happened all the same.
    pub(crate) fn take_back(&mut self, fault: Fault) -> Option<Doubted> {
        let doubtful = fault == Fault::Doubt || !self.rolls_back();
        let doubted = doubtful.then(|| Doubted::new(&self.effects, &self.memory.queues));
        self.effects.clear();
        self.memory.roll_back();
        doubted
    }

    /// Whether nothing of the transaction is left in the file.
    fn rolls_back(&self) -> bool {
        if self.connection.is_autocommit() {
            return true;
        }
        let ended = self.connection.execute_batch("ROLLBACK");
        if let Err(error) = &ended {
            tracing::error!(%error, "cannot roll back");
        }
        ended.is_ok()
    }

    /// Whether the next commit waits for its sync. A commit that does not still survives this process, and
    /// is on the disk with the next one that does.
    fn sync_commits(&mut self, durable: bool) -> rusqlite::Result<()> {
        fail::fail_point!("sqlite::commit::unsynced", |_| self.connection.pragma_update(
            None,
            "synchronous",
            "normal"
        ));
        if self.syncing != durable {
            self.connection.pragma_update(None, "synchronous", if durable { "full" } else { "normal" })?;
            self.syncing = durable;
        }
        Ok(())
    }

    /// Uses an idle moment to read some idempotency keys; says how long the next one is waited for.
    pub(crate) fn load_keys(&mut self) -> Patience {
        if self.memory.keys().is_complete() {
            return Patience::Endless;
        }
        match self.memory.keys_mut().load_some(&mut self.statements) {
            Ok(()) => Patience::None,
            Err(error) => {
                tracing::warn!(%error, "cannot read the idempotency keys yet");
                Patience::For(LOAD_KEYS_EVERY)
            }
        }
    }
}

#[cfg(feature = "failpoints")]
fn sync_failed() -> rusqlite::Error {
    rusqlite::Error::SqliteFailure(rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_IOERR_FSYNC), None)
}
