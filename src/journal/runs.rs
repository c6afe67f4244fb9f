//! Runs out of rows: whole ones, and lists of them. The same for the open journal and for a reader without it.

use std::collections::BTreeSet;
use std::io;
use std::sync::{MutexGuard, PoisonError};

use serde_json::Value;

use crate::event::RunId;
use crate::journal::carried::Carried;
use crate::journal::codec;
use crate::journal::fold::RunRow;
use crate::journal::format::{Kind, Position};
use crate::journal::rows::RunHead;
use crate::journal::scan::is_damage;
use crate::journal::state::State;
use crate::journal::values;
use crate::journal::words::{PAGE_BYTES_MAX, Page, RunQuery};
use crate::runs::{Fact, Run};
use crate::time::Timestamp;

/// Reads the record at a position.
pub(super) type ReadRecord<'a> = dyn Fn(Position) -> io::Result<(Kind, Vec<u8>)> + 'a;

/// The whole run: values that stayed in the journal are put back. One that is damaged stays null, so that neither this
/// run nor others are held up.
pub(super) fn whole(row: RunRow, read: &ReadRecord<'_>) -> io::Result<Run> {
    let mut run = row.run;
    for (key, at) in row.values {
        let value = if_whole(run.id(), value_at(key, read_if_whole(&run, at, read)?))?.flatten();
        if let (Some(value), Some(view)) = (value, values::place(&mut run, key)) {
            view.value = value;
        }
    }
    if let Some(at) = row.would {
        run.would = if_whole(run.id(), would_at(read_if_whole(&run, at, read)?))?.unwrap_or_default();
    }
    Ok(run)
}

fn value_at(key: u32, record: Option<(Kind, Vec<u8>)>) -> io::Result<Option<Value>> {
    Ok(match record {
        Some((Kind::Carried, payload)) => carried(&payload)?.and_then(|mut run| values::place(&mut run, key).map(|view| view.value.take())),
        Some((Kind::Fact, payload)) => values::of_fact(codec::fact(&payload)?.1),
        _ => None,
    })
}

fn would_at(record: Option<(Kind, Vec<u8>)>) -> io::Result<Vec<Value>> {
    Ok(match record {
        Some((Kind::Carried, payload)) => carried(&payload)?.map(|run| run.would).unwrap_or_default(),
        Some((Kind::Fact, payload)) => match codec::fact(&payload)? {
            (_, Fact::Settled { would, .. }) => would,
            _ => Vec::new(),
        },
        _ => Vec::new(),
    })
}

/// What was read for a run; `None`, and a word in the log, when it is damaged or makes no sense.
pub(super) fn if_whole<T>(run: RunId, read: io::Result<T>) -> io::Result<Option<T>> {
    match read {
        Ok(found) => Ok(Some(found)),
        Err(error) if is_damage(&error) => {
            tracing::error!(%run, %error, "what is kept of a run is damaged; it is left out");
            Ok(None)
        }
        Err(error) => Err(error),
    }
}

/// The record at a position; `None`, and a word in the log, when it is damaged.
pub(super) fn read_if_whole(run: &Run, at: Position, read: &ReadRecord<'_>) -> io::Result<Option<(Kind, Vec<u8>)>> {
    if_whole(run.id(), read(at))
}

fn carried(payload: &[u8]) -> io::Result<Option<Run>> {
    Ok(match Carried::decode(payload)? {
        Carried::Run(run) => Some(*run),
        _ => None,
    })
}

/// Open runs whose time has come, as [`super::Journal::due`] brings them. One whose row does not decode is left out, told once
/// and counted, until the checkpoints are made anew.
pub(super) fn due(state: &State, now: Timestamp, max: usize, busy: &dyn Fn(RunId) -> bool) -> io::Result<(Vec<Run>, Option<Timestamp>)> {
    let mut left_out = unreadable(state);
    let (ids, next) = state.timers.due(now, max, &|id| busy(id) || left_out.contains(&id));
    let mut found = Vec::with_capacity(ids.len());
    for id in ids {
        match if_whole(id, state.run_row(id))? {
            Some(row) => found.extend(row.map(|row| whole(row, &|at| state.record(at))).transpose()?),
            None => drop(left_out.insert(id)),
        }
    }
    Ok((found, next))
}

/// Runs that [`due`] left out.
pub(super) fn unreadable(state: &State) -> MutexGuard<'_, BTreeSet<RunId>> {
    state.timers.unreadable.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Whether a run belongs into a list.
pub(super) fn matches(query: &RunQuery, id: RunId, head: &RunHead) -> bool {
    query.before.is_none_or(|before| id < before)
        && query.event.is_none_or(|event| id.event == event)
        && query.state.is_none_or(|state| head.state == state)
        && query.rule.as_deref().is_none_or(|rule| &*head.rule == rule)
        && query.since.is_none_or(|since| head.created >= since.as_millis())
        && query.until.is_none_or(|until| head.created < until.as_millis())
}

/// The newest runs that match, newest last, each as `tell` has it, with its bytes: one after another, and no more than
/// [`PAGE_BYTES_MAX`] and one. `newest_first` goes backwards; `row` brings the whole row of one.
pub(super) fn list<T>(
    query: &RunQuery,
    newest_first: impl Iterator<Item = io::Result<(RunId, RunHead)>>,
    row: impl Fn(RunId) -> io::Result<Option<RunRow>>,
    read: &ReadRecord<'_>,
    mut tell: impl FnMut(Run) -> (T, usize),
) -> io::Result<Page<T, RunId>> {
    let mut items = Vec::new();
    let (mut oldest, mut bytes, mut more) = (None, 0, false);
    for found in newest_first {
        let (id, head) = found?;
        if !matches(query, id, &head) {
            continue;
        }
        if items.len() >= query.limit || bytes >= PAGE_BYTES_MAX {
            more = true;
            break;
        }
        let Some(found) = if_whole(id, row(id))?.flatten() else { continue };
        match whole(found, read) {
            Ok(run) => {
                oldest = Some(run.id());
                let (item, length) = tell(run);
                items.push(item);
                bytes += length;
            }
            // Retention took it between the two looks.
            Err(error) if error.kind() == io::ErrorKind::NotFound && row(id)?.is_none() => {}
            Err(error) => return Err(error),
        }
    }
    items.reverse();
    Ok(Page { items, next: oldest.filter(|_| more) })
}
