//! Watches: what should have happened and did not. The events that they look at are found by an index of their own, which
//! is asked wherever that of the rules is; what they remember of them is a fold.

mod absent;
mod stuck;

use std::sync::Arc;

use sha2::{Digest, Sha256};

use super::index::{Index, IndexEntry, TypePattern};
use super::pattern::Pattern;
use crate::event::{Event, Json, SourceName, Verified, Via};

pub use absent::{Absent, Seen, When};
pub use stuck::{Stay, Stuck, Waits};

/// Bytes of a hash that tell two definitions of one watch apart.
const HASH_BYTES: usize = 4;

/// A watch: a source of events that others did not bring.
#[derive(Debug)]
pub struct Watch {
    /// Its name as a source.
    pub name: SourceName,
    /// Whose events it looks at; all of them where it is `None`.
    pub orchestrator: Option<Arc<str>>,
    /// What it looks for.
    pub kind: WatchKind,
    /// All of it as it is written.
    pub written: String,
}

/// What a watch looks for.
#[derive(Debug)]
pub enum WatchKind {
    /// Items that stay too long where they are.
    Stuck(Stuck),
    /// Events that do not come.
    Absent(Absent),
}

impl Watch {
    /// The types that it looks at, in lower case.
    #[must_use]
    pub fn types(&self) -> Vec<TypePattern> {
        match &self.kind {
            WatchKind::Stuck(_) => stuck::types(),
            WatchKind::Absent(absent) => absent.types.clone(),
        }
    }

    fn pattern(&self) -> Option<Pattern> {
        match &self.kind {
            WatchKind::Stuck(stuck) => Some(Pattern::any_text("Queue.Name", [stuck.queue.as_str()])),
            WatchKind::Absent(absent) => absent.pattern.clone(),
        }
    }

    /// What the names of all that is kept for it begin with: a watch that is changed begins anew.
    #[must_use]
    pub fn key(&self) -> String {
        let hash = Sha256::digest(self.written.as_bytes());
        let hash: String = hash.iter().take(HASH_BYTES).map(|byte| format!("{byte:02x}")).collect();
        format!("{}/{hash}", self.name)
    }

    /// Under which it is kept what came.
    #[must_use]
    pub fn seen_key(&self) -> String {
        format!("{}/seen", self.key())
    }

    /// Under which it is kept since when it looks.
    #[must_use]
    pub fn begun_key(&self) -> String {
        format!("{}/begun", self.key())
    }

    /// Under which it is kept what was told, of an item where it is about one.
    #[must_use]
    pub fn told_key(&self, item: Option<i64>) -> String {
        item.map_or_else(|| format!("{}/told", self.key()), |item| format!("{}/t/{item}", self.key()))
    }

    /// What the names of items' stays begin with.
    #[must_use]
    pub fn stays(&self) -> String {
        format!("{}/s/", self.key())
    }

    fn means(&self, event: &Event) -> bool {
        let of_it = self.orchestrator.is_none() || self.orchestrator == event.orchestrator;
        let in_it = match &self.kind {
            WatchKind::Stuck(stuck) => stuck.folder.as_ref().is_none_or(|folder| super::filter::is_in(event, folder)),
            WatchKind::Absent(_) => true,
        };
        // What nobody vouches for is seen only by those who name its source.
        of_it && in_it && event.verified != Verified::No
    }
}

/// All watches, ready to find those that look at an event.
#[derive(Debug, Default)]
pub struct WatchSet {
    watches: Vec<Arc<Watch>>,
    index: Index,
}

impl WatchSet {
    /// Of these.
    #[must_use]
    pub fn new(watches: Vec<Arc<Watch>>) -> Self {
        let patterns: Vec<Option<Pattern>> = watches.iter().map(|watch| watch.pattern()).collect();
        let entries: Vec<IndexEntry<'_>> =
            watches.iter().zip(&patterns).map(|(watch, pattern)| IndexEntry { types: watch.types(), pattern: pattern.as_ref() }).collect();
        let index = Index::build(&entries);
        Self { watches, index }
    }

    /// All of them.
    #[must_use]
    pub fn all(&self) -> &[Arc<Watch>] {
        &self.watches
    }

    /// Whether none can look at an event of this type with this data.
    pub(super) fn meets_none(&self, lower_type: &str, emitted: bool, data: &impl Json) -> bool {
        if self.watches.is_empty() {
            return true;
        }
        self.index.matches(lower_type, emitted, data).is_empty()
    }

    /// Those that look at an event.
    #[must_use]
    pub fn matching(&self, event: &Event) -> Vec<&Arc<Watch>> {
        if self.watches.is_empty() {
            return Vec::new();
        }
        let found = self.index.matches(&event.event_type().to_ascii_lowercase(), event.via == Via::Emit, event.data());
        found.into_iter().filter_map(|position| self.watches.get(position as usize)).filter(|watch| watch.means(event)).collect()
    }
}
