//! Reading a state folder without the daemon: segments are folded in memory, no lock is taken, sled is not touched.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::event::{Event, EventId, Folded, RunId};
use crate::journal::carried::Dropped;
use crate::journal::codec::{FoldRecord, Undecodable};
use crate::journal::events::{self, OpenFile, Segments};
use crate::journal::files::{open_plain, read_plain};
use crate::journal::fold::{FoldRow, Heads, Record, Rows, RunRow, fold, fold_copy};
use crate::journal::format::{HeadError, Kind, Position, SegmentHead};
use crate::journal::index::{Block, SegmentIndex, Summary};
use crate::journal::order::Place;
use crate::journal::recorded;
use crate::journal::repair;
use crate::journal::rows::RunHead;
use crate::journal::runs;
use crate::journal::scan::{Gap, damaged, journal_dir, read_frame, read_head, segment_numbers, segment_path, verified, walk};
use crate::journal::words::{Damage, EventQuery, Kept, Page, RunQuery};
use crate::runs::{AwaitedKey, OrderKey, Run, RunState, WOKEN_MAX};

/// Reads the segments of a state folder without the daemon: no lock, no sled, no secrets. What does not verify is left
/// out and can be asked for.
#[derive(Debug)]
pub struct Reader {
    pub(super) journal: PathBuf,
    damage: RefCell<BTreeMap<(u32, u64), Damage>>,
}

impl Reader {
    /// For the state folder `dir`.
    #[must_use]
    pub fn new(dir: &Path) -> Self {
        Self { journal: journal_dir(dir), damage: RefCell::default() }
    }

    /// The damage that was met so far, in order.
    #[must_use]
    pub fn damage(&self) -> Vec<Damage> {
        self.damage.borrow().values().cloned().collect()
    }

    /// As [`super::Journal::events`].
    pub fn events(&self, query: &EventQuery) -> io::Result<Page<Event, EventId>> {
        events::list(&Scanned::new(self)?, query, events::weighed)
    }

    /// As [`super::Journal::event`].
    pub fn event(&self, id: EventId) -> io::Result<Option<Event>> {
        events::by_id(&Scanned::new(self)?, id)
    }

    /// As [`super::Journal::runs`].
    pub fn runs(&self, query: &RunQuery) -> io::Result<Page<Run, RunId>> {
        let rows = self.fold()?;
        let newest_first = rows.runs.iter().rev().map(|(id, row)| Ok((*id, RunHead::of(&row.run))));
        let row = |id| Ok(rows.runs.get(&id).filter(|row| self.is_there(row.base.segment)).cloned());
        runs::list(query, newest_first, row, &|at| self.record(at), |run| (run, 0))
    }

    /// As [`super::Journal::run`].
    pub fn run(&self, id: RunId) -> io::Result<Option<Run>> {
        self.fold()?.runs.remove(&id).map_or(Ok(None), |row| self.whole(row))
    }

    /// A run with what its records hold, unless their segment was dropped meanwhile.
    pub(super) fn whole(&self, row: RunRow) -> io::Result<Option<Run>> {
        let base = row.base.segment;
        match recorded::whole(row, &|at| self.record(at)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound && !self.is_there(base) => Ok(None),
            whole => whole.map(Some),
        }
    }

    /// Whether a segment is there; a daemon may run, and drop it.
    fn is_there(&self, number: u32) -> bool {
        segment_path(&self.journal, number).exists()
    }

    /// Runs of the whole journal.
    pub(super) fn fold(&self) -> io::Result<RunRows> {
        let mut rows = RunRows::default();
        for number in self.numbers()? {
            let Some((bytes, head)) = load_if_there(&self.journal, number)? else { continue };
            let walked = walk(&bytes, head, |at, frame| {
                let matters = matches!(frame.kind, Kind::Plan | Kind::Fact | Kind::Carried | Kind::Dropped)
                    || (frame.kind == Kind::Event && !rows.awaiting.is_empty());
                if matters && let Some(record) = self.sense(at, Record::decode(frame)).flatten() {
                    fold(&mut rows, at, &record)?;
                }
                Ok::<_, io::Error>(())
            })?;
            self.note(number, &walked.gaps);
        }
        Ok(rows)
    }

    /// The segments that can be read. One that is missing between others is damage, and so is one without a head.
    pub(super) fn numbers(&self) -> io::Result<Vec<u32>> {
        let mut numbers = segment_numbers(&self.journal)?;
        let mut damage = self.damage.borrow_mut();
        for pair in numbers.windows(2).filter(|pair| pair[1] != pair[0] + 1) {
            damage.insert((pair[0] + 1, 0), Damage::missing(&segment_path(&self.journal, pair[0] + 1)));
        }
        let mut unreadable = None;
        numbers.retain(|number| {
            let path = segment_path(&self.journal, *number);
            match read_head(&path) {
                Ok(Ok(_)) => return true,
                Ok(Err(HeadError::Unreadable)) => {
                    damage.insert((*number, 0), Damage::all_of(&path));
                }
                Ok(Err(error)) => unreadable = Some(head_error(*number, error)),
                // Dropped meanwhile: a daemon may run.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => unreadable = Some(error),
            }
            false
        });
        unreadable.map_or(Ok(numbers), Err)
    }

    /// Bytes of a segment's file.
    pub(super) fn size(&self, number: u32) -> u64 {
        std::fs::metadata(segment_path(&self.journal, number)).map_or(0, |file| file.len())
    }

    /// A segment's bytes, unless it was dropped meanwhile.
    pub(super) fn load(&self, number: u32) -> io::Result<Option<(Vec<u8>, SegmentHead)>> {
        load_if_there(&self.journal, number)
    }

    pub(super) fn note(&self, number: u32, gaps: &[Gap]) {
        let path = segment_path(&self.journal, number);
        let found = gaps.iter().map(|gap| ((number, gap.offset.into()), repair::damage(&path, gap)));
        self.damage.borrow_mut().extend(found);
    }

    /// What a record says; one that makes no sense is damage.
    fn sense<T>(&self, at: Position, decoded: Result<T, Undecodable>) -> Option<T> {
        decoded.inspect_err(|_| self.senseless(at)).ok()
    }

    fn senseless(&self, at: Position) {
        let damage = Damage::senseless(&segment_path(&self.journal, at.segment), at.offset);
        self.damage.borrow_mut().insert((at.segment, at.offset.into()), damage);
    }

    pub(super) fn record(&self, at: Position) -> io::Result<(Kind, Vec<u8>)> {
        let path = segment_path(&self.journal, at.segment);
        let head = read_head(&path)?.map_err(|error| head_error(at.segment, error))?;
        let bytes = read_frame(&open_plain(&path)?, at.offset)?;
        let found = verified(&bytes, head.seed(), at)?;
        Ok((found.kind, found.payload.to_vec()))
    }
}

fn load(journal: &Path, number: u32) -> io::Result<(Vec<u8>, SegmentHead)> {
    let bytes = read_plain(&segment_path(journal, number))?;
    let head = SegmentHead::from_bytes(&bytes).map_err(|error| head_error(number, error))?;
    Ok((bytes, head))
}

/// The same; `None` when retention removed the segment since it was listed.
pub(super) fn load_if_there(journal: &Path, number: u32) -> io::Result<Option<(Vec<u8>, SegmentHead)>> {
    match load(journal, number) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        loaded => loaded.map(Some),
    }
}

fn head_error(number: u32, error: HeadError) -> io::Error {
    match error {
        HeadError::Newer(version) => io::Error::new(
            io::ErrorKind::Unsupported,
            format!("segment {number} has format {version}, which only a newer version of tripline reads"),
        ),
        HeadError::Unreadable => damaged(Position { segment: number, offset: 0 }),
    }
}

/// Runs in memory; everything else is left out.
#[derive(Default)]
pub(super) struct RunRows {
    pub(super) runs: BTreeMap<RunId, RunRow>,
    holders: BTreeMap<OrderKey, RunId>,
    waiting: BTreeSet<(OrderKey, Place)>,
    awaiting: BTreeSet<(AwaitedKey, RunId)>,
    heads: Heads,
}

impl Rows for RunRows {
    fn heads(&mut self) -> &mut Heads {
        &mut self.heads
    }

    fn run(&mut self, id: RunId, change: &mut dyn FnMut(&mut Option<RunRow>)) -> io::Result<()> {
        let mut row = self.runs.remove(&id);
        let awaited = |row: &Option<RunRow>| row.as_ref().map_or_else(Vec::new, |row| RunHead::of(&row.run).awaited);
        for key in awaited(&row) {
            self.awaiting.remove(&(key, id));
        }
        change(&mut row);
        self.awaiting.extend(awaited(&row).into_iter().map(|key| (key, id)));
        self.runs.extend(row.map(|row| (id, row)));
        Ok(())
    }

    fn state_of(&self, id: RunId) -> io::Result<Option<RunState>> {
        Ok(self.runs.get(&id).map(|row| row.run.state))
    }

    fn holder(&self, key: OrderKey) -> io::Result<Option<RunId>> {
        Ok(self.holders.get(&key).copied())
    }

    fn hold(&mut self, key: OrderKey, holder: Option<RunId>) {
        match holder {
            Some(id) => drop(self.holders.insert(key, id)),
            None => drop(self.holders.remove(&key)),
        }
    }

    fn first_waiting(&self, key: OrderKey) -> io::Result<Option<Place>> {
        let first = (key, (0, RunId::from_bytes(&[0; 26])));
        Ok(self.waiting.range(first..).next().filter(|(of, _)| *of == key).map(|(_, place)| *place))
    }

    fn wait(&mut self, key: OrderKey, place: Place, waits: bool) {
        if waits {
            self.waiting.insert((key, place));
        } else {
            self.waiting.remove(&(key, place));
        }
    }

    fn awaiting(&self, key: AwaitedKey, after: Option<RunId>) -> io::Result<Vec<RunId>> {
        let first = (key, after.unwrap_or(RunId::from_bytes(&[0; 26])));
        let behind = self.awaiting.range(first..).take_while(|(of, _)| *of == key).filter(|(_, id)| Some(*id) != after);
        Ok(behind.take(WOKEN_MAX).map(|(_, id)| *id).collect())
    }

    fn beside(&mut self, _: RunId) {}

    fn folded(&mut self, _: EventId, _: &mut dyn FnMut(&mut Option<FoldRow>)) -> io::Result<()> {
        Ok(())
    }

    fn generation(&mut self, _: u64, _: Position) {}

    fn kept(&mut self, _: &Kept, _: Position) {}

    fn carried(&mut self, _: EventId, _: Position) {}

    fn is_carried(&self, _: EventId) -> io::Result<bool> {
        Ok(false)
    }

    fn dropped(&mut self, dropped: &Dropped) {
        self.runs.retain(|_, row| row.base.segment > dropped.through);
        self.awaiting.retain(|(_, id)| self.runs.contains_key(id));
    }
}

/// A segment that was read. Its file is not held: there may be more segments than a process may open.
struct ScannedSegment {
    index: SegmentIndex,
    seed: u32,
}

/// Segments that are read when they are first asked for. Lists ask for the newest first, so the copies of an event are
/// known before the event is: they are in its segment or in newer ones.
pub(super) struct Scanned<'a> {
    reader: &'a Reader,
    numbers: Vec<u32>,
    segments: RefCell<BTreeMap<u32, ScannedSegment>>,
    folds: RefCell<BTreeMap<EventId, Vec<(Position, FoldRecord)>>>,
    /// Events that were written again, with the copies they had by then.
    carried: RefCell<BTreeMap<EventId, (Position, Folded)>>,
}

impl<'a> Scanned<'a> {
    pub(super) fn new(reader: &'a Reader) -> io::Result<Self> {
        let numbers = reader.numbers()?;
        Ok(Self { reader, numbers, segments: RefCell::default(), folds: RefCell::default(), carried: RefCell::default() })
    }

    fn scan(&self, number: u32) -> io::Result<()> {
        if self.segments.borrow().contains_key(&number) {
            return Ok(());
        }
        let Some((bytes, head)) = load_if_there(&self.reader.journal, number)? else { return Ok(()) };
        let mut index = SegmentIndex::new(number);
        let mut folds = self.folds.borrow_mut();
        let end = walk(&bytes, head, |at, frame| {
            let _ = self.reader.sense(at, index.frame(at.offset, frame));
            if frame.kind == Kind::Fold
                && let Some((fold, ..)) = self.reader.sense(at, FoldRecord::decode(frame.payload))
            {
                folds.entry(fold.original).or_default().push((at, fold));
            }
            if frame.kind == Kind::Carried
                && let Some(Record::CarriedEvent { id, folded }) = self.reader.sense(at, Record::carried(frame.payload))
            {
                let mut carried = self.carried.borrow_mut();
                if carried.get(&id).is_none_or(|(known, _)| *known < at) {
                    carried.insert(id, (at, folded));
                }
            }
            Ok::<_, io::Error>(())
        })?;
        index.summary.end = end.end;
        self.reader.note(number, &end.gaps);
        self.segments.borrow_mut().insert(number, ScannedSegment { index, seed: head.seed() });
        Ok(())
    }
}

impl Segments for Scanned<'_> {
    fn numbers(&self) -> Vec<u32> {
        self.numbers.iter().copied().filter(|number| self.reader.is_there(*number)).collect()
    }

    fn summary(&self, number: u32) -> Option<Summary> {
        self.segments.borrow().get(&number).map(|segment| segment.index.summary)
    }

    fn blocks(&self, number: u32) -> io::Result<Vec<Block>> {
        self.scan(number)?;
        Ok(self.segments.borrow().get(&number).map(|segment| segment.index.blocks.clone()).unwrap_or_default())
    }

    fn open(&self, number: u32) -> io::Result<OpenFile> {
        self.scan(number)?;
        let segments = self.segments.borrow();
        let segment = segments.get(&number).ok_or(io::ErrorKind::NotFound)?;
        let file = Arc::new(open_plain(&segment_path(&self.reader.journal, number))?);
        Ok(OpenFile { file, number, seed: segment.seed, end: segment.index.summary.end })
    }

    fn carried(&self, id: EventId) -> io::Result<Option<Position>> {
        for number in &self.numbers {
            self.scan(*number)?;
        }
        Ok(self.carried.borrow().get(&id).map(|(at, _)| *at))
    }

    fn folded(&self, id: EventId) -> io::Result<Folded> {
        let mut folds = self.folds.borrow().get(&id).cloned().unwrap_or_default();
        folds.sort_by_key(|(at, _)| *at);
        let carried = self.carried.borrow().get(&id).cloned();
        let mut row = carried.map(|(at, folded)| FoldRow { folded, at });
        for (at, fold) in folds {
            fold_copy(&mut row, at, &fold);
        }
        Ok(row.map(|row| row.folded).unwrap_or_default())
    }
}
