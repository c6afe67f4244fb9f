//! Walks over rows, page by page, for retention: what lies in memory over what is in the checkpoints.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::ops::Bound;

use crate::event::{EventId, RuleHash, RunId};
use crate::journal::format::Position;
use crate::journal::rows::{Row, RowKey, RunHead, run_head, run_of_key};
use crate::journal::runs::if_whole;
use crate::journal::state::State;

/// Rows that are looked at in one go.
const PAGE_ROWS: usize = 256;

/// A page, and behind what to go on when there may be more.
pub(super) type Walked<T, K> = (Vec<T>, Option<K>);

/// The first name a run of `event` could have.
pub(super) fn first_of(event: EventId) -> RunId {
    RunId { event, rule: RuleHash(0), replay: 0 }
}

impl State {
    /// Runs from behind `after` on, of events before `bound`, ascending, with the record that each begins with; also those
    /// that are not needed any more.
    pub(super) fn runs_before(&self, after: Option<RunId>, bound: EventId) -> io::Result<Walked<(RunId, Position, RunHead), RunId>> {
        let mut found = BTreeMap::new();
        let mut known_to = None;
        if let Some(checkpoints) = self.rows_on_disk()? {
            // Behind all parts of that run.
            let start = after.map(|id| [&RowKey::Run(id).bytes()[..], &[u8::MAX]].concat());
            let rows = checkpoints.after(b'r', start.as_deref(), PAGE_ROWS)?;
            if rows.len() == PAGE_ROWS {
                known_to = rows.last().and_then(|(key, _)| run_of_key(key)).map(|(id, _)| id);
            }
            for (key, value) in &rows {
                if let Some((id, 0)) = run_of_key(key).filter(|(id, _)| id.event < bound) {
                    found.extend(if_whole(id, run_head(value).map_err(io::Error::from))?.map(|head| (id, head)));
                }
            }
        }
        let start = after.map_or(Bound::Included(RowKey::Run(first_of(EventId(0)))), |id| Bound::Excluded(RowKey::Run(id)));
        for map in [&*self.draining, &self.dirty] {
            let rows = map.range((start.clone(), Bound::Excluded(RowKey::Run(first_of(bound)))));
            let mut taken = 0;
            for (key, row) in rows {
                let RowKey::Run(id) = key else { break };
                if known_to.is_some_and(|known| *id > known) {
                    break;
                }
                match row {
                    Row::Run(row) => drop(found.insert(*id, (row.base, RunHead::of(&row.run)))),
                    _ => drop(found.remove(id)),
                }
                taken += 1;
                if taken == PAGE_ROWS {
                    known_to = Some(*id);
                    break;
                }
            }
        }
        if let Some(known) = known_to {
            found.retain(|id, _| *id <= known);
        }
        let next = known_to.filter(|known| known.event < bound);
        Ok((found.into_iter().map(|(id, (base, head))| (id, base, head)).collect(), next))
    }

    /// Names of rows of one kind, from behind `after` on and before `end`; also of those that are gone.
    pub(super) fn names_between(&self, after: Bound<RowKey>, end: &RowKey) -> io::Result<Walked<RowKey, RowKey>> {
        let mut found = BTreeSet::new();
        let mut known_to: Option<RowKey> = None;
        if let Some(checkpoints) = self.rows_on_disk()? {
            let start = match &after {
                Bound::Included(key) => Bound::Included(key.bytes()),
                Bound::Excluded(key) => Bound::Excluded([&key.bytes()[..], &[u8::MAX]].concat()),
                Bound::Unbounded => Bound::Unbounded,
            };
            let keys = checkpoints.keys(start, end.bytes(), PAGE_ROWS)?;
            // A page that ends within the parts of a row goes on behind that row.
            let named: Vec<_> = keys.iter().filter_map(|key| RowKey::parse(key)).collect();
            if keys.len() == PAGE_ROWS {
                known_to = named.last().cloned();
            }
            found.extend(named);
        }
        for map in [&*self.draining, &self.dirty] {
            let page: Vec<_> =
                map.range((after.clone(), Bound::Excluded(end.clone()))).take(PAGE_ROWS).map(|(key, _)| key.clone()).collect();
            if page.len() == PAGE_ROWS && page.last().is_some_and(|last| known_to.as_ref().is_none_or(|known| last < known)) {
                known_to = page.last().cloned();
            }
            found.extend(page);
        }
        if let Some(known) = &known_to {
            found.retain(|key| key <= known);
        }
        Ok((found.into_iter().collect(), known_to))
    }

    /// A row is no more.
    pub(super) fn forget(&mut self, key: RowKey) {
        if self.checkpoints.is_some() {
            self.dirty.insert(key, Row::Gone);
        } else {
            self.dirty.remove(&key);
        }
    }

    /// The first event behind the segments up to `through`.
    pub(super) fn first_behind(&self, through: u32) -> Option<EventId> {
        let sealed = self.sealed.iter().filter(|summary| summary.number > through).find_map(|summary| summary.ids);
        sealed.or(self.open.summary.ids).map(|(first, _)| first)
    }

    /// How many events are behind the segments up to `through`.
    pub(super) fn events_behind(&self, through: u32) -> u64 {
        let sealed = self.sealed.iter().filter(|summary| summary.number > through).map(|summary| summary.events);
        sealed.sum::<u64>() + self.open.summary.events
    }
}
