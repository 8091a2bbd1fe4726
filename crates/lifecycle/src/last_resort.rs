use std::io::{self, Write};
use std::sync::mpsc::{Receiver, RecvTimeoutError, SyncSender, sync_channel};
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::time::Instant;

use crate::Ledger;

/// The exit code of a drain that could not do all it owed: `EX_TEMPFAIL` of sysexits.h.
pub const EXIT_UNFINISHED: u8 = 75;

/// The longest a last word may take: a standard error that nobody reads must not keep the process alive.
const LAST_WORD_LIMIT: Duration = Duration::from_millis(200);

/// Words on their way to the thread, which does nothing but wait for them.
const WORDS_MAX: usize = 4;

/// A plain thread that ends the process when the drain has not ended by its deadline: whatever blocks the
/// runtimes cannot block this one. It writes the ledger so far to standard error and exits with
/// [`EXIT_UNFINISHED`]. Dropping it does not disarm it.
#[derive(Debug)]
pub struct LastResort {
    words: SyncSender<Word>,
    thread: JoinHandle<()>,
}

/// What the thread is told.
#[derive(Debug)]
enum Word {
    /// The deadline, should it be earlier than the one before.
    Tighten(Instant),
    Disarm,
}

impl LastResort {
    /// Ends the process at `deadline`, unless disarmed before.
    ///
    /// # Errors
    /// When the system has no room for one more thread.
    pub fn arm(deadline: Instant, ledger: Ledger) -> io::Result<Self> {
        Self::arm_with(deadline, move || {
            ledger.fault("the drain did not end in time; the last resort ended the process");
            let code = ledger.finish();
            last_word(ledger.to_string());
            std::process::exit(i32::from(code));
        })
    }

    fn arm_with(deadline: Instant, fire: impl FnOnce() + Send + 'static) -> io::Result<Self> {
        let (words, heard) = sync_channel(WORDS_MAX);
        let thread = std::thread::Builder::new().name("last-resort".to_owned()).spawn(move || {
            if passes(deadline, &heard) {
                fire();
            }
        })?;
        Ok(Self { words, thread })
    }

    /// Brings the deadline forward. A later one changes nothing: the end is never put off.
    pub fn tighten(&self, deadline: Instant) {
        // Nobody listens any more once it has fired.
        let _ = self.words.send(Word::Tighten(deadline));
    }

    /// The drain has ended in time. Returns when the thread is gone.
    pub fn disarm(self) {
        let _ = self.words.send(Word::Disarm);
        // It cannot have panicked: it only waits.
        let _ = self.thread.join();
    }
}

/// Waits until the deadline has passed, `false` when it is disarmed before.
fn passes(mut deadline: Instant, heard: &Receiver<Word>) -> bool {
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        match heard.recv_timeout(left) {
            Ok(Word::Tighten(earlier)) => deadline = deadline.min(earlier),
            Ok(Word::Disarm) => return false,
            Err(RecvTimeoutError::Timeout) => return true,
            // Nobody can disarm it any more.
            Err(RecvTimeoutError::Disconnected) => {
                std::thread::sleep(left);
                return true;
            }
        }
    }
}

/// Writes `text` to standard error, waiting only a moment for whoever reads it.
pub fn last_word(text: String) {
    let (done, written) = sync_channel(1);
    let writer = std::thread::Builder::new().name("last-word".to_owned()).spawn(move || {
        let _ = io::stderr().lock().write_all(text.as_bytes());
        let _ = done.send(());
    });
    if writer.is_ok() {
        let _ = written.recv_timeout(LAST_WORD_LIMIT);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FAR: Duration = Duration::from_secs(3_600);

    #[test]
    fn fires_when_the_deadline_passes() {
        let (fire, fired) = sync_channel(1);
        let armed = LastResort::arm_with(Instant::now(), move || fire.send(()).unwrap()).unwrap();
        fired.recv().unwrap();
        armed.disarm();
    }

    #[test]
    fn fires_at_a_deadline_brought_forward_but_never_put_off() {
        let (fire, fired) = sync_channel(1);
        let armed = LastResort::arm_with(Instant::now() + FAR, move || fire.send(()).unwrap()).unwrap();
        armed.tighten(Instant::now());
        armed.tighten(Instant::now() + FAR);
        fired.recv().unwrap();
        armed.disarm();
    }

    #[test]
    fn fires_although_whoever_armed_it_is_gone() {
        let (fire, fired) = sync_channel(1);
        let armed = LastResort::arm_with(Instant::now() + FAR, move || fire.send(()).unwrap()).unwrap();
        armed.tighten(Instant::now());
        drop(armed);
        fired.recv().unwrap();
    }

    #[test]
    fn does_not_fire_once_disarmed() {
        let (fire, fired) = sync_channel(1);
        let armed = LastResort::arm_with(Instant::now() + FAR, move || fire.send(()).unwrap()).unwrap();
        armed.disarm();
        assert!(fired.recv().is_err(), "the thread is gone without having fired");
    }
}
