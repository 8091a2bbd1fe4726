//! Files that are read again while the server runs: on SIGHUP, and when their content has changed.
//!
//! ```text
//!  SIGHUP ──▶ StopListener ──▶ ReloadTrigger ─┐
//!                                             ├─▶ Reloader: read ──▶ apply ──▶ in force
//!  every second: another content, twice? ─────┘                        └─▶ wrong: logged, the old stays
//! ```
//!
//! Contents are compared, not times of files: Kubernetes swaps a symbolic link, and a copy may keep its time. One that
//! is new counts once two looks in a row have found it (20 ms apart when somebody asks), so that a file is not taken while it
//! is being written.
//!
//! Whoever has files registers a [`Reloadable`].

use std::error::Error;
use std::fs::{self, File};
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use prometheus::{IntGaugeVec, Opts, Registry};
use sha2::{Digest, Sha256};
use steadfast_lifecycle::{Phase, Phases};
use tokio::sync::Notify;
use tokio::task::spawn_blocking;
use tokio::time::sleep;

use crate::systemd::Supervisor;

/// Time between two looks at the files.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// Time between two readings of files when somebody asks, until two in a row are the same, and how often at most.
const ASKED_AGAIN_AFTER: Duration = Duration::from_millis(20);
const ASKED_AGAIN_MAX: usize = 25;
/// Bytes of one file.
const FILE_BYTES_MAX: u64 = 1024 * 1024;

/// Asks for all files to be read again.
#[derive(Debug, Clone, Default)]
pub(crate) struct ReloadTrigger(Arc<Notify>);

/// Reads files again for as long as the server runs.
pub(crate) struct Reloader {
    trigger: ReloadTrigger,
    watched: Vec<Reloadable>,
    /// `steadfast_files_in_force`.
    in_force: IntGaugeVec,
    supervisor: Supervisor,
}

/// Files that are used together, and how new contents come into force.
pub(crate) struct Reloadable {
    /// What the log and the metrics call them.
    name: &'static str,
    paths: Vec<PathBuf>,
    apply: Apply,
    /// What was last read and applied, or found wrong.
    known: Seen,
    /// Whether that was applied.
    is_in_force: bool,
    /// What the last look found, if it was something else.
    candidate: Option<Seen>,
}

/// Brings new contents into force, or says why not.
type Apply = Box<dyn FnMut(&Contents) -> Result<(), Failed> + Send>;

/// What files hold, in the order of their paths.
pub(crate) struct Contents(Vec<Vec<u8>>);

/// Why new contents are not in force.
pub(crate) type Failed = Box<dyn Error + Send + Sync>;

/// A file that cannot be read.
#[derive(Debug, thiserror::Error)]
#[error("{}: {reason}", path.display())]
pub(crate) struct Unreadable {
    pub(crate) path: PathBuf,
    pub(crate) reason: io::Error,
}

/// What a look found, as far as it matters whether the next one finds the same.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Seen {
    /// The SHA-256 of each content: keys are not kept.
    Contents(Vec<[u8; 32]>),
    /// Why there is none.
    Unreadable(String),
}

impl ReloadTrigger {
    pub(crate) fn ask(&self) {
        self.0.notify_one();
    }
}

impl Contents {
    /// Reads these files. Blocks.
    pub(crate) fn read(paths: &[PathBuf]) -> Result<Self, Unreadable> {
        let read = |path: &PathBuf| read(path).map_err(|reason| Unreadable { path: path.clone(), reason });
        paths.iter().map(read).collect::<Result<_, _>>().map(Self)
    }

    /// The content of each file.
    pub(crate) fn each(&self) -> impl Iterator<Item = &[u8]> {
        self.0.iter().map(Vec::as_slice)
    }

    /// What a later look is compared with.
    pub(crate) fn seen(&self) -> Seen {
        Seen::Contents(self.each().map(|content| Sha256::digest(content).into()).collect())
    }
}

fn read(path: &Path) -> io::Result<Vec<u8>> {
    // Opening something else, such as a pipe, may take for ever.
    if !fs::metadata(path)?.is_file() {
        return Err(io::Error::other("not a file"));
    }
    let mut content = Vec::new();
    File::open(path)?.take(FILE_BYTES_MAX + 1).read_to_end(&mut content)?;
    match content.len() as u64 {
        ..=FILE_BYTES_MAX => Ok(content),
        _ => Err(io::Error::other("larger than 1 MiB")),
    }
}

impl Reloadable {
    /// Files with what was seen of them in force. `apply` gets new ones, and says why it cannot take them; then what was in
    /// force stays so.
    pub(crate) fn new(
        name: &'static str,
        paths: Vec<PathBuf>,
        in_force: Seen,
        apply: impl FnMut(&Contents) -> Result<(), Failed> + Send + 'static,
    ) -> Self {
        Self { name, paths, apply: Box::new(apply), known: in_force, is_in_force: true, candidate: None }
    }

    /// Reads the files, and applies what is new, or, if that is asked for, whatever there is.
    async fn look(&mut self, is_asked: bool) {
        let Some((mut read, mut seen)) = self.reading().await else { return };
        if is_asked {
            for _ in 0..ASKED_AGAIN_MAX {
                sleep(ASKED_AGAIN_AFTER).await;
                let before = seen;
                let Some(again) = self.reading().await else { return };
                (read, seen) = again;
                if seen == before {
                    return self.apply(read, seen);
                }
            }
            tracing::warn!(
                files = self.name,
                "still being written: what was in force stays so until they are whole"
            );
        }
        if self.is_new(&seen) {
            self.apply(read, seen);
        }
    }

    /// What there is now; nothing when reading it panicked.
    fn reading(&self) -> impl Future<Output = Option<(Result<Contents, Unreadable>, Seen)>> + Send + use<> {
        let (name, paths) = (self.name, self.paths.clone());
        async move {
            let read = spawn_blocking(move || Contents::read(&paths)).await;
            let panicked = |error: &_| tracing::error!(%error, files = name, "reading files panicked");
            let read = read.inspect_err(panicked).ok()?;
            let seen = match &read {
                Ok(contents) => contents.seen(),
                Err(error) => Seen::Unreadable(error.to_string()),
            };
            Some((read, seen))
        }
    }

    /// Whether this is something else than before, and is there to stay.
    fn is_new(&mut self, seen: &Seen) -> bool {
        if *seen == self.known {
            self.candidate = None;
            return false;
        }
        let is_twice = self.candidate.as_ref() == Some(seen);
        self.candidate = Some(seen.clone());
        is_twice
    }

    fn apply(&mut self, read: Result<Contents, Unreadable>, seen: Seen) {
        self.known = seen;
        self.candidate = None;
        let applied = read.map_err(Failed::from).and_then(|contents| (self.apply)(&contents));
        self.is_in_force = applied.is_ok();
        match applied {
            Ok(()) => tracing::info!(files = self.name, "read again, and in force"),
            Err(error) => {
                tracing::error!(files = self.name, %error, "read again, but wrong: what was in force stays so");
            }
        }
    }
}

impl Reloader {
    pub(crate) fn new(
        trigger: ReloadTrigger,
        watched: Vec<Reloadable>,
        registry: &Registry,
        supervisor: Supervisor,
    ) -> Result<Self, prometheus::Error> {
        let help =
            "1 while what the files hold is in force, 0 while it is wrong and what was there before is.";
        let in_force = IntGaugeVec::new(Opts::new("steadfast_files_in_force", help), &["files"])?;
        registry.register(Box::new(in_force.clone()))?;
        let reloader = Self { trigger, watched, in_force, supervisor };
        reloader.watched.iter().for_each(|files| reloader.show(files));
        Ok(reloader)
    }

    fn show(&self, files: &Reloadable) {
        self.in_force.with_label_values(&[files.name]).set(files.is_in_force.into());
    }

    /// Reads again what is asked for or has changed, until the server has stopped.
    pub(crate) async fn run(mut self, phases: Phases) {
        tokio::select! {
            _ = phases.at_least(Phase::Stopped) => {}
            () = self.look_again_and_again(&phases) => {}
        }
    }

    async fn look_again_and_again(&mut self, phases: &Phases) {
        loop {
            let is_asked = tokio::select! {
                biased;
                () = self.trigger.0.notified() => true,
                () = sleep(LOOK_EVERY), if !self.watched.is_empty() => false,
            };
            if is_asked && self.watched.is_empty() {
                tracing::info!("no files to read again");
            }
            // Only a server that is ready can be so again.
            let is_told = is_asked && phases.current() == Phase::Ready;
            if is_told {
                self.supervisor.reload_begins();
            }
            for files in &mut self.watched {
                files.look(is_asked).await;
            }
            self.watched.iter().for_each(|files| self.show(files));
            // A stop that has begun meanwhile was told of, and nothing takes that back.
            if is_told && phases.current() == Phase::Ready {
                self.supervisor.reload_ended();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;

    use parking_lot::Mutex;
    use steadfast_lifecycle::phases;
    use tempfile::TempDir;

    use super::*;

    /// One watched file whose content is to be a number, and those taken so far.
    struct Given {
        dir: TempDir,
        reloadable: Reloadable,
        taken: Arc<Mutex<Vec<u32>>>,
    }

    fn given(content: &str) -> Given {
        let dir = TempDir::new().unwrap();
        let path = dir.path().join("number");
        fs::write(&path, content).unwrap();
        let in_force = Contents::read(std::slice::from_ref(&path)).unwrap().seen();
        let taken = Arc::<Mutex<Vec<u32>>>::default();
        let numbers = Arc::clone(&taken);
        let reloadable = Reloadable::new("numbers", vec![path], in_force, move |contents| {
            let text = String::from_utf8_lossy(contents.each().next().unwrap_or_default()).into_owned();
            numbers.lock().push(text.parse()?);
            Ok(())
        });
        Given { dir, reloadable, taken }
    }

    impl Given {
        fn write(&self, content: &str) {
            fs::write(self.dir.path().join("number"), content).unwrap();
        }

        async fn looks(&mut self, times: usize) {
            for _ in 0..times {
                self.reloadable.look(false).await;
            }
        }

        fn taken(&self) -> Vec<u32> {
            self.taken.lock().clone()
        }
    }

    #[tokio::test]
    async fn a_new_content_is_taken_when_it_is_seen_twice_and_then_not_again() {
        let mut given = given("1");
        given.looks(2).await;
        assert!(given.taken().is_empty());
        given.write("2");
        given.looks(1).await;
        assert!(given.taken().is_empty(), "it may still be written");
        given.write("3");
        given.looks(1).await;
        assert!(given.taken().is_empty(), "it was");
        given.looks(3).await;
        assert_eq!(given.taken(), [3]);
    }

    #[tokio::test]
    async fn what_is_asked_for_is_taken_at_once_whether_it_is_new_or_not() {
        let mut given = given("1");
        given.reloadable.look(true).await;
        given.write("2");
        given.reloadable.look(true).await;
        given.looks(2).await;
        assert_eq!(given.taken(), [1, 2]);
    }

    /// Only Linux has a file that is another at each reading.
    #[cfg(target_os = "linux")]
    #[tokio::test]
    async fn what_is_asked_for_is_not_taken_while_it_is_written() {
        let Given { reloadable: Reloadable { known, .. }, .. } = given("1");
        let taken = Arc::<Mutex<Vec<Vec<u8>>>>::default();
        let contents = Arc::clone(&taken);
        let path = PathBuf::from("/proc/sys/kernel/random/uuid");
        let mut changing = Reloadable::new("changing", vec![path], known, move |read| {
            contents.lock().extend(read.each().map(<[u8]>::to_vec));
            Ok(())
        });
        changing.look(true).await;
        assert!(taken.lock().is_empty(), "it was still being written");
        assert!(changing.candidate.is_some(), "the looks that follow go on from there");
    }

    #[tokio::test]
    async fn a_wrong_content_and_a_missing_file_are_tried_once_and_end_with_the_next_good_one() {
        let mut given = given("1");
        given.write("many");
        given.looks(3).await;
        fs::remove_file(given.dir.path().join("number")).unwrap();
        given.looks(3).await;
        assert_eq!(given.reloadable.known, Seen::Unreadable(unreadable(&given)));
        given.write("1");
        given.looks(3).await;
        assert_eq!(given.taken(), [1]);
    }

    fn unreadable(given: &Given) -> String {
        Contents::read(&given.reloadable.paths).err().unwrap().to_string()
    }

    #[test]
    fn what_is_no_file_or_too_large_is_not_read() {
        let dir = TempDir::new().unwrap();
        let path = dir.path().join("large");
        fs::write(&path, vec![b' '; 1024 * 1024 + 1]).unwrap();
        for (path, reason) in [(path, "larger than 1 MiB"), (dir.path().to_owned(), "not a file")] {
            let error = Contents::read(&[path]).err().unwrap().to_string();
            assert!(error.contains(reason) && error.contains(dir.path().to_str().unwrap()), "{error}");
        }
    }

    #[tokio::test]
    async fn it_goes_on_until_the_server_has_stopped() {
        let (sender, phases) = phases();
        let mut reloader = pin!(
            Reloader::new(ReloadTrigger::default(), Vec::new(), &Registry::new(), Supervisor::default())
                .unwrap()
                .run(phases)
        );
        sender.advance(Phase::Handback);
        tokio::select! {
            biased;
            () = &mut reloader => panic!("a drain may take long"),
            () = tokio::task::yield_now() => {}
        }
        sender.advance(Phase::Stopped);
        reloader.await;
    }
}
