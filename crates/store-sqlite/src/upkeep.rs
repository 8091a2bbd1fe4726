use rusqlite::Result;
use steadfast_domain::{Event, QueueName};
use steadfast_queue::store::{QueueSpec, Upkeep};

use crate::transaction::Transaction;

impl Transaction<'_, '_> {
    /// One bounded step: recover lost claims, expire, promote what is due, prune.
    pub(crate) fn upkeep(&mut self, rows_max: usize) -> Result<Upkeep> {
        let mut changed = 0;
        while changed < rows_max
            && let Some(id) = self.memory.next_lapsed(self.now)
        {
            match self.find(id)? {
                Some(stored) => self.interrupt(stored)?,
                None => self.memory.set_claim(id.high(), None),
            }
            changed += 1;
        }
        while changed < rows_max
            && let Some(job) = self.memory.next_expired(self.now)
            && let Some(stored) = self.job_to_change(job)?
        {
            self.change(stored, Event::Expire, |_, _| ())?;
            changed += 1;
        }
        while changed < rows_max
            && let Some(queue) = self.memory.promote_next(self.now)
        {
            self.effects.ready(queue);
            changed += 1;
        }
        let pruned = self.prune(rows_max - changed.min(rows_max))?;
        self.let_suspects_run();
        Ok(Upkeep {
            changed: changed + pruned.jobs,
            more: pruned.more || self.has_work_due(),
            next_due: self.memory.next_moment(self.now).map(|at| at.since(self.now)),
        })
    }

    /// Whether a claim has lapsed, or a job is due or has expired.
    fn has_work_due(&self) -> bool {
        let memory = &self.memory;
        memory.next_lapsed(self.now).is_some()
            || memory.next_expired(self.now).is_some()
            || memory.has_due(self.now)
    }

    /// Makes these queues exist with these limits.
    pub(crate) fn declare(&mut self, queues: &[QueueSpec]) -> Result<()> {
        let column = |limit: Option<u64>| limit.map(|n| i64::try_from(n).unwrap_or(i64::MAX));
        for spec in queues {
            let limits = (spec.name.as_str(), column(spec.capacity_jobs), column(spec.capacity_bytes));
            self.statements.declare_queue.execute(limits)?;
            self.memory.declare(spec.clone());
        }
        self.effects.queues = true;
        Ok(())
    }

    /// Pauses or resumes a queue; `false` when there is no such queue.
    pub(crate) fn pause(&mut self, name: &QueueName, paused: bool) -> Result<bool> {
        let Some(index) = self.memory.queues.find(name) else { return Ok(false) };
        self.statements.pause_queue.execute((name.as_str(), paused))?;
        self.memory.pause(index, paused);
        self.effects.queues = true;
        if !paused {
            self.effects.ready(index);
        }
        Ok(true)
    }
}
