use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use axum::extract::Request;
use axum::handler::Handler;
use axum::response::{IntoResponse, Response};
use futures_util::future::Either;
use http::Extensions;
use steadfast_domain::Tenant;
use steadfast_wire::ErrorCode;

use super::bearer::Presented;
use super::{Access, Known, Scope, place};
use crate::app::App;
use crate::connections::Peer;
use crate::problem::Refused;

/// What a route asks of whoever calls it. Without tokens, and on the admin listener, that is only not to be trusted for
/// the wrong reason: see [`place`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Needs {
    /// Nothing: it is for everybody.
    Nothing,
    /// [`Scope::Submit`].
    Submit,
    /// [`Scope::Read`].
    Read,
    /// [`Scope::Work`].
    Work,
    /// [`Scope::Admin`].
    Admin,
    /// [`Scope::Admin`], or to be on the server's machine. Without tokens there is only the latter.
    AdminOrLocal,
}

/// A handler that answers only those who have what its route needs. Whether it does is known by the head of a request
/// alone; a body that is refused is thrown away, and takes no place from anybody.
#[derive(Clone)]
pub(crate) struct Guarded<H> {
    pub(crate) needs: Needs,
    pub(crate) handler: H,
}

impl<H, T> Handler<T, Arc<App>> for Guarded<H>
where
    H: Handler<T, Arc<App>>,
    T: 'static,
{
    type Future = Either<H::Future, Pin<Box<dyn Future<Output = Response> + Send>>>;

    fn call(self, mut request: Request, app: Arc<App>) -> Self::Future {
        match self.needs.check(&app.access, &request) {
            Ok(known) => {
                if let Some(known) = known {
                    request.extensions_mut().insert(known);
                }
                Either::Left(self.handler.call(request, app))
            }
            Err(refused) => Either::Right(Box::pin(async move {
                let goes_on = app.body_memory.pass_over(request.version(), request.into_body()).await;
                let refused = if goes_on { refused } else { refused.and_close() };
                refused.into_response()
            })),
        }
    }
}

impl Needs {
    /// The scope that does.
    pub(crate) const fn scope(self) -> Option<Scope> {
        match self {
            Self::Nothing => None,
            Self::Submit => Some(Scope::Submit),
            Self::Read => Some(Scope::Read),
            Self::Work => Some(Scope::Work),
            Self::Admin | Self::AdminOrLocal => Some(Scope::Admin),
        }
    }

    /// Whose request it is, where that matters, or why it is refused.
    fn check(self, access: &Access, request: &Request) -> Result<Option<Arc<Known>>, Refused> {
        let Some(scope) = self.scope() else { return Ok(None) };
        let peer = request.extensions().get::<Peer>();
        if peer.is_some_and(Peer::is_admin) {
            return place::trusted(peer, request).map(|()| None);
        }
        let is_for_local = self == Self::AdminOrLocal;
        if is_for_local && place::is_local(peer, request) && place::trusted(peer, request).is_ok() {
            return Ok(None);
        }
        let tokens = access.in_force();
        let Some(tokens) = tokens.as_ref() else {
            if is_for_local {
                let detail = "without tokens, a drain can only be asked for from the machine the server runs on, or \
                              by its admin listener";
                return Err(Refused::new(ErrorCode::Forbidden, detail));
            }
            return place::named_as_it_is(peer, request).map(|()| None);
        };
        let known = match Presented::by(request.headers()) {
            Presented::Token(token) => tokens.known(token).ok_or_else(Refused::unknown_token)?,
            Presented::Nothing => return Err(Refused::no_token()),
            Presented::Malformed => return Err(Refused::unknown_token()),
        };
        match known.grant.scopes.has(scope) {
            true => Ok(Some(Arc::clone(known))),
            false => Err(Refused::lacks(scope)),
        }
    }
}

impl Access {
    /// Whether a request brings no token that is known, where one is needed.
    pub(crate) fn is_strange(&self, request: &Request) -> bool {
        let tokens = self.in_force();
        let Some(tokens) = tokens.as_ref() else { return false };
        let is_known = || match Presented::by(request.headers()) {
            Presented::Token(token) => tokens.known(token).is_some(),
            Presented::Nothing | Presented::Malformed => false,
        };
        !request.extensions().get::<Peer>().is_some_and(Peer::is_admin) && !is_known()
    }
}

/// Whose the keys of a request are.
pub(crate) fn tenant_of(extensions: &Extensions) -> Tenant {
    extensions.get::<Arc<Known>>().map(|known| known.grant.tenant.clone()).unwrap_or_default()
}
