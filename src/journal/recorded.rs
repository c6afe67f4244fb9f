//! Headers and bodies of attempts, where a rule records them: they stay in the journal, rows refer to them. Only who shows a run,
//! or writes it again, has them put back.

use std::io;

use crate::journal::carried::Carried;
use crate::journal::codec;
use crate::journal::fold::RunRow;
use crate::journal::format::{Kind, Position};
use crate::journal::runs::{self, ReadRecord, read_if_whole};
use crate::journal::values::{GIVE_UP, all, inner_key, place};
use crate::runs::{Attempt, Fact, Recorded, Run};

/// An attempt in a fact, and the name of its step.
fn attempted(fact: &Fact) -> Option<(u32, &Attempt)> {
    match fact {
        Fact::Attempted { step, attempt, .. } => Some((*step as u32, attempt)),
        Fact::Element { step, index, fact, .. } => match &**fact {
            Fact::Attempted { step: inner, attempt, .. } => Some((inner_key(*step, *index, *inner), attempt)),
            _ => None,
        },
        Fact::InGiveUp { fact } => match &**fact {
            Fact::Attempted { step: inner, attempt, .. } => Some((inner_key(GIVE_UP, 0, *inner), attempt)),
            _ => None,
        },
        _ => None,
    }
}

/// Refers to what a fact that was folded in records, and no more to that of attempts that are only counted now.
pub(super) fn note(row: &mut RunRow, at: Position, fact: &Fact) {
    let Some((key, attempt)) = attempted(fact).filter(|(_, attempt)| attempt.recorded.is_some()) else { return };
    let kept: Vec<u32> = place(&mut row.run, key).map_or_else(Vec::new, |view| view.attempts.iter().map(|known| known.number).collect());
    row.recorded.retain(|(known, number, _)| *known != key || (kept.contains(number) && *number != attempt.number));
    if kept.contains(&attempt.number) {
        row.recorded.push((key, attempt.number, at));
    }
}

/// Takes out of a run what is recorded; the record at `at` holds it.
pub(super) fn taken(run: &mut Run, at: Position) -> Vec<(u32, u32, Position)> {
    let mut taken = Vec::new();
    for (key, view) in all(run) {
        let attempts = view.attempts.iter_mut().filter_map(|attempt| attempt.recorded.take().map(|_| attempt.number));
        taken.extend(attempts.map(|number| (key, number, at)));
    }
    taken
}

/// What is recorded of attempts before the newest one of each step is not written again.
pub(super) fn forget_older(run: &mut Run) {
    for (_, view) in all(run) {
        view.attempts.iter_mut().rev().skip(1).for_each(|attempt| attempt.recorded = None);
    }
}

/// The whole run, with what its attempts recorded. What is damaged is left out.
pub(super) fn whole(row: RunRow, read: &ReadRecord<'_>) -> io::Result<Run> {
    let recorded = row.recorded.clone();
    let mut run = runs::whole(row, read)?;
    for (key, number, at) in recorded {
        let found = match read_if_whole(&run, at, read)? {
            Some((Kind::Carried, payload)) => of_carried(&payload, key, number)?,
            Some((Kind::Fact, payload)) => attempted(&codec::fact(&payload)?.1).and_then(|(_, attempt)| attempt.recorded.clone()),
            _ => None,
        };
        let known = place(&mut run, key).and_then(|view| view.attempts.iter_mut().find(|attempt| attempt.number == number));
        if let Some(attempt) = known {
            attempt.recorded = found;
        }
    }
    Ok(run)
}

fn of_carried(payload: &[u8], key: u32, number: u32) -> io::Result<Option<Box<Recorded>>> {
    let Carried::Run(mut run) = Carried::decode(payload)? else { return Ok(None) };
    let view = place(&mut run, key);
    Ok(view.and_then(|view| view.attempts.iter_mut().find(|attempt| attempt.number == number)?.recorded.take()))
}
