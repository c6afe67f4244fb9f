//! Branches filed under one value, partition by partition.

use super::Candidates;

/// A branch's position in the index.
pub(super) type BranchId = u32;

/// A part of the index that belongs to one type pattern.
pub(super) type PartitionId = u32;

/// Branches by partition. Most values of a large set lead to one branch, which is read where the value is found.
#[derive(Debug)]
pub(super) enum Lists {
    One(PartitionId, BranchId),
    Many(Vec<(PartitionId, Vec<BranchId>)>),
}

impl Default for Lists {
    fn default() -> Self {
        Self::Many(Vec::new())
    }
}

impl Lists {
    pub(super) fn push(&mut self, part: PartitionId, branch: BranchId) {
        let parts = match self {
            Self::Many(parts) if parts.is_empty() => return *self = Self::One(part, branch),
            Self::Many(parts) => parts,
            Self::One(own, only) if (*own, *only) == (part, branch) => return,
            Self::One(own, only) => {
                *self = Self::Many(vec![(*own, vec![*only])]);
                return self.push(part, branch);
            }
        };
        let at = match parts.binary_search_by_key(&part, |(part, _)| *part) {
            Ok(at) => at,
            Err(at) => {
                parts.insert(at, (part, Vec::new()));
                at
            }
        };
        let branches = &mut parts[at].1;
        if branches.last() != Some(&branch) {
            branches.push(branch);
        }
    }

    pub(super) fn collect(&self, active: &[PartitionId], out: &mut Candidates) {
        match self {
            Self::One(part, branch) if active.contains(part) => out.push(*branch),
            Self::One(..) => {}
            Self::Many(parts) if parts.is_empty() => {}
            Self::Many(parts) => {
                for part in active {
                    if let Ok(at) = parts.binary_search_by_key(part, |(part, _)| *part) {
                        out.extend_from_slice(&parts[at].1);
                    }
                }
            }
        }
    }
}
