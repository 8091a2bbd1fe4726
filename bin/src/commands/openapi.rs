use std::io::{self, Write};

use steadfast_api::openapi_document;

use super::{EXIT_FAILED, fail};

/// Prints what a server of this version answers at `/openapi.json`.
pub(crate) fn run() -> u8 {
    match io::stdout().lock().write_all(openapi_document().as_bytes()) {
        Ok(()) => 0,
        Err(error) => fail(EXIT_FAILED, format_args!("cannot write to standard output: {error}")),
    }
}
