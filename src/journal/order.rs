//! Whose turn it is among runs with the same key: a fold of what is planned and what is settled.
//!
//! A key has at most one run at a time that is neither settled nor blocked: its holder. The others wait in the order in
//! which they were planned, that is as their events were accepted; a replay, and a run that a person has tried again, comes
//! last. Whatever settles the holder (success, death, a person) gives the turn to the next one, in the same record: there is
//! no moment, and no crash, in which nobody has it. Rows on disk say who holds and who waits, so a hundred thousand keys cost
//! no memory. They follow from the rows of the runs: to fold a record again mends them.

use std::io;

use crate::event::RunId;
use crate::journal::fold::Rows;
use crate::runs::{OrderKey, Run, RunState};

/// A place among those that wait for a turn: since which position of the journal, packed, and who.
pub(super) type Place = (u64, RunId);

/// What of a run its order depends on.
#[derive(Clone, Copy)]
pub(super) struct Ordering {
    pub(super) key: OrderKey,
    state: RunState,
    place: Place,
}

impl Ordering {
    /// Of a run whose rule has an order.
    pub(super) fn of(run: &Run) -> Option<Self> {
        Some(Self { key: run.order_key()?, state: run.state, place: (run.turn_since, run.id()) })
    }

    pub(super) fn is_open(&self) -> bool {
        !self.state.is_settled()
    }

    pub(super) fn is_blocked(&self) -> bool {
        self.state == RunState::Blocked
    }
}

/// A run was planned, settled, or tried again: it takes its place, and the turn goes to whom it belongs.
pub(super) fn changed(rows: &mut dyn Rows, run: Ordering) -> io::Result<()> {
    let Ordering { key, place, .. } = run;
    if !run.is_open() {
        rows.wait(key, place, false);
    }
    let holder = holder(rows, key)?;
    if run.is_open() && holder != Some(place.1) {
        if holder.is_none() && rows.first_waiting(key)?.is_none() {
            rows.hold(key, Some(place.1));
            return unblock(rows, place.1);
        }
        rows.wait(key, place, true);
        block(rows, place.1)?;
    }
    match holder {
        Some(holder) => unblock(rows, holder),
        None => give_turn(rows, key),
    }
}

/// A run is known to stand as it does: it was written again, or somebody worked on it.
pub(super) fn stands(rows: &mut dyn Rows, run: Ordering) -> io::Result<()> {
    let Ordering { key, place, .. } = run;
    rows.wait(key, place, run.is_blocked());
    if !run.is_open() || run.is_blocked() {
        return Ok(());
    }
    // It has the turn. Who took it since, in a journal without the segments that went, did not have it in truth.
    if let Some(other) = holder(rows, key)?.filter(|other| *other != place.1) {
        let mut known = None;
        rows.run(other, &mut |row| known = row.as_ref().and_then(|row| Ordering::of(&row.run)))?;
        if let Some(other) = known {
            rows.wait(key, other.place, true);
            block(rows, other.place.1)?;
        }
    }
    rows.hold(key, Some(place.1));
    Ok(())
}

/// Who has the turn; one that is over, or lost, has it no more.
fn holder(rows: &mut dyn Rows, key: OrderKey) -> io::Result<Option<RunId>> {
    let Some(holder) = rows.holder(key)? else { return Ok(None) };
    if is_open(rows, holder)? {
        return Ok(Some(holder));
    }
    rows.hold(key, None);
    Ok(None)
}

/// Nobody has the turn: the first one that waits gets it.
fn give_turn(rows: &mut dyn Rows, key: OrderKey) -> io::Result<()> {
    while let Some(first) = rows.first_waiting(key)? {
        rows.wait(key, first, false);
        if is_open(rows, first.1)? {
            rows.hold(key, Some(first.1));
            return unblock(rows, first.1);
        }
    }
    Ok(())
}

fn is_open(rows: &mut dyn Rows, id: RunId) -> io::Result<bool> {
    Ok(rows.state_of(id)?.is_some_and(|state| !state.is_settled()))
}

fn unblock(rows: &mut dyn Rows, id: RunId) -> io::Result<()> {
    if rows.state_of(id)? == Some(RunState::Blocked) {
        rows.beside(id);
        rows.run(id, &mut |row| row.iter_mut().for_each(|row| row.run.unblock()))?;
    }
    Ok(())
}

fn block(rows: &mut dyn Rows, id: RunId) -> io::Result<()> {
    if rows.state_of(id)?.is_some_and(|state| state != RunState::Blocked) {
        rows.beside(id);
        rows.run(id, &mut |row| row.iter_mut().for_each(|row| row.run.block()))?;
    }
    Ok(())
}
