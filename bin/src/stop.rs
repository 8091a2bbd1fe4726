//! From signals and requests to what the drain is to do: asks can only become more urgent. SIGHUP asks for something
//! else: that files are read again.

use steadfast_lifecycle::{DrainCause, DrainRequests, Ledger, last_word};
use tokio::sync::watch;

use crate::reload::ReloadTrigger;
use crate::signals::{Signal, Signals};

/// The exit code after a SIGINT that would not wait: 128 and the signal's number.
pub(crate) const EXIT_INTERRUPTED: u8 = 130;

/// How much of a stop is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Urgency {
    /// None.
    Serve,
    /// A drain with its lame duck.
    LameDuck,
    /// A drain without one.
    Drain,
    /// Hand back what runs, and close.
    Handback,
}

/// A stop that may be asked for, and by whom.
#[derive(Debug, Clone)]
pub(crate) struct Stop(watch::Receiver<(Urgency, &'static str)>);

/// Turns signals and drain requests into a [`Stop`] until the process ends.
pub(crate) struct StopListener {
    asks: Asks,
    stop: watch::Sender<(Urgency, &'static str)>,
    signals: Signals,
    requests: DrainRequests,
    reload: ReloadTrigger,
    ledger: Ledger,
}

impl StopListener {
    pub(crate) fn new(
        signals: Signals,
        requests: DrainRequests,
        reload: ReloadTrigger,
        ledger: Ledger,
    ) -> (Self, Stop) {
        let (stop, receiver) = watch::channel((Urgency::Serve, ""));
        (Self { asks: Asks::default(), stop, signals, requests, reload, ledger }, Stop(receiver))
    }

    /// Listens for ever.
    pub(crate) async fn run(mut self) {
        loop {
            let (ask, cause) = tokio::select! {
                signal = self.signals.next() => (Ask::Signal(signal), signal.as_str()),
                cause = self.requests.requested() => (Ask::Request, self.describe(cause)),
            };
            match self.asks.answer(ask) {
                Answer::Ignore => tracing::info!(cause, "nothing to do: under way already"),
                Answer::Reload => self.reload.ask(),
                Answer::Raise(urgency) => {
                    tracing::info!(cause, "stop requested");
                    self.stop.send_replace((urgency, cause));
                }
                Answer::ExitNow => {
                    last_word(format!("interrupted again; jobs go back at the next start\n{}", self.ledger));
                    std::process::exit(i32::from(EXIT_INTERRUPTED));
                }
            }
        }
    }
}

impl StopListener {
    /// What the ledger calls it. A task's failure is a fault, too: whoever runs the server is to hear of it.
    fn describe(&self, cause: DrainCause) -> &'static str {
        match cause {
            DrainCause::Asked => "POST /v1/drain",
            DrainCause::TaskFailed(task) => {
                self.ledger.fault(format!("the task {task} panicked; the server could not go on"));
                "a failed task"
            }
        }
    }
}

impl Stop {
    /// Waits for the first ask that is at least this urgent; its urgency and cause.
    pub(crate) async fn at_least(&self, urgency: Urgency) -> (Urgency, &'static str) {
        let mut asked = self.0.clone();
        match asked.wait_for(|(asked, _)| *asked >= urgency).await.map(|asked| *asked) {
            Ok(asked) => asked,
            // The listener lives as long as its runtime; without it nothing more will be asked.
            Err(_) => std::future::pending().await,
        }
    }
}

/// Everything asked so far.
#[derive(Debug)]
struct Asks {
    urgency: Urgency,
    /// A SIGINT came during the drain.
    interrupted: bool,
}

#[derive(Debug, Clone, Copy)]
enum Ask {
    Signal(Signal),
    Request,
}

#[derive(Debug, PartialEq, Eq)]
enum Answer {
    Ignore,
    Reload,
    Raise(Urgency),
    ExitNow,
}

impl Default for Asks {
    fn default() -> Self {
        Self { urgency: Urgency::Serve, interrupted: false }
    }
}

impl Asks {
    fn answer(&mut self, ask: Ask) -> Answer {
        let wanted = match ask {
            Ask::Request | Ask::Signal(Signal::Terminate) => Urgency::LameDuck,
            Ask::Signal(Signal::Quit) => Urgency::Handback,
            Ask::Signal(Signal::HangUp) => return Answer::Reload,
            Ask::Signal(Signal::Interrupt) if self.urgency == Urgency::Serve => Urgency::Drain,
            Ask::Signal(Signal::Interrupt) if self.interrupted => return Answer::ExitNow,
            Ask::Signal(Signal::Interrupt) => {
                self.interrupted = true;
                Urgency::Handback
            }
        };
        if wanted <= self.urgency || (wanted < Urgency::Handback && self.urgency > Urgency::Serve) {
            return Answer::Ignore;
        }
        self.urgency = wanted;
        Answer::Raise(wanted)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TERM: Ask = Ask::Signal(Signal::Terminate);
    const INT: Ask = Ask::Signal(Signal::Interrupt);
    const QUIT: Ask = Ask::Signal(Signal::Quit);
    const HUP: Ask = Ask::Signal(Signal::HangUp);

    fn answers(asks: &[Ask]) -> Vec<Answer> {
        let mut state = Asks::default();
        asks.iter().map(|ask| state.answer(*ask)).collect()
    }

    #[test]
    fn a_repeated_sigterm_changes_nothing() {
        let drain = [Answer::Raise(Urgency::LameDuck), Answer::Ignore, Answer::Ignore];
        assert_eq!(answers(&[TERM, TERM, Ask::Request]), drain);
        assert_eq!(answers(&[Ask::Request, TERM, TERM]), drain);
    }

    #[test]
    fn the_second_sigint_hands_back_and_the_third_exits() {
        let expected = [Answer::Raise(Urgency::Drain), Answer::Raise(Urgency::Handback), Answer::ExitNow];
        assert_eq!(answers(&[INT, INT, INT]), expected);
    }

    #[test]
    fn a_sigint_during_a_drain_hands_back_however_the_drain_began() {
        let handback = Answer::Raise(Urgency::Handback);
        assert_eq!(answers(&[TERM, INT, INT])[1..], [handback, Answer::ExitNow]);
        assert_eq!(answers(&[QUIT, INT, INT])[1..], [Answer::Ignore, Answer::ExitNow]);
    }

    #[test]
    fn sigquit_hands_back_at_once_and_from_any_drain() {
        assert_eq!(answers(&[QUIT]), [Answer::Raise(Urgency::Handback)]);
        assert_eq!(answers(&[INT, QUIT, TERM])[1..], [Answer::Raise(Urgency::Handback), Answer::Ignore]);
    }

    #[test]
    fn sighup_reads_files_again_and_stops_nothing() {
        assert_eq!(answers(&[HUP, TERM, HUP])[2], Answer::Reload);
        assert_eq!(answers(&[HUP, TERM]), [Answer::Reload, Answer::Raise(Urgency::LameDuck)]);
    }

    #[test]
    fn a_sigterm_after_a_sigint_does_not_bring_the_lame_duck_back() {
        assert_eq!(answers(&[INT, TERM])[1], Answer::Ignore);
    }
}
