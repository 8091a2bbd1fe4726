//! What every [`JobStore`] promises, as properties that any store can be held against.
//!
//! A store's crate writes a [`Bench`] and one line, and gets one test for each promise:
//!
//! ```
//! # use std::sync::Arc;
//! # use steadfast_queue::{JobStore, MemoryStore, store::StoreLimits};
//! # use steadfast_testkit::conformance::Bench;
//! struct MyBench;
//!
//! #[async_trait::async_trait]
//! impl Bench for MyBench {
//!     async fn open(&mut self, limits: StoreLimits) -> Arc<dyn JobStore> {
//!         Arc::new(MemoryStore::new(limits)) // your store here
//!     }
//! }
//!
//! steadfast_testkit::conformance!(MyBench);
//! ```
//!
//! Stores that survive their process add `durable_conformance!` in the same way.
//!
//! A property returns when the store keeps the promise its name states, and panics when it does not. Most
//! need no time to pass; those whose promise is about time use the store's own clock, short times, and
//! housekeeping until the promised moment has come, never a sleep in place of an answer.
//!
//! **Invariant:** a property assumes nothing that the documentation of `JobStore` does not say, so that a
//! failing one is a fault of the store.

pub mod batches;
pub mod cancels;
pub mod claims;
pub mod closing;
pub mod counters;
pub mod counts;
pub mod durability;
pub mod expiry;
pub mod hints;
pub mod keys;
pub mod leases;
pub mod lists;
pub mod order;
mod properties;
pub mod reopening;
pub mod retention;
pub mod room;
pub mod settling;
pub mod subject;
pub mod suspects;
pub mod times;
pub mod transitions;
pub mod unique;
pub mod versions;

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use async_trait::async_trait;
use steadfast_queue::JobStore;
use steadfast_queue::store::StoreLimits;

/// Where the stores of one kind are put to the test. One bench is one place for data; each property gets a
/// new one.
#[async_trait]
pub trait Bench: Send {
    /// Opens a store with these limits on this bench's data: none the first time. Later times it is called
    /// as the next process would open it, after the store before was closed, or dropped as by a crash.
    async fn open(&mut self, limits: StoreLimits) -> Arc<dyn JobStore>;
}

/// One promise and how it is checked.
pub struct Property {
    /// The promise.
    pub name: &'static str,
    check: Check,
}

type Check = for<'a> fn(&'a mut dyn Bench) -> Pin<Box<dyn Future<Output = ()> + 'a>>;

impl Property {
    /// Holds the bench's store against the promise.
    ///
    /// # Panics
    /// When the store breaks it.
    pub async fn check(&self, bench: &mut dyn Bench) {
        (self.check)(bench).await;
    }
}

impl fmt::Debug for Property {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)
    }
}

/// One `#[tokio::test]` for each property of every store. The argument makes a new [`Bench`].
#[macro_export]
macro_rules! conformance {
    ($bench:expr) => {
        $crate::each_property! { property_tests $bench }
    };
}

/// One `#[tokio::test]` for each property of the stores that outlive their process. The argument makes a
/// new [`Bench`].
#[macro_export]
macro_rules! durable_conformance {
    ($bench:expr) => {
        $crate::each_durable_property! { property_tests $bench }
    };
}

#[doc(hidden)]
#[macro_export]
macro_rules! property_tests {
    ($bench:expr; $($group:ident: $($name:ident),+;)+) => {
        $($(
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $name() {
                let mut bench = $bench;
                $crate::conformance::$group::$name(&mut bench).await;
            }
        )+)+
    };
}

#[doc(hidden)]
#[macro_export]
macro_rules! property_list {
    (; $($group:ident: $($name:ident),+;)+) => {
        &[$($(Property { name: stringify!($name), check: |bench| Box::pin($group::$name(bench)) },)+)+]
    };
}

/// Every property of every store, for whoever runs them in another way.
pub const PROPERTIES: &[Property] = crate::each_property! { property_list };

/// Every property of the stores that outlive their process.
pub const DURABLE_PROPERTIES: &[Property] = crate::each_durable_property! { property_list };
