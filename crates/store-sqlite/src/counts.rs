use rusqlite::{Connection, OptionalExtension, Result};
use steadfast_domain::Change;
use steadfast_queue::store::QueueCounts;

use crate::effects::Effects;
use crate::queues::Queues;

/// What a transaction whose outcome is unknown would have counted.
#[derive(Debug, Default)]
pub(crate) struct Doubted {
    changes: Vec<Change>,
    pub(crate) counts: QueueCounts,
}

/// No version of a job is given twice: who has this one, or a later one, tells that its transaction happened.
const HAS_VERSION: &str = "SELECT 1 FROM (SELECT version FROM live WHERE id = ?1 UNION ALL \
         SELECT version FROM done WHERE id = ?1) WHERE version >= ?2";

impl Doubted {
    pub(crate) fn new(effects: &Effects, queues: &Queues) -> Self {
        Self { changes: effects.changes().collect(), counts: effects.counts(queues) }
    }

    /// Whether it happened, as the file says when it is open again.
    pub(crate) fn happened(&self, connection: &Connection) -> Result<bool> {
        let mut has_version = connection.prepare(HAS_VERSION)?;
        for change in &self.changes {
            let key = (change.id.high() as i64, change.version.0 as i64);
            if has_version.query_row(key, |_| Ok(())).optional()?.is_some() {
                return Ok(true);
            }
        }
        Ok(false)
    }
}
