//! From a step and an event to the request it asks for.

use serde_json::Value;

use super::{Request, Rule};
use crate::event::{Event, RunId};
use crate::time::Timestamp;

/// What steps are rendered from.
#[derive(Clone, Copy, Debug)]
pub struct RenderInput<'a> {
    /// The event.
    pub event: &'a Event,
    /// Values of finished steps by id.
    pub steps: &'a Value,
    /// `vars`.
    pub vars: &'a Value,
    /// The run; `None` in tests and `explain`.
    pub run: Option<RunId>,
    /// The moment the run was created: stands still over attempts.
    pub now: Timestamp,
}

/// A step, rendered.
#[derive(Clone, Debug, PartialEq)]
pub enum Rendered {
    /// Its `if` does not hold.
    Skip {
        /// Why: the expression, or the path that is missing.
        because: String,
    },
    /// To be carried out.
    Request(Request),
}

/// An expression that failed where it must not: the run is dead with cause `expression`.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{place}: {message}")]
pub struct ExpressionFault {
    /// Where in the rule: `when`, `steps[0].enqueue.content.Amount`.
    pub place: String,
    /// What happened, with a hint.
    pub message: String,
}

impl Rule {
    /// Renders the step with this index.
    ///
    /// # Errors
    /// A type error, a missing field, a limit, or a value that Orchestrator would refuse.
    pub fn render(&self, step: usize, input: &RenderInput<'_>) -> Result<Rendered, ExpressionFault> {
        let _ = (step, input);
        todo!()
    }
}
