use std::mem;
use std::sync::{Arc, Weak};

use rusqlite::Result as Sql;
use steadfast_domain::{Change, JobId, QueueName, Timestamp};
use steadfast_queue::store::{
    Cancel, ClaimId, ClaimLost, ClaimRequest, Claimed, End, QueueSpec, QueueStatus, Renewal, Renewed,
    Settlement, Speaker, StoreError, Submission, SubmitError, Submitted, Upkeep,
};
use tokio::sync::oneshot;

use crate::error::Fault;
use crate::inbox::Inbox;
use crate::transaction::Transaction;

/// One call's question, where its answer goes, and the answer while its transaction is not committed.
#[derive(Debug)]
pub(crate) struct Ask<I, T, E = StoreError> {
    input: I,
    answer: oneshot::Sender<Result<T, E>>,
    staged: Option<Result<T, E>>,
}

impl<I, T, E: From<StoreError>> Ask<I, T, E> {
    /// The question, and where its answer will be.
    pub(crate) fn new(input: I) -> (Self, oneshot::Receiver<Result<T, E>>) {
        let (answer, receiver) = oneshot::channel();
        (Self { input, answer, staged: None }, receiver)
    }

    fn stage(&mut self, answer: T) {
        self.staged = Some(Ok(answer));
    }

    /// Gives the answer that the commit has made true. Its caller may be gone.
    fn answer(self) {
        if let Some(answer) = self.staged {
            let _ = self.answer.send(answer);
        }
    }

    fn fail(self, error: StoreError) {
        let _ = self.answer.send(Err(error.into()));
    }
}

/// Claims on their way to their caller. Dropped on the way, because the caller is gone, they go back.
#[derive(Debug)]
pub(crate) struct Granted {
    claims: Vec<Claimed>,
    /// Where they go back to, once they are committed.
    inbox: Weak<Inbox>,
}

impl Granted {
    /// The caller has them.
    pub(crate) fn take(mut self) -> Vec<Claimed> {
        mem::take(&mut self.claims)
    }

    fn ids(&self) -> impl Iterator<Item = ClaimId> {
        self.claims.iter().map(|claimed| claimed.id)
    }
}

impl Drop for Granted {
    fn drop(&mut self) {
        if let (false, Some(inbox)) = (self.claims.is_empty(), self.inbox.upgrade()) {
            inbox.hand_back(self.ids());
        }
    }
}

/// Everything the writer can be asked for.
#[derive(Debug)]
pub(crate) enum Command {
    Submit(Ask<Submission, Vec<Submitted>, SubmitError>),
    Reopen(Ask<JobId, Change, SubmitError>),
    Claim(Ask<ClaimRequest, Granted>),
    Renew(Ask<Vec<Renewal>, Vec<Result<Renewed, ClaimLost>>>),
    Settle(Ask<Vec<Settlement>, Vec<Result<Change, ClaimLost>>>),
    Cancel(Ask<JobId, Cancel>),
    Declare(Ask<Vec<QueueSpec>, ()>),
    Pause(Ask<(QueueName, bool), bool>),
    Upkeep(Ask<usize, Upkeep>),
    Queues(Ask<(), Vec<QueueStatus>>),
    Check(Ask<(), ()>),
    /// Claims whose caller is gone.
    HandBack(Vec<ClaimId>),
}

impl Command {
    /// How much of a batch it takes.
    pub(crate) fn weight(&self) -> usize {
        match self {
            Self::Submit(ask) => ask.input.jobs.len(),
            Self::Claim(ask) => ask.input.max,
            Self::Renew(ask) => ask.input.len(),
            Self::Settle(ask) => ask.input.len(),
            Self::Declare(ask) => ask.input.len(),
            Self::Upkeep(ask) => ask.input,
            Self::HandBack(ids) => ids.len(),
            Self::Reopen(_) | Self::Cancel(_) | Self::Pause(_) | Self::Queues(_) | Self::Check(_) => 1,
        }
    }

    /// Payload bytes it brings.
    pub(crate) fn bytes(&self) -> usize {
        match self {
            Self::Submit(ask) => ask.input.jobs.iter().map(|job| job.payload.len_bytes()).sum(),
            _ => 0,
        }
    }

    /// Whether it is a submission whose time to wait is up.
    pub(crate) fn is_late(&self, now: tokio::time::Instant) -> bool {
        matches!(self, Self::Submit(ask) if ask.input.give_up_at <= now)
    }

    /// Whether its answer promises to survive the power. A claim's need not.
    pub(crate) fn is_durable(&self) -> bool {
        match self {
            Self::Claim(_) | Self::Queues(_) | Self::Check(_) => false,
            Self::Renew(ask) => ask.input.iter().any(|renewal| renewal.checkpoint.is_some()),
            _ => true,
        }
    }

    /// Does it as a part of a transaction, and keeps the answer for after the commit.
    pub(crate) fn run(&mut self, tx: &mut Transaction<'_, '_>) -> Sql<()> {
        match self {
            Self::Submit(ask) => {
                ask.staged = Some(tx.submit(&ask.input)?);
                fail::fail_point!("sqlite::submit::before_commit");
            }
            Self::Reopen(ask) => ask.staged = Some(tx.reopen(ask.input)?),
            Self::Claim(ask) => {
                let claims = tx.claim(&ask.input)?;
                ask.stage(Granted { claims, inbox: Weak::new() });
                fail::fail_point!("sqlite::claim::before_commit");
            }
            Self::Renew(ask) => {
                let renewed = ask.input.iter().map(|renewal| tx.renew(renewal)).collect::<Sql<_>>()?;
                ask.stage(renewed);
            }
            Self::Settle(ask) => {
                let settled = ask.input.iter().map(|settlement| tx.settle(settlement)).collect::<Sql<_>>()?;
                ask.stage(settled);
                fail::fail_point!("sqlite::settle::before_commit");
                if hands_back(&ask.input) {
                    fail::fail_point!("sqlite::hand_back::before_commit");
                }
            }
            Self::Cancel(ask) => ask.staged = Some(Ok(tx.cancel(ask.input)?)),
            Self::Declare(ask) => ask.staged = Some(Ok(tx.declare(&ask.input)?)),
            Self::Pause(ask) => ask.staged = Some(Ok(tx.pause(&ask.input.0, ask.input.1)?)),
            Self::Upkeep(ask) => ask.staged = Some(Ok(tx.upkeep(ask.input)?)),
            Self::Queues(_) | Self::Check(_) => debug_assert!(false, "these are answered at once"),
            Self::HandBack(ids) => {
                for id in ids {
                    let end = End::HandBack { checkpoint: None, after: std::time::Duration::ZERO };
                    // One that is lost has been handed back already.
                    let _ = tx.settle(&Settlement { id: *id, by: Speaker::Server, end })?;
                }
            }
        }
        Ok(())
    }

    /// Gives the answer, once the transaction is committed.
    pub(crate) fn answer(self, inbox: &Arc<Inbox>) {
        match self {
            Self::Submit(ask) => {
                fail::fail_point!("sqlite::submit::after_commit");
                ask.answer();
            }
            Self::Reopen(ask) => ask.answer(),
            Self::Claim(mut ask) => {
                fail::fail_point!("sqlite::claim::after_commit");
                if let Some(Ok(granted)) = &mut ask.staged {
                    granted.inbox = Arc::downgrade(inbox);
                }
                ask.answer();
            }
            Self::Renew(ask) => ask.answer(),
            Self::Settle(ask) => {
                fail::fail_point!("sqlite::settle::after_commit");
                if hands_back(&ask.input) {
                    fail::fail_point!("sqlite::hand_back::after_commit");
                }
                ask.answer();
            }
            Self::Cancel(ask) => ask.answer(),
            Self::Declare(ask) => ask.answer(),
            Self::Pause(ask) => ask.answer(),
            Self::Upkeep(ask) => ask.answer(),
            Self::Queues(ask) => ask.answer(),
            Self::Check(ask) => ask.answer(),
            Self::HandBack(_) => {}
        }
    }

    /// Says that it failed. Returns the claims that are to go back, should they turn out to exist: those of
    /// a caller who is told that it has none.
    pub(crate) fn fail(self, fault: Fault, cause: &str) -> Vec<ClaimId> {
        let error = |ids| fault.to_store_error(cause, ids);
        match self {
            Self::Submit(ask) => {
                let ids = match &ask.staged {
                    Some(Ok(submitted)) => submitted.iter().map(|s| s.job.id).collect(),
                    _ => Vec::new(),
                };
                ask.fail(error(ids));
            }
            Self::Reopen(ask) => {
                let ids = vec![ask.input];
                ask.fail(error(ids));
            }
            Self::Claim(ask) => {
                let granted = ask.staged.as_ref().and_then(|staged| staged.as_ref().ok());
                let ids = granted.map_or_else(Vec::new, |granted| granted.ids().collect());
                let fault = if fault == Fault::Doubt { Fault::Unavailable } else { fault };
                ask.fail(fault.to_store_error(cause, Vec::new()));
                return ids;
            }
            Self::Renew(ask) => ask.fail(error(Vec::new())),
            Self::Settle(ask) => {
                let ids = ask.input.iter().map(|settlement| settlement.id.job).collect();
                ask.fail(error(ids));
            }
            Self::Cancel(ask) => {
                let ids = vec![ask.input];
                ask.fail(error(ids));
            }
            Self::Declare(ask) => ask.fail(error(Vec::new())),
            Self::Pause(ask) => ask.fail(error(Vec::new())),
            Self::Upkeep(ask) => ask.fail(error(Vec::new())),
            Self::Queues(ask) => ask.fail(error(Vec::new())),
            Self::Check(ask) => ask.fail(error(Vec::new())),
            Self::HandBack(ids) => return ids,
        }
        Vec::new()
    }

    /// Says that its time to wait was up before its transaction began.
    pub(crate) fn withdraw(self) {
        if let Self::Submit(ask) = self {
            ask.fail(StoreError::TimedOut);
        }
    }

    /// Answers what needs no transaction. The command comes back if it does need one.
    pub(crate) fn answer_at_once(
        self,
        status: impl FnOnce(Timestamp) -> Vec<QueueStatus>,
        check: impl FnOnce() -> Result<(), String>,
    ) -> Option<Self> {
        match self {
            Self::Queues(mut ask) => {
                ask.stage(status(crate::clock::now()));
                ask.answer();
            }
            Self::Check(mut ask) => {
                ask.staged = Some(check().map_err(|why| StoreError::Unavailable(why.into())));
                ask.answer();
            }
            other => return Some(other),
        }
        None
    }
}

fn hands_back(settlements: &[Settlement]) -> bool {
    settlements.iter().any(|settlement| matches!(settlement.end, End::HandBack { .. }))
}
