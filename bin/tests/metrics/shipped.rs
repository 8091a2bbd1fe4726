//! What is shipped for Prometheus and Grafana.

use std::fs;
use std::path::{Path, PathBuf};

/// The path of a file of this repository.
pub(crate) fn path(file: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(file)
}

/// A file of this repository.
pub(crate) fn read(file: &str) -> String {
    fs::read_to_string(path(file)).unwrap_or_else(|error| panic!("{file}: {error}"))
}
