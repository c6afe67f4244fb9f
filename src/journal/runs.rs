//! Runs out of rows: whole ones, and lists of them. The same for the open journal and for a reader without it.

use std::io;

use crate::event::RunId;
use crate::journal::codec;
use crate::journal::fold::RunRow;
use crate::journal::format::Position;
use crate::journal::rows::RunHead;
use crate::journal::words::{Page, RunQuery};
use crate::runs::{Fact, Run};

/// Reads the payload of the record at a position.
pub(super) type ReadPayload<'a> = dyn Fn(Position) -> io::Result<Vec<u8>> + 'a;

/// The whole run: values that stayed in the journal are put back.
pub(super) fn whole(row: RunRow, read: &ReadPayload<'_>) -> io::Result<Run> {
    let mut run = row.run;
    for (step, at) in row.values {
        if let (_, Fact::StepDone { value, .. }) = codec::fact(&read(at)?)?
            && let Some(view) = run.steps.get_mut(step as usize)
        {
            view.value = value;
        }
    }
    if let Some(at) = row.would
        && let (_, Fact::Settled { would, .. }) = codec::fact(&read(at)?)?
    {
        run.would = would;
    }
    Ok(run)
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

/// The newest runs that match, newest last. `newest_first` goes backwards; `row` brings the whole row of one.
pub(super) fn list(
    query: &RunQuery,
    newest_first: impl Iterator<Item = io::Result<(RunId, RunHead)>>,
    row: impl Fn(RunId) -> io::Result<Option<RunRow>>,
    read: &ReadPayload<'_>,
) -> io::Result<Page<Run, RunId>> {
    let mut items: Vec<Run> = Vec::new();
    let mut next = None;
    for found in newest_first {
        let (id, head) = found?;
        if !matches(query, id, &head) {
            continue;
        }
        if items.len() >= query.limit {
            next = items.last().map(Run::id);
            break;
        }
        if let Some(row) = row(id)? {
            items.push(whole(row, read)?);
        }
    }
    items.reverse();
    Ok(Page { items, next })
}
