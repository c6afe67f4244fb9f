//! Folding segments into state: what opening and losing the checkpoints have in common.

use std::io;
use std::path::Path;

use crate::journal::awaits::Awaits;
use crate::journal::codec::Undecodable;
use crate::journal::files::read_plain;
use crate::journal::fold::{Record, fold};
use crate::journal::format::{Position, SegmentHead};
use crate::journal::hole::HoleRecord;
use crate::journal::index::SegmentIndex;
use crate::journal::kept;
use crate::journal::rows::Standing;
use crate::journal::scan::{ScanEnd, damaged, segment_numbers, segment_path, walk};
use crate::journal::state::State;
use crate::journal::timers::Timers;
use crate::journal::words::Space;

/// A segment that was read and folded.
pub(super) struct Replayed {
    pub(super) head: SegmentHead,
    pub(super) index: SegmentIndex,
    pub(super) end: ScanEnd,
    /// Records that changed state.
    pub(super) records: u64,
    /// All records.
    pub(super) frames: u64,
    /// Records that verify and do not decode: each counts as a hole.
    pub(super) senseless: Vec<u32>,
}

/// Why a segment was not folded.
#[derive(Debug)]
pub(super) enum ReplayError {
    /// Its head does not verify.
    Head,
    Io(io::Error),
}

impl From<io::Error> for ReplayError {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

/// Reads a segment whole, indexes it, and folds what is at `from` or later; `each` is called after each record that changed state.
/// A record that verifies and does not decode holds up no other: it is as lost as one that does not verify.
pub(super) fn replay(
    state: &mut State,
    path: &Path,
    number: u32,
    from: Position,
    each: &mut dyn FnMut(&mut State) -> io::Result<()>,
) -> Result<Replayed, ReplayError> {
    let bytes = read_plain(path)?;
    let head = SegmentHead::from_bytes(&bytes).ok().filter(|head| head.number == number).ok_or(ReplayError::Head)?;
    let mut index = SegmentIndex::new(number);
    let (mut records, mut frames, mut senseless) = (0, 0, Vec::new());
    let end = walk(&bytes, head, |at, frame| {
        frames += 1;
        let record = index.frame(at.offset, frame).and_then(|()| Record::decode(frame)).unwrap_or_else(|Undecodable| {
            senseless.push(at.offset);
            Some(Record::Hole(HoleRecord::instead(frame.size())))
        });
        if at >= from
            && let Some(record) = record
        {
            records += 1;
            fold(state, at, &record)?;
            each(state)?;
            state.beside.clear();
        }
        Ok::<_, ReplayError>(())
    })?;
    index.summary.end = end.end;
    index.summary.last_group = end.next_group.saturating_sub(1);
    Ok(Replayed { head, index, end, records, frames, senseless })
}

/// The first segment that must be there and is not: all behind those that were dropped are needed. Where a loss was accepted, the
/// first ones may be what was lost.
pub(super) fn missing_first(state: &State, numbers: &[u32]) -> io::Result<Option<u32>> {
    let needed = state.standing.heads.first.max(1);
    if numbers.first().is_none_or(|first| *first <= needed) {
        return Ok(None);
    }
    let accepted = !kept::after(state, Space::Loss, "", None, 1)?.is_empty();
    Ok((!accepted).then_some(needed))
}

/// Folds the whole journal into memory, because the checkpoints cannot be used any more.
pub(super) fn forget_checkpoints(state: &mut State) -> io::Result<()> {
    let known = std::mem::take(&mut state.standing);
    state.checkpoints = None;
    state.dirty.clear();
    state.draining = Default::default();
    state.timers = Timers::default();
    state.awaits = Awaits::default();
    state.sealed.clear();
    state.standing = Standing::default();
    for number in segment_numbers(&state.journal)? {
        let path = segment_path(&state.journal, number);
        let replayed = replay(state, &path, number, Position::default(), &mut |_| Ok(())).map_err(|error| match error {
            ReplayError::Io(error) => error,
            ReplayError::Head => damaged(Position { segment: number, offset: 0 }),
        })?;
        if replayed.end.sealed {
            state.keep_index(&replayed.index);
        }
    }
    state.standing.next = known.next;
    state.standing.group = known.group;
    Ok(())
}
