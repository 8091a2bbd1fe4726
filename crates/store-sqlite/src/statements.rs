use rusqlite::{Connection, Result, Statement};

use crate::row::{Bodies, select, select_waiting};

/// Declares one field for each statement and prepares them all.
macro_rules! statements {
    ($($(#[$doc:meta])* $name:ident = $sql:expr;)*) => {
        /// Every statement of the writer, prepared once for its connection.
        #[derive(Debug)]
        pub(crate) struct Statements<'c> {
            $($(#[$doc])* pub(crate) $name: Statement<'c>,)*
        }

        impl<'c> Statements<'c> {
            /// Prepares them on `connection`.
            pub(crate) fn prepare(connection: &'c Connection) -> Result<Self> {
                Ok(Self { $($name: connection.prepare(&$sql)?,)* })
            }
        }
    };
}

statements! {
    begin = "BEGIN IMMEDIATE";
    commit = "COMMIT";

    /// With payload, result and checkpoint.
    job = select(Bodies::Read, "WHERE j.id = ?1");
    /// Without the payload.
    job_to_change = select(Bodies::NoPayload, "WHERE j.id = ?1");
    /// Of many waiting jobs at once, with payload, result and checkpoint.
    waiting_jobs = select_waiting();
    /// What tells whose key a job was submitted under.
    job_key = "SELECT tenant, idempotency_key, key_scope, key_fingerprint FROM jobs WHERE id = ?1";
    insert_job = "INSERT INTO jobs (id, low, queue, kind, tenant, priority, created_at, timeout_ms, deadline, \
        max_wait_ms, retry, unique_key, idempotency_key, key_scope, key_fingerprint, key_job, tags, trace, \
        payload_bytes, payload) \
        VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18, ?19, ?20)";
    delete_job = "DELETE FROM jobs WHERE id = ?1";

    /// Of a job just accepted: what it cannot have yet is left out.
    insert_live = "INSERT INTO live (id, state, queue, kind, priority, run_at, expires_at, payload_bytes, \
        interruptions, unique_hash, version, attempt, history) \
        VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, 0, ?9, 1, 0, ?10)";
    save_live = "INSERT OR REPLACE INTO live (id, state, queue, kind, priority, run_at, expires_at, \
        payload_bytes, interruptions, unique_hash, version, attempt, started_at, settled_fence, \
        settled_version, history, errors, progress, checkpoint, result) \
        VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15, ?16, ?17, ?18, ?19, ?20)";
    delete_live = "DELETE FROM live WHERE id = ?1";
    insert_done = "INSERT INTO done (id, state, finished_at, run_at, interruptions, version, attempt, \
        started_at, settled_fence, settled_version, history, errors, progress, checkpoint, result) \
        VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15)";
    delete_done = "DELETE FROM done WHERE id = ?1";

    insert_claim = "INSERT INTO claims (job, fence, owner, started_at, expires_at) VALUES (?1, ?2, ?3, ?4, ?5)";
    /// Null keeps what is there.
    renew_claim = "UPDATE claims SET expires_at = ?2, progress = coalesce(?3, progress), \
        checkpoint = coalesce(?4, checkpoint) WHERE job = ?1";
    request_cancel = "UPDATE claims SET cancel_requested = 1 WHERE job = ?1";
    delete_claim = "DELETE FROM claims WHERE job = ?1";

    insert_key = "INSERT INTO keys (job, hash, stored, answer) VALUES (?1, ?2, ?3, ?4)";
    key_answer = "SELECT answer FROM keys WHERE job = ?1";
    keys_after = "SELECT job, hash FROM keys WHERE job > ?1 ORDER BY job LIMIT ?2";
    release_key = "UPDATE keys SET stored = stored - 1 WHERE job = ?1 RETURNING stored, hash";
    delete_key = "DELETE FROM keys WHERE job = ?1";

    insert_pack = "INSERT INTO ended (pack, at, jobs) VALUES (?1, ?2, ?3)";
    first_pack = "SELECT pack, at, jobs FROM ended WHERE pack >= ?1 AND pack < ?2 ORDER BY pack LIMIT 1";
    cut_pack = "UPDATE ended SET jobs = ?2 WHERE pack = ?1";
    delete_pack = "DELETE FROM ended WHERE pack = ?1";

    declare_queue = "INSERT INTO queues (name, capacity_jobs, capacity_bytes) VALUES (?1, ?2, ?3) \
        ON CONFLICT DO UPDATE SET capacity_jobs = ?2, capacity_bytes = ?3";
    pause_queue = "UPDATE queues SET paused = ?2 WHERE name = ?1";
    tally_queue = "UPDATE queues SET completed = ?2, dead = ?3, cancelled = ?4, expired = ?5, ended_bytes = ?6 \
        WHERE name = ?1";
}
