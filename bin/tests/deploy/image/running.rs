//! A container of the image: PID 1 of its own processes, the image's user, the image's root.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;

use rustix::process::{Pid, Signal, kill_process};
use steadfast_client::Client;
use steadfast_domain::{JobId, JobState};
use steadfast_testkit::harness::{Exit, Process};
use steadfast_testkit::{PATIENCE, eventually, within};

use super::super::dockerfile::Image;
use super::rootfs::Shipped;

pub(crate) struct Running {
    /// Waits for the container's first process, and ends as that does.
    waiting: Process,
    /// That process, as it is called outside.
    first: Pid,
    address: SocketAddr,
}

impl Running {
    /// Starts it as an engine would, but for the address: on a free port of this machine alone.
    pub(crate) async fn start(image: &Image, shipped: &Shipped) -> Self {
        let user = image.user();
        let (user, group) = user.split_once(':').expect("a user and a group");
        let mut command = Command::new("unshare");
        command.args(["--pid", "--fork", "--mount-proc", "--kill-child"]);
        command.arg("--root").arg(shipped.root()).arg("--wd").arg(image.last().the("WORKDIR"));
        command.args(["--setgid", group, "--setuid", user]);
        command.args(image.entrypoint()).args(image.cmd());
        command.env_clear().envs(image.environment()).env("STEADFAST_LISTEN", "127.0.0.1:0");
        let mut waiting = Process::start(command);
        let listening = eventually("the container listens, or has ended", || {
            let event = waiting.stderr().events("listening").pop();
            std::future::ready(if waiting.is_running() { event.map(Some) } else { Some(None) })
        });
        let Some(listening) = listening.await else { panic!("it ended: {}", waiting.stderr().text()) };
        let address = listening["address"].as_str().and_then(|text| text.parse().ok());
        let first = child_of(waiting.id());
        let container = Self { waiting, first, address: address.expect("an address") };
        let client = container.client();
        let ready = within(PATIENCE, || async { client.ready().await.ok() }).await;
        assert!(ready.is_some(), "it gets ready: {}", container.waiting.stderr().text());
        container
    }

    pub(crate) fn client(&self) -> Client {
        Client::new(&format!("http://{}", self.address)).unwrap()
    }

    /// Waits until the job is done.
    pub(crate) async fn until_completed(&self, job: JobId) {
        let client = self.client();
        eventually("the job is completed", || async {
            (client.job(job).await.ok()?.state == JobState::Completed).then_some(())
        })
        .await;
    }

    pub(crate) fn assert_is_pid_1_of_the_images_user(&self, user: &str) {
        let status = fs::read_to_string(format!("/proc/{}/status", self.first.as_raw_pid())).unwrap();
        let words = |name: &str| -> Vec<String> {
            let line = status.lines().find_map(|line| line.strip_prefix(name)).expect("in every status");
            line.split_whitespace().map(str::to_owned).collect()
        };
        assert_eq!(words("NSpid:").last().map(String::as_str), Some("1"), "PID 1 in there");
        let (uid, gid) = user.split_once(':').unwrap();
        assert_eq!((words("Uid:"), words("Gid:")), (vec![uid.to_owned(); 4], vec![gid.to_owned(); 4]));
        assert_eq!(words("CapEff:"), ["0000000000000000"]);
    }

    /// SIGTERM to PID 1, as the engine sends it, and waits for the end.
    pub(crate) async fn stop(mut self) -> Exit {
        kill_process(self.first, Signal::TERM).expect("it runs");
        let exit = self.waiting.exit_within(PATIENCE).await;
        exit.expect("a drain with nothing to do ends at once")
    }
}

/// The one child of a process.
fn child_of(pid: u32) -> Pid {
    let children = fs::read_to_string(Path::new("/proc").join(format!("{pid}/task/{pid}/children"))).unwrap();
    let child = children.trim().parse().unwrap_or_else(|_| panic!("one child: {children:?}"));
    Pid::from_raw(child).expect("a process")
}
