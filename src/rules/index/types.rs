//! Event types as rules name them, and the parts of an index that belong to them.

use std::sync::Arc;

use smallvec::SmallVec;

use super::Table;
use super::lists::PartitionId;

/// What our own events' types begin with; only a full name means one of them.
const OURS: &str = "tripline.";

/// A type, or a family of types, that a rule is for.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum TypePattern {
    /// This type.
    Exact(Arc<str>),
    /// `queueItem.*`: kept with its dot, without its star.
    Family(Arc<str>),
    /// `*`.
    Any,
}

impl TypePattern {
    /// Reads a type, `family.*` or `*`.
    ///
    /// # Errors
    /// A star elsewhere, or nothing.
    pub fn parse(text: &str) -> Result<Self, String> {
        const EXPECTED: &str = "expected a type such as `job.faulted`, `queueItem.*` or `*`";
        match text.strip_suffix('*') {
            _ if text.trim().is_empty() => Err(format!("an empty event type; {EXPECTED}")),
            Some("") => Ok(Self::Any),
            Some(family) if family.ends_with('.') && family.len() > 1 && !family.contains('*') => Ok(Self::Family(family.into())),
            None if !text.contains('*') => Ok(Self::Exact(text.into())),
            _ => Err(format!("`{text}` has a `*` in it; {EXPECTED}")),
        }
    }

    /// Whether an event is meant. `ours` says that it was emitted by a rule or made by the daemon.
    #[must_use]
    pub fn matches(&self, event_type: &str, ours: bool) -> bool {
        let open = !ours && !event_type.starts_with(OURS);
        match self {
            Self::Exact(name) => **name == *event_type,
            Self::Family(family) => open && event_type.starts_with(&**family),
            Self::Any => open,
        }
    }
}

/// The partitions: one per type pattern that some entry has.
#[derive(Debug, Default)]
pub(super) struct Partitions {
    exact: Table<Arc<str>, PartitionId>,
    families: Table<Arc<str>, PartitionId>,
    any: Option<PartitionId>,
    count: PartitionId,
}

impl Partitions {
    /// The partition of a type pattern, a new one if need be.
    pub(super) fn of(&mut self, pattern: &TypePattern) -> PartitionId {
        let next = self.count;
        let part = match pattern {
            TypePattern::Exact(name) => *self.exact.entry(Arc::clone(name)).or_insert(next),
            TypePattern::Family(family) => *self.families.entry(Arc::clone(family)).or_insert(next),
            TypePattern::Any => *self.any.get_or_insert(next),
        };
        self.count = self.count.max(part + 1);
        part
    }

    pub(super) fn len(&self) -> usize {
        self.count as usize
    }

    /// The partitions that an event belongs to.
    pub(super) fn active(&self, event_type: &str, ours: bool) -> SmallVec<[PartitionId; 4]> {
        let mut active = SmallVec::new();
        active.extend(self.exact.get(event_type).copied());
        if !ours && !event_type.starts_with(OURS) {
            active.extend(self.any);
            let ends = event_type.match_indices('.').map(|(at, _)| &event_type[..=at]);
            active.extend(ends.filter_map(|family| self.families.get(family).copied()));
        }
        active
    }
}
