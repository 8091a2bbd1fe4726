//! What a server needs that has nothing to do.

use std::time::Duration;

use tokio::time::sleep;

use super::Bench;
use crate::contestant::Contestant;
use crate::error::BenchError;
use crate::process::{Usage, resident_bytes};
use crate::report::Findings;
use crate::rounds::{Goal, Unit};

const MEMORY: Goal = Goal {
    what: "memory of an idle server after 10 s (VmRSS)",
    unit: Unit::MebiBytes,
    at_least: 30.0,
    aim: 30.0,
};
const SLEEPS: Goal = Goal {
    what: "voluntary context switches of an idle server, all threads, over 30 s",
    unit: Unit::PerSecond,
    at_least: 10.0,
    aim: 10.0,
};
const SETTLE: Duration = Duration::from_secs(10);
const COUNT: Duration = Duration::from_secs(30);

/// Adds the figures of one run.
pub(crate) async fn measure(bench: &Bench<'_>, findings: &mut Findings) -> Result<(), BenchError> {
    let server = Contestant::sqlite().start(&bench.place).await?;
    let process = server.target().process;
    sleep(SETTLE).await;
    findings.single_row(MEMORY, "", resident_bytes(process)? as f64 / 1024.0 / 1024.0);
    let before = Usage::of(process)?;
    sleep(COUNT).await;
    let sleeps = Usage::of(process)?.since(before).sleeps;
    findings.single_row(SLEEPS, "", sleeps as f64 / COUNT.as_secs_f64());
    Ok(())
}
