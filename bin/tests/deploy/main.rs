//! Holds `deploy/kubernetes` and `deploy/docker` against the server: what they set is what it takes, its drain fits
//! their grace periods, and what they ask it is answered. `scripts/manifests` holds them against their schemas.
#![cfg(target_os = "linux")]
#![allow(clippy::expect_used, clippy::unwrap_used, reason = "a panic is how a test fails")]

mod compose;
mod container;
mod dockerfile;
mod documented;
mod image;
mod kubernetes;
mod manifests;
#[path = "../mounts/mod.rs"]
mod mounts;

use std::fs;
use std::path::{Path, PathBuf};

const PROGRAM: &str = env!("CARGO_BIN_EXE_steadfast");

/// Of the checkout.
fn path(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(name)
}

fn read(path: &Path) -> String {
    fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}
