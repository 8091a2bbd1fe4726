-- Times are milliseconds since 1970, by the database's clock. States are numbered as in `JobState::ALL`,
-- priorities as in `Priority::ALL`.

-- What every transaction begins with: nothing waits for ever, a process that stops answering lets go of its locks,
-- a commit is what the server calls durable, and the planner keeps to the indexes whatever it believes about the
-- sizes of tables that were empty a moment ago. What it is told to avoid counts as so expensive that it would
-- compile such a plan, for most of a second, where it has no other. All of it ends with the transaction. A seat has
-- one transaction at a time, even over a lost connection: whoever comes after waits until the server has ended the
-- one before. In a function, so that it is not parsed each time.
CREATE FUNCTION {s}.begin(seat bigint) RETURNS void LANGUAGE plpgsql AS $$
BEGIN
    PERFORM set_config('statement_timeout', '10s', true),
            set_config('lock_timeout', '5s', true),
            set_config('idle_in_transaction_session_timeout', '10s', true),
            set_config('synchronous_commit', 'on', true),
            set_config('enable_seqscan', 'off', true),
            set_config('enable_bitmapscan', 'off', true),
            set_config('enable_hashjoin', 'off', true),
            set_config('enable_mergejoin', 'off', true),
            set_config('plan_cache_mode', 'force_generic_plan', true),
            set_config('jit', 'off', true),
            pg_advisory_xact_lock(seat);
END
$$;

CREATE SEQUENCE {s}.fences AS bigint CACHE 1;

-- The queue '' is the store as a whole.
CREATE TABLE {s}.queues (
    name           text PRIMARY KEY,
    paused         boolean NOT NULL DEFAULT false,
    capacity_jobs  bigint,
    capacity_bytes bigint
);

-- What each seat (one connection of one process) has added to the counters of a queue, and what is left of
-- the room it was given. Only the sums over all seats mean anything: free = capacity - live.
CREATE TABLE {s}.tallies (
    scope       text NOT NULL,
    seat        bigint NOT NULL,
    takes       boolean NOT NULL,
    free_jobs   bigint NOT NULL,
    free_bytes  bigint NOT NULL,
    scheduled   bigint NOT NULL,
    queued      bigint NOT NULL,
    processing  bigint NOT NULL,
    retryable   bigint NOT NULL,
    completed   bigint NOT NULL,
    dead        bigint NOT NULL,
    cancelled   bigint NOT NULL,
    expired     bigint NOT NULL,
    bytes       bigint NOT NULL,
    ended_bytes bigint NOT NULL,
    touched_at  bigint NOT NULL,
    -- Names the last transaction of the seat that wrote anything: in the row of the whole store.
    turn        bigint NOT NULL DEFAULT 0,
    PRIMARY KEY (scope, seat)
) WITH (fillfactor = 20, autovacuum_vacuum_threshold = 200, autovacuum_vacuum_scale_factor = 0);

-- Everything about a job but its claim. While it is claimed, its state here is the one before.
CREATE TABLE {s}.jobs (
    id              uuid PRIMARY KEY,
    tenant          text NOT NULL,
    queue           text NOT NULL,
    kind            text NOT NULL,
    payload         text NOT NULL,
    payload_bytes   bigint NOT NULL,
    priority        smallint NOT NULL,
    timeout_ms      bigint NOT NULL,
    retry           text,
    created_at      bigint NOT NULL,
    deadline        bigint,
    max_wait_ms     bigint,
    idempotency_key text,
    key_hash        uuid,
    unique_key      text,
    unique_hash     uuid,
    tags            text,
    trace           text,
    state           smallint NOT NULL,
    version         bigint NOT NULL,
    history         bytea NOT NULL,
    attempt         integer NOT NULL,
    interruptions   integer NOT NULL,
    run_at          bigint NOT NULL,
    started_at      bigint,
    finished_at     bigint,
    errors          text,
    progress        text,
    checkpoint      text,
    result          text,
    settled_fence   bigint,
    settled_version bigint
);
-- Ended jobs in the order in which retention lets them go; 5 is `dead`.
CREATE INDEX ended ON {s}.jobs (finished_at, id) WHERE finished_at IS NOT NULL AND state <> 5;
CREATE INDEX ended_dead ON {s}.jobs (finished_at, id) WHERE finished_at IS NOT NULL AND state = 5;

-- One row for each job that is neither claimed nor ended. A job that was handed back may be `queued` for later.
CREATE TABLE {s}.waiting (
    id            uuid PRIMARY KEY,
    queue         text NOT NULL,
    kind          text NOT NULL,
    priority      smallint NOT NULL,
    state         smallint NOT NULL,
    ready         boolean NOT NULL,
    due_at        bigint NOT NULL,
    place         bigint NOT NULL,
    expires_at    bigint,
    interruptions integer NOT NULL
) WITH (autovacuum_vacuum_threshold = 2000, autovacuum_vacuum_scale_factor = 0.02);
CREATE INDEX bystanders ON {s}.waiting (queue, kind, priority, due_at, id) WHERE ready AND interruptions < 2;
CREATE INDEX suspects ON {s}.waiting (queue, kind, interruptions, place, id) WHERE ready AND interruptions >= 2;
CREATE INDEX due ON {s}.waiting (due_at) WHERE NOT ready;
CREATE INDEX expiring ON {s}.waiting (expires_at) WHERE expires_at IS NOT NULL;

-- One row for each claimed job.
CREATE TABLE {s}.claims (
    job              uuid PRIMARY KEY,
    fence            bigint NOT NULL,
    owner            text NOT NULL,
    started_at       bigint NOT NULL,
    expires_at       bigint NOT NULL,
    cancel_requested boolean NOT NULL DEFAULT false,
    interruptions    integer NOT NULL,
    progress         text,
    checkpoint       text
) WITH (autovacuum_vacuum_threshold = 1000, autovacuum_vacuum_scale_factor = 0);
CREATE INDEX lapsing ON {s}.claims (expires_at);
CREATE INDEX suspects_held ON {s}.claims (owner) WHERE interruptions >= 2;

-- Idempotency keys, by 128 bits of their SHA-256; kept while a job that their submission made is stored.
CREATE TABLE {s}.keys (
    hash        uuid PRIMARY KEY,
    fingerprint bytea NOT NULL,
    answer      bytea NOT NULL,
    stored      integer NOT NULL
);

-- Unique keys of live jobs, by 128 bits of the SHA-256 of tenant, queue and key.
CREATE TABLE {s}.uniques (
    hash uuid PRIMARY KEY,
    job  uuid NOT NULL
);
