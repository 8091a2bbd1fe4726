//! What answers from before the store is open to the end of the drain: the listeners, the routes behind them, the export of
//! what they and all others count, and the files that both are changed by.

use std::net::SocketAddr;
use std::sync::Arc;

use prometheus::{IntGauge, Opts, Registry};
use steadfast_api::{ADMIN_CONNECTIONS_MAX, App, Connections, EXTRA_CONNECTIONS, Listener};
use steadfast_lifecycle::{DrainTrigger, Ledger, LifecycleMetrics, Phases, Tasks};
use steadfast_queue::spans::Tracer;
use tokio::net::TcpListener;

use crate::reload::{ReloadTrigger, Reloader};
use crate::server::StartError;
use crate::settings::{Settings, TelemetrySettings, TlsFiles, TokenFile};
use crate::systemd::{InheritedSocket, InheritedSockets, Supervisor};
use crate::telemetry::{Exporting, Telemetry, TelemetryError};
use crate::{open_files, programs, wiring};

/// It, while it is open.
pub(crate) struct Front {
    pub(crate) app: Arc<App>,
    pub(crate) connections: Connections,
    /// Those of the admin listener. It is open for as long as the other one.
    pub(crate) admin: Option<Connections>,
    pub(crate) telemetry: Exporting,
}

/// What it is made of, beside the settings.
pub(crate) struct FrontParts<'a> {
    pub(crate) registry: &'a Registry,
    pub(crate) phases: &'a Phases,
    pub(crate) ledger: &'a Ledger,
    pub(crate) drain: &'a DrainTrigger,
    pub(crate) reload: ReloadTrigger,
    pub(crate) supervisor: &'a Supervisor,
    pub(crate) telemetry: TelemetrySettings,
    pub(crate) token_file: Option<TokenFile>,
    pub(crate) tls_files: Option<TlsFiles>,
    pub(crate) sockets: InheritedSockets,
}

impl FrontParts<'_> {
    /// Listens, and answers. Reading files again is one of the `background` tasks. Returns what makes spans, too.
    pub(crate) async fn open(
        self,
        settings: &Settings,
        background: &Tasks,
    ) -> Result<(Front, Tracer), StartError> {
        let Self { registry, phases, ledger, drain, .. } = self;
        register_build_info(registry)?;
        LifecycleMetrics::register(registry, phases.clone(), ledger.clone())?;
        let telemetry = Telemetry::new(&self.telemetry, registry)?;
        let tracer = telemetry.tracer();

        let config = wiring::api(settings, connections_max(settings), tracer.clone());
        let (access, token_file) = wiring::access(self.token_file);
        let app = App::new(config, access, phases.clone(), drain.clone(), registry.clone())?;
        let (tls, tls_files) = wiring::tls(self.tls_files, registry)?;
        let (listener, admin) = listen_to_all(settings, self.sockets, tls.is_some()).await?;
        let connections = Connections::serve(listener, Arc::clone(&app), tls);
        let admin = admin.map(|listener| Connections::serve_admin(listener, Arc::clone(&app)));

        let watched = token_file.into_iter().chain(tls_files).collect();
        let reloader = Reloader::new(self.reload, watched, registry, self.supervisor.clone())?;
        background.spawn_essential("reload", drain, reloader.run(phases.clone()));
        let telemetry = telemetry.begin(Arc::clone(&app)).map_err(TelemetryError::from)?;
        Ok((Front { app, connections, admin, telemetry }, tracer))
    }
}

/// How many connections the limit of open files has room for, beside whatever else is open.
fn connections_max(settings: &Settings) -> usize {
    let admin_files = settings.admin_listen.map_or(0, |_| ADMIN_CONNECTIONS_MAX + EXTRA_CONNECTIONS);
    let attempts_files = settings.concurrency * programs::files_per_attempt(&settings.programs);
    open_files::fit_connections(settings.connections_max, EXTRA_CONNECTIONS + admin_files + attempts_files)
}

/// `steadfast_build_info`: always 1, its label says which version this is.
fn register_build_info(registry: &Registry) -> Result<(), prometheus::Error> {
    let info = IntGauge::with_opts(
        Opts::new("steadfast_build_info", "1, labelled with what was built")
            .const_label("version", env!("CARGO_PKG_VERSION")),
    )?;
    info.set(1);
    registry.register(Box::new(info))
}

/// Listens on the socket that was handed over, or else where the settings say.
async fn listen(
    flag: &'static str,
    address: SocketAddr,
    inherited: Option<InheritedSocket>,
) -> Result<Listener, StartError> {
    let failed = |reason| StartError::Listen { flag, address, reason };
    Ok(match inherited {
        Some(InheritedSocket { socket, .. }) => {
            let socket = socket.try_clone().and_then(TcpListener::from_std);
            Listener::Inherited(socket.map_err(failed)?)
        }
        None => Listener::Bound(TcpListener::bind(address).await.map_err(failed)?),
    })
}

/// The listener for clients, and the one for those who run the server, if there is to be one. With port 0 only the log
/// knows where they are.
async fn listen_to_all(
    settings: &Settings,
    sockets: InheritedSockets,
    tls: bool,
) -> Result<(Listener, Option<Listener>), StartError> {
    let unknown = |error| StartError::System("see where it listens", error);
    let inherited = sockets.api.is_some();
    let listener = listen("--listen", settings.listen, sockets.api).await?;
    tracing::info!(address = %listener.local_addr().map_err(unknown)?, inherited, tls, "listening");
    let Some(address) = settings.admin_listen else { return Ok((listener, None)) };
    let inherited = sockets.admin.is_some();
    let admin = listen("--admin-listen", address, sockets.admin).await?;
    tracing::info!(address = %admin.local_addr().map_err(unknown)?, inherited, "admin listener open");
    Ok((listener, Some(admin)))
}
