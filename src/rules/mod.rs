//! Rules: from files to a checked set, from an event to the rules that match it, from a step to the request it asks for.
//!
//! Knows no clock, store or network. `check`, `test`, `explain` and `run` all go through these functions.

mod action;
mod backtest;
mod call;
mod check;
mod decode;
mod draft;
mod each;
mod expect;
mod explain;
mod fields;
mod filter;
#[cfg(test)]
mod fuzz;
mod hold;
mod http;
pub mod index;
mod indexed;
mod known;
mod limits;
mod loops;
mod needs;
mod order;
mod part;
pub mod pattern;
mod read;
mod rehearse;
mod render;
mod request;
mod rule;
mod set;
mod shapes;
mod steps;
mod testing;
mod values;
mod waits;
mod watches;

pub use crate::expr::ExpressionFault;
pub use crate::retry::RetryPolicy;
pub use action::Action;
pub use backtest::{Backtest, Change, Deed, Difference, differences};
pub use draft::{Draft, MASK};
pub use explain::{Because, Explanation};
pub use hold::{Ran, Verdict};
pub use known::{Known, KnownSource};
pub use limits::{ELEMENTS_MAX, PARALLEL_MAX};
pub use needs::{Need, Needed};
pub use order::Limits;
pub use part::Part;
pub use rehearse::{Guess, Rehearsal};
pub use render::{RenderInput, Rendered, Within};
pub use request::{
    AwaitJob, Emit, Enqueue, FolderRef, GetItem, HttpCall, ItemLookup, JobLookup, OperationCall, Request, StartJob, Target, Wait,
};
pub use rule::{Doubt, Mode, Rule, Step};
pub use set::{AllMet, Met, RuleSet, RulesInForce};
pub use shapes::rule_schema;
pub use testing::{TestCase, TestReport};
pub use watches::{Absent, Seen, Stay, Stuck, Waits, Watch, WatchKind, WatchSet, When};

#[cfg(test)]
mod tests;
