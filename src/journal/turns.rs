//! Rows of turns: who has one, who waits for it. What lies in memory over what is in the checkpoints.

use std::io;
use std::ops::Bound;

use crate::event::{EventId, RuleHash, RunId};
use crate::journal::format::Position;
use crate::journal::order::Place;
use crate::journal::rows::{Row, RowKey, RunHead, run_head};
use crate::journal::state::State;
use crate::runs::{OrderKey, RunState};

/// Stored rows that are looked at in one go: more are needed only while many of them are gone and not yet removed.
const PAGE: usize = 16;

impl State {
    /// Where a run stands, without reading all of its row.
    pub(super) fn run_state(&self, id: RunId) -> io::Result<Option<RunState>> {
        let key = RowKey::Run(id);
        let (base, state) = match self.overlay(&key) {
            Some(Row::Run(row)) => (row.base, row.run.state),
            Some(_) => return Ok(None),
            None => match self.stored_head(&key)? {
                Some((base, head)) => (base, head.state),
                None => return Ok(None),
            },
        };
        Ok(self.is_needed(base).then_some(state))
    }

    fn stored_head(&self, key: &RowKey) -> io::Result<Option<(Position, RunHead)>> {
        self.still_open()?;
        let first = self.checkpoints.as_ref().map_or(Ok(None), |checkpoints| checkpoints.first_part(key))?;
        Ok(first.map(|value| run_head(&value)).transpose()?)
    }
}

/// Who has the turn of a key.
pub(super) fn holder(state: &State, key: OrderKey) -> io::Result<Option<RunId>> {
    let value = state.bytes_row(&RowKey::Turn(key, None))?;
    Ok(value.and_then(|value| <[u8; 26]>::try_from(value).ok()).map(|bytes| RunId::from_bytes(&bytes)))
}

/// A run has the turn of a key now, or none.
pub(super) fn hold(state: &mut State, key: OrderKey, holder: Option<RunId>) {
    match holder {
        Some(id) => drop(state.dirty.insert(RowKey::Turn(key, None), Row::Bytes(id.to_bytes().to_vec()))),
        None => state.forget(RowKey::Turn(key, None)),
    }
}

/// A run waits for the turn of a key, or does not any more.
pub(super) fn wait(state: &mut State, key: OrderKey, place: Place, waits: bool) {
    let key = RowKey::Turn(key, Some(place));
    if waits {
        state.dirty.insert(key, Row::Bytes(Vec::new()));
    } else {
        state.forget(key);
    }
}

/// The run that waits longest for the turn of a key.
pub(super) fn first_waiting(state: &State, key: OrderKey) -> io::Result<Option<Place>> {
    let behind_holder = RowKey::Turn(key, None);
    let last_run = RunId { event: EventId(u128::MAX), rule: RuleHash(u64::MAX), replay: u16::MAX };
    let last = RowKey::Turn(key, Some((u64::MAX, last_run)));
    let mut first: Option<Place> = None;
    for map in [&*state.draining, &state.dirty] {
        let rows = map.range((Bound::Excluded(behind_holder.clone()), Bound::Included(last.clone())));
        let mut there = rows.filter(|(name, _)| state.overlay(name).is_some_and(|row| *row != Row::Gone));
        if let Some((RowKey::Turn(_, Some(place)), _)) = there.next() {
            first = Some(first.map_or(*place, |known| known.min(*place)));
        }
    }
    let Some(checkpoints) = state.rows_on_disk()? else { return Ok(first) };
    let mut start = Bound::Excluded(behind_holder.bytes());
    let end = [last.bytes(), vec![0]].concat();
    loop {
        let keys = checkpoints.keys(start, end.clone(), PAGE)?;
        for place in keys.iter().filter_map(|key| place_of_key(key)) {
            if first.is_some_and(|known| known <= place) {
                return Ok(first);
            }
            if state.overlay(&RowKey::Turn(key, Some(place))).is_none_or(|row| *row != Row::Gone) {
                return Ok(Some(place));
            }
        }
        match keys.last() {
            Some(last) if keys.len() == PAGE => start = Bound::Excluded(last.clone()),
            _ => return Ok(first),
        }
    }
}

/// The place in the stored key of one that waits.
pub(super) fn place_of_key(key: &[u8]) -> Option<Place> {
    let (since, run) = key.get(17..)?.split_first_chunk()?;
    Some((u64::from_be_bytes(*since), RunId::from_bytes(run.try_into().ok()?)))
}
