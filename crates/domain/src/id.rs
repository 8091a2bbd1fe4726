use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::{Invalid, Timestamp};

/// A job's identity: a UUIDv7 (RFC 9562), so that ids sort by the time of their making.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct JobId(Uuid);

impl JobId {
    /// The HTTP header in which every delivery says which job it is of.
    pub const HEADER: &str = "steadfast-job-id";

    /// The id with these 128 bits; any version, since a reader may ask for an id we never made.
    pub const fn from_u128(bits: u128) -> Self {
        Self(Uuid::from_u128(bits))
    }

    /// All 128 bits.
    pub const fn as_u128(self) -> u128 {
        self.0.as_u128()
    }

    /// The top 64 bits: milliseconds, version and counter. [`JobIds`] never makes two ids that share
    /// them, so an embedded store may use them alone as its row number.
    pub const fn high(self) -> u64 {
        (self.0.as_u128() >> 64) as u64
    }

    /// The low 64 bits: the variant and 62 random bits.
    pub const fn low(self) -> u64 {
        self.0.as_u128() as u64
    }

    /// The id with these two halves.
    pub const fn from_halves(high: u64, low: u64) -> Self {
        Self(Uuid::from_u128(((high as u128) << 64) | low as u128))
    }
}

impl fmt::Display for JobId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.hyphenated().fmt(f)
    }
}

impl FromStr for JobId {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        Uuid::try_parse(text)
            .map(Self)
            .map_err(|_| Invalid::value("job id", text, "a UUID of 32 hexadecimal digits"))
    }
}

/// Makes job ids whose high halves strictly increase, whatever the clock does.
///
/// RFC 9562 section 6.2, method 1: 48 bits of Unix milliseconds, then the 12 bits of `rand_a` as a counter.
/// More than 4,096 ids in one millisecond, or a clock set back, borrow from the milliseconds ahead.
#[derive(Debug, Clone)]
pub struct JobIds {
    /// Milliseconds and counter of the newest id, without the version: 60 bits.
    newest: u64,
}

const COUNTER_BITS: u32 = 12;
const COUNTER_MASK: u64 = (1 << COUNTER_BITS) - 1;
const VERSION_7: u64 = 7 << COUNTER_BITS;
const VARIANT_RFC: u64 = 0b10 << 62;

impl JobIds {
    /// A generator whose ids all come after `newest`, the largest id that a store already holds.
    pub fn after(newest: Option<JobId>) -> Self {
        let newest = newest.map_or(0, |id| {
            let high = id.high();
            ((high >> 16) << COUNTER_BITS) | (high & COUNTER_MASK)
        });
        Self { newest }
    }

    /// The next id; `random` fills its low half.
    pub fn next(&mut self, now: Timestamp, random: u64) -> JobId {
        let clock = (now.unix_ms().max(0) as u64) << COUNTER_BITS;
        self.newest = clock.max(self.newest + 1);
        let (ms, counter) = (self.newest >> COUNTER_BITS, self.newest & COUNTER_MASK);
        let high = (ms << 16) | VERSION_7 | counter;
        JobId::from_halves(high, VARIANT_RFC | (random >> 2))
    }
}

/// A fencing token: grows with every claim in a store, so that a later claim's is always larger.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Fence(pub u64);

/// Counts a job's durable state changes, from 1.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Version(pub u64);

impl Version {
    /// The version of a job just accepted.
    pub const FIRST: Self = Self(1);

    /// The version after this one.
    pub const fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

/// Names one run of one server process. A host name is not an identity, since it is reused: this is
/// drawn anew at every start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct BootId(Uuid);

impl BootId {
    /// The boot id made of 128 random bits.
    pub const fn from_random(bits: u128) -> Self {
        Self(Uuid::from_u128(bits))
    }

    /// All 128 bits.
    pub const fn as_u128(self) -> u128 {
        self.0.as_u128()
    }
}

impl fmt::Display for BootId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.simple().fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_increase_when_the_clock_stands_still_or_goes_back() {
        let mut ids = JobIds::after(None);
        let mut before = ids.next(Timestamp::from_unix_ms(1_000), u64::MAX);
        for n in 0..10_000 {
            let next = ids.next(Timestamp::from_unix_ms(1_000 - n % 7), u64::MAX);
            assert!(next.high() > before.high());
            before = next;
        }
    }

    #[test]
    fn ids_are_version_7_with_the_clock_in_front() {
        let id = JobIds::after(None).next(Timestamp::from_unix_ms(1_700_000_000_123), 42);
        let uuid = Uuid::from_u128(id.as_u128());
        assert_eq!(uuid.get_version_num(), 7);
        assert_eq!(uuid.get_variant(), uuid::Variant::RFC4122);
        assert_eq!(id.as_u128() >> 80, 1_700_000_000_123);
        assert_eq!(id.to_string().parse(), Ok(id));
    }

    #[test]
    fn ids_go_on_after_the_newest_stored_one() {
        let stored = JobIds::after(None).next(Timestamp::from_unix_ms(5_000), 0);
        let next = JobIds::after(Some(stored)).next(Timestamp::from_unix_ms(4_000), 0);
        assert!(next.high() > stored.high());
    }
}
