use std::fmt;
use std::time::Duration;

use jiff::fmt::temporal::DateTimePrinter;

/// A point in time, in whole milliseconds since the Unix epoch, UTC, in the years 1970 to 9999.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Timestamp(i64);

/// `2026-11-21T00:00:00.000Z`.
const TEXT_BYTES: usize = 24;
static PRINTER: DateTimePrinter = DateTimePrinter::new().precision(Some(3));

/// The last millisecond that every RFC 3339 offset can still write within the year 9999.
const UNIX_MS_MAX: i64 = 253_402_207_200_999;

impl Timestamp {
    /// The moment `ms` after the epoch, brought into the years 1970 to 9999.
    pub const fn from_unix_ms(ms: i64) -> Self {
        if ms < 0 {
            Self(0)
        } else if ms > UNIX_MS_MAX {
            Self(UNIX_MS_MAX)
        } else {
            Self(ms)
        }
    }

    /// Milliseconds since the epoch, 0 or more.
    pub const fn unix_ms(self) -> i64 {
        self.0
    }

    /// This moment plus `duration`, not beyond the year 9999.
    pub fn plus(self, duration: Duration) -> Self {
        let ms = i64::try_from(duration.as_millis()).unwrap_or(UNIX_MS_MAX);
        Self::from_unix_ms(self.0.saturating_add(ms))
    }

    /// The time from `earlier` to this moment; zero when `earlier` is later.
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_millis(self.0.saturating_sub(earlier.0).max(0) as u64)
    }

    /// Reads RFC 3339: `2026-11-21T00:00:00Z`, with any fraction (cut to milliseconds) and any offset.
    pub fn parse_rfc3339(text: &str) -> Option<Self> {
        let ms = text.parse::<jiff::Timestamp>().ok()?.as_millisecond();
        (0..=UNIX_MS_MAX).contains(&ms).then_some(Self(ms))
    }
}

/// RFC 3339 in UTC with milliseconds: `2026-11-21T00:00:00.000Z`.
impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let time = jiff::Timestamp::from_millisecond(self.0).map_err(|_| fmt::Error)?;
        let mut text = String::with_capacity(TEXT_BYTES);
        PRINTER.print_timestamp(&time, &mut text).map_err(|_| fmt::Error)?;
        f.write_str(&text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn reads_offsets_and_fractions() {
        let utc = Timestamp::parse_rfc3339("2026-11-21T00:00:00Z");
        assert_eq!(utc.map(Timestamp::unix_ms), Some(1_795_219_200_000));
        assert_eq!(Timestamp::parse_rfc3339("2026-11-21T02:30:00.000+02:30"), utc);
        let fraction = Timestamp::parse_rfc3339("2026-11-21T00:00:00.123999Z");
        assert_eq!(fraction.map(|t| t.unix_ms() % 1_000), Some(123));
    }

    #[test]
    fn refuses_what_names_no_moment() {
        for text in ["", "2026-02-29T00:00:00Z", "2026-11-21T00:00:00", "1969-12-31T23:59:59Z", "20é6"] {
            assert_eq!(Timestamp::parse_rfc3339(text), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn what_is_written_reads_back(ms in 0..=UNIX_MS_MAX) {
            let time = Timestamp::from_unix_ms(ms);
            prop_assert_eq!(Timestamp::parse_rfc3339(&time.to_string()), Some(time));
        }
    }
}
