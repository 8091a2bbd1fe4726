use std::convert::Infallible;
use std::sync::Arc;

use axum::extract::FromRequestParts;
use http::request::Parts;
use tokio::sync::watch;

use super::Known;

/// For how long what let a request in is in force, for answers that go on: a token that is taken back ends them.
pub(crate) struct InForce(Option<watch::Receiver<bool>>);

impl InForce {
    /// For as long as the answer lasts.
    pub(crate) const fn unlimited() -> Self {
        Self(None)
    }

    /// Waits until it is no more. Without a token, for ever.
    pub(crate) async fn ended(&mut self) {
        let Some(token) = &mut self.0 else { return std::future::pending().await };
        // An error is the end, too: the sender goes with the token.
        let _ = token.wait_for(|in_force| !in_force).await;
    }
}

impl<S: Sync> FromRequestParts<S> for InForce {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Infallible> {
        let known = parts.extensions.get::<Arc<Known>>();
        Ok(known.map_or(Self::unlimited(), |known| Self(Some(known.in_force.subscribe()))))
    }
}
