//! A library that makes each sync of a server slower, built when it is needed.

use std::ffi::OsString;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use tempfile::TempDir;

use crate::error::BenchError;

const SOURCE: &str = include_str!("slow_sync/slow_sync.c");
const DELAY_US: &str = "STEADFAST_BENCH_SYNC_DELAY_US";

/// The built library, as long as it lives.
#[derive(Debug)]
pub(crate) struct SlowSync(TempDir);

impl SlowSync {
    /// Builds it with the system's C compiler.
    pub(crate) fn build() -> Result<Self, BenchError> {
        let dir = TempDir::new().map_err(BenchError::io("a temporary directory"))?;
        let source = dir.path().join("slow_sync.c");
        std::fs::write(&source, SOURCE).map_err(BenchError::io("the preload's source"))?;
        let mut cc = Command::new("cc");
        cc.args(["-shared", "-fPIC", "-O2", "-Wall", "-Werror", "-o"]).arg(library(&dir)).arg(&source);
        let built = cc.arg("-ldl").output().map_err(BenchError::io("cc"))?;
        if !built.status.success() {
            return Err(BenchError::invalid("cc", String::from_utf8_lossy(&built.stderr)));
        }
        Ok(Self(dir))
    }

    /// What a server's environment needs for its syncs to take `delay` longer.
    pub(crate) fn environment(&self, delay: Duration) -> [(&'static str, OsString); 2] {
        let us = delay.as_micros().to_string();
        [("LD_PRELOAD", library(&self.0).into()), (DELAY_US, us.into())]
    }
}

fn library(dir: &TempDir) -> std::path::PathBuf {
    Path::join(dir.path(), "slow_sync.so")
}

#[cfg(test)]
mod tests {
    use tokio::time::Instant;

    use super::*;

    #[test]
    fn a_sync_takes_longer_under_it() {
        let (slow, file) = (SlowSync::build().unwrap(), tempfile::NamedTempFile::new().unwrap());
        let mut sync = Command::new("sync");
        sync.arg("--data").arg(file.path()).envs(slow.environment(Duration::from_millis(300)));
        let begun = Instant::now();
        assert!(sync.status().unwrap().success());
        assert!(begun.elapsed() >= Duration::from_millis(300));
    }
}
