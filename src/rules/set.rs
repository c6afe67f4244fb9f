//! A checked set of rules, ready to match.
//!
//! Events meet few rules: the type picks a partition, the index picks those whose pattern can fit, each of these is
//! verified in full, and `when` is asked last.

use std::collections::HashMap;
use std::sync::Arc;

use serde_json::Value;
use smallvec::SmallVec;

use super::explain::When;
use super::index::{Index, IndexEntry, TypePattern};
use super::read::{self, ReadSample};
use super::{Explanation, ExpressionFault, Known, Mode, Rule, TestReport, Watch, WatchSet, check};
use crate::event::{Event, Json, RuleName, Via};
use crate::fault::{Fault, Faults, Place, SourceText};
use crate::metric;
use crate::time::Timestamp;
use crate::yaml;

/// A rule that an event met.
#[derive(Clone, Debug)]
pub struct Met {
    /// The rule.
    pub rule: Arc<Rule>,
    /// Set when its `when` failed with a type error: the run is dead at once.
    pub fault: Option<ExpressionFault>,
}

/// The rules that an event met; most meet one at most.
pub type AllMet = SmallVec<[Met; 1]>;

/// A checked set of rules, ready to match. Cheap to share.
#[derive(Debug, Default)]
pub struct RuleSet {
    rules: Vec<Arc<Rule>>,
    by_name: HashMap<RuleName, usize>,
    index: Index,
    vars: Value,
    watches: WatchSet,
}

/// The rule set in force and its generation; swapped whole by a reload.
#[derive(Debug)]
pub struct RulesInForce {
    /// The rules.
    pub set: Arc<RuleSet>,
    /// Their generation; 0 while none is recorded.
    pub generation: u64,
}

impl RulesInForce {
    /// The generation, when none of its rules can meet any of these events that came from outside; else 0.
    pub fn unmet<'e, J: Json + 'e>(&self, mut events: impl Iterator<Item = (&'e str, &'e J)>) -> u64 {
        let none = self.generation > 0 && events.all(|(event_type, data)| self.set.meets_none(event_type, false, data));
        if none { self.generation } else { 0 }
    }
}

impl RuleSet {
    /// Reads rule files (already loaded; `files` in the order of their names). With any error there is no set.
    /// `read_sample` loads `event: {file: …}` of tests, relative to the rule's file.
    pub fn load(
        files: &[Arc<SourceText>],
        known: &Known,
        read_sample: &dyn Fn(&std::path::Path) -> Result<String, String>,
    ) -> (Option<Self>, Faults) {
        let mut faults = Faults::new();
        let mut read = Vec::new();
        for file in files {
            read_file(file, known, read_sample, &mut faults, &mut read);
        }
        let rules: Vec<Arc<Rule>> = read.iter().filter_map(|document| document.rule.clone()).collect();
        check::across(&read, known, &mut faults);
        if faults.any_error() {
            return (None, faults);
        }
        let by_name = rules.iter().enumerate().map(|(index, rule)| (rule.name.clone(), index)).collect();
        let index = index_of(&rules);
        (Some(Self { rules, by_name, index, vars: known.vars.clone(), watches: WatchSet::default() }), faults)
    }

    /// All rules, in file order.
    #[must_use]
    pub fn rules(&self) -> &[Arc<Rule>] {
        &self.rules
    }

    /// A rule by name.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&Arc<Rule>> {
        self.by_name.get(name).map(|index| &self.rules[*index])
    }

    /// Whether no rule and no watch can meet an event of this type with this data, whatever else it is; `emitted` says that a rule made it.
    /// The same index that [`RuleSet::matching`] asks first, so that both never disagree.
    #[must_use]
    pub fn meets_none(&self, event_type: &str, emitted: bool, data: &impl Json) -> bool {
        let lower = Lower::of(event_type);
        self.index.matches(&lower, emitted, data).is_empty() && self.watches.meets_none(&lower, emitted, data)
    }

    /// The rules an event meets, in file order then order in the file; modes `live` and `shadow`.
    #[must_use]
    pub fn matching(&self, event: &Event, now: Timestamp) -> AllMet {
        let mut met = AllMet::new();
        let found = self.index.matches(&Lower::of(event.event_type()), event.via == Via::Emit, event.data());
        for rule in found.into_iter().filter_map(|position| self.rules.get(position as usize)) {
            if rule.mode == Mode::Off || !rule.filter.meets_beside_type(event) {
                continue;
            }
            match rule.when(event, &self.vars, now) {
                When::Holds => met.push(Met { rule: Arc::clone(rule), fault: None }),
                When::Fault(fault) => met.push(Met { rule: Arc::clone(rule), fault: Some(fault) }),
                When::Missing => metrics::counter!(metric::EXPRESSION_MISSING, "rule" => rule.name.to_string()).increment(1),
                When::Not => {}
            }
        }
        met
    }

    /// The types that rules and watches want of a source of an orchestrator, in lower case; those of rules that are off and of
    /// rules for other sources are left out.
    #[must_use]
    pub fn types_of(&self, source: &str, orchestrator: &str) -> Vec<TypePattern> {
        let mut types: Vec<TypePattern> = Vec::new();
        for watch in self.watches.all().iter().filter(|watch| watch.orchestrator.as_deref().is_none_or(|own| own == orchestrator)) {
            types.extend(watch.types());
        }
        for rule in self.rules.iter().filter(|rule| rule.mode != Mode::Off && rule.filter.wants_source(source)) {
            for pattern in &rule.filter.events {
                if !types.contains(pattern) {
                    types.push(pattern.clone());
                }
            }
        }
        types
    }

    /// With watches beside the rules: their events are looked for in the same places.
    #[must_use]
    pub fn with_watches(mut self, watches: Vec<Arc<Watch>>) -> Self {
        self.watches = WatchSet::new(watches);
        self
    }

    /// The watches.
    #[must_use]
    pub fn watches(&self) -> &WatchSet {
        &self.watches
    }

    /// `vars` of the configuration it was loaded with.
    #[must_use]
    pub fn vars(&self) -> &Value {
        &self.vars
    }

    /// Rules whose pattern gives the index nothing to look up: they are tried on every event of their types.
    #[must_use]
    pub fn unindexed(&self) -> Vec<RuleName> {
        self.index.residual().iter().filter_map(|position| Some(self.rules.get(*position)?.name.clone())).collect()
    }

    /// For each rule whether it matched, or the first condition that failed.
    #[must_use]
    pub fn explain(&self, event: &Event, now: Timestamp) -> Vec<Explanation> {
        let explained = self.rules.iter().map(|rule| {
            let because = rule.first_failure(event, &self.vars, now).or_else(|| rule.expired(event, now));
            Explanation { rule: rule.name.clone(), matched: because.is_none(), because }
        });
        explained.collect()
    }

    /// The first condition that fails for one rule; `None` where none does, or there is no such rule.
    #[must_use]
    pub fn explain_one(&self, rule: &str, event: &Event, now: Timestamp) -> Option<super::Because> {
        let rule = self.get(rule)?;
        rule.first_failure(event, &self.vars, now).or_else(|| rule.expired(event, now))
    }

    /// Runs the tests of the rules whose name is in `only` (all when empty).
    #[must_use]
    pub fn test(&self, only: &[String], vars: &Value, now: Timestamp) -> Vec<TestReport> {
        let wanted = |rule: &&Arc<Rule>| only.is_empty() || only.iter().any(|name| **name == *rule.name);
        self.rules.iter().filter(wanted).flat_map(|rule| rule.tests.iter().map(|test| test.run(rule, vars, now))).collect()
    }
}

/// A type in the case that the index has; types are short.
struct Lower(SmallVec<[u8; 64]>);

impl Lower {
    fn of(text: &str) -> Self {
        let mut bytes = SmallVec::from_slice(text.as_bytes());
        bytes.make_ascii_lowercase();
        Self(bytes)
    }
}

impl std::ops::Deref for Lower {
    type Target = str;
    fn deref(&self) -> &str {
        // ASCII alone was changed, so it is still text.
        std::str::from_utf8(&self.0).unwrap_or_default()
    }
}

fn index_of(rules: &[Arc<Rule>]) -> Index {
    let mut entries = Vec::with_capacity(rules.len());
    for rule in rules {
        // A rule that is off keeps its position and is never found.
        let types = if rule.mode == Mode::Off { Vec::new() } else { rule.filter.events.clone() };
        entries.push(IndexEntry { types, pattern: rule.indexed.as_ref().or(rule.pattern.as_ref()) });
    }
    Index::build(&entries)
}

/// A document as read: what checks over all rules need.
pub(super) struct Document {
    /// Its tree.
    pub(super) node: yaml::Node,
    /// The rule, when nothing is wrong with it.
    pub(super) rule: Option<Arc<Rule>>,
}

fn read_file(file: &Arc<SourceText>, known: &Known, read_sample: ReadSample<'_>, faults: &mut Faults, read: &mut Vec<Document>) {
    let nodes = match yaml::parse(file) {
        Ok(nodes) => nodes,
        Err(found) => return faults.extend(found),
    };
    if nodes.is_empty() {
        let place = Place { source: Arc::clone(file), line: 0, column: 0, length: 0 };
        faults.push(Fault::warning("no-rules", place, "the file has 0 rules"));
    }
    for node in nodes {
        let rule = read::rule(&node, known, read_sample, faults).map(Arc::new);
        read.push(Document { node, rule });
    }
}
