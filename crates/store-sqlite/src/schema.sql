-- Steadfast's embedded store, schema version 1. Times are milliseconds since 1970, UTC. A job's row number
-- is the top half of its UUIDv7, so that new rows always go to the end of each tree.

-- What a job was submitted as: written once, never changed.
CREATE TABLE jobs (
    id              INTEGER PRIMARY KEY,
    low             INTEGER NOT NULL,   -- the bottom half of its id
    queue           TEXT    NOT NULL,
    kind            TEXT    NOT NULL,
    tenant          TEXT    NOT NULL,
    priority        INTEGER NOT NULL,   -- 0 critical, 1 high, 2 normal, 3 low
    created_at      INTEGER NOT NULL,
    timeout_ms      INTEGER NOT NULL,
    deadline        INTEGER,
    max_wait_ms     INTEGER,
    retry           TEXT,               -- JSON, unless it is the default policy
    unique_key      TEXT,
    idempotency_key TEXT,
    key_scope       INTEGER,            -- 0 submit, 1 batch
    key_fingerprint BLOB,               -- SHA-256 of the request's body
    key_job         INTEGER,            -- the job whose row in keys this job's submission has
    tags            TEXT,               -- JSON object
    trace           TEXT,
    payload_bytes   INTEGER NOT NULL,
    payload         TEXT    NOT NULL
) STRICT;

-- Where each job that has not ended is in its life. Start-up reads the first columns of every row.
CREATE TABLE live (
    id              INTEGER PRIMARY KEY,
    state           INTEGER NOT NULL,   -- 0 scheduled, 1 queued, 3 retryable; processing is a row in claims
    queue           TEXT    NOT NULL,
    kind            TEXT    NOT NULL,
    priority        INTEGER NOT NULL,
    run_at          INTEGER NOT NULL,
    expires_at      INTEGER,
    payload_bytes   INTEGER NOT NULL,
    interruptions   INTEGER NOT NULL,
    unique_hash     INTEGER,
    version         INTEGER NOT NULL,
    attempt         INTEGER NOT NULL,
    started_at      INTEGER,
    settled_fence   INTEGER,
    settled_version INTEGER,
    history         BLOB    NOT NULL,
    errors          TEXT,               -- JSON
    progress        TEXT,
    checkpoint      TEXT,
    result          TEXT
) STRICT;

-- How each job ended.
CREATE TABLE done (
    id              INTEGER PRIMARY KEY,
    state           INTEGER NOT NULL,   -- 4 completed, 5 dead, 6 cancelled, 7 expired
    finished_at     INTEGER NOT NULL,
    run_at          INTEGER NOT NULL,
    interruptions   INTEGER NOT NULL,
    version         INTEGER NOT NULL,
    attempt         INTEGER NOT NULL,
    started_at      INTEGER,
    settled_fence   INTEGER,
    settled_version INTEGER,
    history         BLOB    NOT NULL,
    errors          TEXT,
    progress        TEXT,
    checkpoint      TEXT,
    result          TEXT
) STRICT;

-- Who runs what.
CREATE TABLE claims (
    job              INTEGER PRIMARY KEY,
    fence            INTEGER NOT NULL,
    owner            TEXT    NOT NULL,
    started_at       INTEGER NOT NULL,
    expires_at       INTEGER,            -- none while its process lives
    cancel_requested INTEGER NOT NULL DEFAULT 0,
    progress         TEXT,
    checkpoint       TEXT
) STRICT;

-- What retention lets go of, oldest first: packs of jobs that ended at one moment. Those of dead jobs are
-- numbered from 2^62. A job that was opened again, or ended again later, is not what its pack says.
CREATE TABLE ended (
    pack INTEGER PRIMARY KEY,
    at   INTEGER NOT NULL,
    jobs BLOB    NOT NULL                -- row numbers, 8 bytes each, big-endian
) STRICT;

-- Idempotency keys by the first job that their submission made, so that they too are written in order.
CREATE TABLE keys (
    job    INTEGER PRIMARY KEY,
    hash   INTEGER NOT NULL,             -- of tenant, scope and key: found through memory
    stored INTEGER NOT NULL,             -- jobs it made that are still stored
    answer BLOB                          -- row numbers of all jobs answered, if more than the first
) STRICT;

CREATE TABLE queues (
    name           TEXT    PRIMARY KEY,
    capacity_jobs  INTEGER,
    capacity_bytes INTEGER,
    paused         INTEGER NOT NULL DEFAULT 0,
    completed      INTEGER NOT NULL DEFAULT 0,   -- terminal jobs stored
    dead           INTEGER NOT NULL DEFAULT 0,
    cancelled      INTEGER NOT NULL DEFAULT 0,
    expired        INTEGER NOT NULL DEFAULT 0,
    ended_bytes    INTEGER NOT NULL DEFAULT 0    -- of their payloads and results
) STRICT, WITHOUT ROWID;

CREATE TABLE meta (
    epoch INTEGER NOT NULL                       -- times the file was opened: the top of every fencing token
) STRICT;
INSERT INTO meta (epoch) VALUES (0);
