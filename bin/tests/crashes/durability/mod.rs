//! What a server did, as `strace` saw it, and whether it was in the order that a 202 promises.

pub(crate) mod order;
pub(crate) mod trace;
