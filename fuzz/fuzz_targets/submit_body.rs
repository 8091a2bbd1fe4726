//! The body of a submit, from any bytes.
#![no_main]

#[path = "../checks/submit_body.rs"]
mod submit_body;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| submit_body::check(bytes));
