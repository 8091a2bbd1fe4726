//! The conformance suite bites: a store that breaks a promise fails the property that names it.

#![allow(clippy::expect_used, reason = "a panic is how a test fails")]

mod fault;
mod faulty_store;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use async_trait::async_trait;
use steadfast_queue::store::StoreLimits;
use steadfast_queue::{JobStore, MemoryStore};
use steadfast_testkit::conformance::{Bench, DURABLE_PROPERTIES, PROPERTIES, Property};
use steadfast_testkit::model::{self, Life};

use fault::{FAULTS, Fault, SEEN_BY_THE_MODEL};
use faulty_store::FaultyStore;

/// Opens memory stores with this fault.
struct Broken(Option<Fault>);

#[async_trait]
impl Bench for Broken {
    async fn open(&mut self, limits: StoreLimits) -> Arc<dyn JobStore> {
        Arc::new(FaultyStore::new(self.0, limits))
    }
}

/// Opens a new memory store each time: a store that loses everything with its process.
struct Forgetful;

#[async_trait]
impl Bench for Forgetful {
    async fn open(&mut self, limits: StoreLimits) -> Arc<dyn JobStore> {
        Arc::new(MemoryStore::new(limits))
    }
}

/// Whether the store keeps the promise. Time is paused, so that what never comes is not waited for.
fn keeps(property: &Property, bench: &mut dyn Bench) -> bool {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build();
    let runtime = runtime.expect("a runtime");
    catch_unwind(AssertUnwindSafe(|| runtime.block_on(property.check(bench)))).is_ok()
}

fn named(name: &str) -> &'static Property {
    PROPERTIES.iter().find(|property| property.name == name).unwrap_or_else(|| panic!("no property {name}"))
}

#[test]
fn every_fault_fails_the_property_that_names_the_promise() {
    let broken = |(fault, name): &&(Fault, &str)| keeps(named(name), &mut Broken(Some(*fault)));
    let missed: Vec<_> = FAULTS.iter().filter(broken).collect();
    assert!(missed.is_empty(), "not noticed: {missed:?}");
}

#[test]
fn every_property_is_failed_by_some_fault() {
    let kept_by_all =
        |property: &&Property| FAULTS.iter().all(|(fault, _)| keeps(property, &mut Broken(Some(*fault))));
    let idle: Vec<_> = PROPERTIES.iter().filter(kept_by_all).collect();
    assert!(idle.is_empty(), "no fault fails {idle:?}");
}

#[test]
fn without_a_fault_the_same_store_keeps_every_promise() {
    let broken: Vec<_> = PROPERTIES.iter().filter(|property| !keeps(property, &mut Broken(None))).collect();
    assert!(broken.is_empty(), "{broken:?}");
}

#[test]
fn a_store_that_forgets_fails_every_durable_property() {
    let missed: Vec<_> =
        DURABLE_PROPERTIES.iter().filter(|property| keeps(property, &mut Forgetful)).collect();
    assert!(missed.is_empty(), "not noticed: {missed:?}");
}

#[test]
fn the_model_explains_no_broken_store() {
    const SEQUENCES: u32 = 100;
    let explained =
        |fault: Option<Fault>| model::explains(Life::OneProcess, SEQUENCES, || Box::new(Broken(fault)));
    assert!(explained(None));
    let missed: Vec<_> = SEEN_BY_THE_MODEL.iter().filter(|fault| explained(Some(**fault))).collect();
    assert!(missed.is_empty(), "explained: {missed:?}");
}
