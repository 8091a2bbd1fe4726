use rusqlite::{OptionalExtension, Result};
use steadfast_domain::Timestamp;

use crate::keys::{pack, unpack};
use crate::memory::Entry;
use crate::transaction::Transaction;

/// What a pruning step did.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Pruned {
    /// Rows looked at: nearly all of them deleted.
    pub(crate) jobs: usize,
    /// Whether another step has work to do at once.
    pub(crate) more: bool,
}

/// Packs of `dead` jobs are numbered from here.
pub(crate) const DEAD_PACKS: i64 = 1 << 62;

/// Which packs are looked at.
#[derive(Debug, Clone, Copy)]
enum Class {
    Others,
    Dead,
}

/// Jobs that ended at one moment.
struct Pack {
    number: i64,
    at: Timestamp,
    jobs: Vec<u64>,
}

impl Transaction<'_, '_> {
    /// Deletes the terminal jobs whose time is up, then, while they are too many or too large, the oldest
    /// of all; `dead` ones last. Deletes about `rows_max`.
    pub(crate) fn prune(&mut self, rows_max: usize) -> Result<Pruned> {
        let mut pruned = Pruned::default();
        while let Some(pack) = self.next_past_retention()? {
            if pruned.jobs >= rows_max {
                pruned.more = true;
                break;
            }
            self.prune_pack(pack, rows_max, &mut pruned)?;
        }
        Ok(pruned)
    }

    /// The next pack to go, or at least a part of it.
    fn next_past_retention(&mut self) -> Result<Option<Pack>> {
        let retention = &self.limits.retention;
        let (keep, keep_dead) = (retention.keep, retention.keep_dead);
        let (other, dead) = (self.first_pack(Class::Others)?, self.first_pack(Class::Dead)?);
        if other.as_ref().is_some_and(|pack| self.now.since(pack.at) >= keep) {
            return Ok(other);
        }
        if dead.as_ref().is_some_and(|pack| self.now.since(pack.at) >= keep_dead) {
            return Ok(dead);
        }
        Ok(if self.has_too_many() { other.or(dead) } else { None })
    }

    fn has_too_many(&self) -> bool {
        let (ended, retention) = (self.memory.queues.ended(), &self.limits.retention);
        ended.jobs > retention.jobs_max || ended.bytes > retention.bytes_max
    }

    fn first_pack(&mut self, class: Class) -> Result<Option<Pack>> {
        let range = match class {
            Class::Others => (0, DEAD_PACKS),
            Class::Dead => (DEAD_PACKS, i64::MAX),
        };
        let pack = self.statements.first_pack.query_row(range, |row| {
            Ok(Pack {
                number: row.get(0)?,
                at: Timestamp::from_unix_ms(row.get(1)?),
                jobs: unpack(row.get_ref(2)?.as_blob()?),
            })
        });
        pack.optional()
    }

    /// Deletes a pack's jobs until `rows_max` are deleted in this step, or, when only their number or size
    /// condemns them, until the rest may stay.
    fn prune_pack(&mut self, pack_: Pack, rows_max: usize, pruned: &mut Pruned) -> Result<()> {
        let Pack { number, at, jobs } = pack_;
        let keep =
            if number >= DEAD_PACKS { self.limits.retention.keep_dead } else { self.limits.retention.keep };
        let too_old = self.now.since(at) >= keep;
        let mut left = jobs.iter();
        while pruned.jobs < rows_max
            && (too_old || self.has_too_many())
            && let Some(job) = left.next()
        {
            self.forget(*job, at)?;
            pruned.jobs += 1;
        }
        match left.as_slice() {
            [] => self.statements.delete_pack.execute([number])?,
            left => self.statements.cut_pack.execute((number, pack(left)))?,
        };
        Ok(())
    }

    /// Deletes a job, unless it was opened again since it ended `at` that time, and with the last job of a
    /// submission its key.
    fn forget(&mut self, job: u64, at: Timestamp) -> Result<()> {
        let Some(stored) = self.job_to_change(job)? else { return Ok(()) };
        if stored.job.finished_at != Some(at) {
            return Ok(());
        }
        self.statements.delete_job.execute([job as i64])?;
        self.statements.delete_done.execute([job as i64])?;
        if let Some(queue) = self.memory.queues.find(&stored.job.queue) {
            let before = Entry::of(&stored.job, queue);
            self.moved(Some(before), None);
        }
        if let Some(key_job) = stored.key_job {
            self.release_key(key_job)?;
        }
        Ok(())
    }

    fn release_key(&mut self, key_job: u64) -> Result<()> {
        let row = |row: &rusqlite::Row<'_>| Ok((row.get::<_, i64>(0)?, row.get::<_, i64>(1)?));
        let Some((stored, hash)) = self.statements.release_key.query_row([key_job as i64], row).optional()?
        else {
            return Ok(());
        };
        if stored <= 0 {
            self.statements.delete_key.execute([key_job as i64])?;
            self.memory.remove_key(hash as u64, key_job);
        }
        Ok(())
    }
}
