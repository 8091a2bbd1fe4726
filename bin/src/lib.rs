//! The server: settings, composition, signals and the ordered stop.
//!
//! It is what the program `steadfast` runs, and what a program of one's own runs to add job kinds, hooks or
//! a store. It holds no logic of jobs, HTTP or files: the crates below do, and only this one knows them all.
//!
//! ```text
//!  main ──▶ settings ──▶ Server::run: listener (Starting) ──▶ store ──▶ work (Ready)
//!                                         │                               │
//!  signals, POST /v1/drain ───────────▶ stop ──────────────────────▶ shutdown: every step of the end, in order
//! ```
//!
//! Start with [`main()`], then [`Server`], then `shutdown.rs`.

mod commands;
mod front;
#[cfg(target_os = "linux")]
mod init;
pub mod logging;
mod open_files;
mod program;
mod programs;
mod reload;
mod server;
pub mod settings;
mod shutdown;
mod signals;
mod stop;
mod store;
mod systemd;
mod telemetry;
mod wiring;
mod work;

pub use program::main;
pub use programs::guard_if_asked;
pub use server::{Server, StartError};
pub use store::NoStore;
pub use systemd::{InheritedSockets, SocketsError};
pub use telemetry::TelemetryError;

/// What a program of one's own is written with: one dependency brings them all, in versions that fit.
pub use {
    opentelemetry, steadfast_domain as domain, steadfast_lifecycle as lifecycle, steadfast_queue as queue,
};

/// The allocator of the program `steadfast`: a submit allocates some fifty times, in one thread, and frees in
/// another (docs/BENCHMARKS.md, "Profile"). A program of one's own takes it as its `#[global_allocator]`.
pub use mimalloc::MiMalloc as Allocator;
