//! The fingerprints by which copies are found: a map from fingerprint to the newest record that has it.
//!
//! Bounded: the oldest fingerprints go first, a table at a time. A hit is only a hint; the writer reads the record and
//! compares the keys.

use std::collections::{HashMap, VecDeque};
use std::hash::{BuildHasherDefault, Hasher};
use std::io;

use crate::journal::format::Position;
use crate::journal::index;
use crate::journal::rows::RowKey;
use crate::journal::state::State;
use crate::time::Timestamp;

/// Fingerprints per table: what 2^20 slots hold before they grow.
const TABLE_KEYS: usize = (1 << 20) / 8 * 7;

/// How many tables there are at most.
const TABLES: usize = 4;

/// The most fingerprints kept; about 75 MB.
const DEDUP_KEYS_MAX: usize = TABLE_KEYS * TABLES;

/// Fingerprints are hashes already.
#[derive(Default)]
pub(super) struct AsIs(u64);

impl Hasher for AsIs {
    fn finish(&self) -> u64 {
        self.0
    }
    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = self.0.rotate_left(8) ^ u64::from(*byte);
        }
    }
    fn write_u64(&mut self, number: u64) {
        self.0 = number;
    }
}

#[derive(Default)]
struct Table {
    keys: HashMap<u64, u64, BuildHasherDefault<AsIs>>,
    /// The smallest `received` in it.
    since: Option<Timestamp>,
}

/// The map; newest table first.
pub(super) struct Prints {
    tables: VecDeque<Table>,
    table_keys: usize,
}

impl Default for Prints {
    fn default() -> Self {
        Self::bounded(TABLE_KEYS)
    }
}

impl Prints {
    /// The newest fingerprints of the journal, as many as are kept.
    pub(super) fn load(state: &State) -> io::Result<Self> {
        let mut room = (DEDUP_KEYS_MAX as u64).saturating_sub(state.open.summary.prints);
        let mut segments = Vec::new();
        for summary in state.sealed.iter().rev() {
            if room == 0 {
                break;
            }
            room = room.saturating_sub(summary.prints);
            segments.push(*summary);
        }
        let mut prints = Self::default();
        for summary in segments.into_iter().rev() {
            let number = summary.number;
            let since = (summary.events > 0).then(|| Timestamp::from_millis(summary.received.0));
            for page in state.pages(|page| RowKey::Prints(number, page))? {
                for (print, offset) in index::prints(&page)? {
                    prints.insert(print, Position { segment: number, offset }, since);
                }
            }
        }
        let (number, open) = (state.open.summary.number, &state.open);
        let since = (open.summary.events > 0).then(|| Timestamp::from_millis(open.summary.received.0));
        for (print, offset) in &open.prints {
            prints.insert(*print, Position { segment: number, offset: *offset }, since);
        }
        Ok(prints)
    }

    /// With this many fingerprints per table.
    fn bounded(table_keys: usize) -> Self {
        Self { tables: VecDeque::from([Table::default()]), table_keys }
    }

    /// The newest record with this fingerprint.
    pub(super) fn get(&self, print: u64) -> Option<Position> {
        self.tables.iter().find_map(|table| table.keys.get(&print)).map(|packed| Position::unpacked(*packed))
    }

    /// Adds one; newer ones win.
    pub(super) fn insert(&mut self, print: u64, at: Position, received: Option<Timestamp>) {
        if self.tables.front().is_none_or(|table| table.keys.len() >= self.table_keys) {
            self.tables.push_front(Table::default());
            self.tables.truncate(TABLES);
        }
        if let Some(table) = self.tables.front_mut() {
            table.keys.insert(print, at.packed());
            if let Some(received) = received {
                table.since = Some(table.since.map_or(received, |since| since.min(received)));
            }
        }
    }

    /// How far back copies are recognised; `None` when there is nothing yet.
    pub(super) fn since(&self) -> Option<Timestamp> {
        self.tables.iter().filter_map(|table| table.since).min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_fingerprints_are_kept() {
        let mut prints = Prints::bounded(10);
        let at = |n: u32| Position { segment: 1, offset: n };
        for n in 0..100_u32 {
            prints.insert(u64::from(n), at(n), Some(Timestamp::from_millis(i64::from(n))));
        }
        assert_eq!(prints.get(99), Some(at(99)));
        assert_eq!(prints.get(60), Some(at(60)), "the tables before the newest one are whole");
        assert_eq!(prints.get(59), None);
        assert_eq!(prints.since(), Some(Timestamp::from_millis(60)));
        prints.insert(60, at(1000), None);
        assert_eq!(prints.get(60), Some(at(1000)), "the newer record wins");
    }
}
