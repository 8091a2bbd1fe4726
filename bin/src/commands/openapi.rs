use steadfast_api::openapi_document;

use super::failure::Failure;
use super::output;

/// Prints what a server of this version answers at `/openapi.json`.
pub(crate) fn run() -> Result<(), Failure> {
    output::print(openapi_document())
}
