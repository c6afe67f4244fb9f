//! The fingerprints by which copies are found: a map from fingerprint to the newest record that has it.
//!
//! Bounded: the oldest fingerprints go first, a table at a time. A table that is full never changes again and is packed: 8
//! bytes a fingerprint instead of 20, with 37 bits of it. A hit is only a hint; the writer reads the record and compares the
//! keys. Once there is a full table, a [`Sieve`] says which of them are worth a look.

use std::collections::{HashMap, VecDeque};
use std::hash::{BuildHasherDefault, Hasher};
use std::io;

use smallvec::SmallVec;

use crate::journal::files::Files;
use crate::journal::format::Position;
use crate::journal::printfile;
use crate::journal::sieve::{Mask, Sieve, TABLES_MAX};
use crate::journal::state::State;
use crate::time::Timestamp;

/// Fingerprints per table: what 2^18 slots hold before they grow.
const TABLE_KEYS: usize = (1 << 18) / 8 * 7;

/// With this many the table that is being filled gets its full size at once, and keeps it: tables that grow step by step
/// leave holes that are never given back.
const SMALL_KEYS: usize = (1 << 15) / 8 * 7;

/// How many tables there are at most, with the one that is being filled.
const TABLES: usize = TABLES_MAX;

/// The most fingerprints kept; about 33 MB.
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

/// The table that is being filled.
#[derive(Default)]
struct Table {
    keys: HashMap<u64, u64, BuildHasherDefault<AsIs>>,
    /// The smallest `received` in it.
    since: Option<Timestamp>,
    /// The last segment that it refers to.
    last: u32,
    /// Its bit in the sieve; none while there is no sieve.
    bit: Mask,
}

/// A full table, sorted into buckets by the upper 15 bits of the fingerprints.
struct Packed {
    /// Where each bucket begins in `slots`, and where the last one ends.
    begins: Vec<u32>,
    slots: Vec<Slot>,
    /// The smallest segment in it.
    segment: u32,
    /// The last one.
    last: u32,
    since: Option<Timestamp>,
    /// Its bit in the sieve.
    bit: Mask,
}

/// More of a fingerprint and where its record is.
#[derive(Clone, Copy, Default)]
struct Slot {
    /// 22 bits of the fingerprint, those behind its bucket's; above them 10 of the segment, counted from the smallest one of
    /// the table.
    mark: u32,
    offset: u32,
}

/// Buckets of a packed table.
const BUCKETS: usize = 1 << 15;
/// Bits of a fingerprint in a mark.
const MARK_BITS: u32 = 22;
/// The most segments that a packed table refers to.
const SEGMENTS_MAX: u32 = 1 << (32 - MARK_BITS);

fn bucket(print: u64) -> usize {
    (print >> 49) as usize
}

fn mark(print: u64) -> u32 {
    (print >> 27) as u32 & ((1 << MARK_BITS) - 1)
}

impl Packed {
    /// Packs a table; `None` where its segments lie too far apart.
    fn of(table: &Table) -> Option<Self> {
        let positions = || table.keys.values().map(|packed| Position::unpacked(*packed));
        let segment = positions().map(|at| at.segment).min()?;
        if positions().any(|at| at.segment - segment >= SEGMENTS_MAX) {
            return None;
        }
        let mut begins = vec![0_u32; BUCKETS + 1];
        for print in table.keys.keys() {
            begins[bucket(*print) + 1] += 1;
        }
        for at in 0..BUCKETS {
            begins[at + 1] += begins[at];
        }
        let mut next = begins.clone();
        let mut slots = vec![Slot::default(); table.keys.len()];
        for (print, at) in &table.keys {
            let at = Position::unpacked(*at);
            let place = &mut next[bucket(*print)];
            slots[*place as usize] = Slot { mark: mark(*print) | (at.segment - segment) << MARK_BITS, offset: at.offset };
            *place += 1;
        }
        Some(Self { begins, slots, segment, last: table.last, since: table.since, bit: table.bit })
    }

    fn find(&self, print: u64, found: &mut Hits) {
        let at = bucket(print);
        let slots = self.slots.get(self.begins[at] as usize..self.begins[at + 1] as usize).unwrap_or_default();
        let marked = slots.iter().filter(|slot| slot.mark & ((1 << MARK_BITS) - 1) == mark(print));
        found.extend(marked.map(|slot| Position { segment: self.segment + (slot.mark >> MARK_BITS), offset: slot.offset }));
    }
}

/// A table that is full.
enum Full {
    Packed(Packed),
    AsItWas(Table),
}

impl Full {
    /// Empties the table; its memory is used again.
    fn of(table: &mut Table) -> Self {
        let Some(packed) = Packed::of(table) else { return Self::AsItWas(std::mem::take(table)) };
        table.keys.clear();
        (table.since, table.bit) = (None, 0);
        Self::Packed(packed)
    }

    fn find(&self, print: u64, found: &mut Hits) {
        match self {
            Self::Packed(packed) => packed.find(print, found),
            Self::AsItWas(table) => found.extend(table.get(print)),
        }
    }

    fn bit(&self) -> Mask {
        match self {
            Self::Packed(packed) => packed.bit,
            Self::AsItWas(table) => table.bit,
        }
    }

    fn last(&self) -> u32 {
        match self {
            Self::Packed(packed) => packed.last,
            Self::AsItWas(table) => table.last,
        }
    }

    fn since(&self) -> Option<Timestamp> {
        match self {
            Self::Packed(packed) => packed.since,
            Self::AsItWas(table) => table.since,
        }
    }
}

impl Table {
    fn get(&self, print: u64) -> Option<Position> {
        self.keys.get(&print).map(|packed| Position::unpacked(*packed))
    }
}

/// Fingerprints that are on their way into the table. Nothing is done between one and the next when they are put there: they wait
/// for memory together, as in [`Prints::fetch`].
#[derive(Default)]
struct Waiting {
    list: Vec<(u64, Position, Option<Timestamp>)>,
    /// A bit for each, by its upper bits: one that is looked for is nearly always in none of both.
    marks: Vec<u64>,
}

/// At most so many wait.
const WAITING_MAX: usize = 4096;

/// Bits of a fingerprint that choose its mark.
const WAITING_BITS: u32 = 16;

impl Waiting {
    /// The word of its mark, and the bit.
    fn mark(print: u64) -> (usize, u64) {
        let number = print >> (64 - WAITING_BITS);
        ((number / 64) as usize, 1 << (number % 64))
    }

    fn may_have(&self, print: u64) -> bool {
        let (word, bit) = Self::mark(print);
        self.marks.get(word).is_some_and(|marks| marks & bit != 0)
    }

    fn push(&mut self, print: u64, at: Position, received: Option<Timestamp>) {
        let (word, bit) = Self::mark(print);
        self.marks.resize((1 << WAITING_BITS) / 64, 0);
        self.marks[word] |= bit;
        self.list.push((print, at, received));
    }

    /// Nobody waits any more; the memory is used again.
    fn emptied(mut self) -> Self {
        self.list.drain(..).for_each(|(print, ..)| self.marks[Self::mark(print).0] = 0);
        self
    }
}

/// Places of records: seldom more than one.
pub(super) type Hits = SmallVec<[Position; 4]>;

/// The map.
pub(super) struct Prints {
    waiting: Waiting,
    table: Table,
    /// Full tables, newest first.
    full: VecDeque<Full>,
    /// Which tables may have a fingerprint; there since the first table was full.
    sieve: Option<Sieve>,
    table_keys: usize,
    /// Segments up to here are no more: what refers to them is not found.
    dropped: u32,
    /// The oldest event in the segments that are left, when some were dropped.
    left_since: Option<Timestamp>,
    /// Whether a fingerprint was ever let go: then a copy of something old may not be recognised.
    forgot: bool,
}

impl Default for Prints {
    fn default() -> Self {
        Self::bounded(TABLE_KEYS)
    }
}

impl Prints {
    /// The newest fingerprints of the journal, as many as are kept.
    pub(super) fn load(state: &State, files: &Files) -> io::Result<Self> {
        let mut room = (DEDUP_KEYS_MAX as u64).saturating_sub(state.open.summary.prints);
        let mut segments = Vec::new();
        for summary in state.sealed.iter().rev() {
            if room == 0 {
                break;
            }
            room = room.saturating_sub(summary.prints);
            segments.push(*summary);
        }
        let first = state.sealed.first().map_or(state.open.summary.number, |summary| summary.number);
        let mut prints = Self { forgot: first > 1 || segments.len() < state.sealed.len(), ..Self::default() };
        for summary in segments.into_iter().rev() {
            let segment = summary.number;
            let since = (summary.events > 0).then(|| Timestamp::from_millis(summary.received.0));
            let mut put = |print, offset| prints.put(print, Position { segment, offset }, since);
            printfile::each(files, &state.journal, segment, &mut put)?;
        }
        let (number, open) = (state.open.summary.number, &state.open);
        let since = (open.summary.events > 0).then(|| Timestamp::from_millis(open.summary.received.0));
        for (print, offset) in &open.prints {
            prints.put(*print, Position { segment: number, offset: *offset }, since);
        }
        Ok(prints)
    }

    /// With this many fingerprints per table.
    fn bounded(table_keys: usize) -> Self {
        Self {
            waiting: Waiting::default(),
            table: Table::default(),
            full: VecDeque::new(),
            sieve: None,
            table_keys,
            dropped: 0,
            left_since: None,
            forgot: false,
        }
    }

    /// The records that may have this fingerprint, newest first.
    pub(super) fn get(&mut self, print: u64) -> Hits {
        if self.waiting.may_have(print) {
            self.settle();
        }
        let tables = self.sieve.as_ref().map(|sieve| sieve.tables(print));
        let may_have = |bit: Mask| tables.is_none_or(|tables| tables & bit != 0);
        let mut found = Hits::new();
        if may_have(self.table.bit) {
            found.extend(self.table.get(print));
        }
        self.full.iter().filter(|table| may_have(table.bit())).for_each(|table| table.find(print, &mut found));
        found.retain(|at| at.segment > self.dropped);
        found.sort_unstable_by(|a, b| b.cmp(a));
        found
    }

    /// Reads what [`Prints::get`] and [`Prints::insert`] will read of all of these: one after another each would wait for memory that
    /// is in no cache, together they wait little longer than one.
    pub(super) fn fetch(&self, prints: impl Iterator<Item = u64>) {
        let sieve = self.sieve.as_ref();
        let read = prints.map(|print| sieve.map_or(0, |sieve| sieve.tables(print)) ^ Mask::from(self.table.keys.contains_key(&print)));
        std::hint::black_box(read.fold(0, |all, one| all ^ one));
    }

    /// Adds one; newer ones win. It is found from now on, and has its place after [`Prints::settle`].
    pub(super) fn insert(&mut self, print: u64, at: Position, received: Option<Timestamp>) {
        if self.waiting.list.len() >= WAITING_MAX {
            self.settle();
        }
        self.waiting.push(print, at, received);
    }

    /// Gives their places to those that were added.
    pub(super) fn settle(&mut self) {
        let waiting = std::mem::take(&mut self.waiting);
        waiting.list.iter().for_each(|(print, at, received)| self.put(*print, *at, *received));
        self.waiting = waiting.emptied();
    }

    /// Adds one where it belongs; newer ones win.
    fn put(&mut self, print: u64, at: Position, received: Option<Timestamp>) {
        if self.table.keys.len() >= self.table_keys {
            self.next_table();
        }
        if self.table.keys.len() == SMALL_KEYS.min(self.table_keys) {
            self.table.keys.reserve(self.table_keys - self.table.keys.len());
        }
        self.table.keys.insert(print, at.packed());
        if let Some(sieve) = &mut self.sieve {
            sieve.add(self.table.bit, print);
        }
        self.table.last = self.table.last.max(at.segment);
        if let Some(received) = received {
            self.table.since = Some(self.table.since.map_or(received, |since| since.min(received)));
        }
    }

    /// Puts the table that was filled to the full ones; the oldest of those may have to go.
    fn next_table(&mut self) {
        let sieve = self.sieve.get_or_insert_with(|| {
            let mut sieve = Sieve::new(self.table_keys);
            self.table.bit = sieve.table();
            self.table.keys.keys().for_each(|print| sieve.add(self.table.bit, *print));
            sieve
        });
        let gone = self.full.drain((TABLES - 2).min(self.full.len())..).fold(0, |gone, table| gone | table.bit());
        self.forgot |= gone != 0;
        sieve.drop_tables(gone);
        self.full.push_front(Full::of(&mut self.table));
        self.table.bit = sieve.table();
    }

    /// How far back copies are recognised; `None` when there is nothing yet.
    pub(super) fn since(&self) -> Option<Timestamp> {
        let waiting = self.waiting.list.iter().map(|(_, _, received)| *received);
        self.full.iter().map(Full::since).chain([self.table.since]).chain(waiting).flatten().min().max(self.left_since)
    }

    /// Copies of what was received before this may not be recognised; `None` while nothing was let go.
    pub(super) fn horizon(&self) -> Option<Timestamp> {
        self.since().filter(|_| self.forgot)
    }

    /// The segments up to `through` are no more; the oldest event behind them is from `since`. Full tables that refer to nothing
    /// else go at once, the others in their time.
    pub(super) fn forget(&mut self, through: u32, since: Option<Timestamp>) {
        self.settle();
        self.dropped = self.dropped.max(through);
        self.forgot = true;
        self.left_since = since;
        let gone = self.full.iter().filter(|table| table.last() <= through).fold(0, |gone, table| gone | table.bit());
        self.full.retain(|table| table.last() > through);
        if self.table.last <= through {
            self.table = Table { bit: self.table.bit, ..Table::default() };
        }
        if let Some(sieve) = &mut self.sieve {
            sieve.drop_tables(gone);
            if self.table.last <= through {
                sieve.clear(self.table.bit);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As different as hashes are.
    fn print(n: u32) -> u64 {
        u64::from(n).wrapping_mul(0x9e37_79b9_7f4a_7c15)
    }

    #[test]
    fn the_newest_fingerprints_are_kept() {
        let mut prints = Prints::bounded(10);
        let at = |n: u32| Position { segment: 1, offset: n };
        for n in 0..200_u32 {
            prints.insert(print(n), at(n), Some(Timestamp::from_millis(i64::from(n))));
        }
        assert_eq!(prints.get(print(199))[..], [at(199)]);
        assert_eq!(prints.get(print(40))[..], [at(40)], "the tables before the newest one are whole");
        assert_eq!(prints.get(print(39))[..], []);
        assert_eq!(prints.since(), Some(Timestamp::from_millis(40)));
        prints.insert(print(60), at(1000), None);
        assert_eq!(prints.get(print(60))[..], [at(1000), at(60)], "the newer record comes first");
        prints.forget(1, None);
        assert_eq!(prints.get(print(199))[..], [], "its segment is gone");
    }

    #[test]
    fn what_waits_for_its_place_is_found_and_counted() {
        let mut prints = Prints::bounded(1 << 20);
        let at = |n: u32| Position { segment: 1, offset: n };
        prints.insert(print(1), at(1), Some(Timestamp::from_millis(7)));
        assert_eq!((prints.since(), prints.table.keys.len()), (Some(Timestamp::from_millis(7)), 0));
        assert_eq!(prints.get(print(2))[..], []);
        assert_eq!((prints.get(print(1))[..].to_vec(), prints.table.keys.len()), (vec![at(1)], 1), "to be found it gets its place");
        assert!(prints.waiting.list.is_empty() && prints.waiting.marks.iter().all(|marks| *marks == 0));
        for n in 0..3 * WAITING_MAX as u32 {
            prints.insert(print(n), at(n), None);
            assert!(prints.waiting.list.len() <= WAITING_MAX);
        }
        prints.insert(print(5), at(1_000_000), None);
        prints.settle();
        assert_eq!((prints.waiting.list.len(), prints.table.keys.len()), (0, 3 * WAITING_MAX));
        assert_eq!(prints.get(print(5))[..], [at(1_000_000)], "the newer one wins");
        prints.insert(print(9), at(2_000_000), None);
        prints.forget(1, None);
        assert_eq!(prints.get(print(9))[..], [], "its segment is gone");
    }

    #[test]
    fn packed_tables_say_what_the_map_said() {
        let at = |n: u32| Position { segment: 3 + n / 240, offset: n.wrapping_mul(77) };
        let mut prints = Prints::bounded(5_000);
        (0..12_000).for_each(|n| prints.insert(print(n), at(n), None));
        prints.settle();
        assert!(matches!(prints.full.make_contiguous(), [Full::Packed(_), Full::Packed(_)]));
        assert!((0..12_000).all(|n| prints.get(print(n))[..] == [at(n)]));
        assert!((12_000..50_000).all(|n| prints.get(print(n)).is_empty()));
        // They differ in one bit each. The lowest ones are not in a packed table: such a hit is a hint too many, no more.
        let beside = |n: u32, bit: u32| print(n) ^ (1 << bit);
        assert!((27..64).all(|bit| prints.get(beside(7, bit)).is_empty()));
        assert!((0..27).all(|bit| prints.get(beside(7, bit))[..] == [at(7)]));
        assert!((0..64).all(|bit| prints.get(beside(11_999, bit)).is_empty()), "the table that is filled has all bits");
        // What is packed under the same bits is found all the same, behind what is newer.
        prints.insert(beside(7, 3), at(12_001), None);
        assert_eq!(prints.get(beside(7, 3))[..], [at(12_001), at(7)]);
    }

    #[test]
    fn segments_too_far_apart_to_be_packed_are_found_all_the_same() {
        let mut prints = Prints::bounded(2);
        let at = |segment: u32| Position { segment, offset: 1 };
        [1, 1 << 20, 2].into_iter().for_each(|segment| prints.insert(u64::from(segment), at(segment), None));
        assert!([1, 1 << 20, 2].into_iter().all(|segment| prints.get(u64::from(segment)).contains(&at(segment))));
    }
}
