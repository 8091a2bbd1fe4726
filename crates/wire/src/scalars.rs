//! How single values of the domain are written in JSON, for `#[serde(with = "...")]`.

use serde::de::Error;
use serde::{Deserialize, Deserializer, Serializer};
use steadfast_domain::{JobState, Priority, Timestamp};

/// RFC 3339 in UTC with milliseconds.
pub(crate) mod rfc3339 {
    use super::*;

    pub(crate) fn serialize<S: Serializer>(time: &Timestamp, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(time)
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Timestamp, D::Error> {
        let text = String::deserialize(deserializer)?;
        Timestamp::parse_rfc3339(&text).ok_or_else(|| D::Error::custom(format!("{text:?} is not RFC 3339")))
    }
}

/// RFC 3339, or `null`.
pub(crate) mod rfc3339_option {
    use super::*;

    pub(crate) fn serialize<S: Serializer>(
        time: &Option<Timestamp>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        match time {
            Some(time) => serializer.collect_str(time),
            None => serializer.serialize_none(),
        }
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Option<Timestamp>, D::Error> {
        #[derive(Deserialize)]
        struct Time(#[serde(with = "rfc3339")] Timestamp);
        Ok(Option::<Time>::deserialize(deserializer)?.map(|time| time.0))
    }
}

/// A job state by its name.
pub(crate) mod state {
    use super::*;

    pub(crate) fn serialize<S: Serializer>(state: &JobState, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(state.as_str())
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<JobState, D::Error> {
        JobState::parse(&String::deserialize(deserializer)?).map_err(D::Error::custom)
    }
}

/// A job state by its name, or none.
pub(crate) mod state_option {
    use super::*;

    pub(crate) fn serialize<S: Serializer>(
        state: &Option<JobState>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        match state {
            Some(state) => serializer.serialize_str(state.as_str()),
            None => serializer.serialize_none(),
        }
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<Option<JobState>, D::Error> {
        #[derive(Deserialize)]
        struct State(#[serde(with = "state")] JobState);
        Ok(Option::<State>::deserialize(deserializer)?.map(|state| state.0))
    }
}

/// A priority by its name.
pub(crate) mod priority {
    use super::*;

    pub(crate) fn serialize<S: Serializer>(priority: &Priority, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(priority.as_str())
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Priority, D::Error> {
        Priority::parse(&String::deserialize(deserializer)?).map_err(D::Error::custom)
    }
}
