//! The settings, from any file, environment and flags.
#![no_main]

use steadfast as server;

#[path = "../checks/settings.rs"]
mod check;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| check::check(bytes));
