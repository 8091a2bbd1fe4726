//! The program `steadfast`: the library's, with nothing added.

use std::process::ExitCode;

#[global_allocator]
static ALLOCATOR: steadfast::Allocator = steadfast::Allocator;

fn main() -> ExitCode {
    steadfast::main(Ok)
}
