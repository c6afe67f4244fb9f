//! A checked set of rules, ready to match.

use std::sync::Arc;

use serde_json::Value;

use super::{Explanation, ExpressionFault, Known, Rule, TestReport};
use crate::event::Event;
use crate::fault::{Faults, SourceText};
use crate::time::Timestamp;

/// A rule that an event met.
#[derive(Clone, Debug)]
pub struct Met {
    /// The rule.
    pub rule: Arc<Rule>,
    /// Set when its `when` failed with a type error: the run is dead at once.
    pub fault: Option<ExpressionFault>,
}

/// A checked set of rules, ready to match. Cheap to share.
#[derive(Debug, Default)]
pub struct RuleSet {
    rules: Vec<Arc<Rule>>,
}

impl RuleSet {
    /// Reads rule files (already loaded; `files` in the order of their names). With any error there is no set.
    /// `read_sample` loads `event: {file: …}` of tests, relative to the rule's file.
    pub fn load(
        files: &[Arc<SourceText>],
        known: &Known,
        read_sample: &dyn Fn(&std::path::Path) -> Result<String, String>,
    ) -> (Option<Self>, Faults) {
        let _ = (files, known, read_sample);
        todo!()
    }

    /// All rules, in file order.
    #[must_use]
    pub fn rules(&self) -> &[Arc<Rule>] {
        &self.rules
    }

    /// A rule by name.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&Arc<Rule>> {
        let _ = name;
        todo!()
    }

    /// The rules an event meets, in file order then order in the file; modes `live` and `shadow`.
    #[must_use]
    pub fn matching(&self, event: &Event, now: Timestamp) -> Vec<Met> {
        let _ = (event, now);
        todo!()
    }

    /// For each rule whether it matched, or the first condition that failed.
    #[must_use]
    pub fn explain(&self, event: &Event, now: Timestamp) -> Vec<Explanation> {
        let _ = (event, now);
        todo!()
    }

    /// Runs the tests of the rules whose name is in `only` (all when empty).
    #[must_use]
    pub fn test(&self, only: &[String], vars: &Value, now: Timestamp) -> Vec<TestReport> {
        let _ = (only, vars, now);
        todo!()
    }
}
