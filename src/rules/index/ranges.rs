//! Numeric ranges of one path, sorted by their lower end so that a number finds those that hold it.

use super::Candidates;
use super::lists::{BranchId, PartitionId};
use crate::rules::pattern::Range;

/// Ranges as a balanced tree in a sorted array: the middle of a stretch is its root, and knows the highest upper end of
/// the stretch.
#[derive(Debug, Default)]
pub(super) struct Ranges {
    sorted: Vec<Entry>,
}

#[derive(Debug)]
struct Entry {
    range: Range,
    part: PartitionId,
    branch: BranchId,
    /// The highest upper end in the stretch that this entry is the root of.
    highest: f64,
}

fn low(range: &Range) -> f64 {
    range.low.map_or(f64::NEG_INFINITY, |(low, _)| low)
}

fn high(range: &Range) -> f64 {
    range.high.map_or(f64::INFINITY, |(high, _)| high)
}

impl Ranges {
    pub(super) fn push(&mut self, range: Range, part: PartitionId, branch: BranchId) {
        self.sorted.push(Entry { range, part, branch, highest: f64::INFINITY });
    }

    /// Must be called once all are pushed.
    pub(super) fn finish(&mut self) {
        self.sorted.sort_by(|a, b| low(&a.range).total_cmp(&low(&b.range)));
        raise(&mut self.sorted);
    }

    pub(super) fn collect(&self, number: f64, active: &[PartitionId], out: &mut Candidates) {
        stab(&self.sorted, number, active, out);
    }
}

fn raise(stretch: &mut [Entry]) -> f64 {
    if stretch.is_empty() {
        return f64::NEG_INFINITY;
    }
    let (left, rest) = stretch.split_at_mut(stretch.len() / 2);
    let Some((root, right)) = rest.split_first_mut() else { return f64::NEG_INFINITY };
    root.highest = high(&root.range).max(raise(left)).max(raise(right));
    root.highest
}

fn stab(stretch: &[Entry], number: f64, active: &[PartitionId], out: &mut Candidates) {
    let (left, rest) = stretch.split_at(stretch.len() / 2);
    let Some((root, right)) = rest.split_first() else { return };
    if root.highest < number {
        return;
    }
    stab(left, number, active, out);
    if low(&root.range) <= number {
        if root.range.contains(number) && active.contains(&root.part) {
            out.push(root.branch);
        }
        stab(right, number, active, out);
    }
}
