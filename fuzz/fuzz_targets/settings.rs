//! The settings, from any file, environment and flags.
#![no_main]

/// The server's own source, without the server: what it serves with need not be built to read its settings.
#[allow(dead_code, unused_imports, reason = "the server uses all of it")]
#[path = "../../bin/src"]
mod server {
    pub mod settings;
}

/// Of the job kinds only what the settings say of them, under the name by which the settings know it.
#[allow(dead_code, unused_imports, reason = "the kinds use all of it")]
#[path = "../../crates/handlers/src"]
mod handlers {
    pub mod program;
}
extern crate self as steadfast_handlers;
pub use handlers::program::{Argument, Program};

#[path = "../checks/settings.rs"]
mod check;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| check::check(bytes));
