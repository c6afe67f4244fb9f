//! Why a rule did not match.

use serde::Serialize;
use serde_json::Value;

use crate::event::RuleName;

/// Why a rule did not match, or that it did.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Explanation {
    /// The rule's name.
    pub rule: RuleName,
    /// Whether it matched.
    pub matched: bool,
    /// The first condition that failed; `None` when it matched.
    pub because: Option<Because>,
}

/// The first condition that failed.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Because {
    /// Path of the condition: `match.QueueItem.ProcessingException.Type`, `when`, `events`, `sources`, `queues`, `mode`.
    pub path: String,
    /// What the rule asks for.
    pub expected: Value,
    /// What the event has; null where it has nothing.
    pub found: Value,
    /// A named trap that fits, if one does.
    pub hint: Option<String>,
}
