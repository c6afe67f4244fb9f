//! The branches of all patterns as they are verified: each distinct condition once, so that what rules have in common stays
//! near while events are matched, and a branch is a few numbers.

use std::collections::HashMap;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use smallvec::SmallVec;

use super::lists::BranchId;
use crate::event::Json;
use crate::rules::pattern::{Branch, Condition, PathId, Paths, Test, Walked, holds};

/// Conditions of one branch that are gathered on the stack.
const FEW: usize = 8;

/// A position among the distinct conditions.
type ConditionId = u32;

/// No condition leads to the branch, or having met the one that does proves nothing.
const UNPROVEN: u32 = u32::MAX;

#[derive(Debug, Default)]
pub(super) struct Branches {
    filed: Vec<Filed>,
    /// The conditions of each branch, one branch after the other, each in the order of its paths.
    asked: Vec<ConditionId>,
    conditions: Vec<Arc<Condition>>,
    /// Where each condition stands.
    at: Vec<PathId>,
}

/// A branch: its entry and its stretch of `asked`.
#[derive(Debug)]
struct Filed {
    entry: u32,
    begin: u32,
    end: u32,
    /// The position in `asked` of the condition that holds whenever the index leads here.
    proven: u32,
}

/// The distinct conditions while branches are added.
#[derive(Debug, Default)]
pub(super) struct Distinct(HashMap<ByMeaning, ConditionId>);

/// A condition, equal to those that ask the same of the same path, however it was written.
#[derive(Debug)]
struct ByMeaning(Arc<Condition>);

impl ByMeaning {
    fn meaning(&self) -> (&str, bool, &[Test]) {
        (&self.0.path, self.0.absent, &self.0.tests)
    }
}

impl Hash for ByMeaning {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.meaning().hash(state);
    }
}

impl PartialEq for ByMeaning {
    fn eq(&self, other: &Self) -> bool {
        self.meaning() == other.meaning()
    }
}

impl Eq for ByMeaning {}

impl Branches {
    /// Adds a branch of an entry.
    pub(super) fn add(&mut self, entry: u32, branch: &Branch, paths: &mut Paths, distinct: &mut Distinct) {
        let begin = position(self.asked.len());
        for (condition, path) in branch.conditions.iter().zip(branch.add_to(paths)) {
            let next = position(self.conditions.len());
            let id = *distinct.0.entry(ByMeaning(Arc::clone(condition))).or_insert(next);
            if id == next {
                self.conditions.push(Arc::clone(condition));
                self.at.push(path);
            }
            self.asked.push(id);
        }
        self.filed.push(Filed { entry, begin, end: position(self.asked.len()), proven: UNPROVEN });
    }

    pub(super) fn ids(&self) -> impl Iterator<Item = BranchId> + use<> {
        0..position(self.filed.len())
    }

    pub(super) fn entry(&self, branch: BranchId) -> u32 {
        self.filed[branch as usize].entry
    }

    /// The conditions of a branch, each with its path.
    pub(super) fn conditions(&self, branch: BranchId) -> impl Iterator<Item = (&Arc<Condition>, PathId)> {
        self.asked(branch).iter().map(|id| (&self.conditions[*id as usize], self.at[*id as usize]))
    }

    /// Says that one of the conditions of a branch, counted from 0, holds whenever the index leads to it.
    pub(super) fn set_proven(&mut self, branch: BranchId, number: usize) {
        let filed = &mut self.filed[branch as usize];
        filed.proven = filed.begin.saturating_add(position(number));
    }

    /// Whether all conditions of a branch that the index led to hold together.
    pub(super) fn holds<J: Json>(&self, branch: BranchId, walked: &Walked<'_, J>, paths: &Paths) -> bool {
        if walked.has_elements() {
            // Values of different elements may have to be tried, those of the condition that led here too.
            let (conditions, at): (SmallVec<[&Condition; FEW]>, SmallVec<[PathId; FEW]>) =
                self.conditions(branch).map(|(condition, path)| (&**condition, path)).unzip();
            return holds(&conditions, &at, walked, paths);
        }
        let Filed { begin, proven, .. } = self.filed[branch as usize];
        let mut asked = (begin..).zip(self.asked(branch)).filter(|(position, _)| *position != proven);
        asked.all(|(_, id)| self.conditions[*id as usize].holds_over(walked.at(self.at[*id as usize])))
    }

    fn asked(&self, branch: BranchId) -> &[ConditionId] {
        let Filed { begin, end, .. } = self.filed[branch as usize];
        &self.asked[begin as usize..end as usize]
    }
}

/// Far more than memory holds branches for.
fn position(number: usize) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}
