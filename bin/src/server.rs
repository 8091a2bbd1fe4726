//! The server as a library: what a program of one's own builds on to add kinds, hooks, or a store.

use std::error::Error;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::thread::available_parallelism;
use std::time::Duration;

use prometheus::Registry;
use steadfast_lifecycle::{Budget, Hooks, Ledger, Phase, drain_channel, phases};
use steadfast_queue::pool::PoolRuntimes;
use steadfast_queue::store::StoreLimits;
use steadfast_queue::{Handlers, JobStore};
use tokio::runtime::{Handle, Runtime};
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::front::FrontParts;
use crate::reload::ReloadTrigger;
use crate::settings::{Loaded, QueueSettings, Settings, show_time};
use crate::shutdown::{Course, Drained, Shutdown, Store};
use crate::signals::Signals;
use crate::stop::{StopListener, Urgency};
use crate::store::{NoStore, Opening};
use crate::systemd::Supervisor;
use crate::telemetry::TelemetryError;
use crate::work::{Parts, Work};
use crate::{programs, store, wiring};

/// How long each runtime may take to end when nothing is left to wait for: what blocks its thread even then
/// is left behind.
const RUNTIME_END_LIMIT: Duration = Duration::from_millis(100);
/// Nothing of the pool blocks, and it is the operating system that lets its thread run beside those of the
/// requests. More threads would only hand work to each other.
const POOL_THREADS: usize = 1;
/// What the log calls a store that the settings do not name.
const OWN_STORE: &str = "the program's own";

/// A server to be.
///
/// ```no_run
/// use std::sync::Arc;
/// use std::time::Duration;
///
/// use steadfast::lifecycle::Hooks;
/// use steadfast::queue::{JobContext, MemoryStore, TypedHandler, Unfinished};
///
/// struct Double;
///
/// impl TypedHandler for Double {
///     const KIND: &'static str = "double";
///     type Payload = u32;
///     type Output = u64;
///
///     async fn run(&self, n: u32, _context: JobContext) -> Result<u64, Unfinished> {
///         Ok(2 * u64::from(n))
///     }
/// }
///
/// fn main() -> std::process::ExitCode {
///     steadfast::main(|server| {
///         let mut hooks = Hooks::new();
///         hooks.post.add("say goodbye", Duration::from_secs(1), async { Ok(()) });
///         Ok(server
///             .handlers(|built_in| built_in.with_typed(Double))
///             .hooks(hooks)
///             .store(|limits| Ok(Arc::new(MemoryStore::new(limits)))))
///     })
/// }
/// ```
pub struct Server {
    loaded: Loaded,
    registry: Registry,
    handlers: Box<dyn FnOnce(Handlers) -> Handlers>,
    hooks: Hooks,
    store: Option<OpenStore>,
}

/// Opens a store with the limits of the settings.
type OpenStore = Box<dyn FnOnce(StoreLimits) -> Result<Arc<dyn JobStore>, NoStore> + Send>;

/// Why there was no server. Nothing was accepted.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The operating system refused something.
    #[error("cannot {0}: {1}")]
    System(&'static str, #[source] io::Error),
    /// The address cannot be listened on.
    #[error("cannot listen on {address}: {reason}; is another server there? {flag} names another address")]
    Listen {
        /// What names the address.
        flag: &'static str,
        /// Which address.
        address: SocketAddr,
        /// Why not.
        reason: io::Error,
    },
    /// Two components, or the program around this server, claim one metric.
    #[error("metrics: {0}")]
    Metrics(#[from] prometheus::Error),
    /// The built-in kinds cannot be set up.
    #[error("the built-in job kinds: {0}")]
    Handlers(#[from] steadfast_handlers::BuildError),
    /// The settings have programs, and there is no guard for them.
    #[error("programs as jobs ([exec.*] settings): {0}")]
    Programs(#[source] Box<dyn Error + Send + Sync>),
    /// Traces and metrics cannot be exported.
    #[error("telemetry (OTEL_* variables): {0}")]
    Telemetry(#[from] TelemetryError),
    /// There is no store.
    #[error("{0}")]
    Store(#[from] NoStore),
}

impl Server {
    /// A server with these settings, the built-in kinds, and the store the settings name.
    pub fn builder(loaded: Loaded) -> Self {
        Self {
            loaded,
            registry: Registry::new(),
            handlers: Box::new(|built_in| built_in),
            hooks: Hooks::new(),
            store: None,
        }
    }

    /// Where metrics are registered, and what `/metrics` shows.
    pub fn registry(self, registry: Registry) -> Self {
        Self { registry, ..self }
    }

    /// What becomes of the built-in kinds: add to them, replace some, or begin anew.
    pub fn handlers(self, change: impl FnOnce(Handlers) -> Handlers + 'static) -> Self {
        Self { handlers: Box::new(change), ..self }
    }

    /// Steps to be run during the drain.
    pub fn hooks(self, hooks: Hooks) -> Self {
        Self { hooks, ..self }
    }

    /// A store in place of the one the settings name. `open` is called once, with the limits of the settings, on a
    /// thread of its own while the server answers already; it may block, and is inside a runtime's context. An error
    /// ends the server with [`NoStore::Own`].
    pub fn store(
        self,
        open: impl FnOnce(StoreLimits) -> Result<Arc<dyn JobStore>, Box<dyn Error + Send + Sync>> + Send + 'static,
    ) -> Self {
        let open = |limits| open(limits).map_err(NoStore::Own);
        Self { store: Some(Box::new(open)), ..self }
    }

    /// Serves until a signal or a request asks for a stop, then drains. Returns what the process is to exit
    /// with: 0, or 75 when something owed could not be done. Blocks, and must not be called on a runtime's
    /// thread.
    ///
    /// It installs the process's signal handlers, for good. When a drain overruns its budget, or SIGINT comes
    /// a second time during one, it ends the process itself.
    ///
    /// # Errors
    /// When the server could not start.
    pub fn run(self) -> Result<u8, StartError> {
        let start = |name, threads| {
            runtime(name, threads).map_err(|error| StartError::System("start threads", error))
        };
        // One that is busy must not stop the others.
        let threads = available_parallelism().map_or(2, |cores| cores.get().max(2));
        let handlers_runtime = start("handlers", threads)?;
        let pool_runtime = start("pool", POOL_THREADS)?;
        let runtime = start("server", threads)?;
        let (pool, handlers) = (pool_runtime.handle().clone(), handlers_runtime.handle().clone());
        let ended = runtime.block_on(self.serve(PoolRuntimes { pool, handlers }));
        for runtime in [handlers_runtime, pool_runtime, runtime] {
            runtime.shutdown_timeout(RUNTIME_END_LIMIT);
        }
        let Drained { code, last_resort } = ended?;
        if let Some(last_resort) = last_resort {
            last_resort.disarm();
        }
        Ok(code)
    }

    /// From the first bound port to the end of the drain.
    async fn serve(self, runtimes: PoolRuntimes) -> Result<Drained, StartError> {
        let Self { loaded, registry, handlers, hooks, store } = self;
        let Loaded { settings, budget, token_file, tls_files, telemetry, sockets, .. } = loaded;
        say_if_cut(&settings, &budget);
        settings.warn_of_exposure();

        let signals = Signals::install().map_err(|error| StartError::System("listen to signals", error))?;
        let (drain, drain_requests) = drain_channel();
        let (reload, ledger) = (ReloadTrigger::default(), Ledger::new());
        let (stop_listener, stop) =
            StopListener::new(signals, drain_requests, reload.clone(), ledger.clone());
        let mut listening = JoinSet::new();
        listening.spawn(stop_listener.run());

        let tried = programs::try_guard(&settings.programs).await;
        tried.map_err(|error| StartError::Programs(error.into()))?;

        let (phase_sender, phases) = phases();
        let supervisor = Supervisor::from_environment();
        supervisor.entered(Phase::Starting);
        listening.spawn(supervisor.clone().keep_telling(phases.clone(), runtimes.pool.clone()));
        let mut work = Work::default();
        let front = FrontParts {
            registry: &registry,
            phases: &phases,
            ledger: &ledger,
            drain: &drain,
            reload,
            supervisor: &supervisor,
            telemetry,
            token_file,
            tls_files,
            sockets,
        };
        let (front, tracer) = front.open(&settings, &work.background).await?;

        let queues = wiring::queues(&settings);
        let store_name = store.as_ref().map_or_else(|| settings.store.to_string(), |_| OWN_STORE.to_owned());
        let mut opening = begin_to_open(store, &settings, &queues, &registry)?;
        let built_in = steadfast_handlers::builtin(wiring::http_kind(&settings))?;
        let handlers = handlers(programs::add(built_in, &settings.programs));
        let opened = tokio::select! {
            biased;
            _ = stop.at_least(Urgency::LameDuck) => None,
            opened = opening.opened() => Some(opened?),
        };

        let (drain_ends, drain_ends_at) = watch::channel(None);
        let course = Course::new(phase_sender, supervisor, budget, stop, ledger, drain_ends);
        let store = match opened {
            None => Store::Opening(opening),
            Some(opened) => {
                let store = Arc::clone(&opened.store);
                let durability = store.durability();
                work = Parts {
                    settings: &settings,
                    queues: &queues,
                    registry: &registry,
                    phases,
                    store,
                    handlers,
                    runtimes,
                    tracer,
                    drain,
                    drain_ends: drain_ends_at,
                    background: work.background.clone(),
                }
                .begin(&front.app)?;
                course.advance(Phase::Ready);
                tracing::info!(store = store_name, ?durability, "ready");
                Store::Open(opened)
            }
        };
        Ok(Shutdown { front, hooks, store, work }.run(course).await)
    }
}

fn runtime(name: &str, threads: usize) -> io::Result<Runtime> {
    tokio::runtime::Builder::new_multi_thread().worker_threads(threads).thread_name(name).enable_all().build()
}

/// Begins to open the program's `own` store, or else the one that the settings name.
fn begin_to_open(
    own: Option<OpenStore>,
    settings: &Settings,
    queues: &[QueueSettings],
    registry: &Registry,
) -> Result<Opening, StartError> {
    let specs = queues.iter().map(wiring::queue_spec).collect();
    let settings = settings.clone();
    let limits = wiring::store_limits(&settings);
    store::register_capacity(registry, &limits)?;
    let to_register = registry.clone();
    let open = move |runtime: &Handle| match own {
        Some(open) => {
            let _context = runtime.enter();
            open(limits)
        }
        None => store::open(&settings, limits, &to_register, runtime),
    };
    Opening::begin(open, specs, registry.clone(), Handle::current())
        .map_err(|error| StartError::System("start the thread that opens the store", error))
}

fn say_if_cut(settings: &Settings, budget: &Budget) {
    let cut = budget.graceful_cut();
    if !cut.is_zero() {
        tracing::warn!(
            graceful_timeout = show_time(settings.shutdown.graceful_timeout),
            kill_after = settings.shutdown.kill_after.map(show_time),
            cut_by = show_time(cut),
            "the graceful time is cut so that the whole drain fits into kill_after"
        );
    }
}
