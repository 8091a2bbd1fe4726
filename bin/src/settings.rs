//! The settings: flag, else environment, else file, else default.
//!
//! ```text
//!   SETTINGS ──(one entry: key, help, place)──▶ flag, variable and file key follow from the key
//!   SettingsArgs (flags) ┐
//!   environment          ├─▶ Loaded { settings, budget, where each came from }
//!   file                 ┘
//! ```
//!
//! **Invariant:** of the environment, only the names in [`SETTINGS`] and, for OpenTelemetry, those in
//! [`TELEMETRY_VARIABLES`] are ever read. Kubernetes puts `STEADFAST_PORT` and `STEADFAST_SERVICE_HOST` into pods near a
//! Service of that name.

mod args;
mod error;
mod exposure;
mod file;
mod programs;
mod queues;
mod table;
mod telemetry;
mod tls;
mod tokens;
mod value;

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fmt;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use steadfast_lifecycle::{Budget, ShutdownConfig};
use steadfast_queue::store::StoreLimits;
use steadfast_store_postgres::PostgresUrl;

use crate::systemd::InheritedSockets;
pub use args::SettingsArgs;
pub use error::SettingsError;
pub(crate) use exposure::is_local;
use file::File;
pub use programs::ProgramSettings;
pub use queues::QueueSettings;
pub use table::{SETTINGS, Setting};
pub use telemetry::{
    CollectorSettings, MetricsSettings, TELEMETRY_DISABLED, TELEMETRY_VARIABLES, TelemetrySettings,
    TracesSettings,
};
pub use tls::TlsFileError;
pub(crate) use tls::TlsFiles;
pub(crate) use tokens::TokenFile;
pub use tokens::TokenFileError;
use value::NotAllowed;
pub(crate) use value::log_filter;
pub(crate) use value::parse_time;
pub use value::{LogFormat, StoreUrl, show_time};

/// What the server is told. [`SETTINGS`] says what each is for and what is allowed; the default is the
/// documentation's.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// Where the server listens; port 0 picks a free one.
    pub listen: SocketAddr,
    /// Where probes, metrics and controls are served without tokens; `None`: where everything else is.
    pub admin_listen: Option<SocketAddr>,
    /// Where jobs live.
    pub store: StoreUrl,
    /// Where a PostgreSQL store listens, if not where it is.
    pub postgres_listen_url: Option<PostgresUrl>,
    /// The server's certificate, and those that lead to an authority; with it the server speaks TLS.
    pub tls_cert: Option<PathBuf>,
    /// The certificate's key.
    pub tls_key: Option<PathBuf>,
    /// Authorities one of which has to have signed each client's certificate.
    pub tls_client_ca: Option<PathBuf>,
    /// Jobs that are not terminal, in all queues.
    pub capacity: u64,
    /// Bytes of their payloads.
    pub capacity_bytes: u64,
    /// Jobs run at once by this process.
    pub concurrency: usize,
    /// Bytes of one job's payload.
    pub payload_max: usize,
    /// Requests worked on at once.
    pub requests_max: usize,
    /// Held answers and streams.
    pub held_max: usize,
    /// Connections.
    pub connections_max: usize,
    /// Time to read a request's head.
    pub header_timeout: Duration,
    /// Time to read a request's body.
    pub body_timeout: Duration,
    /// Time to answer a request, waiting apart.
    pub request_timeout: Duration,
    /// How long a claim holds without a heartbeat.
    pub lease: Duration,
    /// A job interrupted this often is `dead`.
    pub interruptions_max: u32,
    /// How long ended jobs are kept.
    pub retention: Duration,
    /// How long `dead` jobs are kept.
    pub retention_dead: Duration,
    /// Ended jobs kept at most.
    pub retention_jobs: u64,
    /// Bytes of ended jobs kept at most.
    pub retention_bytes: u64,
    /// Whether the `http` kind may deliver to private and loopback addresses.
    pub allow_private_addresses: bool,
    /// Which tokens there are; `None`: whoever reaches the server may do everything.
    pub token_file: Option<PathBuf>,
    /// Whether the server may be reached from beyond its machine without tokens.
    pub insecure: bool,
    /// The drain's times.
    pub shutdown: ShutdownConfig,
    /// How log lines look; `None`: text on a terminal, else JSON.
    pub log_format: Option<LogFormat>,
    /// Which log lines are written, in tracing's filter syntax.
    pub log: String,
    /// Queues with limits of their own. The queue `default` exists without being named here.
    pub queues: Vec<QueueSettings>,
    /// Programs that jobs may name.
    pub programs: Vec<ProgramSettings>,
}

impl Default for Settings {
    fn default() -> Self {
        let StoreLimits { capacity_jobs, capacity_bytes, interruptions_max, retention } =
            StoreLimits::default();
        Self {
            listen: (Ipv4Addr::LOCALHOST, 8080).into(),
            admin_listen: None,
            store: StoreUrl::Sqlite("steadfast.db".into()),
            postgres_listen_url: None,
            tls_cert: None,
            tls_key: None,
            tls_client_ca: None,
            capacity: capacity_jobs,
            capacity_bytes,
            concurrency: 64,
            payload_max: 256 * 1024,
            requests_max: 1_024,
            held_max: 10_000,
            connections_max: 10_000,
            header_timeout: Duration::from_secs(10),
            body_timeout: Duration::from_secs(30),
            request_timeout: Duration::from_secs(30),
            lease: Duration::from_secs(30),
            interruptions_max,
            retention: retention.keep,
            retention_dead: retention.keep_dead,
            retention_jobs: retention.jobs_max,
            retention_bytes: retention.bytes_max,
            allow_private_addresses: false,
            token_file: None,
            insecure: false,
            shutdown: ShutdownConfig::default(),
            log_format: None,
            log: "info".to_owned(),
            queues: Vec::new(),
            programs: Vec::new(),
        }
    }
}

/// Settings that are valid, each and together.
#[derive(Debug, Clone)]
pub struct Loaded {
    /// The settings.
    pub settings: Settings,
    /// The drain's time, planned.
    pub budget: Budget,
    /// The token file that the settings name, as it was read with them.
    pub(crate) token_file: Option<TokenFile>,
    /// The same of those of TLS.
    pub(crate) tls_files: Option<TlsFiles>,
    /// What OpenTelemetry's own variables say.
    pub telemetry: TelemetrySettings,
    /// Sockets to listen on in place of the settings' addresses.
    pub(crate) sockets: InheritedSockets,
    sources: BTreeMap<&'static str, Source>,
}

/// Where a value came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Source {
    /// The command line.
    Flag,
    /// The environment.
    Environment,
    /// The settings file.
    File,
    /// None of them.
    Default,
}

impl Loaded {
    /// Takes each setting from the first source that has it: `flags`, the environment as `environment`
    /// answers for a name, the file that the flags name.
    ///
    /// # Errors
    /// The first value that is not allowed, the first unknown key of the file, or shutdown times that do not
    /// make a drain.
    pub fn from_sources(
        flags: &SettingsArgs,
        environment: impl Fn(&str) -> Option<OsString>,
    ) -> Result<Self, SettingsError> {
        let file = flags.config().map_or_else(|| Ok(File::default()), File::read)?;
        let mut settings = Settings::default();
        let (mut sources, mut names) = (BTreeMap::new(), BTreeMap::new());
        for setting in SETTINGS {
            let variable = setting.env();
            let (source, name, text) = if let Some(text) = flags.value(setting.key) {
                (Source::Flag, setting.flag(), text.to_owned())
            } else if let Some(text) = environment(&variable) {
                let text = text.into_string().map_err(|text| not_unicode(&variable, &text))?;
                (Source::Environment, variable, text)
            } else if let Some(text) = file.value(setting.key) {
                (Source::File, file.name(setting.key), text.to_owned())
            } else {
                continue;
            };
            let set = setting.slot(&mut settings).set(&text);
            set.map_err(|not| SettingsError::not_allowed(name.clone(), not))?;
            sources.insert(setting.key, source);
            names.insert(setting.key, name);
        }
        (settings.queues, settings.programs) = file.into_tables();
        let budget = Budget::plan(&settings.shutdown)?;
        let name = |key: &str| names.get(key).cloned().unwrap_or_else(|| key.to_owned());
        settings.check_exposure(name)?;
        let token_file = settings.token_file.as_deref().map(TokenFile::read).transpose();
        let token_file =
            token_file.map_err(|reason| SettingsError::Tokens { key: name("token_file"), reason })?;
        let tls_files = TlsFiles::read(&settings, name)?;
        let telemetry = TelemetrySettings::read(&environment)?;
        let sockets = InheritedSockets::default();
        Ok(Self { settings, budget, token_file, tls_files, telemetry, sockets, sources })
    }

    /// The same with sockets to listen on in place of the settings' addresses. What waits there to be accepted when the
    /// server ends is left to the next process.
    ///
    /// # Errors
    /// When the settings do not allow what can be reached through them.
    pub fn with_sockets(mut self, sockets: InheritedSockets) -> Result<Self, SettingsError> {
        // What clients may do depends on who can be one.
        if let Some(inherited) = &sockets.api {
            self.settings.listen = inherited.address;
        }
        if let Some(inherited) = &sockets.admin {
            self.settings.admin_listen = Some(inherited.address);
        }
        self.settings.check_exposure(|_| "a socket that was handed over".to_owned())?;
        Ok(Self { sockets, ..self })
    }

    /// Where the value of a setting came from.
    pub fn source(&self, setting: &Setting) -> Source {
        self.sources.get(setting.key).copied().unwrap_or(Source::Default)
    }
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Flag => "flag",
            Self::Environment => "environment",
            Self::File => "file",
            Self::Default => "default",
        })
    }
}

fn not_unicode(variable: &str, text: &OsString) -> SettingsError {
    let not = NotAllowed { shown: text.to_string_lossy().into_owned(), allowed: "UTF-8 text".to_owned() };
    SettingsError::not_allowed(variable, not)
}
