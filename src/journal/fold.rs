//! What records mean: state rows from records.
//!
//! Pure: the same records in the same order give the same rows, in a daemon that runs, in one that rebuilds its
//! checkpoints, and in a reader that holds everything in memory. A run's row carries the position of its last
//! record and a fold row that of its last copy, so folding a record again changes nothing. Knows no file and no clock.

use std::io;

use crate::event::{EventId, Folded, FoldedFrom, RunId};
use crate::journal::awaits;
use crate::journal::carried::{Carried, Dropped};
use crate::journal::codec::{self, EventRecord, FoldRecord, Undecodable};
use crate::journal::format::{Frame, Kind, Position};
use crate::journal::hole::HoleRecord;
use crate::journal::order::{self, Ordering, Place};
use crate::journal::recorded;
use crate::journal::values;
use crate::journal::words::{Kept, Plan};
use crate::runs::{AwaitedKey, Element, Fact, OrderKey, Run, RunState};
use crate::time::Timestamp;

/// Step values longer than this (as JSON) stay in the journal; the row refers to them.
const INLINE_VALUE_MAX: usize = 1024;

/// How many places of copies are told apart per event; further ones are only counted.
const FOLDED_FROM_MAX: usize = 50;

/// A record as far as state depends on it.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Record {
    /// An event came in; it may tell that something is over.
    Event { id: EventId, received: Timestamp, routable: bool, ended: Option<AwaitedKey> },
    /// A copy of one.
    Fold(FoldRecord),
    /// The router decided.
    Plan(Plan),
    /// Something happened to a run.
    Fact { run: RunId, fact: Fact },
    /// A rule generation was loaded.
    Rules { generation: u64, hash: [u8; 32] },
    /// A value was kept or forgotten.
    Kept(Kept),
    /// An event was written again, with its copies.
    CarriedEvent { id: EventId, folded: Folded },
    /// A run was written again.
    CarriedRun(Box<Run>),
    /// Segments are not needed any more.
    Dropped(Dropped),
    /// Records were lost.
    Hole(HoleRecord),
}

impl Record {
    /// `None` for frames that change no state.
    pub(super) fn decode(frame: Frame<'_>) -> Result<Option<Self>, Undecodable> {
        Ok(Some(match frame.kind {
            Kind::Group | Kind::Seal | Kind::Body => return Ok(None),
            Kind::Event => {
                let event = EventRecord::decode(frame.payload)?;
                let ended = AwaitedKey::ended_by(event.event_type, event.key);
                Self::Event { id: event.id, received: event.received, routable: event.routable(), ended }
            }
            Kind::Fold => Self::Fold(FoldRecord::decode(frame.payload)?.0),
            Kind::Plan => Self::Plan(codec::plan(frame.payload)?),
            Kind::Fact => {
                let (run, fact) = codec::fact(frame.payload)?;
                Self::Fact { run, fact }
            }
            Kind::Rules => {
                let (generation, hash, _) = codec::rules(frame.payload)?;
                Self::Rules { generation, hash }
            }
            Kind::Kept => Self::Kept(codec::kept(frame.payload)?),
            Kind::Carried => Self::carried(frame.payload)?,
            Kind::Dropped => Self::Dropped(Dropped::decode(frame.payload)?),
            Kind::Hole => Self::Hole(HoleRecord::decode(frame.payload)),
        }))
    }

    /// What a carried record means.
    pub(super) fn carried(payload: &[u8]) -> Result<Self, Undecodable> {
        Ok(match Carried::decode(payload)? {
            Carried::Event { event, folded, .. } => Self::CarriedEvent { id: EventRecord::decode(event)?.id, folded },
            Carried::Run(run) => Self::CarriedRun(run),
            Carried::Kept(kept) => Self::Kept(kept),
            Carried::Rules(rules) => {
                let (generation, hash, _) = codec::rules(rules)?;
                Self::Rules { generation, hash }
            }
        })
    }
}

/// Where everything stands, besides the rows.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Heads {
    /// The newest event.
    pub(super) newest: EventId,
    /// The newest event that the router has seen.
    pub(super) routed: EventId,
    /// Events in the journal.
    pub(super) events: u64,
    /// The oldest one; 0 when there is none. Copies of older ones that are not carried are not counted any more.
    pub(super) oldest: EventId,
    /// The first segment that is needed; 0 while none was dropped.
    pub(super) first: u32,
    /// The newest rule generation; 0 when there is none.
    pub(super) generation: u64,
    /// The hash of its texts.
    pub(super) rules_hash: [u8; 32],
}

impl Default for Heads {
    fn default() -> Self {
        Self { newest: EventId(0), routed: EventId(0), events: 0, oldest: EventId(0), first: 0, generation: 0, rules_hash: [0; 32] }
    }
}

/// A run as the checkpoints keep it: long values are left in the journal.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct RunRow {
    /// The run; `Null` where `values` says that a step's value is in the journal.
    pub(super) run: Run,
    /// Its last record.
    pub(super) at: Position,
    /// The record that it begins with, planned or carried: it leaves with the segment of this one.
    pub(super) base: Position,
    /// Steps whose value is in a `StepDone` record, or in the carried one.
    pub(super) values: Vec<(u32, Position)>,
    /// By the names of [`values`] and the numbers of attempts: those whose headers and bodies are in an
    /// `Attempted` record, or in the carried one.
    pub(super) recorded: Vec<(u32, u32, Position)>,
    /// The `Settled` or carried record that holds `would`.
    pub(super) would: Option<Position>,
}

/// Copies of an event.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct FoldRow {
    pub(super) folded: Folded,
    /// The last record.
    pub(super) at: Position,
}

/// Where rows are while records are folded.
pub(super) trait Rows {
    /// The numbers.
    fn heads(&mut self) -> &mut Heads;
    /// Lets `change` make, change or leave the row of a run.
    fn run(&mut self, id: RunId, change: &mut dyn FnMut(&mut Option<RunRow>)) -> io::Result<()>;
    /// Where a run stands; `None` when there is none, or it is not needed any more.
    fn state_of(&self, id: RunId) -> io::Result<Option<RunState>>;
    /// Which run has the turn of a key.
    fn holder(&self, key: OrderKey) -> io::Result<Option<RunId>>;
    /// A run has the turn of a key now, or none.
    fn hold(&mut self, key: OrderKey, holder: Option<RunId>);
    /// The run that waits longest for the turn of a key.
    fn first_waiting(&self, key: OrderKey) -> io::Result<Option<Place>>;
    /// A run waits for the turn of a key, or does not any more.
    fn wait(&mut self, key: OrderKey, place: Place, waits: bool);
    /// Which runs behind `after` may await something, ascending; some of them, none when there are no more.
    fn awaiting(&self, key: AwaitedKey, after: Option<RunId>) -> io::Result<Vec<RunId>>;
    /// The row of a run changes by a record that is another one's.
    fn beside(&mut self, id: RunId);
    /// Lets `change` make or change the row of an event's copies.
    fn folded(&mut self, id: EventId, change: &mut dyn FnMut(&mut Option<FoldRow>)) -> io::Result<()>;
    /// Where the texts of a generation are.
    fn generation(&mut self, generation: u64, at: Position);
    /// The last value under a name.
    fn kept(&mut self, kept: &Kept, at: Position);
    /// Where an event was written again.
    fn carried(&mut self, id: EventId, at: Position);
    /// Whether an event was written again, and is needed still.
    fn is_carried(&self, id: EventId) -> io::Result<bool>;
    /// Segments are not needed any more; the heads say so already.
    fn dropped(&mut self, dropped: &Dropped);
}

/// Folds one record. Records are folded in the order of their positions.
pub(super) fn fold(rows: &mut dyn Rows, at: Position, record: &Record) -> io::Result<()> {
    match record {
        Record::Event { id, received, ended, .. } => {
            let heads = rows.heads();
            heads.newest = heads.newest.max(*id);
            heads.events += 1;
            if heads.oldest == EventId(0) {
                heads.oldest = *id;
            }
            if let Some(key) = ended {
                awaits::wake(rows, *key, *received, at)?;
            }
        }
        Record::Fold(fold) => {
            let oldest = rows.heads().oldest;
            if (oldest != EventId(0) && fold.original >= oldest) || rows.is_carried(fold.original)? {
                rows.folded(fold.original, &mut |row| fold_copy(row, at, fold))?;
            }
        }
        Record::Plan(plan) => {
            let heads = rows.heads();
            heads.routed = heads.routed.max(plan.through);
            for planned in &plan.runs {
                let mut ordering = None;
                rows.run(planned.id, &mut |row| {
                    let row = row.get_or_insert_with(|| {
                        let turn_since = planned.order.as_ref().map_or(0, |_| at.packed());
                        let run = Run { turn_since, ..Run::new(planned.clone()) };
                        RunRow { run, at, base: at, values: Vec::new(), recorded: Vec::new(), would: None }
                    });
                    ordering = Ordering::of(&row.run);
                })?;
                ordering.map_or(Ok(()), |run| order::changed(rows, run))?;
            }
        }
        Record::Fact { run, fact } => {
            let (mut before, mut after) = (None, None);
            rows.run(*run, &mut |row| {
                let Some(row) = row.as_mut() else { return };
                before = Ordering::of(&row.run);
                if row.at < at {
                    row.at = at;
                    apply(row, at, fact);
                    if before.is_some_and(|run| !run.is_open()) && !row.run.state.is_settled() {
                        row.run.turn_since = at.packed();
                    }
                }
                after = Ordering::of(&row.run);
            })?;
            match (before, after) {
                (Some(before), Some(after)) if !before.is_open() || !after.is_open() => order::changed(rows, after)?,
                // Only who has the turn is worked on.
                (Some(before), Some(after)) if before.is_blocked() && !after.is_blocked() => order::stands(rows, after)?,
                _ => {}
            }
        }
        Record::Rules { generation, hash } => {
            rows.generation(*generation, at);
            let heads = rows.heads();
            if *generation > heads.generation {
                heads.generation = *generation;
                heads.rules_hash = *hash;
            }
        }
        Record::Kept(kept) => rows.kept(kept, at),
        Record::CarriedEvent { id, folded } => {
            rows.carried(*id, at);
            if *folded != Folded::default() {
                rows.folded(*id, &mut |row| {
                    if row.as_ref().is_none_or(|row| row.at < at) {
                        *row = Some(FoldRow { folded: folded.clone(), at });
                    }
                })?;
            }
        }
        Record::CarriedRun(run) => {
            let mut ordering = None;
            rows.run(run.id(), &mut |row| {
                if row.as_ref().is_none_or(|row| row.at < at) {
                    *row = Some(carried_row(Run::clone(run), at));
                }
                ordering = row.as_ref().and_then(|row| Ordering::of(&row.run));
            })?;
            ordering.map_or(Ok(()), |run| order::stands(rows, run))?;
        }
        Record::Dropped(dropped) => {
            let heads = rows.heads();
            heads.first = heads.first.max(dropped.through.saturating_add(1));
            // What an earlier record found may have been dropped after it, and not be here: only what was seen counts.
            heads.oldest =
                if heads.oldest == EventId(0) || dropped.oldest == EventId(0) { EventId(0) } else { heads.oldest.max(dropped.oldest) };
            heads.newest = heads.newest.max(dropped.newest);
            heads.routed = heads.routed.max(dropped.routed);
            heads.events = dropped.events;
            rows.dropped(dropped);
        }
        Record::Hole(hole) => rows.kept(&hole.kept(at), at),
    }
    Ok(())
}

/// Whether nothing more happens to an element of a list.
fn is_done(run: &Run, step: usize, index: u32) -> bool {
    let list = run.steps.get(step).and_then(|view| view.list.as_ref());
    list.is_some_and(|list| matches!(list.elements.get(&index), Some(Element::Done(_))))
}

fn apply(row: &mut RunRow, at: Position, fact: &Fact) {
    row.run.apply(fact);
    recorded::note(row, at, fact);
    match fact {
        Fact::StepDone { step, value, .. } if is_long(value) => {
            if let Some(view) = row.run.steps.get_mut(*step).filter(|view| view.value == *value) {
                view.value = serde_json::Value::Null;
                row.values.retain(|(known, _)| *known as usize != *step);
                row.values.push((*step as u32, at));
            }
        }
        // Its value says nothing: one that is null is not told from none in a record.
        Fact::Element { step, index, .. } if is_done(&row.run, *step, *index) => {
            let lane = values::lane_key(*step, *index);
            row.values.retain(|(known, _)| known & values::LANE_MASK != lane);
            row.recorded.retain(|(known, ..)| known & values::LANE_MASK != lane);
        }
        Fact::Element { step, index, fact, .. } => set_aside(row, at, *step, *index, fact),
        Fact::InGiveUp { fact } => set_aside(row, at, values::GIVE_UP, 0, fact),
        Fact::Settled { would, .. } if !would.is_empty() && row.run.would == *would && would.iter().any(is_long) => {
            row.run.would = Vec::new();
            row.would = Some(at);
        }
        _ => {}
    }
}

/// A long value of a step inside an element, or of `on_give_up`, stays in the journal too.
fn set_aside(row: &mut RunRow, at: Position, step: usize, index: u32, fact: &Fact) {
    if let Fact::StepDone { step: inner, value, .. } = fact
        && is_long(value)
        && let Some(view) = values::inner_step(&mut row.run, step, index, *inner).filter(|view| view.value == *value)
    {
        view.value = serde_json::Value::Null;
        let key = values::inner_key(step, index, *inner);
        row.values.retain(|(known, _)| *known != key);
        row.values.push((key, at));
    }
}

/// The row of a run whose record at `at` holds all of it.
fn carried_row(mut run: Run, at: Position) -> RunRow {
    let recorded = recorded::taken(&mut run, at);
    let mut kept = Vec::new();
    for (key, view) in values::all(&mut run) {
        if is_long(&view.value) {
            view.value = serde_json::Value::Null;
            kept.push((key, at));
        }
    }
    let would = run.would.iter().any(is_long).then(|| {
        run.would = Vec::new();
        at
    });
    RunRow { run, at, base: at, values: kept, recorded, would }
}

fn is_long(value: &serde_json::Value) -> bool {
    /// Counts what would be written, without keeping it.
    struct Count(usize);
    impl io::Write for Count {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0 += bytes.len();
            Ok(bytes.len())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let mut count = Count(0);
    serde_json::to_writer(&mut count, value).is_err() || count.0 > INLINE_VALUE_MAX
}

/// Counts a copy.
pub(super) fn fold_copy(row: &mut Option<FoldRow>, at: Position, fold: &FoldRecord) {
    let row = row.get_or_insert_with(|| FoldRow { folded: Folded::default(), at: Position::default() });
    if row.at >= at {
        return;
    }
    row.at = at;
    row.folded.count += 1;
    let from = &mut row.folded.from;
    if let Some(known) = from.iter_mut().find(|f| f.source == fold.source && f.via == fold.via && f.folder == fold.folder) {
        known.count += 1;
        known.last = fold.received;
    } else if from.len() < FOLDED_FROM_MAX {
        from.push(FoldedFrom { source: fold.source.clone(), via: fold.via, folder: fold.folder, count: 1, last: fold.received });
    }
}
