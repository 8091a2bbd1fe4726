//! How figures, times and foreign text are written for people.

use std::borrow::Cow;
use std::time::Duration;

use steadfast_domain::Timestamp;

/// A length of time by its two largest units: `7 ms`, `12.3 s`, `4 min 5 s`, `2 h 3 min`, `3 d 4 h`.
pub(crate) fn duration(time: Duration) -> String {
    let (ms, s) = (time.as_millis(), time.as_secs());
    match s {
        0 => format!("{ms} ms"),
        1..60 => format!("{}.{} s", s, (ms % 1_000) / 100),
        60..3_600 => format!("{} min {} s", s / 60, s % 60),
        3_600..86_400 => format!("{} h {} min", s / 3_600, s % 3_600 / 60),
        _ => format!("{} d {} h", s / 86_400, s % 86_400 / 3_600),
    }
}

/// Bytes in the largest binary unit: `512 B`, `1.5 KiB`.
pub(crate) fn bytes(bytes: u64) -> String {
    const UNITS: [&str; 4] = ["KiB", "MiB", "GiB", "TiB"];
    if bytes < 1_024 {
        return format!("{bytes} B");
    }
    let power = (bytes.ilog2() / 10).min(UNITS.len() as u32);
    let scaled = bytes as f64 / f64::from(1_024_u32).powi(power as i32);
    format!("{scaled:.1} {}", UNITS[power as usize - 1])
}

/// A moment to the second: `2026-11-21T22:02:49Z`.
pub(crate) fn time(at: Timestamp) -> String {
    let text = at.to_string();
    text.split_once('.').map_or(text.clone(), |(seconds, _)| format!("{seconds}Z"))
}

/// A count and its noun, which forms its plural with an `s`.
pub(crate) fn count(count: u64, noun: &str) -> String {
    format!("{count} {noun}{}", if count == 1 { "" } else { "s" })
}

/// Text that others wrote, without what a terminal would obey.
pub(crate) fn clean(text: &str) -> String {
    text.chars()
        .map(|c| {
            if c.is_control() { Cow::from(c.escape_default().to_string()) } else { Cow::from(c.to_string()) }
        })
        .collect()
}

/// The same, cut after so many characters.
pub(crate) fn cut(text: &str, chars_max: usize) -> String {
    match text.char_indices().nth(chars_max) {
        Some((at, _)) => format!("{}… ({} in all)", clean(&text[..at]), bytes(text.len() as u64)),
        None => clean(text),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_two_units() {
        let shown = |ms| duration(Duration::from_millis(ms));
        assert_eq!(shown(0), "0 ms");
        assert_eq!(shown(999), "999 ms");
        assert_eq!(shown(12_345), "12.3 s");
        assert_eq!(shown(245_000), "4 min 5 s");
        assert_eq!(shown(7_380_000), "2 h 3 min");
        assert_eq!(shown(273_600_000), "3 d 4 h");
        assert_eq!(time(Timestamp::from_unix_ms(1_795_219_200_123)), "2026-11-21T00:00:00Z");
    }

    #[test]
    fn bytes_have_one_unit() {
        assert_eq!(bytes(1_023), "1023 B");
        assert_eq!(bytes(1_536), "1.5 KiB");
        assert_eq!(bytes(1 << 30), "1.0 GiB");
        assert_eq!(bytes(u64::MAX), "16777216.0 TiB");
        assert_eq!((count(1, "job"), count(2, "job")), ("1 job".into(), "2 jobs".into()));
    }

    #[test]
    fn foreign_text_cannot_steer_a_terminal() {
        assert_eq!(clean("a\u{1b}[2Jé\n"), "a\\u{1b}[2Jé\\n");
        assert_eq!(cut("abcdef", 3), "abc… (6 B in all)");
        assert_eq!(cut("abc", 3), "abc");
    }
}
