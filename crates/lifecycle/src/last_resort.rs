use std::io::{self, Write};
use std::sync::Arc;
use std::sync::mpsc::sync_channel;
use std::thread::JoinHandle;
use std::time::Duration;

use parking_lot::{Condvar, Mutex};
use tokio::time::Instant;

use crate::Ledger;

/// The exit code of a drain that could not do all it owed: `EX_TEMPFAIL` of sysexits.h.
pub const EXIT_UNFINISHED: u8 = 75;

/// The longest a last word may take: a standard error that nobody reads must not keep the process alive.
const LAST_WORD_LIMIT: Duration = Duration::from_millis(200);

/// A plain thread that ends the process when the drain has not ended by its deadline: whatever blocks the
/// runtimes cannot block this one. It writes the ledger so far to standard error and exits with
/// [`EXIT_UNFINISHED`].
#[derive(Debug)]
pub struct LastResort {
    watch: Arc<Watch>,
    thread: JoinHandle<()>,
}

#[derive(Debug)]
struct Watch {
    /// `None` once disarmed.
    deadline: Mutex<Option<Instant>>,
    changed: Condvar,
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
        let watch = Arc::new(Watch { deadline: Mutex::new(Some(deadline)), changed: Condvar::new() });
        let watched = Arc::clone(&watch);
        let thread = std::thread::Builder::new().name("last-resort".to_owned()).spawn(move || {
            if watched.passes() {
                fire();
            }
        })?;
        Ok(Self { watch, thread })
    }

    /// Brings the deadline forward. A later one changes nothing: the end is never put off.
    pub fn tighten(&self, deadline: Instant) {
        if let Some(current) = &mut *self.watch.deadline.lock() {
            *current = deadline.min(*current);
        }
        self.watch.changed.notify_one();
    }

    /// The drain has ended in time. Returns when the thread is gone.
    pub fn disarm(self) {
        *self.watch.deadline.lock() = None;
        self.watch.changed.notify_one();
        // It cannot have panicked: it only waits.
        let _ = self.thread.join();
    }
}

impl Watch {
    /// Waits until the deadline has passed, or until it is taken away.
    fn passes(&self) -> bool {
        let mut deadline = self.deadline.lock();
        while let Some(until) = *deadline {
            if Instant::now() >= until {
                return true;
            }
            self.changed.wait_until(&mut deadline, until.into_std());
        }
        false
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
    fn does_not_fire_once_disarmed() {
        let (fire, fired) = sync_channel(1);
        let armed = LastResort::arm_with(Instant::now() + FAR, move || fire.send(()).unwrap()).unwrap();
        armed.disarm();
        assert!(fired.recv().is_err(), "the thread is gone without having fired");
    }
}
