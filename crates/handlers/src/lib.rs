//! The built-in job kinds: `echo`, `sleep` and `http`.
//!
//! ```text
//!  payload ──check──▶ 422, at submit        payload.rs: fields and the pointers of their faults
//!     │
//!     └────run──────▶ Finish or Failure     echo.rs, sleep.rs, http.rs
//! ```
//!
//! A kind here is a [`JobHandler`](steadfast_queue::JobHandler) or a
//! [`TypedHandler`](steadfast_queue::TypedHandler) and nothing more: it knows no store, no queue and no settings
//! beyond its own configuration. Start with [`builtin`]; the kind that does real work is `http`, in `http.rs` and
//! its folder.

mod echo;
mod http;
mod payload;
mod sleep;

use steadfast_domain::KindName;
use steadfast_queue::Handlers;

pub use http::{BuildError, HttpConfig};

/// All built-in kinds: `echo`, `http` and `sleep`.
///
/// Loads the platform's trusted certificates, so call it once per process. Without any it warns and
/// goes on: only `https` deliveries need them.
pub fn builtin(config: HttpConfig) -> Result<Handlers, BuildError> {
    Ok(Handlers::new()
        .with(kind("echo"), echo::Echo)
        .with(kind("http"), http::Http::new(config)?)
        .with_typed(sleep::Sleep))
}

#[expect(clippy::expect_used, reason = "the names are the literals above")]
fn kind(name: &'static str) -> KindName {
    KindName::new(name).expect("a built-in kind's name is valid")
}
