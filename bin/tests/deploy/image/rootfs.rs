//! File systems as the stages of a Dockerfile make them.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::super::dockerfile::{Image, Stage, Step};
use super::super::{PROGRAM, path, read};

/// What of this machine's system a stage is built in. It cannot be written.
const SYSTEM: &[&str] = &["usr", "etc"];
/// In a system whose programs are all in `/usr`, these lead there.
const LINKS: &[&str] = &["bin", "sbin", "lib", "lib64"];
/// What the image's base has of libraries: the C library, its loader, and what the compiler needs at run time.
const LIBRARIES_OF_THE_BASE: &[&str] =
    &["linux-vdso", "ld-linux", "libc.so", "libm.so", "libgcc_s.so", "libpthread.so", "libdl.so", "librt.so"];
/// Stands for `cargo`, which would build for many minutes what is there already.
const CARGO: &str = r#"#!/bin/sh
[ "$*" = "build --release --locked" ] || { echo "not what stands for cargo: $*" >&2; exit 64; }
mkdir -p target/release && cp "$(dirname "$0")/steadfast" target/release/steadfast
"#;

/// The root of the stage that builds, after all of its steps.
pub(crate) struct Build {
    name: String,
    root: PathBuf,
}

/// The root of the stage that is shipped, after all of its steps. It cannot be written.
pub(crate) struct Shipped {
    root: PathBuf,
    disk: PathBuf,
}

impl Build {
    /// Takes the steps in a directory of `disk`.
    pub(crate) fn of(image: &Image, disk: &Path) -> Self {
        let [stage, _] = &image.stages[..] else { panic!("one stage builds, one is shipped") };
        let build = Self { name: stage.name.clone(), root: disk.join("build") };
        build.lay_base();
        let mut directory = String::from("/");
        for step in &stage.steps {
            match step.instruction.as_str() {
                "WORKDIR" => {
                    directory.clone_from(&step.rest);
                    fs::create_dir_all(inside(&build.root, &directory)).unwrap();
                }
                "COPY" => {
                    assert_eq!(step.rest, ". .", "the context is copied whole");
                    copy_context(&inside(&build.root, &directory));
                }
                "RUN" => build.run(stage, step, &directory),
                "ENV" => {}
                other => panic!("{other} means nothing to a stage that builds"),
            }
        }
        build
    }

    fn lay_base(&self) {
        for name in SYSTEM {
            let target = self.root.join(name);
            fs::create_dir_all(&target).unwrap();
            run("mount", ["--bind", &format!("/{name}"), text(&target)]);
            run("mount", ["-o", "remount,bind,ro", text(&target)]);
        }
        for name in LINKS {
            symlink(Path::new("usr").join(name), self.root.join(name)).unwrap();
        }
        fs::create_dir(self.root.join("stand-in")).unwrap();
        let cargo = self.root.join("stand-in/cargo");
        fs::write(&cargo, CARGO).unwrap();
        run("chmod", ["755", text(&cargo)]);
        // As with CARGO_PROFILE_RELEASE_STRIP=debuginfo.
        run("strip", ["--strip-debug", "-o", text(&self.root.join("stand-in/steadfast")), PROGRAM]);
    }

    /// Runs a command as it is written, by the shell of the stage.
    fn run(&self, stage: &Stage, step: &Step, directory: &str) {
        let mut command = Command::new("chroot");
        command.arg(&self.root).args(["/bin/sh", "-c"]);
        command.arg(format!("cd {directory} && {}", step.rest));
        command.env_clear().envs(stage.environment()).env("PATH", "/stand-in:/usr/sbin:/usr/bin");
        succeed(command);
        // What is mounted for a step is not there after it.
        for (flag, value) in &step.flags {
            assert_eq!(flag, "mount", "a known flag");
            let target = value.strip_prefix("type=cache,target=").expect("a cache");
            let _ = fs::remove_dir_all(inside(&self.root, target));
        }
    }
}

impl Shipped {
    /// Takes the steps in a directory of `disk`, out of what `build` has made.
    pub(crate) fn of(image: &Image, build: &Build, disk: &Path) -> Self {
        let shipped = Self { root: disk.join("shipped"), disk: disk.to_owned() };
        for step in image.last().all_of("COPY") {
            assert_eq!(step.flag("from"), Some(&*build.name), "from the stage that builds");
            shipped.copy(step, &build.root);
        }
        let program = &image.entrypoint()[0];
        shipped.lay_libraries_of(&inside(&shipped.root, program));
        for name in ["proc", "dev"] {
            fs::create_dir_all(shipped.root.join(name)).unwrap();
        }
        run("mount", ["--bind", "/dev", text(&shipped.root.join("dev"))]);
        shipped
    }

    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    /// A volume that is mounted at `mount_point` for the first time: what is there is copied to it, with its owner.
    /// After this, nothing else can be written.
    pub(crate) fn mount_new_volume(&self, mount_point: &str) {
        let mount_point = inside(&self.root, mount_point);
        let volume = self.disk.join("volume");
        run("cp", ["--archive", text(&mount_point), text(&volume)]);
        run("mount", ["--bind", text(&self.root), text(&self.root)]);
        run("mount", ["-o", "remount,bind,ro", text(&self.root)]);
        run("mount", ["--bind", text(&volume), text(&mount_point)]);
    }

    /// Copies a file, or what is in a directory; to root, unless it is to be another's.
    fn copy(&self, step: &Step, from: &Path) {
        let (source, target) = step.source_and_target();
        let (source, target) = (inside(from, source), inside(&self.root, target));
        if source.is_dir() {
            fs::create_dir_all(&target).unwrap();
            run("cp", ["--archive", &format!("{}/.", text(&source)), text(&target)]);
        } else {
            fs::create_dir_all(target.parent().unwrap()).unwrap();
            run("cp", ["--archive", text(&source), text(&target)]);
        }
        run("chown", ["--recursive", step.flag("chown").unwrap_or("0:0"), text(&target)]);
    }

    /// What the base has, as far as the program needs it.
    ///
    /// # Panics
    /// When it needs more.
    fn lay_libraries_of(&self, program: &Path) {
        let listed = Command::new("ldd").arg(program).output().unwrap();
        let listed = String::from_utf8(listed.stdout).unwrap();
        let words = listed.lines().map(str::trim).filter(|line| !line.is_empty());
        for line in words {
            let name = line.split_whitespace().next().unwrap().rsplit('/').next().unwrap();
            assert!(
                LIBRARIES_OF_THE_BASE.iter().any(|library| name.starts_with(library)),
                "{name} is not in the image's base\n{listed}"
            );
            let Some(file) = line.split_whitespace().find(|word| word.starts_with('/')) else { continue };
            let target = inside(&self.root, file);
            fs::create_dir_all(target.parent().unwrap()).unwrap();
            run("cp", ["--dereference", file, text(&target)]);
        }
    }
}

/// Copies what an engine would be sent of the checkout.
pub(crate) fn copy_context(to: &Path) {
    let ignored = read(&path("deploy/docker/Dockerfile.dockerignore"));
    let mut patterns = ignored.lines().filter(|line| !line.starts_with('#'));
    assert_eq!(patterns.next(), Some("*"), "everything is left out but for what is named");
    for pattern in patterns {
        let name = pattern.strip_prefix('!').expect("a name that is not left out");
        run("cp", ["--archive", text(&path(name)), text(to)]);
    }
}

/// This absolute path in a root.
fn inside(root: &Path, absolute: &str) -> PathBuf {
    root.join(absolute.strip_prefix('/').expect("an absolute path"))
}

fn text(path: &Path) -> &str {
    path.to_str().unwrap()
}

pub(crate) fn run<'a>(program: &str, arguments: impl IntoIterator<Item = &'a str>) {
    let mut command = Command::new(program);
    command.args(arguments);
    succeed(command);
}

#[track_caller]
fn succeed(mut command: Command) {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}, which needs root: {error}");
}
