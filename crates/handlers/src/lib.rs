//! The built-in job kinds: `echo`, `sleep` and `http`, and `exec` for programs that the settings name.
//!
//! ```text
//!  payload ──check──▶ 422, at submit        payload.rs: fields and the pointers of their faults
//!     │
//!     └────run──────▶ Finish or Failure     echo.rs, sleep.rs, http.rs, exec.rs
//! ```
//!
//! A kind here is a [`JobHandler`](steadfast_queue::JobHandler) or a
//! [`TypedHandler`](steadfast_queue::TypedHandler) and nothing more: it knows no store, no queue and no settings
//! beyond its own configuration. Start with [`builtin`]; the kinds that do real work are `http` and `exec`, each in
//! its file and folder.

#![cfg_attr(not(target_os = "linux"), allow(dead_code, reason = "what only `exec` uses"))]

mod echo;
#[cfg(target_os = "linux")]
mod exec;
mod http;
mod payload;
mod program;
mod sleep;

use steadfast_domain::KindName;
use steadfast_queue::Handlers;

#[cfg(target_os = "linux")]
pub use exec::{NoGuard, guard_if_asked, is_asked_to_guard, probe_guard};
pub use http::{BuildError, HttpConfig};
pub use program::{Argument, Program};

/// The built-in kinds that need no settings of their own: `echo`, `http` and `sleep`.
///
/// Loads the platform's trusted certificates, so call it once per process. Without any it warns and
/// goes on: only `https` deliveries need them.
pub fn builtin(config: HttpConfig) -> Result<Handlers, BuildError> {
    Ok(Handlers::new()
        .with(kind("echo"), echo::Echo)
        .with(kind("http"), http::Http::new(config)?)
        .with_typed(sleep::Sleep))
}

/// Adds the kind `exec`, which runs these programs. They are run under guards: see [`guard_if_asked`].
#[cfg(target_os = "linux")]
pub fn with_programs(handlers: Handlers, programs: Vec<Program>) -> Handlers {
    handlers.with(kind("exec"), exec::Exec::new(programs))
}

#[expect(clippy::expect_used, reason = "the names are the literals above")]
fn kind(name: &'static str) -> KindName {
    KindName::new(name).expect("a built-in kind's name is valid")
}
