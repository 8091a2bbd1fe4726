//! What the kernel tells of a process, and what it allows this one (`proc_pid_status(5)`, `proc_pid_stat(5)`).

use std::fs;
use std::time::Duration;

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use super::Process;

/// Processor time is counted in these (`getconf CLK_TCK` is 100 on every Linux).
const TICK: Duration = Duration::from_millis(10);

/// Which part of a process's memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Memory {
    /// What it has allocated and touched.
    Own,
    /// That, and what is in memory of its files.
    Resident,
    /// The most that was resident so far.
    Peak,
}

impl Memory {
    const fn name(self) -> &'static str {
        match self {
            Self::Own => "RssAnon:",
            Self::Resident => "VmRSS:",
            Self::Peak => "VmHWM:",
        }
    }
}

impl Process {
    /// Bytes of its memory; `None` once it has ended.
    pub fn memory_bytes(&self, which: Memory) -> Option<usize> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.id())).ok()?;
        // A process that nobody has waited for yet has a status without memory.
        let line = status.lines().find_map(|line| line.strip_prefix(which.name()))?;
        let kib: usize = line.trim().trim_end_matches(" kB").parse().expect("the kernel writes kB");
        Some(kib * 1024)
    }

    /// Processor time that all its threads have used.
    ///
    /// # Panics
    /// When its end has been waited for.
    pub fn processor_time(&self) -> Duration {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.id())).expect("the process is there");
        // The name, in parentheses, may have spaces; utime and stime are the 12th and 13th after it.
        let (_, rest) = stat.rsplit_once(')').expect("its name");
        let ticks: u32 =
            rest.split_whitespace().skip(11).take(2).map(|n| n.parse::<u32>().expect("ticks")).sum();
        TICK * ticks
    }
}

/// Lets this process open so many files.
///
/// # Panics
/// When the hard limit is below that.
pub fn may_open(files: u64) {
    let limit = getrlimit(Resource::Nofile);
    if limit.current.is_some_and(|current| current < files) {
        let raised = Rlimit { current: limit.maximum, maximum: limit.maximum };
        setrlimit(Resource::Nofile, raised).expect("the soft limit can be raised to the hard one");
        assert!(limit.maximum.is_none_or(|most| most >= files), "ulimit -Hn must allow {files} files");
    }
}
