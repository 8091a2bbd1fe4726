//! The limits of API.md, in one place. Sizes are bytes of UTF-8 unless a name says otherwise.

use std::time::Duration;

/// Bytes in a queue or kind name.
pub const NAME_BYTES_MAX: usize = 64;
/// Bytes in a `unique_key` or an idempotency key.
pub const KEY_BYTES_MAX: usize = 255;
/// Tags on one job.
pub const TAGS_MAX: usize = 16;
/// Bytes in a tag's key.
pub const TAG_KEY_BYTES_MAX: usize = 64;
/// Bytes in a tag's value.
pub const TAG_VALUE_BYTES_MAX: usize = 256;
/// Jobs in one submission.
pub const BATCH_JOBS_MAX: usize = 1_000;
/// Bytes of a batch request's body.
pub const BATCH_BYTES_MAX: usize = 8 * 1024 * 1024;
/// Bytes of a result.
pub const RESULT_BYTES_MAX: usize = 64 * 1024;
/// Bytes of a checkpoint.
pub const CHECKPOINT_BYTES_MAX: usize = 64 * 1024;
/// Bytes of a progress report.
pub const PROGRESS_BYTES_MAX: usize = 4 * 1024;
/// Attempts' errors a job remembers.
pub const ERRORS_MAX: usize = 10;
/// Bytes of one error's message.
pub const ERROR_MESSAGE_BYTES_MAX: usize = 1_024;
/// Bytes of one error's code.
pub const ERROR_CODE_BYTES_MAX: usize = 64;
/// Arrays and objects inside one another in any JSON value.
pub const JSON_DEPTH_MAX: usize = 64;
/// Rows of one list page.
pub const LIST_LIMIT_MAX: usize = 1_000;
/// Rows one filtered list page may examine.
pub const LIST_EXAMINED_MAX: usize = 10_000;
/// Leases in one answer.
pub const LEASES_MAX: usize = 1_000;
/// The longest a held answer waits.
pub const WAIT_MAX: Duration = Duration::from_secs(30);
/// Attempts a retry policy may allow.
pub const ATTEMPTS_MAX: u32 = 1_000;
/// The longest delay before a retry.
pub const BACKOFF_MAX: Duration = Duration::from_secs(30 * 24 * 60 * 60);
/// The longest one attempt may run.
pub const ATTEMPT_TIMEOUT_MAX: Duration = Duration::from_secs(7 * 24 * 60 * 60);
/// How far ahead a job may be scheduled, and the longest `max_wait_ms`.
pub const SCHEDULE_AHEAD_MAX: Duration = Duration::from_secs(366 * 24 * 60 * 60);
