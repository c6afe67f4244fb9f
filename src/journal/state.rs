//! The state of an open journal as readers see it: rows that are not yet in the checkpoints lie over those that are.
//!
//! Changed by the writer thread only, after each sync; read by everybody under a lock that is held for moments.

use std::collections::BTreeMap;
use std::fs::File;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use crate::event::{EventId, Folded, RuleHash, RunId};
use crate::journal::awaits::Awaits;
use crate::journal::carried::Dropped;
use crate::journal::checkpoints::{self, Checkpoints};
use crate::journal::events::{OpenFile, Segments};
use crate::journal::fold::{FoldRow, Heads, Rows, RunRow};
use crate::journal::format::{Kind, Position, SEGMENT_HEAD, SegmentHead};
use crate::journal::hot::{Backlog, Recent};
use crate::journal::index::{self, Block, SegmentIndex, Summary};
use crate::journal::order::Place;
use crate::journal::rows::{Row, RowKey, RunHead, Standing, fold_row, kept_bytes, run_head, run_of_key, run_row};
use crate::journal::runs::if_whole;
use crate::journal::scan::{damaged, open_segment, read_frame, verified};
use crate::journal::timers::Timers;
use crate::journal::turns;
use crate::journal::words::Kept;
use crate::runs::{AwaitedKey, OrderKey, RunState};
use crate::time::Timestamp;

/// Stored parts that are asked of sled at once.
const PAGE_ROWS: usize = 256;

/// Runs with their heads, newest first, and where the next page begins.
pub(super) type RunHeads = (Vec<(RunId, RunHead)>, Option<RunId>);

/// Rows that change together, by key.
pub(super) type RowMap = BTreeMap<RowKey, Row>;

/// The state.
pub(super) struct State {
    pub(super) journal: PathBuf,
    /// What has been folded.
    pub(super) standing: Standing,
    /// Rows changed since the last drain began.
    pub(super) dirty: RowMap,
    /// Rows that are being written to the checkpoints.
    pub(super) draining: Arc<RowMap>,
    /// `None` once they failed: `dirty` then holds everything.
    pub(super) checkpoints: Option<Arc<Checkpoints>>,
    pub(super) timers: Timers,
    pub(super) awaits: Awaits,
    pub(super) recent: Recent,
    pub(super) backlog: Backlog,
    /// Sealed segments, ascending.
    pub(super) sealed: Vec<Summary>,
    /// The open segment.
    pub(super) open: SegmentIndex,
    pub(super) open_head: SegmentHead,
    pub(super) open_file: Option<Arc<File>>,
    pub(super) dedup_since: Option<Timestamp>,
    /// Places where records were lost; changes only while the journal is opened.
    pub(super) losses: u64,
    /// Nothing is removed by age: the clock is in doubt.
    pub(super) halted: bool,
    /// Runs whose rows changed by records of other runs since this was last taken.
    pub(super) beside: Vec<RunId>,
    /// The writer has ended and given the checkpoints free: rows that are not in memory cannot be read any more.
    closed: bool,
}

impl State {
    pub(super) fn new(journal: PathBuf, checkpoints: Option<Arc<Checkpoints>>, standing: Standing) -> Self {
        Self {
            journal,
            standing,
            dirty: RowMap::new(),
            draining: Arc::default(),
            awaits: if checkpoints.is_some() { Awaits::beside_checkpoints() } else { Awaits::default() },
            checkpoints,
            timers: Timers::default(),
            recent: Recent::default(),
            backlog: Backlog::default(),
            sealed: Vec::new(),
            open: SegmentIndex::new(0),
            open_head: SegmentHead { number: 0, first_group: 0, salt: 0 },
            open_file: None,
            dedup_since: None,
            losses: 0,
            halted: false,
            beside: Vec::new(),
            closed: false,
        }
    }

    /// Whether the segment of a record was not dropped: rows that begin with one that was are no more, even while they are there.
    pub(super) fn is_needed(&self, at: Position) -> bool {
        at.segment >= self.standing.heads.first
    }

    pub(super) fn overlay(&self, key: &RowKey) -> Option<&Row> {
        self.dirty.get(key).or_else(|| self.draining.get(key))
    }

    /// Gives the checkpoints free, so that the folder can be opened again while somebody still holds this journal.
    pub(super) fn close(&mut self) {
        if let Some(checkpoints) = self.checkpoints.take() {
            checkpoints::close(checkpoints);
        }
        self.closed = true;
    }

    pub(super) fn still_open(&self) -> io::Result<()> {
        if self.closed { Err(io::Error::other("the journal is closed")) } else { Ok(()) }
    }

    /// The checkpoints, unless they failed.
    pub(super) fn rows_on_disk(&self) -> io::Result<Option<&Checkpoints>> {
        self.still_open()?;
        Ok(self.checkpoints.as_deref())
    }

    fn stored(&self, key: &RowKey) -> io::Result<Option<Vec<u8>>> {
        self.still_open()?;
        self.checkpoints.as_ref().map_or(Ok(None), |checkpoints| checkpoints.get(key))
    }

    /// The row of a run.
    pub(super) fn run_row(&self, id: RunId) -> io::Result<Option<RunRow>> {
        Ok(self.any_run_row(id)?.filter(|row| self.is_needed(row.base)))
    }

    /// The same, needed or not.
    fn any_run_row(&self, id: RunId) -> io::Result<Option<RunRow>> {
        let key = RowKey::Run(id);
        match self.overlay(&key) {
            Some(Row::Run(row)) => Ok(Some(RunRow::clone(row))),
            Some(_) => Ok(None),
            None => Ok(self.stored(&key)?.map(|value| run_row(&value)).transpose()?),
        }
    }

    /// The row of an event's copies.
    pub(super) fn fold_row(&self, id: EventId) -> io::Result<Option<FoldRow>> {
        let key = RowKey::Folded(id);
        match self.overlay(&key) {
            Some(Row::Folded(row)) => Ok(Some(row.clone())),
            Some(_) => Ok(None),
            None => Ok(self.stored(&key)?.map(|value| fold_row(&value)).transpose()?),
        }
    }

    /// A row that is bytes.
    pub(super) fn bytes_row(&self, key: &RowKey) -> io::Result<Option<Vec<u8>>> {
        match self.overlay(key) {
            Some(Row::Bytes(bytes)) => Ok(Some(bytes.clone())),
            Some(Row::Gone) => Ok(None),
            _ => self.stored(key),
        }
    }

    /// Where the texts of a rule generation are.
    pub(super) fn generation_at(&self, generation: u64) -> io::Result<Option<Position>> {
        self.position_row(&RowKey::Generation(generation))
    }

    /// Where an event was written again.
    pub(super) fn carried_at(&self, id: EventId) -> io::Result<Option<Position>> {
        self.position_row(&RowKey::Carried(id))
    }

    fn position_row(&self, key: &RowKey) -> io::Result<Option<Position>> {
        let value = self.bytes_row(key)?.and_then(|value| value.try_into().ok());
        Ok(value.map(|bytes| Position::unpacked(u64::from_le_bytes(bytes))).filter(|at| self.is_needed(*at)))
    }

    /// The newest runs before `before`, newest first, about [`PAGE_ROWS`] of them with their heads, and before which one to
    /// go on, when there may be more.
    pub(super) fn run_heads(&self, before: Option<RunId>) -> io::Result<RunHeads> {
        self.still_open()?;
        let mut found = BTreeMap::new();
        let mut lowest = None;
        if let Some(checkpoints) = &self.checkpoints {
            let key = before.map(|id| RowKey::Run(id).bytes());
            let rows = checkpoints.before(b'r', key.as_deref(), PAGE_ROWS)?;
            if rows.len() == PAGE_ROWS {
                lowest = rows.last().and_then(|(key, _)| run_of_key(key)).map(|(id, _)| id);
            }
            for (key, value) in &rows {
                if let Some((id, 0)) = run_of_key(key) {
                    found.extend(if_whole(id, run_head(value).map_err(io::Error::from))?.map(|head| (id, head)));
                }
            }
        }
        let mut cut = false;
        for map in [&*self.draining, &self.dirty] {
            let first = RowKey::Run(lowest.unwrap_or(RunId::from_bytes(&[0; 26])));
            let last = RowKey::Run(RunId { event: EventId(u128::MAX), rule: RuleHash(u64::MAX), replay: u16::MAX });
            let mut taken = 0;
            for (key, row) in map.range(first..=last).rev() {
                let RowKey::Run(id) = key else { break };
                if before.is_some_and(|before| *id >= before) {
                    continue;
                }
                // Without a lower bound from the checkpoints the page is bounded by its size.
                if lowest.is_none() && taken == PAGE_ROWS {
                    cut = true;
                    break;
                }
                taken += 1;
                match row {
                    Row::Run(row) => drop(found.insert(*id, (row.base, RunHead::of(&row.run)))),
                    _ => drop(found.remove(id)),
                }
            }
        }
        let page = if lowest.is_none() { PAGE_ROWS } else { usize::MAX };
        cut |= found.len() > page;
        let heads: Vec<_> = found.into_iter().rev().take(page).collect();
        let next = lowest.or(if cut { heads.last().map(|(id, _)| *id) } else { None });
        let needed = heads.into_iter().filter(|(_, (base, _))| self.is_needed(*base)).map(|(id, (_, head))| (id, head));
        Ok((needed.collect(), next))
    }

    /// The record at a position: what it is, and its payload.
    pub(super) fn record(&self, at: Position) -> io::Result<(Kind, Vec<u8>)> {
        let open = self.open(at.segment)?;
        if at.offset >= open.end {
            return Err(damaged(at));
        }
        let bytes = read_frame(&open.file, at.offset)?;
        let found = verified(&bytes, open.seed, at)?;
        Ok((found.kind, found.payload.to_vec()))
    }

    /// Makes rows of a sealed segment's index.
    pub(super) fn keep_index(&mut self, sealed: &SegmentIndex) {
        let number = sealed.summary.number;
        let page = |n: usize| u16::try_from(n).unwrap_or(u16::MAX);
        self.dirty.extend(sealed.pages().into_iter().enumerate().map(|(n, bytes)| (RowKey::Index(number, page(n)), Row::Bytes(bytes))));
        self.dirty.insert(RowKey::Segment(number), Row::Bytes(sealed.summary.to_bytes()));
        self.sealed.push(sealed.summary);
    }

    /// Pages of a sealed segment, in order.
    pub(super) fn pages(&self, key: impl Fn(u16) -> RowKey) -> io::Result<Vec<Vec<u8>>> {
        let mut pages = Vec::new();
        for page in 0..=u16::MAX {
            let Some(bytes) = self.bytes_row(&key(page))? else { break };
            pages.push(bytes);
        }
        Ok(pages)
    }

    /// What is known of each segment, the open one last.
    pub(super) fn summaries(&self) -> impl Iterator<Item = &Summary> {
        self.sealed.iter().chain([&self.open.summary])
    }

    /// Bytes of all segments.
    pub(super) fn bytes(&self) -> u64 {
        self.summaries().map(|summary| u64::from(summary.end)).sum()
    }
}

impl Rows for State {
    fn heads(&mut self) -> &mut Heads {
        &mut self.standing.heads
    }

    fn run(&mut self, id: RunId, change: &mut dyn FnMut(&mut Option<RunRow>)) -> io::Result<()> {
        let key = RowKey::Run(id);
        let (stored, gone) = match self.dirty.remove(&key) {
            Some(Row::Run(row)) => (Some(*row), false),
            Some(_) => (None, true),
            None => (self.any_run_row(id)?, false),
        };
        // A row that is not needed any more counts until it is swept.
        let before = stored.as_ref().map(|row| RunHead::of(&row.run));
        let (mut row, swept_later) = match stored {
            Some(row) if !self.is_needed(row.base) => (None, Some(row)),
            stored => (stored, None),
        };
        change(&mut row);
        if let Some(row) = row {
            self.changed(id, before.as_ref(), Some(&RunHead::of(&row.run)));
            self.dirty.insert(key, Row::Run(Box::new(row)));
        } else if let Some(row) = swept_later {
            self.dirty.insert(key, Row::Run(Box::new(row)));
        } else if gone {
            self.dirty.insert(key, Row::Gone);
        }
        Ok(())
    }

    fn state_of(&self, id: RunId) -> io::Result<Option<RunState>> {
        self.run_state(id)
    }

    fn holder(&self, key: OrderKey) -> io::Result<Option<RunId>> {
        turns::holder(self, key)
    }

    fn hold(&mut self, key: OrderKey, holder: Option<RunId>) {
        turns::hold(self, key, holder);
    }

    fn first_waiting(&self, key: OrderKey) -> io::Result<Option<Place>> {
        turns::first_waiting(self, key)
    }

    fn wait(&mut self, key: OrderKey, place: Place, waits: bool) {
        turns::wait(self, key, place, waits);
    }

    fn awaiting(&self, key: AwaitedKey, after: Option<RunId>) -> io::Result<Vec<RunId>> {
        self.awaits.of(key, after, self.rows_on_disk()?)
    }

    fn beside(&mut self, id: RunId) {
        self.beside.push(id);
    }

    fn folded(&mut self, id: EventId, change: &mut dyn FnMut(&mut Option<FoldRow>)) -> io::Result<()> {
        let mut row = self.fold_row(id)?;
        change(&mut row);
        if let Some(row) = row {
            self.dirty.insert(RowKey::Folded(id), Row::Folded(row));
        }
        Ok(())
    }

    fn kept(&mut self, kept: &Kept, at: Position) {
        let row = kept.value.as_ref().map_or(Row::Gone, |value| Row::Bytes(kept_bytes(at, value)));
        self.dirty.insert(RowKey::Kept(kept.space, kept.key.clone()), row);
    }

    fn generation(&mut self, generation: u64, at: Position) {
        self.dirty.insert(RowKey::Generation(generation), Row::Bytes(at.packed().to_le_bytes().to_vec()));
    }

    fn carried(&mut self, id: EventId, at: Position) {
        self.dirty.insert(RowKey::Carried(id), Row::Bytes(at.packed().to_le_bytes().to_vec()));
    }

    fn is_carried(&self, id: EventId) -> io::Result<bool> {
        Ok(self.carried_at(id)?.is_some())
    }

    fn dropped(&mut self, dropped: &Dropped) {
        self.sealed.retain(|summary| summary.number > dropped.through);
    }
}

impl Segments for State {
    fn numbers(&self) -> Vec<u32> {
        self.sealed.iter().map(|summary| summary.number).chain([self.open.summary.number]).collect()
    }

    fn summary(&self, number: u32) -> Option<Summary> {
        if number == self.open.summary.number {
            return Some(self.open.summary);
        }
        let at = self.sealed.binary_search_by_key(&number, |summary| summary.number).ok()?;
        self.sealed.get(at).copied()
    }

    fn blocks(&self, number: u32) -> io::Result<Vec<Block>> {
        if number == self.open.summary.number {
            return Ok(self.open.blocks.clone());
        }
        if self.summary(number).is_none() {
            return Ok(Vec::new());
        }
        let mut blocks = Vec::new();
        for page in self.pages(|page| RowKey::Index(number, page))? {
            blocks.extend(index::blocks(&page)?);
        }
        Ok(blocks)
    }

    fn open(&self, number: u32) -> io::Result<OpenFile> {
        if number == self.open.summary.number
            && let Some(file) = &self.open_file
        {
            return Ok(OpenFile { file: Arc::clone(file), number, seed: self.open_head.seed(), end: self.open.summary.end });
        }
        let summary = self.summary(number).ok_or(io::ErrorKind::NotFound)?;
        let (file, head) = open_segment(&self.journal, number)?;
        Ok(OpenFile { file: Arc::new(file), number, seed: head.seed(), end: summary.end.max(SEGMENT_HEAD as u32) })
    }

    fn carried(&self, id: EventId) -> io::Result<Option<Position>> {
        self.carried_at(id)
    }

    fn folded(&self, id: EventId) -> io::Result<Folded> {
        Ok(self.fold_row(id)?.map(|row| row.folded).unwrap_or_default())
    }
}
