//! The server on a store of one's own: jobs in memory, and a trail of what clients had done in `audit.ndjson`.

use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;

use own_store::Audited;
use steadfast::queue::MemoryStore;

#[global_allocator]
static ALLOCATOR: steadfast::Allocator = steadfast::Allocator;

fn main() -> ExitCode {
    steadfast::main(|server| {
        Ok(server.store(|limits| {
            Ok(Arc::new(Audited::open(Path::new("audit.ndjson"), MemoryStore::new(limits))?))
        }))
    })
}
