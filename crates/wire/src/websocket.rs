//! The messages of `GET /v1/ws`, each a JSON text. Events of jobs come as [`AnyJobEvent`](crate::AnyJobEvent).

use std::borrow::Cow;

use serde::{Deserialize, Serialize};
use steadfast_domain::{JobId, Version};

use crate::JobDocument;

/// What a connection can be told of.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Topic {
    /// One job: every durable change once and in order, and its end.
    Job(JobId),
    /// Every job of this queue, from now on.
    Queue(String),
    /// Every job, from now on.
    All,
}

/// What a client says: one of `subscribe` and `unsubscribe`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ClientMessage {
    /// Tell me of this.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subscribe: Option<Topic>,
    /// The version of the job that was seen last, with `subscribe` of a job only; from the beginning without.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub after: Option<Version>,
    /// Tell me no more of this.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unsubscribe: Option<Topic>,
}

/// What the server says beside what happens to jobs.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum ServerMessage {
    /// From here on everything about this topic is told.
    Subscribed {
        /// As it was asked for.
        topic: Topic,
    },
    /// Nothing more about this topic is told.
    Unsubscribed {
        /// As it was asked for.
        topic: Topic,
    },
    /// A job that was subscribed to has ended; nothing more is told of it.
    End {
        /// Whose end.
        id: JobId,
        /// Its version then.
        version: Version,
        /// The job without payload, result and checkpoint.
        job: Box<JobDocument>,
    },
    /// Events of queues, or of all jobs, were missed: list them.
    Resync,
    /// A message that was not understood, or not done. The connection goes on.
    Error {
        /// One of the codes of problem documents.
        code: Cow<'static, str>,
        /// A sentence for people.
        detail: String,
        /// What it is about, when that was understood: of a subscription, nothing more is told.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        topic: Option<Topic>,
    },
    /// The server goes away, and closes with 1012.
    ServerShutdown {
        /// When to connect again, in milliseconds.
        reconnect_after_ms: u64,
    },
}
