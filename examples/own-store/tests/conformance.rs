//! Everything that any store promises, held against this one.

use std::sync::Arc;

use async_trait::async_trait;
use own_store::Audited;
use steadfast::queue::store::StoreLimits;
use steadfast::queue::{JobStore, MemoryStore};
use steadfast_testkit::conformance::Bench;
use tempfile::TempDir;

/// A place for one store's data.
struct OwnStore(TempDir);

#[async_trait]
impl Bench for OwnStore {
    async fn open(&mut self, limits: StoreLimits) -> Arc<dyn JobStore> {
        let trail = self.0.path().join("audit.ndjson");
        Arc::new(Audited::open(&trail, MemoryStore::new(limits)).expect("a new file"))
    }
}

steadfast_testkit::conformance!(OwnStore(tempfile::tempdir().expect("a directory")));
