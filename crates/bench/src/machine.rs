use std::fs;
use std::io::Write;
use std::path::Path;
use std::thread::available_parallelism;
use std::time::Duration;

use serde::Serialize;
use tokio::time::Instant;

use crate::error::BenchError;
use crate::rounds::Spread;

/// Syncs that are timed, each after a page was written.
const SYNCS: usize = 200;
const PAGE_BYTES: usize = 4096;

/// What the figures were taken on.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Machine {
    pub(crate) cores: usize,
    pub(crate) processor: String,
    pub(crate) kernel: String,
    /// The median time of a sync where the stores are.
    pub(crate) fdatasync_us: f64,
    #[serde(skip)]
    steal_before: Steal,
}

/// Ticks of all processors since the machine's start: those the hypervisor gave to others, and all.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Steal {
    stolen: u64,
    all: u64,
}

impl Machine {
    /// Looks at it; stores will be in `dir`.
    pub(crate) fn look(dir: &Path) -> Result<Self, BenchError> {
        let cpuinfo = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        let processor = cpuinfo.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "));
        let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
        Ok(Self {
            cores: available_parallelism().map_or(1, usize::from),
            processor: processor.map_or("unknown", |(_, name)| name).trim().to_owned(),
            kernel: kernel.trim().to_owned(),
            fdatasync_us: sync_time(dir)?.as_secs_f64() * 1e6,
            steal_before: steal()?,
        })
    }

    /// The share of the processors' time, 0 to 1, that went to other machines since [`look`](Self::look).
    pub(crate) fn steal(&self) -> Result<f64, BenchError> {
        let (before, now) = (self.steal_before, steal()?);
        let all = now.all.saturating_sub(before.all).max(1);
        Ok(now.stolen.saturating_sub(before.stolen) as f64 / all as f64)
    }
}

/// The median time of a `fdatasync` after a write of one page at the end of a file.
pub(crate) fn sync_time(dir: &Path) -> Result<Duration, BenchError> {
    let failed = || BenchError::io(format!("a file in {}", dir.display()));
    let mut file = tempfile::tempfile_in(dir).map_err(failed())?;
    let mut times_us = Vec::with_capacity(SYNCS);
    for _ in 0..SYNCS {
        file.write_all(&[7; PAGE_BYTES]).map_err(failed())?;
        let begun = Instant::now();
        file.sync_data().map_err(failed())?;
        times_us.push(begun.elapsed().as_secs_f64() * 1e6);
    }
    Ok(Duration::from_secs_f64(Spread::of(&times_us).median / 1e6))
}

fn steal() -> Result<Steal, BenchError> {
    let stat = fs::read_to_string("/proc/stat").map_err(BenchError::io("/proc/stat"))?;
    parse(&stat).ok_or_else(|| BenchError::invalid("/proc/stat", "no line of all processors"))
}

/// The first line of `/proc/stat` (proc_stat(5)): user, nice, system, idle, iowait, irq, softirq, steal; the
/// guest times after them are part of the first two.
fn parse(stat: &str) -> Option<Steal> {
    let line = stat.lines().next()?.strip_prefix("cpu ")?;
    let ticks: Vec<u64> =
        line.split_ascii_whitespace().take(8).filter_map(|text| text.parse().ok()).collect();
    Some(Steal { stolen: *ticks.get(7)?, all: ticks.iter().sum() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_steal_time_is_the_eighth_number() {
        let stat = "cpu  10 20 30 40 50 60 70 80 90 100\ncpu0 1 2 3 4 5 6 7 8 9 10\n";
        assert_eq!(parse(stat), Some(Steal { stolen: 80, all: 360 }));
        assert_eq!(parse("intr 1"), None);
    }
}
