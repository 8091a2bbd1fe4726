use serde::Serialize;
use steadfast_domain::RawJson;

use super::Failure;

/// How an attempt of a [`TypedHandler`](super::TypedHandler) ends when it has no result: the error side of its
/// answer, so that `?` ends it. An error of the handler's own comes here by itself when it says which [`Failure`]
/// it is (`impl From<MyError> for Failure`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Unfinished {
    /// It stopped on the way, as [`Finish::Yield`](super::Finish::Yield) says.
    Yield {
        /// What the next attempt is to find; an earlier one stays when `None`.
        checkpoint: Option<RawJson>,
    },
    /// It failed.
    Failed(Failure),
}

impl Unfinished {
    /// Stopped on the way, leaving this to the next attempt. A value without a JSON form is a failure.
    pub fn leaving<T: Serialize + ?Sized>(checkpoint: &T) -> Self {
        match RawJson::encode(checkpoint) {
            Ok(checkpoint) => Self::Yield { checkpoint: Some(checkpoint) },
            Err(invalid) => Self::Failed(invalid.into()),
        }
    }
}

impl<E: Into<Failure>> From<E> for Unfinished {
    fn from(error: E) -> Self {
        Self::Failed(error.into())
    }
}
