use std::fmt;
use std::fs;
use std::path::Path;

use rustix::process::{Pid, Signal, kill_process};

/// Marks the processes of one test: it is in the environment of all that keep theirs, and in the command lines of
/// those that drop it.
pub(crate) struct Mark(String);

/// One of them.
#[derive(Debug)]
pub(crate) struct Marked {
    pub(crate) pid: Pid,
    pub(crate) name: String,
    /// For the text of a failing assertion.
    #[expect(dead_code, reason = "shown by Debug")]
    command_line: String,
}

impl Mark {
    pub(crate) fn new() -> Self {
        Self(format!("600.{:09}", rand::random_range(0..1_000_000_000_u32)))
    }

    /// The processes that are there now. One that has ended and was not waited for is none: it has neither.
    pub(crate) fn processes(&self) -> Vec<Marked> {
        let entries = fs::read_dir("/proc").expect("the processes").filter_map(Result::ok);
        entries.filter_map(|entry| self.marked(&entry.path())).collect()
    }

    /// How many are not guards.
    pub(crate) fn programs(&self) -> usize {
        self.processes().iter().filter(|process| !process.is_guard()).count()
    }

    pub(crate) fn kill_all(&self) {
        for process in self.processes() {
            process.signal(Signal::KILL);
        }
    }

    fn marked(&self, process: &Path) -> Option<Marked> {
        let pid = Pid::from_raw(process.file_name()?.to_str()?.parse().ok()?)?;
        let read = |name: &str| {
            fs::read(process.join(name)).map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
        };
        let command_line = read("cmdline").ok()?;
        let has_mark = command_line.contains(&self.0) || read("environ").ok()?.contains(&self.0);
        let name = read("comm").ok()?.trim().to_owned();
        has_mark.then(|| Marked { pid, name, command_line: command_line.replace('\0', " ") })
    }
}

impl fmt::Display for Mark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl Marked {
    pub(crate) fn is_guard(&self) -> bool {
        self.name == "exec-guard"
    }

    pub(crate) fn signal(&self, signal: Signal) {
        // Fails when it has just ended.
        let _ = kill_process(self.pid, signal);
    }
}
