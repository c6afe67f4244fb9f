//! What records mean: state rows from records.
//!
//! Pure: the same records in the same order give the same rows, in a daemon that runs, in one that rebuilds its
//! checkpoints, and in a reader that holds everything in memory. A run's row carries the position of its last
//! record and a fold row that of its last copy, so folding a record again changes nothing. Knows no file and no clock.

use std::io;

use crate::event::{EventId, Folded, FoldedFrom, RunId};
use crate::journal::codec::{self, EventRecord, FoldRecord, Undecodable};
use crate::journal::format::{Frame, Kind, Position};
use crate::journal::words::{Kept, Plan};
use crate::runs::{Fact, Run};
use crate::time::Timestamp;

/// Step values longer than this (as JSON) stay in the journal; the row refers to them.
const INLINE_VALUE_MAX: usize = 1024;

/// How many places of copies are told apart per event; further ones are only counted.
const FOLDED_FROM_MAX: usize = 50;

/// A record as far as state depends on it.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Record {
    /// An event came in.
    Event { id: EventId, received: Timestamp, routable: bool },
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
}

impl Record {
    /// `None` for frames that change no state.
    pub(super) fn decode(frame: Frame<'_>) -> Result<Option<Self>, Undecodable> {
        Ok(Some(match frame.kind {
            Kind::Group | Kind::Seal | Kind::Body => return Ok(None),
            Kind::Event => {
                let event = EventRecord::decode(frame.payload)?;
                Self::Event { id: event.id, received: event.received, routable: event.routable() }
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
        }))
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
    /// The newest rule generation; 0 when there is none.
    pub(super) generation: u64,
    /// The hash of its texts.
    pub(super) rules_hash: [u8; 32],
}

impl Default for Heads {
    fn default() -> Self {
        Self { newest: EventId(0), routed: EventId(0), events: 0, generation: 0, rules_hash: [0; 32] }
    }
}

/// A run as the checkpoints keep it: long values are left in the journal.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct RunRow {
    /// The run; `Null` where `values` says that a step's value is in the journal.
    pub(super) run: Run,
    /// Its last record.
    pub(super) at: Position,
    /// Steps whose value is in a `StepDone` record.
    pub(super) values: Vec<(u32, Position)>,
    /// The `Settled` record that holds `would`.
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
    /// Lets `change` make or change the row of an event's copies.
    fn folded(&mut self, id: EventId, change: &mut dyn FnMut(&mut Option<FoldRow>)) -> io::Result<()>;
    /// Where the texts of a generation are.
    fn generation(&mut self, generation: u64, at: Position);
    /// The last value under a name.
    fn kept(&mut self, kept: &Kept);
}

/// Folds one record. Records are folded in the order of their positions.
pub(super) fn fold(rows: &mut dyn Rows, at: Position, record: &Record) -> io::Result<()> {
    match record {
        Record::Event { id, .. } => {
            let heads = rows.heads();
            heads.newest = heads.newest.max(*id);
            heads.events += 1;
        }
        Record::Fold(fold) => rows.folded(fold.original, &mut |row| fold_copy(row, at, fold))?,
        Record::Plan(plan) => {
            let heads = rows.heads();
            heads.routed = heads.routed.max(plan.through);
            for planned in &plan.runs {
                rows.run(planned.id, &mut |row| {
                    row.get_or_insert_with(|| RunRow { run: Run::new(planned.clone()), at, values: Vec::new(), would: None });
                })?;
            }
        }
        Record::Fact { run, fact } => rows.run(*run, &mut |row| {
            if let Some(row) = row.as_mut().filter(|row| row.at < at) {
                row.at = at;
                apply(row, at, fact);
            }
        })?,
        Record::Rules { generation, hash } => {
            rows.generation(*generation, at);
            let heads = rows.heads();
            if *generation > heads.generation {
                heads.generation = *generation;
                heads.rules_hash = *hash;
            }
        }
        Record::Kept(kept) => rows.kept(kept),
    }
    Ok(())
}

fn apply(row: &mut RunRow, at: Position, fact: &Fact) {
    row.run.apply(fact);
    match fact {
        Fact::StepDone { step, value, .. } if is_long(value) => {
            if let Some(view) = row.run.steps.get_mut(*step).filter(|view| view.value == *value) {
                view.value = serde_json::Value::Null;
                row.values.retain(|(known, _)| *known as usize != *step);
                row.values.push((*step as u32, at));
            }
        }
        Fact::Settled { would, .. } if !would.is_empty() && row.run.would == *would && would.iter().any(is_long) => {
            row.run.would = Vec::new();
            row.would = Some(at);
        }
        _ => {}
    }
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
