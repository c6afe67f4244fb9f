//! Branches filed under one value, partition by partition.

use super::Candidates;

/// A branch's position in the index.
pub(super) type BranchId = u32;

/// A part of the index that belongs to one type pattern.
pub(super) type PartitionId = u32;

/// Branches by partition.
#[derive(Debug, Default)]
pub(super) struct Lists {
    parts: Vec<(PartitionId, Vec<BranchId>)>,
}

impl Lists {
    pub(super) fn push(&mut self, part: PartitionId, branch: BranchId) {
        let at = match self.parts.binary_search_by_key(&part, |(part, _)| *part) {
            Ok(at) => at,
            Err(at) => {
                self.parts.insert(at, (part, Vec::new()));
                at
            }
        };
        let branches = &mut self.parts[at].1;
        if branches.last() != Some(&branch) {
            branches.push(branch);
        }
    }

    pub(super) fn collect(&self, active: &[PartitionId], out: &mut Candidates) {
        if self.parts.is_empty() {
            return;
        }
        for part in active {
            if let Ok(at) = self.parts.binary_search_by_key(part, |(part, _)| *part) {
                out.extend_from_slice(&self.parts[at].1);
            }
        }
    }
}
