//! The memory store keeps every promise of the conformance suite.

use std::sync::Arc;

use async_trait::async_trait;
use steadfast_queue::store::StoreLimits;
use steadfast_queue::{JobStore, MemoryStore};
use steadfast_testkit::conformance::Bench;
use steadfast_testkit::model::Life;

struct Memory;

#[async_trait]
impl Bench for Memory {
    async fn open(&mut self, limits: StoreLimits) -> Arc<dyn JobStore> {
        Arc::new(MemoryStore::new(limits))
    }
}

steadfast_testkit::conformance!(Memory);
steadfast_testkit::model!(Memory, Life::OneProcess, 500);
