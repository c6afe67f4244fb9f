//! Runs that await an item or job, by what they await: the event that tells its end makes them due, in the same fold. So an
//! event that was acknowledged wakes them also when the daemon dies before anybody looks, whatever rules there are.
//!
//! The index stands beside the rows of the runs in the checkpoints ([`tally`](crate::journal::tally)) and changes in the same
//! batch. In memory are only those that are not stored yet, and a filter, so that an event that nobody awaits costs no look into
//! the store.

use std::collections::BTreeSet;
use std::io;
use std::ops::Bound;

use crate::event::RunId;
use crate::journal::checkpoints::Checkpoints;
use crate::journal::fold::Rows;
use crate::journal::format::Position;
use crate::journal::rows::RunHead;
use crate::journal::state::State;
use crate::runs::{AwaitedKey, WOKEN_MAX};
use crate::time::Timestamp;

/// How the stored keys begin.
pub(super) const AWAITS: u8 = b'w';
/// Counters of the filter, a byte each.
const COUNTERS: usize = 1 << 16;
/// Stored keys that the filter is made of at an open. Where there are more, every event is looked up until the next open.
const COUNTED_MAX: usize = 1 << 16;
/// Stored keys that are read at once.
const PAGE: usize = 1_024;

/// What is awaited, and who does.
pub(super) type Await = (AwaitedKey, [u8; 26]);

/// An event told that something is over.
pub(super) fn wake(rows: &mut dyn Rows, key: AwaitedKey, told: Timestamp, at: Position) -> io::Result<()> {
    let (mut last, mut left) = (None, WOKEN_MAX);
    loop {
        let page = rows.awaiting(key, last)?;
        for id in &page {
            let mut woken = false;
            rows.run(*id, &mut |row| woken = row.as_mut().is_some_and(|row| row.at < at && row.run.wake(key, told)))?;
            if woken {
                rows.beside(*id);
                left -= 1;
            }
            if left == 0 {
                return Ok(());
            }
        }
        match page.last() {
            Some(id) => last = Some(*id),
            None => return Ok(()),
        }
    }
}

/// The stored key.
pub(super) fn await_key((key, run): &Await) -> Vec<u8> {
    let mut out = Vec::with_capacity(35);
    out.push(AWAITS);
    out.extend_from_slice(&key.0.to_be_bytes());
    out.extend_from_slice(run);
    out
}

/// A stored key read again.
pub(super) fn await_of_key(key: &[u8]) -> Option<Await> {
    let (awaited, run) = key.strip_prefix(&[AWAITS])?.split_first_chunk::<8>()?;
    Some((AwaitedKey(u64::from_be_bytes(*awaited)), run.try_into().ok()?))
}

/// The part of the index that is in memory.
#[derive(Debug, Default)]
pub(super) struct Awaits {
    /// Of rows that are not in the checkpoints yet; also of some that were written meanwhile.
    new: BTreeSet<Await>,
    /// Of rows that are being written.
    draining: BTreeSet<Await>,
    /// How many are awaited, by the last bits of their keys; a full counter stays full. Nothing while nobody awaits anything.
    counters: Vec<u8>,
    /// The checkpoints hold more than were counted.
    uncounted: bool,
}

impl State {
    /// The head of a run's row changed.
    pub(super) fn changed(&mut self, id: RunId, before: Option<&RunHead>, after: Option<&RunHead>) {
        self.timers.change(id, before, after);
        self.awaits.change(id, before, after);
    }
}

impl Awaits {
    /// Beside checkpoints of which nothing was read yet.
    pub(super) fn beside_checkpoints() -> Self {
        Self { uncounted: true, ..Self::default() }
    }

    /// Counts what the checkpoints hold; nothing lies over them yet.
    pub(super) fn load(checkpoints: &Checkpoints) -> io::Result<Self> {
        let mut awaits = Self::default();
        let (mut start, mut counted) = (Bound::Included(vec![AWAITS]), 0);
        loop {
            let keys = checkpoints.keys(start, vec![AWAITS + 1], PAGE)?;
            keys.iter().filter_map(|key| await_of_key(key)).for_each(|(key, _)| awaits.count(key, true));
            counted += keys.len();
            match keys.into_iter().next_back() {
                Some(_) if counted >= COUNTED_MAX => return Ok(Self { uncounted: true, ..Self::default() }),
                Some(last) => start = Bound::Excluded(last),
                None => return Ok(awaits),
            }
        }
    }

    fn count(&mut self, key: AwaitedKey, more: bool) {
        if self.counters.is_empty() {
            self.counters = vec![0; COUNTERS];
        }
        if let Some(counter) = self.counters.get_mut(key.0 as usize % COUNTERS).filter(|counter| **counter < u8::MAX) {
            *counter = if more { *counter + 1 } else { counter.saturating_sub(1) };
        }
    }

    /// A run changed from `before` to `after`; `None` is no run.
    pub(super) fn change(&mut self, id: RunId, before: Option<&RunHead>, after: Option<&RunHead>) {
        let awaited = |head: Option<&RunHead>| head.map_or_else(Vec::new, |head| head.awaited.clone());
        let (was, is) = (awaited(before), awaited(after));
        for key in was.iter().filter(|key| !is.contains(key)) {
            self.new.remove(&(*key, id.to_bytes()));
            self.count(*key, false);
        }
        for key in is.iter().filter(|key| !was.contains(key)) {
            self.new.insert((*key, id.to_bytes()));
            self.count(*key, true);
        }
    }

    /// The rows that changed so far are written now; those before them are.
    pub(super) fn drain(&mut self) {
        self.draining = std::mem::take(&mut self.new);
    }

    /// Who may await something, behind a run: in the order of their ids, some of them, none when there are no more. A run that does
    /// not await it any more may be among them.
    pub(super) fn of(&self, key: AwaitedKey, after: Option<RunId>, checkpoints: Option<&Checkpoints>) -> io::Result<Vec<RunId>> {
        let counted = self.counters.get(key.0 as usize % COUNTERS).is_some_and(|counter| *counter > 0);
        if !counted && !self.uncounted {
            return Ok(Vec::new());
        }
        let first = after.map_or(Bound::Included((key, [0; 26])), |id| Bound::Excluded((key, id.to_bytes())));
        let (mut found, mut known_to) = (BTreeSet::new(), [u8::MAX; 26]);
        if let Some(checkpoints) = checkpoints {
            let end = [await_key(&(key, known_to)), vec![0]].concat();
            let keys = checkpoints.keys(first.as_ref().map(await_key), end, WOKEN_MAX)?;
            found.extend(keys.iter().filter_map(|key| await_of_key(key)).map(|(_, id)| id));
            if keys.len() == WOKEN_MAX {
                known_to = found.last().copied().unwrap_or(known_to);
            }
        }
        let range = (first, Bound::Included((key, known_to)));
        found.extend([&self.new, &self.draining].iter().flat_map(|set| set.range(range)).map(|(_, id)| *id));
        Ok(found.iter().map(RunId::from_bytes).collect())
    }
}
