//! The `http` kind: delivers a request to an endpoint and judges the answer.
//!
//! ```text
//!  payload ──request.rs──▶ Delivery ──deliver.rs──▶ answer.rs ──▶ Finish | Failure
//!                                        │ ▲
//!                             client.rs  ▼ │ failure.rs
//!                           resolver.rs, which asks address.rs
//! ```
//!
//! **Invariant:** no connection is made to an address that [`address::allowed`] did not allow: names are
//! judged after their resolution, literals before the request, and neither a proxy nor a redirect leads
//! around that. An idle connection is used again only as the one it was judged for.

mod address;
mod answer;
mod client;
mod deliver;
mod failure;
mod request;
mod resolver;
#[cfg(test)]
mod tests;

use async_trait::async_trait;
use steadfast_domain::{InvalidField, RawJson};
use steadfast_queue::{Failure, Finish, JobContext, JobHandler};

use self::address::AddressPolicy;
pub use self::client::BuildError;
use self::client::Clients;
use self::deliver::Identity;
use self::request::Delivery;
use self::resolver::SystemResolver;

/// Where the `http` kind may deliver beyond public addresses. Link-local, cloud metadata and
/// special-purpose addresses are refused whatever is set here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct HttpConfig {
    /// Private networks: RFC 1918, shared (CGNAT) and IPv6 unique local addresses.
    pub allow_private: bool,
    /// Loopback addresses; meant for a server that itself listens on loopback.
    pub allow_loopback: bool,
}

/// Delivers `{"url", "method", "headers", "body"}`, of which [`Delivery`] says what each may hold.
pub(crate) struct Http {
    clients: Clients,
}

impl Http {
    pub(crate) fn new(config: HttpConfig) -> Result<Self, BuildError> {
        let policy = AddressPolicy { private: config.allow_private, loopback: config.allow_loopback };
        Ok(Self { clients: Clients::new(policy, SystemResolver)? })
    }
}

#[async_trait]
impl JobHandler for Http {
    fn check(&self, payload: &RawJson) -> Result<(), Vec<InvalidField>> {
        Delivery::read(payload).map(|_| ())
    }

    /// Goes on through a drain until it is told to stop: a delivery in flight is worth the wait, since
    /// another attempt would send it a second time.
    async fn run(&self, context: JobContext) -> Result<Finish, Failure> {
        let delivery = Delivery::read(context.payload())
            .map_err(|_| Failure::permanent("invalid_payload", "the payload is not one of this kind"))?;
        let mut span = context.begin_span(|| delivery.span());
        let request = delivery.into_request(&Identity::of(context.job(), &span));
        let delivered = deliver::deliver(&self.clients, request, &mut span, context.stopped()).await;
        if let Err(failure) = &delivered {
            span.failed(&failure.code);
        }
        delivered
    }
}
