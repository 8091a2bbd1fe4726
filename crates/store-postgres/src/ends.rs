use std::sync::Arc;

use steadfast_domain::{Change, JobId, QueueName, Timestamp};
use steadfast_queue::store::{
    Cancel, ClaimId, ClaimLost, QueueSpec, Renewal, Renewed, Settlement, StoreError, SubmitError, Upkeep,
};
use tokio::sync::oneshot;

use crate::error::{Failure, Fault};
use crate::lane::{Command, Serve};
use crate::queues::{Declare, Pause};
use crate::reopen::Reopen;
use crate::retention::{Fold, Prune};
use crate::settle::{Attempts, Item};
use crate::shared::Shared;
use crate::upkeep::Chores;
use crate::writer::{Outcome, Writer};

type Answer<T, E = StoreError> = oneshot::Sender<Result<T, E>>;

/// Everything that changes what is stored, but for submissions and claims.
#[derive(Debug)]
pub(crate) enum Ends {
    Settle(Vec<Settlement>, Answer<Vec<Result<Change, ClaimLost>>>),
    Renew(Vec<Renewal>, Answer<Vec<Result<Renewed, ClaimLost>>>),
    Cancel(JobId, Answer<Cancel>),
    /// Claims whose caller is gone.
    HandBack(Vec<ClaimId>),
    /// Claims of which nobody knows whether they were made.
    Stray(Stray),
    Reopen(JobId, Answer<Change, SubmitError>),
    Declare(Vec<QueueSpec>, Answer<()>),
    Pause(QueueName, bool, Answer<bool>),
    Upkeep(usize, Answer<Upkeep>),
}

/// Claims that may have been made, and are nobody's.
#[derive(Debug)]
pub(crate) struct Stray {
    pub(crate) jobs: Vec<JobId>,
    pub(crate) owner: String,
    pub(crate) started_at: Timestamp,
}

impl Command for Ends {
    fn weight(&self) -> usize {
        match self {
            Self::Settle(settlements, _) => settlements.len(),
            Self::Renew(renewals, _) => renewals.len(),
            Self::HandBack(ids) => ids.len(),
            Self::Stray(stray) => stray.jobs.len(),
            Self::Cancel(..) | Self::Reopen(..) | Self::Declare(..) | Self::Pause(..) | Self::Upkeep(..) => 1,
        }
    }
}

/// The connection that settles, renews and keeps house.
pub(crate) struct Ending {
    pub(crate) writer: Writer,
    pub(crate) shared: Arc<Shared>,
    /// The seats of this process.
    pub(crate) seats: Arc<[i64]>,
}

impl Serve for Ending {
    type Command = Ends;

    async fn serve(&mut self, batch: Vec<Ends>) {
        let (mut attempts, mut others) = (Vec::new(), Vec::new());
        for command in batch {
            match command {
                Ends::Settle(settlements, answer) => attempts.push(Item::Settle(settlements, answer)),
                Ends::Renew(renewals, answer) => attempts.push(Item::Renew(renewals, answer)),
                Ends::Cancel(id, answer) => attempts.push(Item::Cancel(id, answer)),
                Ends::HandBack(ids) => attempts.push(Item::HandBack(ids)),
                Ends::Stray(stray) => attempts.push(Item::Stray(stray)),
                other => others.push(other),
            }
        }
        let mut groups = vec![attempts];
        while let Some(items) = groups.pop().filter(|items| !items.is_empty()) {
            groups.extend(self.attempts(items).await);
        }
        for command in others {
            self.alone(command).await;
        }
    }

    fn writer(&mut self) -> Option<&mut Writer> {
        Some(&mut self.writer)
    }

    /// Gives the room of this process's seats back.
    async fn close(mut self) {
        let mut fold = Fold::seats(self.seats.to_vec(), self.shared.locks.room);
        if let Outcome::Failed(failure) = self.writer.run(&mut fold).await {
            tracing::debug!(error = %failure, "the room of this process was not given back; another will find it");
        }
        self.writer.close().await;
    }
}

impl Ending {
    /// Runs what is about single attempts in one transaction. Data that is not accepted comes back in halves.
    async fn attempts(&mut self, items: Vec<Item>) -> Vec<Vec<Item>> {
        let mut attempts = Attempts::new(items);
        match self.writer.run(&mut attempts).await {
            Outcome::Committed { heard } => attempts.answer(heard),
            Outcome::Failed(failure) if failure.fault() == Fault::Data && attempts.len() > 1 => {
                return attempts.halves();
            }
            Outcome::Failed(failure) => attempts.fail(|_| failure.to_store_error()),
            Outcome::Unknown => attempts.fail(|ids| StoreError::Unknown { ids }),
        }
        Vec::new()
    }

    async fn alone(&mut self, command: Ends) {
        let locks = self.shared.locks;
        // Callers may be gone.
        match command {
            Ends::Reopen(id, answer) => {
                let mut reopen = Reopen::new(id, locks.room);
                let outcome = self.writer.run(&mut reopen).await;
                let _ = answer
                    .send(ended(outcome, vec![id]).map_err(SubmitError::from).and_then(|()| reopen.answer()));
            }
            Ends::Declare(specs, answer) => {
                let mut declare = Declare::queues(&specs, locks.room);
                let _ = answer.send(ended(self.writer.run(&mut declare).await, Vec::new()));
            }
            Ends::Pause(queue, paused, answer) => {
                let mut pause = Pause::new(queue, paused, locks.pause);
                let outcome = self.writer.run(&mut pause).await;
                let _ = answer.send(ended(outcome, Vec::new()).map(|()| pause.exists));
            }
            Ends::Upkeep(rows_max, answer) => {
                let _ = answer.send(self.upkeep(rows_max).await);
            }
            Ends::Settle(..) | Ends::Renew(..) | Ends::Cancel(..) | Ends::HandBack(_) | Ends::Stray(_) => {
                debug_assert!(false, "these have their own transaction");
            }
        }
    }

    /// What matters most first: lost claims, what expired, what is due; then what retention lets go.
    async fn upkeep(&mut self, rows_max: usize) -> Result<Upkeep, StoreError> {
        let mut chores = Chores::new(rows_max, &self.shared.limits);
        ended(self.writer.run(&mut chores).await, Vec::new())?;
        let mut upkeep = chores.done();
        if chores.must_prune() && upkeep.changed < rows_max {
            let left = rows_max - upkeep.changed;
            let mut prune = Prune::new(left, &self.shared.limits.retention, self.shared.locks.prune);
            ended(self.writer.run(&mut prune).await, Vec::new())?;
            upkeep.changed += prune.pruned();
            upkeep.more |= prune.pruned() >= left;
        } else {
            upkeep.more |= chores.must_prune();
        }
        if chores.must_fold() {
            let mut fold = Fold::left_behind(self.seats.to_vec(), self.shared.locks.room);
            ended(self.writer.run(&mut fold).await, Vec::new())?;
        }
        Ok(upkeep)
    }
}

fn ended(outcome: Outcome, ids: Vec<JobId>) -> Result<(), StoreError> {
    match outcome {
        Outcome::Committed { .. } => Ok(()),
        Outcome::Failed(failure) => Err(Failure::to_store_error(&failure)),
        Outcome::Unknown => Err(StoreError::Unknown { ids }),
    }
}
