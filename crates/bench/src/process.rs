use std::fs;
use std::iter::Sum;
use std::time::Duration;

use crate::error::BenchError;

/// What a process has used since its start, or between two looks.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(crate) struct Usage {
    /// Time on a processor, in user and kernel mode, of all its threads.
    pub(crate) cpu: Duration,
    /// How often a thread of it gave up its processor to wait: voluntary context switches.
    pub(crate) sleeps: u64,
}

impl Usage {
    /// Reads it from `/proc`. Switches of threads that have ended are not in it.
    pub(crate) fn of(process: u32) -> Result<Self, BenchError> {
        let stat = read(&format!("/proc/{process}/stat"))?;
        let ticks = cpu_ticks(&stat).ok_or_else(|| BenchError::invalid("/proc", "no times in stat"))?;
        let cpu = Duration::from_secs_f64(ticks as f64 / rustix::param::clock_ticks_per_second() as f64);
        let threads = format!("/proc/{process}/task");
        let mut sleeps = 0;
        for thread in fs::read_dir(&threads).map_err(BenchError::io(&threads))? {
            let status = thread.map_err(BenchError::io(&threads))?.path().join("status");
            // A thread may have ended since it was listed.
            let status = fs::read_to_string(status).unwrap_or_default();
            sleeps += field(&status, "voluntary_ctxt_switches:").unwrap_or(0);
        }
        Ok(Self { cpu, sleeps })
    }

    /// The difference to an earlier look.
    pub(crate) fn since(self, before: Self) -> Self {
        Self { cpu: self.cpu.saturating_sub(before.cpu), sleeps: self.sleeps.saturating_sub(before.sleeps) }
    }

    /// That many times as much.
    pub(crate) fn scaled(self, factor: f64) -> Self {
        Self { cpu: self.cpu.mul_f64(factor), sleeps: (self.sleeps as f64 * factor).round() as u64 }
    }
}

impl Sum for Usage {
    fn sum<I: Iterator<Item = Self>>(usages: I) -> Self {
        usages.fold(Self::default(), |sum, usage| Self {
            cpu: sum.cpu + usage.cpu,
            sleeps: sum.sleeps + usage.sleeps,
        })
    }
}

/// Bytes of a process that are in memory now: VmRSS.
pub(crate) fn resident_bytes(process: u32) -> Result<u64, BenchError> {
    let status = read(&format!("/proc/{process}/status"))?;
    let kib = field(&status, "VmRSS:").ok_or_else(|| BenchError::invalid("/proc", "no VmRSS in status"))?;
    Ok(kib * 1024)
}

fn read(path: &str) -> Result<String, BenchError> {
    fs::read_to_string(path).map_err(BenchError::io(path))
}

/// utime and stime, the 14th and 15th field of `stat` (proc_pid_stat(5)); the second one, the name, may
/// have spaces.
fn cpu_ticks(stat: &str) -> Option<u64> {
    let (_, rest) = stat.rsplit_once(')')?;
    let mut fields = rest.split_ascii_whitespace().skip(11);
    let mut next = || fields.next()?.parse::<u64>().ok();
    Some(next()? + next()?)
}

/// The number after `name` in a `status` file.
fn field(status: &str, name: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix(name))?;
    line.split_ascii_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_fields_of_proc_are_found() {
        let stat = "7 (a) b) S 1 2 3 4 5 6 7 8 9 10 250 50 0 0 20 0 9";
        assert_eq!(cpu_ticks(stat), Some(300));
        let status = "VmRSS:\t   2048 kB\nvoluntary_ctxt_switches:\t5\nnonvoluntary_ctxt_switches:\t9\n";
        assert_eq!(field(status, "voluntary_ctxt_switches:"), Some(5));
        assert_eq!(field(status, "VmRSS:"), Some(2048));
    }

    #[test]
    fn this_process_can_be_looked_at() {
        let myself = std::process::id();
        assert!(resident_bytes(myself).unwrap() > 1024 * 1024);
        let before = Usage::of(myself).unwrap();
        assert!(Usage::of(myself).unwrap().since(before).cpu < Duration::from_secs(60));
    }
}
