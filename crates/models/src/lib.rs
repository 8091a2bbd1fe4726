//! Nothing that ships: its tests try the hand-written synchronisation of the other crates in every order in
//! which its threads can run, with [loom](https://docs.rs/loom).
//!
//! ```text
//!   the source file itself, by #[path] ──▶ tests/loom/ ◀── loom's lock and condition variable, in the shape
//!                                                          of parking_lot's
//! ```
//!
//! A model is possible for code that takes its primitives from the module around it. There is one such file,
//! and should stay as few as can be: everything else waits by Tokio's primitives, which Tokio models itself.
//! `CONTRIBUTING.md`, "Concurrency", says what checks those.
