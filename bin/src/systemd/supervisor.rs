use std::env;
use std::sync::Arc;
use std::time::Duration;

use steadfast_lifecycle::{Phase, Phases};
use tokio::runtime::Handle;
use tokio::time::{MissedTickBehavior, interval};

use super::line::Line;

/// How often a supervisor without a watchdog hears that a start goes on.
const STARTING_EVERY: Duration = Duration::from_secs(10);
/// So many words may be late or lost before the supervisor takes a start for stuck.
const STARTING_WORDS: u32 = 3;

/// Whoever supervises this process and asked to be told how it is. What it does not hear is logged, and no reason not to
/// go on: it will act on it.
#[derive(Debug, Clone, Default)]
pub(crate) struct Supervisor {
    /// `None` when nobody asked.
    line: Option<Arc<Line>>,
    /// After how long without a word this process is taken for dead.
    watchdog: Option<Duration>,
}

impl Supervisor {
    /// The one that the environment names, if any.
    pub(crate) fn from_environment() -> Self {
        let line = match env::var_os("NOTIFY_SOCKET").map(|name| Line::to(&name)) {
            Some(Ok(line)) => line,
            None => return Self::default(),
            Some(Err(error)) => {
                tracing::warn!(%error, "the supervisor that NOTIFY_SOCKET names cannot be told anything");
                return Self::default();
            }
        };
        let of = |name| env::var(name).ok();
        Self { line: Some(Arc::new(line)), watchdog: watchdog(of("WATCHDOG_USEC"), of("WATCHDOG_PID")) }
    }

    /// The server has entered this phase.
    pub(crate) fn entered(&self, phase: Phase) {
        self.say(match phase {
            Phase::Starting => "STATUS=Starting: the store is being opened",
            Phase::Ready => "READY=1\nSTATUS=Ready",
            Phase::LameDuck => "STOPPING=1\nSTATUS=Stopping (lame duck): still accepts jobs, begins none",
            Phase::Draining => "STATUS=Stopping (draining): accepts no jobs, running ones may finish",
            Phase::Cancelling => "STATUS=Stopping (cancelling): running jobs are told to checkpoint",
            Phase::Handback => "STATUS=Stopping (handback): unfinished jobs go back, connections close",
            Phase::Stopped => "STATUS=Stopping: the store is being closed",
        });
    }

    /// Files are being read again.
    pub(crate) fn reload_begins(&self) {
        self.say("RELOADING=1");
    }

    /// They have been.
    pub(crate) fn reload_ended(&self) {
        self.say("READY=1");
    }

    /// Says again and again that the server lives: while it starts, so that a long recovery is not cut short, and
    /// later on if the supervisor has a watchdog. Ends when nobody wants to hear more.
    ///
    /// Each word is said by a task of this runtime, after one of `pool`, which claims, settles and renews. So the words
    /// stop when all threads of either are stuck, and the supervisor ends the process. They do not stop for what a
    /// restart would not cure: a store that is away, or handlers that block the runtime they have to themselves.
    pub(crate) async fn keep_telling(self, phases: Phases, pool: Handle) {
        if self.line.is_none() {
            return;
        }
        let every = self.watchdog.map_or(STARTING_EVERY, |watchdog| watchdog / 2);
        let starting = format!("EXTEND_TIMEOUT_USEC={}", (every * STARTING_WORDS).as_micros());
        let mut beat = interval(every);
        beat.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            beat.tick().await;
            if pool.spawn(async {}).await.is_err() {
                return;
            }
            match (phases.current(), self.watchdog) {
                (Phase::Starting, _) => self.say(&starting),
                (_, Some(_)) => self.say("WATCHDOG=1"),
                (_, None) => return,
            }
        }
    }

    fn say(&self, words: &str) {
        if let Some(Err(error)) = self.line.as_ref().map(|line| line.say(words)) {
            tracing::warn!(%error, words, "the supervisor did not hear");
        }
    }
}

/// The watchdog's time, where the variables have one that is for this process.
fn watchdog(micros: Option<String>, for_process: Option<String>) -> Option<Duration> {
    let micros = micros?.parse().ok().filter(|micros| *micros > 0)?;
    let is_for_us = for_process.is_none_or(|id| id == std::process::id().to_string());
    is_for_us.then_some(Duration::from_micros(micros))
}

#[cfg(all(test, unix))]
#[expect(clippy::unwrap_used, reason = "what a test is set up with must not fail")]
mod tests {
    use steadfast_lifecycle::{PhaseSender, phases};
    use tempfile::TempDir;
    use tokio::net::UnixDatagram;
    use tokio::time::timeout;

    use super::*;
    use prometheus::Registry;

    use crate::reload::{Contents, ReloadTrigger, Reloadable, Reloader};

    const WATCHDOG: Duration = Duration::from_millis(20);

    /// A supervisor, and what it hears.
    struct Told {
        supervisor: Supervisor,
        hears: UnixDatagram,
        _dir: TempDir,
    }

    fn told(watchdog: Option<Duration>) -> Told {
        let dir = TempDir::new().unwrap();
        let path = dir.path().join("notify");
        let hears = UnixDatagram::bind(&path).unwrap();
        let line = Line::to(path.as_os_str()).unwrap();
        Told { supervisor: Supervisor { line: Some(Arc::new(line)), watchdog }, hears, _dir: dir }
    }

    impl Told {
        async fn next(&self) -> String {
            let mut bytes = [0; 512];
            let length = self.hears.recv(&mut bytes).await.unwrap();
            String::from_utf8(bytes[..length].to_vec()).unwrap()
        }

        /// Ends with `hearing`, and not before, as long as the supervisor is told.
        async fn while_telling(&self, phases: Phases, hearing: impl Future<Output = ()>) {
            tokio::select! {
                () = self.supervisor.clone().keep_telling(phases, Handle::current()) => panic!("it is to go on"),
                () = hearing => {}
            }
        }
    }

    /// A server's phases, begun in this one.
    fn in_phase(phase: Phase) -> (PhaseSender, Phases) {
        let (sender, phases) = phases();
        sender.advance(phase);
        (sender, phases)
    }

    #[tokio::test]
    async fn a_server_that_lives_says_so_again_and_again() {
        let told = told(Some(WATCHDOG));
        let (_sender, phases) = in_phase(Phase::Ready);
        let hearing = async {
            for _ in 0..4 {
                assert_eq!(told.next().await, "WATCHDOG=1");
            }
        };
        told.while_telling(phases, hearing).await;
    }

    #[tokio::test]
    async fn a_reload_that_a_stop_overtakes_does_not_say_ready() {
        let told = told(None);
        let (sender, phases) = in_phase(Phase::Ready);
        let (dir, trigger) = (TempDir::new().unwrap(), ReloadTrigger::default());
        let path = dir.path().join("file");
        std::fs::write(&path, "").unwrap();
        let in_force = Contents::read(std::slice::from_ref(&path)).unwrap().seen();
        // The stop begins while the file is applied.
        let supervisor = told.supervisor.clone();
        let watched = Reloadable::new("files", vec![path], in_force, move |_| {
            sender.advance(Phase::LameDuck);
            supervisor.entered(Phase::LameDuck);
            sender.advance(Phase::Stopped);
            supervisor.entered(Phase::Stopped);
            Ok(())
        });
        trigger.ask();
        let reloader = Reloader::new(trigger, vec![watched], &Registry::new(), told.supervisor.clone());
        reloader.unwrap().run(phases).await;
        assert_eq!(told.next().await, "RELOADING=1");
        assert!(told.next().await.starts_with("STOPPING=1"));
        assert!(told.next().await.starts_with("STATUS=Stopping"));
        let mut more = [0; 512];
        let more = told
            .hears
            .try_recv(&mut more)
            .map(|length| String::from_utf8_lossy(&more[..length]).into_owned());
        assert!(more.is_err(), "{more:?}");
    }

    #[tokio::test]
    async fn a_pool_whose_threads_are_stuck_is_not_said_to_live() {
        let told = told(Some(WATCHDOG));
        let (_sender, phases) = in_phase(Phase::Ready);
        // No thread runs it.
        let stuck = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let telling = told.supervisor.clone().keep_telling(phases, stuck.handle().clone());
        let either = async {
            tokio::select! {
                () = telling => "ended".to_owned(),
                words = told.next() => words,
            }
        };
        assert!(timeout(WATCHDOG * 10, either).await.is_err(), "nothing is said");
        stuck.shutdown_background();
    }

    #[tokio::test]
    async fn a_start_asks_for_more_time_until_it_is_over() {
        let told = told(Some(WATCHDOG));
        let (sender, phases) = in_phase(Phase::Starting);
        let hearing = async {
            for _ in 0..2 {
                assert_eq!(told.next().await, "EXTEND_TIMEOUT_USEC=30000");
            }
            sender.advance(Phase::Ready);
            while told.next().await != "WATCHDOG=1" {}
        };
        told.while_telling(phases, hearing).await;
    }

    #[tokio::test]
    async fn without_a_watchdog_nothing_is_repeated_after_the_start() {
        let told = told(None);
        let (_sender, phases) = in_phase(Phase::Ready);
        told.supervisor.clone().keep_telling(phases, Handle::current()).await;
    }

    #[test]
    fn a_watchdog_is_for_the_process_that_it_names() {
        let (time, me) = (Some("500000".to_owned()), Some(std::process::id().to_string()));
        let half_a_second = Some(Duration::from_millis(500));
        assert_eq!(watchdog(time.clone(), None), half_a_second);
        assert_eq!(watchdog(time.clone(), me), half_a_second);
        assert_eq!(watchdog(time, Some("1".to_owned())), None);
        assert_eq!(watchdog(Some("0".to_owned()), None), None);
        assert_eq!(watchdog(None, None), None);
    }
}
