//! Whether one event holds all conditions of a branch at once, with every value taken from the same array elements.

use std::collections::HashSet;

use super::condition::Condition;
use super::walk::{Fixed, PathId, Paths, Walked, relevant};
use crate::event::Json;

/// Whether all conditions hold together. `conditions` are in the order of their paths, `at` says where each stands in
/// `paths`; `walked` is sorted.
#[must_use]
pub fn holds<C, J>(conditions: &[C], at: &[PathId], walked: &Walked<'_, J>, paths: &Paths) -> bool
where
    C: std::ops::Deref<Target = Condition>,
    J: Json,
{
    if !walked.has_elements() {
        return conditions.iter().zip(at).all(|(condition, path)| condition.holds_over(walked.at(*path)));
    }
    Search { conditions, at, walked, paths, failed: HashSet::new() }.from(0, &mut Vec::new())
}

/// Backtracking over the choice of elements. What failed once with the same elements fixed is not tried again, so that
/// the cost grows with the event and not with the combinations of its arrays.
struct Search<'s, 'v, C, J> {
    conditions: &'s [C],
    at: &'s [PathId],
    walked: &'s Walked<'v, J>,
    paths: &'s Paths,
    failed: HashSet<(usize, Vec<Fixed>)>,
}

impl<C: std::ops::Deref<Target = Condition>, J: Json> Search<'_, '_, C, J> {
    fn from(&mut self, index: usize, fixed: &mut Vec<Fixed>) -> bool {
        let Some(condition) = self.conditions.get(index) else { return true };
        let state = (index, relevant(fixed, &self.at[index..], self.paths));
        if self.failed.contains(&state) {
            return false;
        }
        let (walked, path) = (self.walked, self.at[index]);
        // Absence is judged against the elements that earlier paths have fixed.
        if condition.absent && walked.candidates(path, &state.1).next().is_none() && self.from(index + 1, fixed) {
            return true;
        }
        let kept = fixed.len();
        for found in walked.candidates(path, &state.1) {
            if condition.accepts(found.value) {
                walked.fix(found, fixed);
                if self.from(index + 1, fixed) {
                    return true;
                }
                fixed.truncate(kept);
            }
        }
        self.failed.insert(state);
        false
    }
}
