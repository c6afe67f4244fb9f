//! How attempts and look-ups end.

use serde_json::Value;

use super::{Awaited, Class};

/// How an attempt or a look-up ended, before it is judged.
#[derive(Clone, Debug, PartialEq)]
pub enum Outcome {
    /// It is done; the step's value.
    Done {
        /// For later steps.
        value: Value,
    },
    /// It failed.
    Failed(Failure),
    /// What is awaited has not come to its end.
    NotYet {
        /// How it stands, in words.
        stands: String,
        /// What it is: its next attempt, where it was retried. `None` where no event would tell.
        awaited: Option<Awaited>,
    },
    /// A look-up found what the request was to make; the step's value.
    Found {
        /// For later steps.
        value: Value,
    },
    /// A look-up found nothing: the request was probably not carried out.
    NotFound,
    /// A look-up failed: nothing new is known.
    NotLookedUp(Failure),
}

/// Why an attempt failed. Carries what the next decision needs; texts are masked already.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[error("{message}")]
pub struct Failure {
    /// What kind.
    pub class: Class,
    /// The HTTP status, if there was one.
    pub status: Option<u16>,
    /// What went wrong and what to do about it.
    pub message: String,
    /// `Retry-After`, already turned into a duration.
    pub retry_after: Option<std::time::Duration>,
}
