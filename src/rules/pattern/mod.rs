//! Event patterns over `data`, with the semantics of AWS EventBridge (event-ruler 2.0).
//!
//! A pattern has the shape of the event. Its leaves are lists of alternatives; different fields must all match; fields
//! it does not name do not matter. Values never change their type, arrays match by any of their values, and two fields
//! are never taken from different elements of one array. Unlike event-ruler, `/32` and `/128` blocks are accepted and
//! duplicate keys refused.
//!
//! A pattern compiles to branches without `$or`; knows nothing of rules, files or types of events.

mod address;
mod compile;
mod condition;
mod explain;
mod leaf;
mod number;
mod schema;
mod search;
mod test;
#[cfg(test)]
pub(in crate::rules) mod tests;
mod text;
mod walk;

use std::sync::Arc;

use serde_json::Value;

use crate::fault::Faults;
use crate::rules::Because;
use crate::yaml::Node;

pub use address::{Block, parse as parse_address};
pub use compile::BRANCHES_MAX;
pub use condition::{Branch, Condition};
pub(in crate::rules) use explain::short;
pub use number::{Number, Range};
pub use schema::schema;
pub use search::holds;
pub use test::Test;
pub use text::{AnyCase, Wildcard, fold};
pub use walk::{Found, NameHasher, PathId, Paths, Walked};

/// A compiled pattern.
#[derive(Clone, Debug)]
pub struct Pattern {
    branches: Vec<Branch>,
}

impl Pattern {
    /// Compiles the value of `match`. Every fault is reported at its place; with any error there is no pattern.
    pub fn compile(node: &Node, faults: &mut Faults) -> Option<Self> {
        compile::compile(node, faults).map(|branches| Self { branches })
    }

    /// That a path holds one of these strings, literally: what a rule's shorthands (`queues: […]`) say.
    #[must_use]
    pub fn any_text<'a>(path: &str, texts: impl IntoIterator<Item = &'a str>) -> Self {
        let texts: Vec<&str> = texts.into_iter().collect();
        let condition = Condition {
            path: path.into(),
            tests: texts.iter().map(|text| Test::Text((*text).into())).collect(),
            absent: false,
            expected: Value::from(texts),
            written: 0,
        };
        Self { branches: vec![Branch { conditions: vec![Arc::new(condition)] }] }
    }

    /// That one of the two matches.
    #[must_use]
    pub fn or(mut self, other: Self) -> Self {
        self.branches.extend(other.branches);
        self
    }

    /// That both match: every branch of one with every branch of the other.
    #[must_use]
    pub fn and(&self, other: &Self) -> Self {
        let pairs = self.branches.iter().flat_map(|left| other.branches.iter().map(move |right| left.and(right)));
        Self { branches: pairs.collect() }
    }

    /// The ways to match, at least one.
    #[must_use]
    pub fn branches(&self) -> &[Branch] {
        &self.branches
    }

    /// Whether an event's data matches.
    #[must_use]
    pub fn matches(&self, data: &Value) -> bool {
        let mut paths = Paths::default();
        let at: Vec<Vec<PathId>> = self.branches.iter().map(|branch| branch.add_to(&mut paths)).collect();
        let mut walked = Walked::over(data, &paths);
        walked.sort();
        self.branches.iter().zip(&at).any(|(branch, at)| holds(&branch.conditions, at, &walked, &paths))
    }

    /// The first condition that fails, with what is expected, what was found and a hint; `None` when the data matches.
    #[must_use]
    pub fn explain(&self, data: &Value) -> Option<Because> {
        if self.matches(data) { None } else { Some(explain::explain(&self.branches, data)) }
    }
}

impl Branch {
    /// Names its paths; the ids are in the order of its conditions.
    pub fn add_to(&self, paths: &mut Paths) -> Vec<PathId> {
        self.conditions.iter().map(|condition| paths.add(&condition.path)).collect()
    }
}
