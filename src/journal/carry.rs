//! What of a segment must be written again before it goes: runs that are not finished and dead ones that have their time still,
//! with their events; values under names; rule texts that something needs.

use std::collections::BTreeSet;
use std::io;
use std::time::{Duration, Instant};

use bytes::Bytes;

use crate::event::{EventId, RunId};
use crate::journal::carried::{self, Carried};
use crate::journal::codec;
use crate::journal::events;
use crate::journal::fold::Record;
use crate::journal::format::{Kind, Position};
use crate::journal::kept;
use crate::journal::recorded;
use crate::journal::rows::{RowKey, RunHead, kept_row};
use crate::journal::state::State;
use crate::journal::words::{Kept, Space};
use crate::runs::RunState;
use crate::time::Timestamp;

/// Bytes that one slice writes, unless a single record is longer.
const SLICE_BYTES: usize = 256 << 10;
/// How long one slice may take.
const SLICE: Duration = Duration::from_millis(2);

/// Records for a group.
pub(super) type Records = Vec<(Kind, Vec<u8>, Record)>;

/// A walk over everything that a segment may hold.
#[derive(Clone)]
pub(super) struct Carry {
    /// The segments that go.
    pub(super) through: u32,
    /// The first event behind them.
    pub(super) bound: EventId,
    /// Dead runs whose last fact was before this are left behind.
    dead_before: Option<Timestamp>,
    step: Step,
    /// Records written again so far.
    pub(super) carried: u64,
}

#[derive(Clone)]
enum Step {
    Runs(Option<RunId>),
    Kept(usize, Option<String>),
    Rules,
    Touched,
    Done,
}

/// What a slice has gathered.
struct Slice {
    begun: Instant,
    records: Records,
    bytes: usize,
    events: BTreeSet<EventId>,
}

impl Slice {
    fn add(&mut self, payload: Vec<u8>) -> io::Result<()> {
        let record = Record::carried(&payload)?;
        self.bytes += payload.len();
        self.records.push((Kind::Carried, payload, record));
        Ok(())
    }

    fn is_full(&self) -> bool {
        self.bytes >= SLICE_BYTES || self.begun.elapsed() >= SLICE
    }
}

impl Carry {
    pub(super) fn new(through: u32, bound: EventId, dead_before: Option<Timestamp>) -> Self {
        Self { through, bound, dead_before, step: Step::Runs(None), carried: 0 }
    }

    /// From the beginning: what a slice had gathered was not written.
    pub(super) fn anew(self) -> Self {
        Self { step: Step::Runs(None), ..self }
    }

    pub(super) fn is_done(&self) -> bool {
        matches!(self.step, Step::Done)
    }

    /// The next records. None, and not done, means that there was nothing in this part.
    pub(super) fn slice(&mut self, state: &State, touched: &mut BTreeSet<RunId>) -> io::Result<Records> {
        let mut slice = Slice { begun: Instant::now(), records: Vec::new(), bytes: 0, events: BTreeSet::new() };
        self.step = match self.step.clone() {
            Step::Runs(after) => {
                let (page, mut next) = state.runs_before(after, self.bound)?;
                for (id, base, head) in page {
                    self.run(state, id, base, &head, &mut slice)?;
                    if slice.is_full() {
                        next = Some(id);
                        break;
                    }
                }
                next.map_or(Step::Kept(0, None), |next| Step::Runs(Some(next)))
            }
            Step::Kept(space, after) => match Space::ALL.get(space) {
                None => Step::Rules,
                Some(named) => {
                    let (names, more) = kept::names(state, *named, "", after.as_deref())?;
                    let mut next = names.last().filter(|_| more).cloned();
                    for name in names {
                        self.kept(state, *named, &name, &mut slice)?;
                        if slice.is_full() {
                            next = Some(name);
                            break;
                        }
                    }
                    match next {
                        Some(next) => Step::Kept(space, Some(next)),
                        None => Step::Kept(space + 1, None),
                    }
                }
            },
            Step::Rules => {
                self.rules(state, &mut slice)?;
                Step::Touched
            }
            Step::Touched | Step::Done => {
                while let Some(id) = touched.pop_first() {
                    if let Some(row) = state.run_row(id)? {
                        self.run(state, id, row.base, &RunHead::of(&row.run), &mut slice)?;
                    }
                    if slice.is_full() {
                        break;
                    }
                }
                if touched.is_empty() { Step::Done } else { Step::Touched }
            }
        };
        self.carried += slice.records.len() as u64;
        Ok(slice.records)
    }

    fn goes(&self, at: Position) -> bool {
        at.segment <= self.through
    }

    /// A run that something is still to be done with, and its event.
    fn run(&self, state: &State, id: RunId, base: Position, head: &RunHead, slice: &mut Slice) -> io::Result<()> {
        if head.state.is_finished() || !state.is_needed(base) {
            return Ok(());
        }
        let run_goes = self.goes(base);
        let event_goes = !slice.events.contains(&id.event) && state.carried_at(id.event)?.is_none_or(|at| self.goes(at));
        if !run_goes && !event_goes {
            return Ok(());
        }
        let Some(row) = state.run_row(id)? else { return Ok(()) };
        if matches!(head.state, RunState::Dead | RunState::Ambiguous) && self.dead_before.is_some_and(|before| row.run.updated < before) {
            return Ok(());
        }
        if event_goes {
            slice.events.insert(id.event);
            match event_payload(state, id.event) {
                Ok(Some(payload)) => slice.add(payload)?,
                // A run without its event is dead when its turn comes, and says why.
                Ok(None) => {}
                Err(error) if error.kind() == io::ErrorKind::InvalidData => {
                    tracing::error!(%error, run = %id, "the event of a run cannot be read, and is left behind");
                }
                Err(error) => return Err(error),
            }
        }
        if run_goes {
            let mut run = recorded::whole(row, &|at| state.record(at))?;
            recorded::forget_older(&mut run);
            slice.add(carried::run_bytes(&run)?)?;
        }
        Ok(())
    }

    fn kept(&self, state: &State, space: Space, name: &str, slice: &mut Slice) -> io::Result<()> {
        let Some(row) = state.bytes_row(&RowKey::Kept(space, name.to_owned()))? else { return Ok(()) };
        let (at, value) = kept_row(&row)?;
        if self.goes(at) {
            slice.add(carried::kept_bytes(&Kept { space, key: name.to_owned(), value: Some(Bytes::copy_from_slice(value)) }))?;
        }
        Ok(())
    }

    /// Generations that runs need, the newest one, and the one in force where the first segment that stays begins: what was
    /// routed there names it.
    fn rules(&self, state: &State, slice: &mut Slice) -> io::Result<()> {
        let first = RowKey::Generation(0);
        let mut going = Vec::new();
        let mut after = std::ops::Bound::Included(first);
        loop {
            let (names, next) = state.names_between(after, &RowKey::Generation(u64::MAX))?;
            for name in names {
                if let RowKey::Generation(generation) = name
                    && let Some(at) = state.generation_at(generation)?.filter(|at| self.goes(*at))
                {
                    going.push((generation, at));
                }
            }
            match next {
                Some(next) => after = std::ops::Bound::Excluded(next),
                None => break,
            }
        }
        let in_force = going.last().map(|(generation, _)| *generation);
        for (generation, at) in going {
            if Some(generation) == in_force || state.timers.needs(generation) {
                let (kind, payload) = state.record(at)?;
                let rules = match kind {
                    Kind::Carried => match Carried::decode(&payload)? {
                        Carried::Rules(rules) => rules,
                        _ => continue,
                    },
                    _ => &payload,
                };
                // It is checked that it is one.
                codec::rules(rules)?;
                slice.add(carried::rules_bytes(rules))?;
            }
        }
        Ok(())
    }
}

/// The carried record of an event: from its segment, or from where it was carried to before.
fn event_payload(state: &State, id: EventId) -> io::Result<Option<Vec<u8>>> {
    let folded = state.fold_row(id)?.map(|row| row.folded).unwrap_or_default();
    if let Some((event, body)) = events::payloads(state, id)? {
        return Ok(Some(carried::event_bytes(&event, &body, &folded)?));
    }
    let Some(at) = state.carried_at(id)? else { return Ok(None) };
    let (_, payload) = state.record(at)?;
    match Carried::decode(&payload)? {
        Carried::Event { event, body, .. } => Ok(Some(carried::event_again(event, body, &folded)?)),
        _ => Ok(None),
    }
}
