//! How one setting's value is written, read and shown, whichever source it comes from.

use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

use steadfast_domain::KindName;
use steadfast_handlers::Argument;
use steadfast_queue::admission::QueueMode;
use steadfast_queue::pool::StartRate;
use steadfast_store_postgres::PostgresUrl;
use toml::Value;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::ParseError;

use super::programs::{
    TEXT_BYTES_MAX, TEXTS_MAX, parse_arguments, parse_command, parse_directory, parse_exit_codes,
    parse_inherited, parse_variables, show_list, show_variables,
};

/// Where jobs live.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StoreUrl {
    /// In this process's memory only.
    Memory,
    /// In one SQLite file.
    Sqlite(PathBuf),
    /// In a PostgreSQL database.
    Postgres(PostgresUrl),
}

/// How log lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

/// The place of one value in the settings, with what may stand there.
pub(super) enum Slot<'a> {
    Count(&'a mut dyn Holds<u64>, RangeInclusive<u64>),
    Size(&'a mut dyn Holds<u64>, RangeInclusive<u64>),
    Time(&'a mut dyn Holds<Duration>, RangeInclusive<Duration>),
    Switch(&'a mut bool),
    Address(&'a mut SocketAddr),
    OptionalAddress(&'a mut Option<SocketAddr>),
    Store(&'a mut StoreUrl),
    Postgres(&'a mut Option<PostgresUrl>),
    File(&'a mut Option<PathBuf>),
    Rate(&'a mut Option<StartRate>),
    Mode(&'a mut QueueMode),
    Kinds(&'a mut Option<Vec<KindName>>),
    Command(&'a mut PathBuf),
    Directory(&'a mut PathBuf),
    Arguments(&'a mut Vec<Argument>),
    Variables(&'a mut BTreeMap<String, String>),
    Inherited(&'a mut Vec<String>),
    ExitCodes(&'a mut Vec<u8>),
    LogFormat(&'a mut Option<LogFormat>),
    LogFilter(&'a mut String),
}

/// A field that a number or a time fits into, set or unset.
pub(super) trait Holds<T> {
    fn get(&self) -> Option<T>;
    fn put(&mut self, value: T);
}

/// The value cannot stand here; `shown` is what an error may repeat of it.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct NotAllowed {
    pub(super) shown: String,
    pub(super) allowed: String,
}

/// How a PostgreSQL database is named.
const POSTGRES_ALLOWED: &str = "postgres://USER:PASSWORD@HOST:PORT/DATABASE with parameters of libpq, schema=NAME \
     (1 to 48 of a-z, 0-9 and _) or prepare=unnamed";
/// Kinds one pull queue may name: each is a label of its own in the metrics.
const KINDS_MAX: usize = 100;
/// Digits after the point of a rate.
const RATE_DECIMALS: usize = 3;
/// Characters of a rejected value that an error repeats.
const SHOWN_CHARS_MAX: usize = 64;
const SIZE_UNITS: [(&str, u64); 5] =
    [("TiB", 1 << 40), ("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10), ("B", 1)];
const TIME_UNITS: [(&str, u64); 5] =
    [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1_000), ("ms", 1)];

impl Slot<'_> {
    /// Reads `text` into the place.
    pub(super) fn set(&mut self, text: &str) -> Result<(), NotAllowed> {
        if self.try_set(text).is_some() {
            return Ok(());
        }
        Err(NotAllowed { shown: self.shown(text), allowed: self.allowed() })
    }

    fn try_set(&mut self, text: &str) -> Option<()> {
        match self {
            Self::Count(place, range) => place.put(within(parse_digits(text)?, range)?),
            Self::Size(place, range) => place.put(within(parse_size(text)?, range)?),
            Self::Time(place, range) => place.put(within(parse_time(text)?, range)?),
            Self::Switch(place) => **place = text.parse().ok()?,
            Self::Address(place) => **place = text.parse().ok()?,
            Self::OptionalAddress(place) => **place = Some(text.parse().ok()?),
            Self::Store(place) => **place = parse_store(text)?,
            Self::Postgres(place) => **place = Some(text.parse().ok()?),
            Self::File(place) => **place = Some(parse_file(text)?),
            Self::Rate(place) => **place = Some(parse_rate(text)?),
            Self::Mode(place) => {
                **place = QueueMode::ALL.into_iter().find(|mode| mode.as_str() == text)?;
            }
            Self::Kinds(place) => **place = Some(parse_kinds(text)?),
            Self::Command(place) => **place = parse_command(text)?,
            Self::Directory(place) => **place = parse_directory(text)?,
            Self::Arguments(place) => **place = parse_arguments(text)?,
            Self::Variables(place) => **place = parse_variables(text)?,
            Self::Inherited(place) => **place = parse_inherited(text)?,
            Self::ExitCodes(place) => **place = parse_exit_codes(text)?,
            Self::LogFormat(place) => {
                **place = Some(match text {
                    "text" => LogFormat::Text,
                    "json" => LogFormat::Json,
                    _ => return None,
                });
            }
            Self::LogFilter(place) => {
                log_filter(text).ok()?;
                **place = text.to_owned();
            }
        }
        Some(())
    }

    /// The value as one may write it.
    pub(super) fn show(&self) -> String {
        match self {
            Self::Count(place, _) => place.get().map(|count| count.to_string()),
            Self::Size(place, _) => place.get().map(|bytes| in_largest_unit(bytes, &SIZE_UNITS)),
            Self::Time(place, _) => place.get().map(show_time),
            Self::Switch(place) => Some(place.to_string()),
            Self::Address(place) => Some(place.to_string()),
            Self::OptionalAddress(place) => place.map(|address| address.to_string()),
            Self::Store(place) => Some(place.to_string()),
            Self::Postgres(place) => place.as_ref().map(PostgresUrl::to_string),
            Self::File(place) => place.as_ref().map(|path| path.display().to_string()),
            Self::Rate(place) => place.map(show_rate),
            Self::Mode(place) => Some(place.as_str().to_owned()),
            Self::Kinds(place) => place.as_deref().map(show_kinds),
            Self::Command(place) | Self::Directory(place) => Some(place.display().to_string()),
            Self::Arguments(place) => Some(show_list(place.iter().map(Argument::to_string))),
            Self::Variables(place) => Some(show_variables(place)),
            Self::Inherited(place) => Some(show_list(place.iter().cloned())),
            Self::ExitCodes(place) => Some(show_list(place.iter().copied())),
            Self::LogFormat(place) => {
                return place.map_or("text on a terminal, else json", LogFormat::as_str).to_owned();
            }
            Self::LogFilter(place) => Some((*place).clone()),
        }
        .unwrap_or_else(|| "unset".to_owned())
    }

    /// What may stand here, as the end of a sentence.
    pub(super) fn allowed(&self) -> String {
        match self {
            Self::Count(_, range) => format!("a whole number from {} to {}", range.start(), range.end()),
            Self::Size(_, range) => format!(
                "a size such as 512B, 256KiB or 1GiB, from {} to {}",
                in_largest_unit(*range.start(), &SIZE_UNITS),
                in_largest_unit(*range.end(), &SIZE_UNITS)
            ),
            Self::Time(_, range) => format!(
                "a duration such as 500ms, 30s, 10m, 24h or 7d, from {} to {}",
                show_time(*range.start()),
                show_time(*range.end())
            ),
            Self::Switch(_) => "true or false".to_owned(),
            Self::Address(_) | Self::OptionalAddress(_) => {
                "an IP address and a port, such as 127.0.0.1:8080 or [::]:8080; port 0 picks a free one"
                    .to_owned()
            }
            Self::Store(_) => format!("sqlite://PATH, {POSTGRES_ALLOWED}, or memory:"),
            Self::Postgres(_) => POSTGRES_ALLOWED.to_owned(),
            Self::File(_) => "the path of a file".to_owned(),
            Self::Rate(_) => format!(
                "starts per second, from {} to {}, such as 50 or 0.5, with at most {RATE_DECIMALS} decimals",
                show_rate(StartRate::MIN),
                show_rate(StartRate::MAX)
            ),
            Self::Mode(_) => "push or pull".to_owned(),
            Self::Kinds(_) => format!(
                "a list of 1 to {KINDS_MAX} kinds such as [\"resize\", \"index\"], each of a-z, 0-9, '.', '_' and '-'"
            ),
            Self::Command(_) => "the absolute path of a file that may be executed".to_owned(),
            Self::Directory(_) => "the absolute path of a directory".to_owned(),
            Self::Arguments(_) => format!(
                "a list of up to {TEXTS_MAX} texts of up to {TEXT_BYTES_MAX} bytes, such as [\"--width={{width}}\", \
                 \"{{file}}\"]: {{name}} takes a field of the payload, {{{{ and }}}} are braces, and no field names an \
                 option"
            ),
            Self::Variables(_) => format!(
                "a table of up to {TEXTS_MAX} variables with their values, such as {{ LANG = \"C.UTF-8\" }}, none of \
                 them STEADFAST_*"
            ),
            Self::Inherited(_) => format!(
                "a list of up to {TEXTS_MAX} names of variables, such as [\"PATH\", \"HOME\"], none of them \
                 STEADFAST_*"
            ),
            Self::ExitCodes(_) => "a list of exit codes, each from 0 to 255, such as [0, 1]".to_owned(),
            Self::LogFormat(_) => "text or json".to_owned(),
            Self::LogFilter(_) => "a tracing filter, such as info or info,steadfast_api=debug".to_owned(),
        }
    }

    /// What an error repeats of a value: never a password, which a database's URL may hold.
    pub(super) fn shown(&self, text: &str) -> String {
        if let (Self::Store(_) | Self::Postgres(_), Some((scheme, _))) = (self, text.split_once("://")) {
            return format!("{scheme}://…");
        }
        let mut shown: String = text.chars().take(SHOWN_CHARS_MAX).collect();
        if shown.len() < text.len() {
            shown.push('…');
        }
        shown
    }
}

impl LogFormat {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Text => "text",
            Self::Json => "json",
        }
    }
}

impl fmt::Display for StoreUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Memory => f.write_str("memory:"),
            Self::Sqlite(path) => write!(f, "sqlite://{}", path.display()),
            // Without its password.
            Self::Postgres(url) => url.fmt(f),
        }
    }
}

/// A time in the largest unit that writes it whole; a single day as people write it, `24h`.
pub fn show_time(time: Duration) -> String {
    match u64::try_from(time.as_millis()) {
        Ok(0) => "0s".to_owned(),
        Ok(86_400_000) => "24h".to_owned(),
        Ok(ms) => in_largest_unit(ms, &TIME_UNITS),
        Err(_) => format!("{time:?}"),
    }
}

macro_rules! holds {
    ($inner:ty: $($place:ty),*) => {$(
        impl Holds<$inner> for $place {
            fn get(&self) -> Option<$inner> {
                <$inner>::try_from(*self).ok()
            }

            fn put(&mut self, value: $inner) {
                // The slot's range fits the field: it is the one place that states both.
                *self = <$place>::try_from(value).unwrap_or(<$place>::MAX);
            }
        }

        impl Holds<$inner> for Option<$place> {
            fn get(&self) -> Option<$inner> {
                self.as_ref().and_then(Holds::get)
            }

            fn put(&mut self, value: $inner) {
                let mut place = <$place>::default();
                place.put(value);
                *self = Some(place);
            }
        }
    )*};
}
holds!(u64: u32, u64, usize);
holds!(Duration: Duration);

fn within<T: PartialOrd>(value: T, range: &RangeInclusive<T>) -> Option<T> {
    range.contains(&value).then_some(value)
}

/// Digits and nothing else: `parse` alone would take a sign.
fn parse_digits(text: &str) -> Option<u64> {
    text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok()).flatten()
}

/// A number and its unit; bytes may go without.
fn parse_size(text: &str) -> Option<u64> {
    let text = if text.ends_with('B') { text.to_owned() } else { format!("{text}B") };
    parse_with_unit(&text, &SIZE_UNITS)
}

/// One number and one unit.
pub(crate) fn parse_time(text: &str) -> Option<Duration> {
    parse_with_unit(text, &TIME_UNITS).map(Duration::from_millis)
}

fn parse_with_unit(text: &str, units: &[(&str, u64)]) -> Option<u64> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    let (_, factor) = units.iter().find(|(name, _)| *name == unit)?;
    parse_digits(number)?.checked_mul(*factor)
}

fn in_largest_unit(number: u64, units: &[(&str, u64)]) -> String {
    let whole = units.iter().find(|(_, factor)| number >= *factor && number.is_multiple_of(*factor));
    whole.map_or_else(|| number.to_string(), |(unit, factor)| format!("{}{unit}", number / factor))
}

/// The filter of the log. A field's value in it is compared as text: read as a pattern, some 300 characters
/// could take the start many seconds.
pub(crate) fn log_filter(text: &str) -> Result<EnvFilter, ParseError> {
    EnvFilter::builder().with_regex(false).parse(text)
}

fn parse_file(text: &str) -> Option<PathBuf> {
    (!text.is_empty()).then(|| text.into())
}

/// A number of starts per second, exactly.
fn parse_rate(text: &str) -> Option<StartRate> {
    let (whole, decimals) = text.split_once('.').unwrap_or((text, "0"));
    if whole.is_empty() || decimals.is_empty() || decimals.len() > RATE_DECIMALS {
        return None;
    }
    let thousandths = parse_digits(&format!("{whole}{decimals:0<RATE_DECIMALS$}"))?;
    StartRate::from_thousandths(thousandths)
}

fn show_rate(rate: StartRate) -> String {
    let (whole, decimals) = (rate.thousandths() / 1_000, rate.thousandths() % 1_000);
    if decimals == 0 {
        return whole.to_string();
    }
    format!("{whole}.{decimals:0>RATE_DECIMALS$}").trim_end_matches('0').to_owned()
}

/// A list as TOML has it.
fn parse_kinds(text: &str) -> Option<Vec<KindName>> {
    let Ok(Value::Array(names)) = text.parse() else { return None };
    if names.is_empty() || names.len() > KINDS_MAX {
        return None;
    }
    names.iter().map(|name| KindName::new(name.as_str()?).ok()).collect()
}

fn show_kinds(kinds: &[KindName]) -> String {
    let kinds: Vec<String> = kinds.iter().map(|kind| format!("\"{kind}\"")).collect();
    format!("[{}]", kinds.join(", "))
}

fn parse_store(text: &str) -> Option<StoreUrl> {
    match text.strip_prefix("sqlite://") {
        Some(path) if !path.is_empty() && !path.contains('\0') => Some(StoreUrl::Sqlite(path.into())),
        Some(_) => None,
        None if text == "memory:" => Some(StoreUrl::Memory),
        None => text.parse().ok().map(StoreUrl::Postgres),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_one_number_and_one_unit() {
        for (text, ms) in [("500ms", 500), ("30s", 30_000), ("10m", 600_000), ("24h", 86_400_000), ("0s", 0)]
        {
            assert_eq!(parse_time(text), Some(Duration::from_millis(ms)), "{text}");
            assert_eq!(show_time(Duration::from_millis(ms)), text);
        }
        for text in
            ["", "30", "s", "1.5s", "-1s", "+1s", " 1s", "1 s", "1S", "1m30s", "1µs", "99999999999999999d"]
        {
            assert_eq!(parse_time(text), None, "{text}");
        }
    }

    #[test]
    fn sizes_are_binary_and_exact() {
        for (text, bytes) in [("256KiB", 262_144), ("1GiB", 1 << 30), ("7B", 7), ("0B", 0)] {
            assert_eq!(parse_size(text), Some(bytes), "{text}");
        }
        assert_eq!(parse_size("7000"), Some(7_000));
        assert_eq!(in_largest_unit(1_536, &SIZE_UNITS), "1536B");
        for text in ["", "B", "1KB", "1kib", "1 GiB", "-1B", "1.5GiB", "99999999TiB"] {
            assert_eq!(parse_size(text), None, "{text}");
        }
    }

    #[test]
    fn rates_are_exact_to_a_thousandth() {
        for (text, thousandths) in [("50", 50_000), ("0.5", 500), ("0.001", 1), ("1.25", 1_250)] {
            assert_eq!(parse_rate(text), StartRate::from_thousandths(thousandths), "{text}");
            assert_eq!(show_rate(parse_rate(text).unwrap()), text);
        }
        assert_eq!(parse_rate("50.0"), parse_rate("50"));
        assert_eq!(parse_rate("1000000"), Some(StartRate::MAX));
        for text in [
            "",
            "0",
            "0.0",
            ".5",
            "5.",
            "0.0001",
            "-1",
            "+1",
            "1e3",
            "1,5",
            "1.5.5",
            "inf",
            "nan",
            "1000000.1",
        ] {
            assert_eq!(parse_rate(text), None, "{text}");
        }
    }

    #[test]
    fn kinds_are_a_list() {
        let kinds = parse_kinds(r#"["resize","index.html"]"#).unwrap();
        assert_eq!(show_kinds(&kinds), r#"["resize", "index.html"]"#);
        for text in ["", "resize", "[]", "[7]", r#"["Resize"]"#, r#"[["resize"]]"#, r#"["resize""#] {
            assert_eq!(parse_kinds(text), None, "{text}");
        }
        let many = format!("[{}]", "\"k\",".repeat(KINDS_MAX + 1));
        assert_eq!(parse_kinds(&many), None);
    }

    #[test]
    fn stores_are_a_file_a_database_or_memory() {
        assert_eq!(parse_store("sqlite://jobs.db"), Some(StoreUrl::Sqlite("jobs.db".into())));
        assert_eq!(parse_store("sqlite:///var/jobs.db"), Some(StoreUrl::Sqlite("/var/jobs.db".into())));
        assert_eq!(parse_store("memory:"), Some(StoreUrl::Memory));
        let database = parse_store("postgres://me:secret@db/jobs?schema=a").map(|store| store.to_string());
        assert_eq!(database.as_deref(), Some("postgres://me@db/jobs?schema=a"));
        for text in [
            "",
            "sqlite://",
            "sqlite:x",
            "memory",
            "memory://",
            "jobs.db",
            "sqlite://a\0b",
            "mysql://db/jobs",
        ] {
            assert_eq!(parse_store(text), None, "{text}");
        }
    }

    #[test]
    fn an_error_never_repeats_a_password() {
        let mut store = StoreUrl::Memory;
        let error = Slot::Store(&mut store).set("postgres://steadfast:secret@db/jobs?schema=A").unwrap_err();
        assert_eq!(error.shown, "postgres://…");
        assert!(error.allowed.contains("sqlite://PATH"));
    }

    #[test]
    fn a_long_value_is_cut_in_an_error() {
        let mut count = 0_u64;
        let error = Slot::Count(&mut count, 1..=2).set(&"é".repeat(100)).unwrap_err();
        assert_eq!(error.shown.chars().count(), SHOWN_CHARS_MAX + 1);
    }
}
