//! The server: settings, composition, signals and the ordered stop.
//!
//! It is what the program `steadfast` runs, and what a program of one's own runs to add job kinds, hooks or
//! a store. It holds no logic of jobs, HTTP or files: the crates below do, and only this one knows them all.
//!
//! ```text
//!  settings ──▶ Server::run: listener (Starting) ──▶ store ──▶ work (Ready)
//!                                │                               │
//!  signals, POST /v1/drain ──▶ stop ──────────────────────▶ shutdown: every step of the end, in order
//! ```
//!
//! Start with [`Server`], then `shutdown.rs`.
//!
//! ```no_run
//! use steadfast::Server;
//! use steadfast::settings::{Loaded, SettingsArgs};
//!
//! let settings = Loaded::from_sources(&SettingsArgs::default(), |name| std::env::var_os(name))?;
//! let exit_code = Server::builder(settings).run()?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

pub mod logging;
mod open_files;
mod server;
pub mod settings;
mod shutdown;
mod signals;
mod stop;
mod store;
mod wiring;
mod work;

pub use server::{Server, StartError};
pub use store::NoStore;
