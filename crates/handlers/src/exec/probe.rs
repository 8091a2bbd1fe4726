use std::io;
use std::os::unix::net::UnixStream;
use std::time::Duration;

use tokio::io::AsyncReadExt;
use tokio::process::Child;
use tokio::time::timeout;

use super::control::Word;
use super::guarded::spawn_guard;

/// A guard answers in milliseconds, even on a machine that is busy.
const ANSWERS_WITHIN: Duration = Duration::from_secs(10);
/// Bytes of an answer.
const ANSWER_BYTES_MAX: u64 = 4_096;

/// Why programs cannot be run as jobs.
#[derive(Debug, thiserror::Error)]
pub enum NoGuard {
    /// What answers is something else.
    #[error(
        "started as the guard of a program, this program is none: its `main` must begin with \
         `steadfast::guard_if_asked()`"
    )]
    NotAsked,
    /// The guard cannot do its work here.
    #[error("the guard of programs cannot work here: {0}")]
    Unable(String),
    /// It could not be started or heard.
    #[error("the guard of programs cannot be started: {0}")]
    Unheard(#[from] io::Error),
}

/// Starts a guard once, without a program, and hears whether it could do its work. To be called before a server
/// with programs accepts anything.
pub async fn probe_guard() -> Result<(), NoGuard> {
    let (ours, theirs) = UnixStream::pair()?;
    ours.set_nonblocking(true)?;
    let ours = tokio::net::UnixStream::from_std(ours)?;
    let mut guard = spawn_guard(theirs, |_| {})?;
    let answer = timeout(ANSWERS_WITHIN, hear(ours)).await;
    end(&mut guard).await;
    match answer.unwrap_or(Ok(None))? {
        Some(Word::Ready) => Ok(()),
        Some(Word::NotStarted(why)) => Err(NoGuard::Unable(why)),
        _ => Err(NoGuard::NotAsked),
    }
}

async fn hear(control: tokio::net::UnixStream) -> io::Result<Option<Word>> {
    let mut said = Vec::new();
    control.take(ANSWER_BYTES_MAX).read_to_end(&mut said).await?;
    Ok(String::from_utf8_lossy(&said).trim_end().parse().ok())
}

async fn end(guard: &mut Child) {
    // It has ended already, unless it is not what it should be.
    let _ = guard.start_kill();
    let _ = guard.wait().await;
}
