//! What ran for which key of `dedupe`: kept in the journal with the plan that ran it, so that a restart forgets nothing.
//!
//! Entries whose window has ended are forgotten in passing: each new one looks at a few old ones, so there are never
//! many more than are needed.

use std::collections::BTreeMap;
use std::io;

use bytes::Bytes;

use crate::journal::{Journal, Kept, Space};
use crate::rules::Ran;
use crate::time::Timestamp;

/// How many old entries are looked at for each new one.
const LOOKED_AT: usize = 4;

/// The memory, with what the plan in the making adds to it.
pub(super) struct Memory<'j> {
    journal: &'j Journal,
    new: BTreeMap<String, Ran>,
}

impl<'j> Memory<'j> {
    pub(super) fn new(journal: &'j Journal) -> Self {
        Self { journal, new: BTreeMap::new() }
    }

    /// What ran under a name.
    pub(super) fn ran(&self, name: &str) -> io::Result<Option<Ran>> {
        if let Some(ran) = self.new.get(name) {
            return Ok(Some(*ran));
        }
        Ok(self.journal.kept(Space::Dedupe, name)?.and_then(|value| serde_json::from_slice(&value).ok()))
    }

    pub(super) fn add(&mut self, name: String, ran: Ran) {
        self.new.insert(name, ran);
    }

    /// What is to be kept with the plan. `swept` is where the last look at old entries ended.
    pub(super) fn kept(self, now: Timestamp, swept: &mut Option<String>) -> io::Result<Vec<Kept>> {
        if self.new.is_empty() {
            return Ok(Vec::new());
        }
        let wanted = self.new.len() * LOOKED_AT;
        let old = self.journal.kept_after(Space::Dedupe, "", swept.as_deref(), wanted)?;
        *swept = old.last().filter(|_| old.len() == wanted).map(|(name, _)| name.clone());
        let over = |value: &Bytes| serde_json::from_slice::<Ran>(value).map_or(true, |ran| ran.until <= now);
        let forgotten = old.into_iter().filter(|(name, value)| !self.new.contains_key(name) && over(value));
        let mut kept: Vec<Kept> = forgotten.map(|(key, _)| Kept { space: Space::Dedupe, key, value: None }).collect();
        kept.extend(self.new.into_iter().filter_map(|(key, ran)| {
            let value = Bytes::from(serde_json::to_vec(&ran).ok()?);
            Some(Kept { space: Space::Dedupe, key, value: Some(value) })
        }));
        Ok(kept)
    }
}
