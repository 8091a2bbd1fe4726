use std::fmt;
use std::time::{Duration, UNIX_EPOCH};

use clap::Args;
use serde_json::{Map, Value, json};
use steadfast_api::{Grant, Scope};
use steadfast_domain::Timestamp;
use steadfast_lifecycle::KILL_MARGIN;

use super::failure::Failure;
use super::load;
use super::output::{self, Format, OutputArgs};
use crate::settings::{Loaded, SETTINGS, Setting, SettingsArgs, show_time};

const EXAMPLES: &str = "\
It ends with 2 when a setting is wrong, and names it.

Examples:
  steadfast check --config steadfast.toml
  steadfast check --kill-after 60s --output json | jq .shutdown_budget";

#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(crate) struct CheckArgs {
    #[command(flatten)]
    settings: SettingsArgs,
    #[command(flatten)]
    output: OutputArgs,
}

/// Validates the settings and prints what the server would run with.
pub(crate) fn run(args: &CheckArgs) -> Result<(), Failure> {
    let loaded = load(&args.settings).map_err(Failure::usage)?;
    match args.output.format() {
        Format::Text => output::print(Report(&loaded)),
        Format::Json => output::print_json(&document(&loaded)),
    }
}

/// The same for programs. Values are written as in the settings, times in milliseconds.
fn document(loaded: &Loaded) -> Value {
    let setting = |setting: &Setting| {
        let value = setting.show(&loaded.settings);
        (setting.key.to_owned(), json!({ "value": value, "source": loaded.source(setting).to_string() }))
    };
    let queues = loaded.settings.queues.iter().map(|queue| (queue.name.to_string(), table(queue.shown())));
    let programs = loaded.settings.programs.iter();
    let programs = programs.map(|program| (program.0.name.to_string(), table(program.shown())));
    let tokens = loaded.token_file.iter().flat_map(|file| file.tokens.grants());
    let tokens = tokens.map(|grant| {
        let scopes: Vec<&str> = grant.scopes.iter().map(Scope::as_str).collect();
        (grant.name.to_string(), json!({ "tenant": tenant(grant), "scopes": scopes }))
    });
    let ms = |time: Duration| u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
    let shares = loaded.budget.shares().map(|(phase, share)| (phase.as_str().to_owned(), ms(share).into()));
    json!({
        "settings": SETTINGS.iter().map(setting).collect::<Map<_, _>>(),
        "queues": queues.collect::<Map<_, _>>(),
        "exec": programs.collect::<Map<_, _>>(),
        "tokens": tokens.collect::<Map<_, _>>(),
        "certificate_expires_at": certificate_end(loaded).map(|end| end.to_string()),
        "telemetry": Map::from_iter(
            loaded.telemetry.shown().map(|(signal, to)| (signal.to_owned(), to.map_or(Value::Null, Value::from))),
        ),
        "shutdown_budget": {
            "phases_ms": Map::from_iter(shares),
            "total_ms": ms(loaded.budget.total()),
            "with_margin_ms": ms(loaded.budget.total() + KILL_MARGIN),
            "graceful_cut_ms": ms(loaded.budget.graceful_cut()),
        },
    })
}

/// One of the file's tables.
fn table(shown: impl Iterator<Item = (&'static str, String)>) -> Value {
    shown.map(|(key, value)| (key.to_owned(), Value::from(value))).collect::<Map<_, _>>().into()
}

/// Whose a token's keys are; nothing where it names nobody.
fn tenant(grant: &Grant) -> Option<&str> {
    Some(grant.tenant.as_str()).filter(|tenant| !tenant.is_empty())
}

/// When the server's certificate ends.
fn certificate_end(loaded: &Loaded) -> Option<Timestamp> {
    let since_1970 = loaded.tls_files.as_ref()?.tls.expires_at()?.duration_since(UNIX_EPOCH).ok()?;
    Some(Timestamp::from_unix_ms(0).plus(since_1970))
}

/// The effective settings, the queues, the programs, the tokens, the certificate's end, the collectors and the shutdown
/// budget, for people.
struct Report<'a>(&'a Loaded);

impl fmt::Display for Report<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let loaded = self.0;
        for setting in SETTINGS {
            let (value, source) = (setting.show(&loaded.settings), loaded.source(setting));
            writeln!(f, "{:<28} {value:<32} {source}", setting.key)?;
        }
        for queue in &loaded.settings.queues {
            writeln!(f, "\n[queues.{}]", queue.name)?;
            for (key, value) in queue.shown() {
                writeln!(f, "{key:<28} {value}")?;
            }
        }
        for program in &loaded.settings.programs {
            writeln!(f, "\n[exec.{}]", program.0.name)?;
            for (key, value) in program.shown() {
                writeln!(f, "{key:<28} {value}")?;
            }
        }
        for grant in loaded.token_file.iter().flat_map(|file| file.tokens.grants()) {
            let scopes: Vec<&str> = grant.scopes.iter().map(Scope::as_str).collect();
            writeln!(f, "\ntoken {}\n{:<28} {}", grant.name, "scopes", scopes.join(", "))?;
            writeln!(f, "{:<28} {}", "tenant", tenant(grant).unwrap_or("unset"))?;
        }
        if let Some(end) = certificate_end(loaded) {
            writeln!(f, "\n{:<28} {end}", "certificate expires at")?;
        }
        for (signal, to) in loaded.telemetry.shown() {
            if let Some(to) = to {
                writeln!(f, "\n{signal:<28} go to {to}")?;
            }
        }
        writeln!(f, "\nshutdown budget")?;
        for (phase, share) in loaded.budget.shares() {
            writeln!(f, "  {:<26} {}", phase.as_str(), show_time(share))?;
        }
        writeln!(f, "  {:<26} {}", "in all", show_time(loaded.budget.total()))?;
        writeln!(
            f,
            "  {:<26} {}",
            "with the margin for exit",
            show_time(loaded.budget.total() + KILL_MARGIN)
        )?;
        let cut = loaded.budget.graceful_cut();
        if !cut.is_zero() {
            let kill_after = loaded.settings.shutdown.kill_after.unwrap_or_default();
            let (cut, kill_after) = (show_time(cut), show_time(kill_after));
            writeln!(f, "graceful_timeout is cut by {cut}, so that all fits into kill_after ({kill_after})")?;
        }
        Ok(())
    }
}
