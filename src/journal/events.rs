//! Events out of segments: by id, by query, in order. The same for the open journal and for a reader without it.
//!
//! Lists walk backwards from the newest event, block by block of the sparse index.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;

use crate::event::{Event, EventId, Folded};
use crate::journal::carried::Carried;
use crate::journal::codec::EventRecord;
use crate::journal::delivered::{Body, together, unless_damaged, visit};
use crate::journal::format::{Kind, Position, frame};
use crate::journal::hot;
use crate::journal::index::{Block, Summary};
use crate::journal::scan::{damaged, next_frame, read_frame, segment_path, verified};
use crate::journal::words::{EventQuery, PAGE_BYTES_MAX, Page};
use crate::time::Timestamp;

/// A segment's file, ready for reading.
pub(super) struct OpenFile {
    pub(super) file: Arc<File>,
    pub(super) number: u32,
    pub(super) seed: u32,
    /// Nothing behind this is read.
    pub(super) end: u32,
}

/// Where segments, their indexes and the counts of copies come from.
pub(super) trait Segments {
    /// Numbers of the segments, ascending.
    fn numbers(&self) -> Vec<u32>;
    /// What is known of a segment without reading it.
    fn summary(&self, number: u32) -> Option<Summary>;
    /// The blocks of a segment.
    fn blocks(&self, number: u32) -> io::Result<Vec<Block>>;
    /// Its file.
    fn open(&self, number: u32) -> io::Result<OpenFile>;
    /// Where an event was written again, when its segment was about to go.
    fn carried(&self, id: EventId) -> io::Result<Option<Position>>;
    /// The copies of an event whose segment's blocks were asked for.
    fn folded(&self, id: EventId) -> io::Result<Folded>;
}

/// The frames of one block, in memory.
struct BlockFrames {
    bytes: Vec<u8>,
    offset: u32,
    segment: u32,
    seed: u32,
}

impl BlockFrames {
    fn read(open: &OpenFile, blocks: &[Block], at: usize) -> io::Result<Self> {
        let offset = blocks[at].offset;
        let end = blocks.get(at + 1).map_or(open.end, |next| next.offset);
        let mut bytes = vec![0; end.saturating_sub(offset) as usize];
        open.file.read_exact_at(&mut bytes, u64::from(offset))?;
        Ok(Self { bytes, offset, segment: open.number, seed: open.seed })
    }

    /// Hands each event record with its offset to `visit`; what does not verify is left out.
    fn events<'a>(&'a self, mut visit: impl FnMut(u32, EventRecord<'a>) -> io::Result<()>) -> io::Result<()> {
        let mut at = 0;
        while at < self.bytes.len() {
            let offset = self.offset + at as u32;
            let Some(found) = frame(&self.bytes[at..], self.seed) else {
                let lost = next_frame(&self.bytes[at..], self.seed);
                let path = segment_path(Path::new(""), self.segment);
                tracing::error!(file = %path.display(), offset, bytes = lost, "records do not verify and are left out; see `tripline state check`");
                at += lost;
                continue;
            };
            if found.kind == Kind::Event {
                visit(offset, EventRecord::decode(found.payload)?)?;
            }
            at += found.size();
        }
        Ok(())
    }
}

/// The event at a position, with its body.
pub(super) fn read_at(open: &OpenFile, offset: u32) -> io::Result<Event> {
    let at = Position { segment: open.number, offset };
    let bytes = read_frame(&open.file, offset)?;
    let found = verified(&bytes, open.seed, at)?;
    if found.kind != Kind::Event {
        return Err(damaged(at));
    }
    let record = EventRecord::decode(found.payload)?;
    let at = Position { offset: offset.saturating_sub(record.back), ..at };
    Body::read_from(&read_frame(&open.file, at.offset)?, open.seed, at)?.event(&record)
}

/// The block that would hold `id`.
fn block_of(blocks: &[Block], id: EventId) -> Option<usize> {
    blocks.partition_point(|block| block.first <= id).checked_sub(1)
}

/// Events by ascending ids; ids that are not there are left out.
pub(super) fn by_ids(segments: &dyn Segments, ids: &[EventId]) -> io::Result<Vec<Event>> {
    let mut found = Vec::with_capacity(ids.len());
    let mut wanted = ids;
    for number in segments.numbers() {
        let Some(&first) = wanted.first() else { break };
        if segments.summary(number).is_some_and(|summary| summary.ids.is_none_or(|(_, last)| last < first)) {
            continue;
        }
        let blocks = segments.blocks(number)?;
        let Some(open) = open_if_there(segments, number)? else { continue };
        let Some(start) = block_of(&blocks, first).or((!blocks.is_empty()).then_some(0)) else { continue };
        for at in start..blocks.len() {
            let Some(&next) = wanted.first() else { break };
            if blocks.get(at + 1).is_some_and(|block| block.first <= next) {
                continue;
            }
            let frames = BlockFrames::read(&open, &blocks, at)?;
            let mut there = Vec::new();
            frames.events(|offset, record| {
                while let Some((&next, rest)) = wanted.split_first()
                    && next <= record.id
                {
                    wanted = rest;
                    if next == record.id {
                        there.push((offset, record));
                    }
                }
                Ok(())
            })?;
            for came in together(&there) {
                visit(&open, came.iter(), |body, record| {
                    found.extend(unless_damaged(record.id, body.event(record))?);
                    Ok(true)
                })?;
            }
        }
    }
    Ok(found)
}

/// Where the record of an event is, unless its segment is gone.
pub(super) fn place_of(segments: &dyn Segments, id: EventId) -> io::Result<Option<(OpenFile, u32)>> {
    for number in segments.numbers().into_iter().rev() {
        if segments.summary(number).is_some_and(|s| s.ids.is_none_or(|(first, last)| id < first || id > last)) {
            continue;
        }
        let blocks = segments.blocks(number)?;
        let Some(at) = block_of(&blocks, id) else { continue };
        let Some(open) = open_if_there(segments, number)? else { continue };
        let mut place = None;
        BlockFrames::read(&open, &blocks, at)?.events(|offset, record| {
            if record.id == id {
                place = Some(offset);
            }
            Ok(())
        })?;
        if let Some(offset) = place {
            return Ok(Some((open, offset)));
        }
    }
    Ok(None)
}

/// A segment's file; `None` when retention removed the segment since it was listed.
fn open_if_there(segments: &dyn Segments, number: u32) -> io::Result<Option<OpenFile>> {
    match segments.open(number) {
        Ok(open) => Ok(Some(open)),
        Err(error) if error.kind() == io::ErrorKind::NotFound && !segments.numbers().contains(&number) => Ok(None),
        Err(error) => Err(error),
    }
}

/// One event with its copies: from its segment, or from where it was written again.
pub(super) fn by_id(segments: &dyn Segments, id: EventId) -> io::Result<Option<Event>> {
    let mut event = match place_of(segments, id)? {
        Some((open, offset)) => read_at(&open, offset)?,
        None => {
            let Some(at) = segments.carried(id)? else { return Ok(None) };
            let Some(open) = open_if_there(segments, at.segment)? else { return Ok(None) };
            let bytes = read_frame(&open.file, at.offset)?;
            match Carried::decode(verified(&bytes, open.seed, at)?.payload)? {
                Carried::Event { event, body, .. } => Body::of(body)?.event(&EventRecord::decode(event)?)?,
                _ => return Err(damaged(at)),
            }
        }
    };
    event.folded = segments.folded(id)?;
    Ok(Some(event))
}

/// The payloads of an event's record and of its body's, as they are in its segment.
pub(super) fn payloads(segments: &dyn Segments, id: EventId) -> io::Result<Option<(Vec<u8>, Vec<u8>)>> {
    let Some((open, offset)) = place_of(segments, id)? else { return Ok(None) };
    let read = |offset: u32| -> io::Result<Vec<u8>> {
        let at = Position { segment: open.number, offset };
        let bytes = read_frame(&open.file, offset)?;
        Ok(verified(&bytes, open.seed, at)?.payload.to_vec())
    };
    let event = read(offset)?;
    let body = read(offset.saturating_sub(EventRecord::decode(&event)?.back))?;
    Ok(Some((event, body)))
}

/// Ids of events behind `id` that the router may see, in order.
pub(super) fn routable_after(segments: &dyn Segments, id: EventId, visit: &mut dyn FnMut(EventId)) -> io::Result<()> {
    for number in segments.numbers() {
        if segments.summary(number).is_some_and(|summary| summary.ids.is_none_or(|(_, last)| last <= id)) {
            continue;
        }
        let blocks = segments.blocks(number)?;
        let Some(open) = open_if_there(segments, number)? else { continue };
        for at in block_of(&blocks, id).unwrap_or(0)..blocks.len() {
            BlockFrames::read(&open, &blocks, at)?.events(|_, record| {
                if record.id > id && record.routable() {
                    visit(record.id);
                }
                Ok(())
            })?;
        }
    }
    Ok(())
}

/// The newest events that match, newest last, each as `tell` has it, with its bytes: one after another, and no more than
/// [`PAGE_BYTES_MAX`] and one.
pub(super) fn list<T>(
    segments: &dyn Segments,
    query: &EventQuery,
    mut tell: impl FnMut(Event) -> (T, usize),
) -> io::Result<Page<T, EventId>> {
    let mut items = Vec::new();
    let (mut oldest, mut bytes, mut more) = (None, 0, false);
    let (since, until) = (query.since.map(Timestamp::as_millis), query.until.map(Timestamp::as_millis));
    // Milliseconds are enough to leave out whole blocks; records are compared in full.
    let outside = |(low, high): (i64, i64)| since.is_some_and(|since| high < since) || until.is_some_and(|until| low > until);
    let newer = |first: EventId| query.before.is_some_and(|before| first >= before);
    'segments: for number in segments.numbers().into_iter().rev() {
        let summary = segments.summary(number);
        if summary.is_some_and(|s| s.ids.is_none_or(|(first, _)| newer(first)) || outside(s.received)) {
            continue;
        }
        let blocks = segments.blocks(number)?;
        let Some(open) = open_if_there(segments, number)? else { continue };
        for at in (0..blocks.len()).rev() {
            if newer(blocks[at].first) || outside(blocks[at].received) {
                continue;
            }
            let frames = BlockFrames::read(&open, &blocks, at)?;
            let mut matching = Vec::new();
            frames.events(|offset, record| {
                if matches(query, &record) {
                    matching.push((offset, record));
                }
                Ok(())
            })?;
            for came in together(&matching).rev() {
                if query.source.is_none() && (items.len() >= query.limit || bytes >= PAGE_BYTES_MAX) {
                    more = true;
                    break 'segments;
                }
                let goes_on = visit(&open, came.iter().rev(), |body, record| {
                    if query.source.as_deref().is_some_and(|source| source != body.source()) {
                        return Ok(true);
                    }
                    if items.len() >= query.limit || bytes >= PAGE_BYTES_MAX {
                        more = true;
                        return Ok(false);
                    }
                    if let Some(mut event) = unless_damaged(record.id, body.event(record))? {
                        event.folded = segments.folded(event.id)?;
                        oldest = Some(event.id);
                        let (item, length) = tell(event);
                        items.push(item);
                        bytes += length;
                    }
                    Ok(true)
                })?;
                if !goes_on {
                    break 'segments;
                }
            }
        }
    }
    items.reverse();
    Ok(Page { items, next: oldest.filter(|_| more) })
}

/// An event as it is, with about what it takes.
pub(super) fn weighed(event: Event) -> (Event, usize) {
    let cost = hot::cost(&event);
    (event, cost)
}

fn matches(query: &EventQuery, record: &EventRecord<'_>) -> bool {
    query.before.is_none_or(|before| record.id < before)
        && query.since.is_none_or(|since| record.received >= since)
        && query.until.is_none_or(|until| record.received < until)
        && query.event_type.as_deref().is_none_or(|wanted| is_type(record.event_type, wanted))
        && query.key.as_deref().is_none_or(|part| {
            record.key.contains(part) || record.subject.is_some_and(|s| s.contains(part)) || record.key().to_string().contains(part)
        })
}

/// `queueItem.*` stands for all types that begin with `queueItem.`.
fn is_type(found: &str, wanted: &str) -> bool {
    match wanted.strip_suffix('*') {
        Some(prefix) => found.starts_with(prefix),
        None => found == wanted,
    }
}

/// The open journal for lists that take long: its lock is held for each question only.
pub(super) struct Unlocked<F>(pub(super) F);

impl<S: Segments, G: std::ops::Deref<Target = S>, F: Fn() -> G> Segments for Unlocked<F> {
    fn numbers(&self) -> Vec<u32> {
        (self.0)().numbers()
    }

    fn summary(&self, number: u32) -> Option<Summary> {
        (self.0)().summary(number)
    }

    fn blocks(&self, number: u32) -> io::Result<Vec<Block>> {
        (self.0)().blocks(number)
    }

    fn open(&self, number: u32) -> io::Result<OpenFile> {
        (self.0)().open(number)
    }

    fn carried(&self, id: EventId) -> io::Result<Option<Position>> {
        (self.0)().carried(id)
    }

    fn folded(&self, id: EventId) -> io::Result<Folded> {
        (self.0)().folded(id)
    }
}
