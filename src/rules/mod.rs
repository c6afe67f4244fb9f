//! Rules: from files to a checked set, from an event to the rules that match it, from a step to the request it asks for.
//!
//! Knows no clock, store or network. `check`, `test`, `explain` and `run` all go through these functions.

mod action;
mod explain;
pub mod index;
mod known;
pub mod pattern;
mod render;
mod request;
mod rule;
mod set;
mod testing;

pub use action::Action;
pub use explain::{Because, Explanation};
pub use known::{Known, KnownSource};
pub use render::{ExpressionFault, RenderInput, Rendered};
pub use request::{Emit, Enqueue, FolderRef, GetItem, HttpCall, ItemLookup, Request, StartJob, Target};
pub use rule::{Mode, RetryPolicy, Rule, Step};
pub use set::{Met, RuleSet};
pub use testing::{TestCase, TestReport};
