//! What cleans up after a cluster, however its test program ends.

use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};

/// Its input ends when the test program lets go of the pipe or is no more, SIGKILL included. Then it stops the
/// server and removes the directory. The server's file with its process id may be an old one: the id counts
/// only while that process works in the data directory, which a dead one does not.
const SCRIPT: &str = r#"
trap '' HUP INT TERM
cat
read -r server < "$1/data/postmaster.pid" && [ "/proc/$server/cwd" -ef "$1/data" ] && kill -QUIT "$server"
while [ "/proc/$server/cwd" -ef "$1/data" ]; do sleep 0.01; done
rm -rf "$1"
"#;

/// A process that outlives the test program for as long as it takes to clean up. Dropping it does so now.
#[derive(Debug)]
pub(super) struct Guard(Child);

impl Guard {
    /// Watches over the cluster in `dir`. In a process group of its own: what ends the test's group, as
    /// Ctrl-C does, leaves it alone.
    pub(super) fn over(dir: &Path) -> Self {
        let mut command = Command::new("sh");
        command.arg("-c").arg(SCRIPT).arg("guard").arg(dir).process_group(0);
        command.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null());
        Self(command.spawn().expect("a shell can be started"))
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        drop(self.0.stdin.take());
        // Fails only when its end has been waited for already.
        let _ = self.0.wait();
    }
}
