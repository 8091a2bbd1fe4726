use std::sync::Arc;

use axum::Router;
use axum::handler::Handler;
use axum::routing::{get, post};
use http::Method;

use crate::app::App;
use crate::openapi::About;

/// Routes, each with its description: none can be added without one.
#[derive(Default)]
pub(crate) struct Described {
    router: Router<Arc<App>>,
    operations: Vec<(Method, &'static str, About)>,
}

impl Described {
    pub(crate) fn get<H, T>(self, path: &'static str, handler: H, about: About) -> Self
    where
        H: Handler<T, Arc<App>>,
        T: 'static,
    {
        let router = self.router.route(path, get(handler));
        Self { router, ..self }.described(Method::GET, path, about)
    }

    pub(crate) fn post<H, T>(self, path: &'static str, handler: H, about: About) -> Self
    where
        H: Handler<T, Arc<App>>,
        T: 'static,
    {
        let router = self.router.route(path, post(handler));
        Self { router, ..self }.described(Method::POST, path, about)
    }

    fn described(mut self, method: Method, path: &'static str, about: About) -> Self {
        self.operations.push((method, path, about));
        self
    }

    /// These and those.
    pub(crate) fn merge(mut self, others: Self) -> Self {
        self.operations.extend(others.operations);
        Self { router: self.router.merge(others.router), ..self }
    }

    /// What is described, in the order of the routes.
    pub(crate) fn operations(&self) -> impl Iterator<Item = (&Method, &'static str, About)> {
        self.operations.iter().map(|(method, path, about)| (method, *path, *about))
    }

    pub(crate) fn into_router(self) -> Router<Arc<App>> {
        self.router
    }
}
