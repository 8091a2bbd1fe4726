//! The settings, from any file, environment and flags.
#![no_main]

/// The server's own source, without the server: what it serves with need not be built to read its settings.
#[allow(dead_code, unused_imports, reason = "the server uses all of it")]
#[path = "../../bin/src"]
mod server {
    pub mod settings;
}

#[path = "../checks/settings.rs"]
mod check;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| check::check(bytes));
