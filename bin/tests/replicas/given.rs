//! Several servers on one store.

use steadfast_domain::KindName;
use steadfast_testkit::harness::{Given, Keep, given_server};
use steadfast_testkit::stubborn::{STUBBORN, Stubborn};

use crate::acting;

/// The server of a test that runs `stubborn` jobs too; run as a test it returns at once.
pub(crate) fn serve_if_asked() {
    let kind = KindName::new(STUBBORN).expect("a valid kind");
    acting::serve_if_asked(|server| server.handlers(|built_in| built_in.with(kind, Stubborn)));
}

/// A replica on this store, acted by the test `serve`.
pub(crate) fn given_replica(store: String) -> Given {
    given_server(env!("CARGO_BIN_EXE_steadfast")).acted_by("serve").store(Keep::Postgres(store))
}
