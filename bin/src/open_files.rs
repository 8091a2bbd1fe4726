//! Every connection is an open file: the process's limit is raised to fit what the settings allow, or what
//! they allow is lowered to fit the limit.

/// Files besides connections: the store's, the listener's, standard streams, the runtimes'.
#[cfg(unix)]
const OTHER_FILES: u64 = 128;
/// Connections that are kept, however low the limit is.
#[cfg(unix)]
const CONNECTIONS_MIN: u64 = 16;

/// How many of `connections_max` connections the process may have beside `others` further files.
#[cfg(unix)]
pub(crate) fn fit_connections(connections_max: usize, others: usize) -> usize {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

    let others = others as u64 + OTHER_FILES;
    let wanted = connections_max as u64 + others;
    let limit = getrlimit(Resource::Nofile);
    let mut allowed = limit.current.unwrap_or(u64::MAX);
    if allowed < wanted {
        // As far as the hard limit goes; only root may raise that one.
        let raised = wanted.min(limit.maximum.unwrap_or(u64::MAX));
        let raise = Rlimit { current: Some(raised), maximum: limit.maximum };
        if setrlimit(Resource::Nofile, raise).is_ok() {
            allowed = raised;
        }
    }
    let fitting = fitting(wanted, allowed, others);
    if fitting < connections_max as u64 {
        tracing::warn!(
            connections_max,
            lowered_to = fitting,
            open_files_max = allowed,
            "the limit of open files allows fewer connections than connections_max: raise it (ulimit -Hn)"
        );
    }
    usize::try_from(fitting).unwrap_or(connections_max)
}

/// Windows has no such limit.
#[cfg(not(unix))]
pub(crate) fn fit_connections(connections_max: usize, _others: usize) -> usize {
    connections_max
}

#[cfg(unix)]
fn fitting(wanted: u64, allowed: u64, others: u64) -> u64 {
    wanted.min(allowed).saturating_sub(others).max(CONNECTIONS_MIN.min(wanted - others))
}

#[cfg(all(test, unix))]
mod tests {
    use super::*;

    #[test]
    fn connections_give_way_to_the_limit_but_never_to_nothing() {
        assert_eq!(fitting(10_200, 1 << 20, 200), 10_000);
        assert_eq!(fitting(10_200, 1_024, 200), 824);
        assert_eq!(fitting(10_200, 64, 200), CONNECTIONS_MIN);
        assert_eq!(fitting(203, 64, 200), 3);
    }
}
