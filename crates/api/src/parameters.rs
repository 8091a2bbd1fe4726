//! Reading what a request's path and query say, with answers that name what is wrong.

use std::str::FromStr;

use axum::extract::rejection::PathRejection;
use axum::extract::{Path, Query};
use steadfast_domain::{Invalid, JobId};

use crate::problem::Refused;

/// A path with one parameter, whatever its text.
pub(crate) type PathText = Result<Path<String>, PathRejection>;

/// A path's parameter, as text.
pub(crate) fn text_of(path: PathText, name: &'static str) -> Result<String, Refused> {
    let not_text = |_| Refused::parameter(name, "", "percent-encoded UTF-8");
    path.map(|Path(text)| text).map_err(not_text)
}

/// A job's id from the path.
pub(crate) fn job_id(path: PathText) -> Result<JobId, Refused> {
    let text = text_of(path, "id")?;
    JobId::from_str(&text).map_err(|_| Refused::parameter("id", &text, "a UUID of 32 hexadecimal digits"))
}

/// The parameters of a query, each at most once.
pub(crate) struct Parameters(Vec<(String, String)>);

impl Parameters {
    /// Checks that only `known` names are given, each once.
    pub(crate) fn new(
        Query(pairs): Query<Vec<(String, String)>>,
        known: &[&'static str],
    ) -> Result<Self, Refused> {
        for (index, (name, value)) in pairs.iter().enumerate() {
            if !known.contains(&name.as_str()) {
                let allowed = match known {
                    [] => "no query parameters".to_owned(),
                    known => format!("the query parameters {}", known.join(", ")),
                };
                return Err(Refused::parameter(cut(name), value, allowed));
            }
            if pairs[..index].iter().any(|(earlier, _)| earlier == name) {
                return Err(Refused::parameter(cut(name), value, "each query parameter at most once"));
            }
        }
        Ok(Self(pairs))
    }

    /// A parameter's text, whatever it is.
    pub(crate) fn text(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(given, _)| given == name).map(|(_, text)| text.as_str())
    }

    /// A parameter read by `read`, or `None` when it is not given.
    pub(crate) fn get<T>(
        &self,
        name: &'static str,
        read: impl FnOnce(&str) -> Result<T, Invalid>,
        allowed: &'static str,
    ) -> Result<Option<T>, Refused> {
        let Some(text) = self.text(name) else { return Ok(None) };
        read(text).map(Some).map_err(|_| Refused::parameter(name, text, allowed))
    }

    /// A whole number from `least` to `most`.
    pub(crate) fn whole(&self, name: &'static str, least: u64, most: u64) -> Result<Option<u64>, Refused> {
        let Some(text) = self.text(name) else { return Ok(None) };
        // What Rust reads may have a plus.
        let is_plain = text.bytes().all(|byte| byte.is_ascii_digit());
        match text.parse() {
            Ok(number) if is_plain && (least..=most).contains(&number) => Ok(Some(number)),
            _ => Err(Refused::parameter(name, text, format!("a whole number from {least} to {most}"))),
        }
    }
}

/// A client's own text, cut to what an answer may repeat.
fn cut(text: &str) -> String {
    text.chars().take(64).collect()
}
