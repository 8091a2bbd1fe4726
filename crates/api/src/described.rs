use std::sync::Arc;

use axum::Router;
use axum::handler::Handler;
use axum::routing::{get, post};
use http::Method;

use crate::access::{Guarded, Needs};
use crate::app::App;
use crate::openapi::About;

/// Routes, each with what it needs and with its description: none can be added without them.
#[derive(Default)]
pub(crate) struct Described {
    router: Router<Arc<App>>,
    operations: Vec<Route>,
}

/// One method of one path.
pub(crate) struct Route {
    pub(crate) method: Method,
    pub(crate) path: &'static str,
    pub(crate) needs: Needs,
    pub(crate) about: About,
}

impl Described {
    pub(crate) fn get<H, T>(self, path: &'static str, needs: Needs, handler: H, about: About) -> Self
    where
        H: Handler<T, Arc<App>>,
        T: 'static,
    {
        let router = self.router.route(path, get(Guarded { needs, handler }));
        Self { router, ..self }.described(Route { method: Method::GET, path, needs, about })
    }

    pub(crate) fn post<H, T>(self, path: &'static str, needs: Needs, handler: H, about: About) -> Self
    where
        H: Handler<T, Arc<App>>,
        T: 'static,
    {
        let router = self.router.route(path, post(Guarded { needs, handler }));
        Self { router, ..self }.described(Route { method: Method::POST, path, needs, about })
    }

    fn described(mut self, route: Route) -> Self {
        self.operations.push(route);
        self
    }

    /// These and those.
    pub(crate) fn merge(mut self, others: Self) -> Self {
        self.operations.extend(others.operations);
        Self { router: self.router.merge(others.router), ..self }
    }

    /// What is described, in the order of the routes.
    pub(crate) fn operations(&self) -> impl Iterator<Item = &Route> {
        self.operations.iter()
    }

    pub(crate) fn into_router(self) -> Router<Arc<App>> {
        self.router
    }
}
