use std::fs;
use std::time::Duration;

use rustix::process::{Pid, Resource, Rlimit, getrlimit, prlimit, setrlimit};
use steadfast_testkit::harness::Server;

/// Processor time is counted in these (`getconf CLK_TCK` is 100 on every Linux).
const TICK: Duration = Duration::from_millis(10);

/// Lets this process open so many files.
pub(crate) fn may_open(files: u64) {
    let limit = getrlimit(Resource::Nofile);
    if limit.current.is_some_and(|current| current < files) {
        let raised = Rlimit { current: limit.maximum, maximum: limit.maximum };
        setrlimit(Resource::Nofile, raised).expect("the soft limit can be raised to the hard one");
        assert!(limit.maximum.is_none_or(|most| most >= files), "ulimit -Hn must allow {files} files");
    }
}

/// Leaves the server so many files beside those it has open.
pub(crate) fn leave_files(server: &mut Server, spare: u64) {
    let id = server.process().id();
    let open = fs::read_dir(format!("/proc/{id}/fd")).expect("its open files").count() as u64;
    let limit = Rlimit { current: Some(open + spare), maximum: Some(open + spare) };
    let pid = Pid::from_raw(id.try_into().expect("a process id")).expect("a process id");
    prlimit(Some(pid), Resource::Nofile, limit).expect("a child's limit can be lowered");
}

/// Bytes of memory the server has.
pub(crate) fn memory_bytes(server: &mut Server) -> usize {
    let status = fs::read_to_string(format!("/proc/{}/status", server.process().id())).expect("its status");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("its memory");
    let kib: usize = line.trim().trim_end_matches(" kB").parse().expect("a number");
    kib * 1024
}

/// Processor time the server has used, all threads.
pub(crate) fn processor_time(server: &mut Server) -> Duration {
    let stat = fs::read_to_string(format!("/proc/{}/stat", server.process().id())).expect("its figures");
    // The name, in parentheses, may have spaces; utime and stime are the 12th and 13th after it.
    let (_, rest) = stat.rsplit_once(')').expect("its name");
    let ticks: u32 = rest.split_whitespace().skip(11).take(2).map(|n| n.parse::<u32>().expect("ticks")).sum();
    TICK * ticks
}
