//! What must hold for any settings file, environment and command line.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io::Write;
use std::sync::OnceLock;

use clap::{Args, Command, FromArgMatches};
use tempfile::NamedTempFile;

use super::server::settings::{Loaded, SETTINGS, Setting, SettingsArgs};

/// Stands between the three sources: the file, then the environment (`NAME=value`), then flags, one a line.
const NEXT_SOURCE: &str = "\n----\n";

/// Characters of a refusal, apart from what TOML itself says of a file that is none.
const REFUSAL_CHARS_MAX: usize = 2_048;

/// Loads the sources. It never panics; a refusal names the key as it was written; what is accepted can be
/// shown, and what is shown, given back as flags and a file, loads as the same settings.
pub(crate) fn check(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let mut sources = text.splitn(3, NEXT_SOURCE);
    let file = sources.next().unwrap_or_default();
    let environment: BTreeMap<&str, &str> =
        sources.next().unwrap_or_default().lines().filter_map(|line| line.split_once('=')).collect();
    let given: Vec<&str> = sources.next().unwrap_or_default().lines().collect();
    let path = written(file);
    let path = path.path().to_str().expect("the name of a temporary file is text");
    // Words that are no flags are refused before the settings are looked at.
    let Some(flags) = flags(["steadfast", "--config", path].into_iter().chain(given.iter().copied())) else {
        return;
    };
    let config_is_ours = flags.config().is_some_and(|config| config.to_str() == Some(path));
    if !config_is_ours {
        return;
    }
    match Loaded::from_sources(&flags, |name| environment.get(name).map(OsString::from)) {
        Ok(loaded) => assert_shown_again(&loaded),
        Err(error) => {
            let text = error.to_string();
            let named = text.starts_with("--")
                || text.starts_with("STEADFAST_")
                || text.starts_with("shutdown")
                || text.contains(path);
            assert!(named, "names no key: {text}");
            let from_toml = text.contains(": not TOML: ");
            let key_is_long = file.len() > 512;
            assert!(from_toml || key_is_long || text.chars().count() <= REFUSAL_CHARS_MAX, "{text}");
        }
    }
}

fn assert_shown_again(loaded: &Loaded) {
    let settings = &loaded.settings;
    let set = SETTINGS.iter().filter(|setting| is_set(setting, setting.show(settings).as_str()));
    let shown: Vec<String> =
        set.map(|setting| format!("{}={}", setting.flag(), setting.show(settings))).collect();
    let queues = settings.queues.iter().map(|queue| table("queues", queue.name.as_str(), queue.shown()));
    let programs = settings.programs.iter();
    let programs = programs.map(|program| table("exec", program.0.name.as_str(), program.shown()));
    let file = written(&queues.chain(programs).collect::<String>());
    let path = file.path().to_str().expect("the name of a temporary file is text");
    let words = ["steadfast", "--config", path].into_iter().chain(shown.iter().map(String::as_str));
    let flags = flags(words).expect("what is shown can be given as flags");
    let mut again = Loaded::from_sources(&flags, |_| None).expect("what is shown is allowed").settings;
    // A password is never shown.
    if again.store.to_string() == settings.store.to_string() {
        again.store = settings.store.clone();
    }
    let shown = |url: &Option<_>| url.as_ref().map(ToString::to_string);
    if shown(&again.postgres_listen_url) == shown(&settings.postgres_listen_url) {
        again.postgres_listen_url = settings.postgres_listen_url.clone();
    }
    assert_eq!(again, *settings);
}

/// Whether it is a value; what is not says that it is unset, or what follows from that.
fn is_set(setting: &Setting, shown: &str) -> bool {
    shown != "unset" && !(setting.key == "log_format" && shown != "text" && shown != "json")
}

/// The table `name` in `section` as one may write it.
fn table(section: &str, name: &str, shown: impl Iterator<Item = (&'static str, String)>) -> String {
    let lines = shown.filter(|(_, value)| value != "unset");
    let lines: String = lines.map(|(key, value)| format!("{key} = {}\n", quoted(&value))).collect();
    format!("[{section}.\"{name}\"]\n{lines}")
}

/// A string as TOML has it.
fn quoted(text: &str) -> String {
    let quoted = text.chars().map(|char| match char {
        '"' | '\\' => format!("\\{char}"),
        control if control.is_control() => format!("\\u{:04x}", u32::from(control)),
        plain => plain.to_string(),
    });
    format!("\"{}\"", quoted.collect::<String>())
}

fn flags<'a>(words: impl Iterator<Item = &'a str>) -> Option<SettingsArgs> {
    static COMMAND: OnceLock<Command> = OnceLock::new();
    let command = COMMAND.get_or_init(|| SettingsArgs::augment_args(Command::new("steadfast")));
    let matches = command.clone().try_get_matches_from(words).ok()?;
    SettingsArgs::from_arg_matches(&matches).ok()
}

fn written(text: &str) -> NamedTempFile {
    let mut file = NamedTempFile::new().expect("a temporary file");
    file.write_all(text.as_bytes()).expect("a temporary file can be written");
    file
}
