//! All patterns of a rule set as one index: what an event costs grows with the rules that match, not with the rules
//! there are.
//!
//! Rules are parted by event type. Every branch of a pattern is filed under one of its conditions, the one that the
//! fewest events and other branches share: exact values in hash maps per path, then heads and tails of strings, numbers
//! in sorted intervals, the rest under the path itself. One walk over an event probes the paths that some rule names;
//! the branches it meets are verified in full.
//!
//! Knows nothing of rules beyond their types and patterns.

mod access;
mod branches;
mod lists;
mod probes;
mod ranges;
#[cfg(test)]
mod tests;
mod types;

use std::collections::HashMap;
use std::hash::BuildHasherDefault;

use smallvec::SmallVec;

use crate::event::Json;
use crate::rules::pattern::{NameHasher, Paths, Pattern, Walked};

use access::{Access, Frequencies};
use branches::{Branches, Distinct};
use lists::{BranchId, PartitionId};
use probes::Probes;

pub use types::TypePattern;

/// Branches that an event may meet; on the stack while they are few.
type Candidates = SmallVec<[BranchId; 32]>;

/// Positions of entries; on the stack while they are few.
pub type Matches = SmallVec<[u32; 8]>;

type Table<K, V> = HashMap<K, V, BuildHasherDefault<NameHasher>>;

/// What is indexed of a rule.
#[derive(Clone, Debug)]
pub struct IndexEntry<'a> {
    /// Any of these types.
    pub types: Vec<TypePattern>,
    /// And this pattern, if there is one.
    pub pattern: Option<&'a Pattern>,
}

/// The index over the entries it was built from; answers are their positions.
#[derive(Debug, Default)]
pub struct Index {
    paths: Paths,
    branches: Branches,
    probes: Vec<Option<Box<Probes>>>,
    parts: types::Partitions,
    /// Per partition: entries without a pattern.
    always: Vec<Vec<u32>>,
    /// Per partition: branches that no value leads to.
    unfiled: Vec<Vec<BranchId>>,
    /// Per partition: whether a walk can find anything.
    walks: Vec<bool>,
    residual: Vec<usize>,
}

impl Index {
    /// Builds the index.
    #[must_use]
    pub fn build(entries: &[IndexEntry<'_>]) -> Self {
        let mut index = Self::default();
        let mut owners: Vec<Vec<PartitionId>> = Vec::with_capacity(entries.len());
        let mut distinct = Distinct::default();
        for (number, entry) in (0..).zip(entries) {
            owners.push(entry.types.iter().map(|pattern| index.parts.of(pattern)).collect());
            for branch in entry.pattern.iter().flat_map(|pattern| pattern.branches()) {
                index.branches.add(number, branch, &mut index.paths, &mut distinct);
            }
        }
        let count = index.parts.len();
        index.always.resize_with(count, Vec::new);
        index.unfiled.resize_with(count, Vec::new);
        index.walks.resize(count, false);
        index.probes.resize_with(index.paths.len(), || None);
        for (number, (entry, owners)) in (0..).zip(entries.iter().zip(&owners)) {
            if entry.pattern.is_none() {
                owners.iter().for_each(|part| index.always[*part as usize].push(number));
            }
        }
        index.file(&owners);
        index
    }

    /// The entries whose types and pattern match, in ascending order. `ours` says that the event was emitted by a rule
    /// or made by the daemon: `*` and `family.*` do not mean those.
    #[must_use]
    pub fn matches(&self, event_type: &str, ours: bool, data: &impl Json) -> Matches {
        let mut out = Matches::new();
        let active = self.parts.active(event_type, ours);
        let mut candidates: Candidates = SmallVec::new();
        for part in active.iter() {
            out.extend_from_slice(&self.always[*part as usize]);
            candidates.extend_from_slice(&self.unfiled[*part as usize]);
        }
        if active.iter().any(|part| self.walks[*part as usize]) {
            let mut walked = Walked::over(data, &self.paths);
            for found in walked.found() {
                if let Some(probes) = &self.probes[found.path as usize] {
                    probes.collect(found.value, &active, &mut candidates);
                }
            }
            self.verify(candidates, &mut walked, &mut out);
        }
        out.sort_unstable();
        out.dedup();
        out
    }

    /// Entries with a branch that no exact value, head, tail or range leads to: they are verified for every event of
    /// their types that has the field at all, or for every one.
    #[must_use]
    pub fn residual(&self) -> &[usize] {
        &self.residual
    }

    fn verify(&self, mut candidates: Candidates, walked: &mut Walked<'_, impl Json>, out: &mut Matches) {
        if candidates.is_empty() {
            return;
        }
        walked.sort();
        candidates.sort_unstable();
        candidates.dedup();
        let mut matched = None;
        for candidate in candidates {
            let entry = self.branches.entry(candidate);
            if matched != Some(entry) && self.branches.holds(candidate, walked, &self.paths) {
                matched = Some(entry);
                out.push(entry);
            }
        }
    }

    /// Files every branch under its cheapest condition, in each partition of its entry.
    fn file(&mut self, owners: &[Vec<PartitionId>]) {
        let mut frequencies = Frequencies::default();
        for id in self.branches.ids() {
            for (condition, path) in self.branches.conditions(id) {
                condition.tests.iter().for_each(|test| frequencies.count(path, test));
            }
        }
        for id in self.branches.ids() {
            let entry = self.branches.entry(id);
            let owners = &owners[entry as usize];
            owners.iter().for_each(|part| self.walks[*part as usize] = true);
            let usable = self.branches.conditions(id).enumerate().filter(|(_, (condition, _))| !condition.absent);
            let best = usable.min_by_key(|(_, (condition, path))| frequencies.cost(*path, &condition.tests));
            let Some((number, (condition, path))) = best else {
                owners.iter().for_each(|part| self.unfiled[*part as usize].push(id));
                self.residual.push(entry as usize);
                continue;
            };
            let probes = self.probes[path as usize].get_or_insert_default();
            let mut proven = true;
            for test in &condition.tests {
                let access = Access::of(test);
                proven &= access.proves(test);
                if access == Access::Path {
                    self.residual.push(entry as usize);
                }
                owners.iter().for_each(|part| probes.file(&access, test, *part, id));
            }
            if proven {
                self.branches.set_proven(id, number);
            }
        }
        self.probes.iter_mut().flatten().for_each(|probes| probes.finish());
        self.residual.dedup();
    }
}
