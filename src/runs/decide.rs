//! What a run needs next.

use serde_json::Value;

use super::{Fact, Intent, Run};
use crate::event::Event;
use crate::rules::{Request, Rule};
use crate::time::Timestamp;

/// What a run needs next.
#[derive(Clone, Debug, PartialEq)]
pub enum Next {
    /// Send this request. `intent` must be durable before it leaves.
    Perform {
        /// The step's index.
        step: usize,
        /// What to send.
        request: Request,
        /// The attempt's number, from 1.
        attempt: u32,
        /// To be made durable before sending, for what is not idempotent.
        intent: Option<Intent>,
    },
    /// A request left and its outcome is unknown: look it up before anything else.
    LookUp {
        /// The step's index.
        step: usize,
        /// What was sent.
        request: Request,
        /// The open intent.
        intent: Intent,
    },
    /// Record these facts and ask again.
    Record(Vec<Fact>),
    /// Nothing until then.
    Wait(Timestamp),
    /// Settled already.
    Nothing,
}

/// What is to be done for a run now.
#[must_use]
pub fn decide(run: &Run, rule: &Rule, event: &Event, vars: &Value, now: Timestamp) -> Next {
    let _ = (run, rule, event, vars, now);
    todo!()
}
