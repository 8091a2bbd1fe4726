//! Every setting there is.

use std::ops::RangeInclusive;
use std::time::Duration;

use steadfast_lifecycle::{CLOSE_TIMEOUT_MIN, SHARE_MAX};

use super::Settings;
use super::value::Slot;

/// One setting. Its names in all sources follow from its key.
#[derive(Debug, Clone, Copy)]
pub struct Setting {
    /// Its key in the settings file: `capacity`, or `shutdown.lame_duck` in the table `[shutdown]`.
    pub key: &'static str,
    /// What it does.
    pub help: &'static str,
    slot: fn(&mut Settings) -> Slot<'_>,
}

impl Setting {
    /// Its flag: `--lame-duck`.
    pub fn flag(&self) -> String {
        format!("--{}", self.flag_name())
    }

    /// Its flag without the dashes in front.
    pub(super) fn flag_name(&self) -> String {
        let (_, last) = self.key.rsplit_once('.').unwrap_or(("", self.key));
        last.replace('_', "-")
    }

    /// Its environment variable: `STEADFAST_SHUTDOWN_LAME_DUCK`.
    pub fn env(&self) -> String {
        format!("STEADFAST_{}", self.key.replace('.', "_").to_uppercase())
    }

    /// Its default, as one may write it; `unset` where there is none.
    pub fn default(&self) -> String {
        self.show(&Settings::default())
    }

    /// Its value in `settings`, as one may write it.
    pub fn show(&self, settings: &Settings) -> String {
        (self.slot)(&mut settings.clone()).show()
    }

    pub(super) fn is_switch(&self) -> bool {
        matches!((self.slot)(&mut Settings::default()), Slot::Switch(_))
    }

    pub(super) fn slot<'a>(&self, settings: &'a mut Settings) -> Slot<'a> {
        (self.slot)(settings)
    }
}

const MS: Duration = Duration::from_millis(1);
const SECOND: Duration = Duration::from_secs(1);
const HOUR: Duration = Duration::from_secs(3_600);
const JOBS: RangeInclusive<u64> = 1..=1_000_000_000;
const BYTES: RangeInclusive<u64> = 1..=1 << 50;
const SHARE: RangeInclusive<Duration> = Duration::ZERO..=SHARE_MAX;
const RETENTION: RangeInclusive<Duration> = Duration::ZERO..=Duration::from_secs(3_650 * 86_400);
const REQUEST: RangeInclusive<Duration> = Duration::from_millis(10)..=HOUR;

/// Every setting, in the order of the documentation.
pub const SETTINGS: &[Setting] = &[
    Setting {
        key: "listen",
        help: "Where the server listens; port 0 picks a free one",
        slot: |s| Slot::Address(&mut s.listen),
    },
    Setting {
        key: "admin_listen",
        help: "Where probes, metrics, pauses and the drain are served without tokens; unset: all at one address",
        slot: |s| Slot::OptionalAddress(&mut s.admin_listen),
    },
    Setting {
        key: "store",
        help: "Where jobs live: sqlite://PATH, postgres://..., or memory: (nothing survives the process)",
        slot: |s| Slot::Store(&mut s.store),
    },
    Setting {
        key: "postgres_listen_url",
        help: "Where a PostgreSQL store listens for other replicas, past a pooler; unset: where it is",
        slot: |s| Slot::Postgres(&mut s.postgres_listen_url),
    },
    Setting {
        key: "tls_cert",
        help: "The server's certificate and those that lead to an authority, in PEM; with it the server speaks TLS",
        slot: |s| Slot::File(&mut s.tls_cert),
    },
    Setting {
        key: "tls_key",
        help: "The certificate's key, in PEM and not encrypted",
        slot: |s| Slot::File(&mut s.tls_key),
    },
    Setting {
        key: "tls_client_ca",
        help: "Authorities in PEM; with it every client must have a certificate that one of them has signed",
        slot: |s| Slot::File(&mut s.tls_client_ca),
    },
    Setting {
        key: "capacity",
        help: "Jobs that are not terminal, in all queues",
        slot: |s| Slot::Count(&mut s.capacity, JOBS),
    },
    Setting {
        key: "capacity_bytes",
        help: "Bytes of their payloads",
        slot: |s| Slot::Size(&mut s.capacity_bytes, BYTES),
    },
    Setting {
        key: "concurrency",
        help: "Jobs run at once by this process",
        slot: |s| Slot::Count(&mut s.concurrency, 1..=10_000),
    },
    Setting {
        key: "payload_max",
        help: "Bytes of one job's payload",
        slot: |s| Slot::Size(&mut s.payload_max, 2..=64 << 20),
    },
    Setting {
        key: "requests_max",
        help: "Requests worked on at once; health is exempt",
        slot: |s| Slot::Count(&mut s.requests_max, 1..=1_000_000),
    },
    Setting {
        key: "held_max",
        help: "Answers held for a client that waits, and streams",
        slot: |s| Slot::Count(&mut s.held_max, 1..=1_000_000),
    },
    Setting {
        key: "connections_max",
        help: "Connections; the open-file limit is raised to fit, or this is lowered with a warning",
        slot: |s| Slot::Count(&mut s.connections_max, 1..=1_000_000),
    },
    Setting {
        key: "header_timeout",
        help: "Time to read a request's head",
        slot: |s| Slot::Time(&mut s.header_timeout, REQUEST),
    },
    Setting {
        key: "body_timeout",
        help: "Time to read a request's body",
        slot: |s| Slot::Time(&mut s.body_timeout, REQUEST),
    },
    Setting {
        key: "request_timeout",
        help: "Time to answer a request, waiting apart",
        slot: |s| Slot::Time(&mut s.request_timeout, REQUEST),
    },
    Setting {
        key: "lease",
        help: "How long a claim holds without a heartbeat, where another process could take it",
        slot: |s| Slot::Time(&mut s.lease, SECOND..=HOUR),
    },
    Setting {
        key: "interruptions_max",
        help: "Crashes after which a job is dead",
        slot: |s| Slot::Count(&mut s.interruptions_max, 1..=1_000),
    },
    Setting {
        key: "retention",
        help: "How long ended jobs are kept",
        slot: |s| Slot::Time(&mut s.retention, RETENTION),
    },
    Setting {
        key: "retention_dead",
        help: "How long dead jobs are kept",
        slot: |s| Slot::Time(&mut s.retention_dead, RETENTION),
    },
    Setting {
        key: "retention_jobs",
        help: "Ended jobs kept at most; oldest go first, dead last",
        slot: |s| Slot::Count(&mut s.retention_jobs, JOBS),
    },
    Setting {
        key: "retention_bytes",
        help: "Bytes of ended jobs kept at most",
        slot: |s| Slot::Size(&mut s.retention_bytes, BYTES),
    },
    Setting {
        key: "allow_private_addresses",
        help: "Let the http kind deliver to private and loopback addresses",
        slot: |s| Slot::Switch(&mut s.allow_private_addresses),
    },
    Setting {
        key: "token_file",
        help: "A file of tokens and what each may do, read again when it changes and on SIGHUP",
        slot: |s| Slot::File(&mut s.token_file),
    },
    Setting {
        key: "insecure",
        help: "Listen beyond this machine without tokens: whoever reaches the server may do everything",
        slot: |s| Slot::Switch(&mut s.insecure),
    },
    Setting {
        key: "shutdown.lame_duck",
        help: "How long a stopping server still accepts everything while it is no longer ready",
        slot: |s| Slot::Time(&mut s.shutdown.lame_duck, SHARE),
    },
    Setting {
        key: "shutdown.graceful_timeout",
        help: "How long running jobs may finish",
        slot: |s| Slot::Time(&mut s.shutdown.graceful_timeout, SHARE),
    },
    Setting {
        key: "shutdown.cancel_timeout",
        help: "How long they may checkpoint after being told to stop",
        slot: |s| Slot::Time(&mut s.shutdown.cancel_timeout, SHARE),
    },
    Setting {
        key: "shutdown.close_timeout",
        help: "Hand-back, connections, hooks, background tasks and the store's flush together",
        slot: |s| Slot::Time(&mut s.shutdown.close_timeout, CLOSE_TIMEOUT_MIN..=SHARE_MAX),
    },
    Setting {
        key: "shutdown.background_timeout",
        help: "The background tasks' share of it",
        slot: |s| Slot::Time(&mut s.shutdown.background_timeout, SHARE),
    },
    Setting {
        key: "shutdown.kill_after",
        help: "What the platform allows from its first signal to its kill; the sum is held against it",
        slot: |s| Slot::Time(&mut s.shutdown.kill_after, MS..=SHARE_MAX.saturating_mul(5)),
    },
    Setting {
        key: "log_format",
        help: "How log lines look: text or json",
        slot: |s| Slot::LogFormat(&mut s.log_format),
    },
    Setting {
        key: "log",
        help: "Which log lines are written, in tracing's filter syntax",
        slot: |s| Slot::LogFilter(&mut s.log),
    },
];
