//! The steps of the Dockerfile, taken without an engine, and the container that comes of them.
//!
//! What is not as with an engine: the first stage's base is this machine's own system, `cargo build` there gives the
//! program that was built for the tests, without its lines, and the last stage's base is the C library of this machine.
//! What a real `cargo build` would read of the context is held against what it read here.

mod rootfs;
mod running;

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use steadfast_client::SubmitOptions;
use steadfast_domain::{JobState, RawJson};
use steadfast_wire::SubmitRequest;

use super::dockerfile::Image;
use super::mounts::Disk;
use super::{PROGRAM, path, read};
use rootfs::{Build, Shipped};
use running::Running;

/// Room for the program a few times over.
const DISK: &str = "512m";
/// Instructions that the tests know the meaning of.
const KNOWN: &[&str] =
    &["CMD", "COPY", "ENTRYPOINT", "ENV", "EXPOSE", "LABEL", "RUN", "STOPSIGNAL", "USER", "WORKDIR"];

#[tokio::test(flavor = "multi_thread")]
async fn a_container_of_it_serves_and_drains() {
    let name = "image::a_container_of_it_serves_and_drains";
    let Some(disk) = Disk::of_its_own(name, DISK) else { return };
    let image = Image::read();
    let build = Build::of(&image, disk.path());
    let shipped = Shipped::of(&image, &build, disk.path());
    shipped.mount_new_volume("/var/lib/steadfast");

    let first = Running::start(&image, &shipped).await;
    first.assert_is_pid_1_of_the_images_user(&image.user());
    let client = first.client();
    let request = SubmitRequest {
        kind: "echo".to_owned(),
        payload: Some(RawJson::parse("7").unwrap()),
        ..SubmitRequest::default()
    };
    let job = client.submit(&request, &SubmitOptions::default()).await.expect("it accepts").job.id;
    first.until_completed(job).await;
    first.stop().await.expect_code(0);

    let second = Running::start(&image, &shipped).await;
    let kept = second.client().job(job).await.expect("the volume is what stays");
    assert_eq!(kept.state, JobState::Completed);
    second.stop().await.expect_code(0);
}

#[test]
fn the_context_is_all_that_the_build_reads() {
    let context = tempfile::tempdir().unwrap();
    rootfs::copy_context(context.path());
    let metadata = Command::new(env!("CARGO"))
        .args(["metadata", "--locked", "--offline", "--format-version", "1"])
        .current_dir(context.path())
        .output()
        .unwrap();
    assert!(metadata.status.success(), "{}", String::from_utf8_lossy(&metadata.stderr));
    for file in files_read_by_the_build() {
        assert!(context.path().join(&file).is_file(), "{} is not in the context", file.display());
    }
    assert!(context.path().join(".cargo/config.toml").is_file(), "the flags that SQLite is built with");
    assert!(!context.path().join("target").exists() && !context.path().join(".git").exists());
}

#[test]
fn what_is_shipped_has_no_shell_and_nothing_of_root() {
    let image = Image::read();
    let last = image.last();
    assert_eq!(last.all_of("RUN").count(), 0, "its base has no shell to run anything with");
    let user = image.user();
    let is_a_number = |part: &str| part.parse::<u32>().is_ok_and(|id| id > 0);
    assert!(user.split(':').all(is_a_number), "Kubernetes sees of a number only that it is not root: {user}");
    assert_eq!(last.the("STOPSIGNAL"), "SIGTERM");
    let listen = &image.environment()["STEADFAST_LISTEN"];
    assert_eq!(listen.rsplit(':').next(), Some(&*last.the("EXPOSE")), "{listen}");
    for step in image.stages.iter().flat_map(|stage| &stage.steps) {
        assert!(KNOWN.contains(&step.instruction.as_str()), "{step:?}");
    }
}

/// A program that is linked against a newer C library than the one it is shipped with does not start.
#[test]
fn both_stages_are_of_one_system_and_the_compiler_is_new_enough() {
    let image = Image::read();
    let [build, shipped] = &image.stages[..] else { panic!("two stages") };
    assert!(
        build.base.ends_with("-bookworm") && shipped.base.contains("-debian12"),
        "Debian 12, both of them"
    );
    let version =
        build.base.strip_prefix("rust:").and_then(|base| base.split('-').next()).expect("a version");
    let needed = read(&path("Cargo.toml"));
    let needed = needed.lines().find_map(|line| line.strip_prefix("rust-version = ")).expect("a version");
    assert!(numbers(version) >= numbers(needed.trim_matches('"')), "{version} is too old: {needed}");
}

fn numbers(version: &str) -> Vec<u32> {
    version.split('.').map(|number| number.parse().expect("a number")).collect()
}

/// The files of the checkout that the compiler read for the program, relative to it: `cargo build` lists them beside it, and
/// `cargo test` does not.
fn files_read_by_the_build() -> BTreeSet<PathBuf> {
    let list = Path::new(PROGRAM).with_extension("d");
    let listed = fs::read_to_string(list).expect("cargo build has run here, too");
    let (_, files) = listed.split_once(": ").expect("what it is made of");
    let root = fs::canonicalize(path(".")).unwrap();
    let files = files.split_whitespace().map(|file| fs::canonicalize(file).unwrap());
    let files: BTreeSet<_> =
        files.filter_map(|file| Some(file.strip_prefix(&root).ok()?.to_owned())).collect();
    assert!(files.len() > 100, "most of the crates, of the last cargo build: {files:?}");
    files
}
