//! Events that came together: their body is read once, and parsed once, for all of them.

use std::io;

use bytes::Bytes;

use crate::event::{Event, EventId, Folded, TYPE_UNPARSED};
use crate::journal::codec::{BodyRecord, EventRecord};
use crate::journal::events::OpenFile;
use crate::journal::format::{Kind, Position};
use crate::journal::scan::{damaged, is_damage, read_frame, verified};
use crate::normalize::Stored;

/// A body, for the events that it brought.
pub(super) struct Body<'b> {
    record: BodyRecord<'b>,
    stored: Stored<'b>,
}

impl<'b> Body<'b> {
    /// Of the payload of its record.
    pub(super) fn of(payload: &'b [u8]) -> io::Result<Self> {
        let record = BodyRecord::decode(payload)?;
        Ok(Self { stored: Stored::new(record.body), record })
    }

    /// Of its record in `bytes`, which were read from `at`.
    pub(super) fn read_from(bytes: &'b [u8], seed: u32, at: Position) -> io::Result<Self> {
        let found = verified(bytes, seed, at)?;
        if found.kind == Kind::Body { Self::of(found.payload) } else { Err(damaged(at)) }
    }

    /// Through which source it came.
    pub(super) fn source(&self) -> &'b str {
        self.record.source
    }

    /// The event of a record that it brought.
    pub(super) fn event(&mut self, record: &EventRecord<'_>) -> io::Result<Event> {
        let Self { record: body, stored } = self;
        let change = record.change(|| stored.data(record.event_type, record.element))?;
        Ok(Event {
            id: record.id,
            source: body.source.into(),
            via: body.via,
            received: record.received,
            orchestrator: body.orchestrator.map(Into::into),
            verified: body.verified.clone(),
            conflict: record.conflict(),
            late: record.late(),
            raw: (record.event_type == TYPE_UNPARSED).then(|| Bytes::copy_from_slice(body.body)),
            change,
            folded: Folded::default(),
        })
    }
}

/// Where the body of an event's record begins.
fn body_of((offset, record): &(u32, EventRecord<'_>)) -> u32 {
    offset.saturating_sub(record.back)
}

/// Records next to each other that came with one body.
pub(super) fn together<'s, 'r>(records: &'s [(u32, EventRecord<'r>)]) -> impl DoubleEndedIterator<Item = &'s [(u32, EventRecord<'r>)]> {
    records.chunk_by(|one, next| body_of(one) == body_of(next))
}

/// Hands records that came together to `visit`, each with their body, until it says false. Where the body is damaged they are
/// left out. True when all were visited.
pub(super) fn visit<'r>(
    open: &OpenFile,
    records: impl Iterator<Item = &'r (u32, EventRecord<'r>)>,
    mut visit: impl FnMut(&mut Body<'_>, &EventRecord<'r>) -> io::Result<bool>,
) -> io::Result<bool> {
    let mut records = records.peekable();
    let Some(first) = records.peek() else { return Ok(true) };
    let (id, at) = (first.1.id, Position { segment: open.number, offset: body_of(first) });
    let Some(bytes) = unless_damaged(id, read_frame(&open.file, at.offset))? else { return Ok(true) };
    let Some(mut body) = unless_damaged(id, Body::read_from(&bytes, open.seed, at))? else { return Ok(true) };
    for (_, record) in records {
        if !visit(&mut body, record)? {
            return Ok(false);
        }
    }
    Ok(true)
}

/// The events at these offsets of a segment, in their order; those that are damaged are left out.
pub(super) fn read_each(open: &OpenFile, offsets: &[u32], mut take: impl FnMut(Event)) -> io::Result<()> {
    let mut frames = Vec::with_capacity(offsets.len());
    for offset in offsets {
        frames.extend(unless_damaged(None, read_frame(&open.file, *offset))?.map(|bytes| (*offset, bytes)));
    }
    let mut records = Vec::with_capacity(frames.len());
    for (offset, bytes) in &frames {
        let at = Position { segment: open.number, offset: *offset };
        let record = verified(bytes, open.seed, at).and_then(|found| match found.kind {
            Kind::Event => Ok(EventRecord::decode(found.payload)?),
            _ => Err(damaged(at)),
        });
        records.extend(unless_damaged(None, record)?.map(|record| (*offset, record)));
    }
    for came in together(&records) {
        visit(open, came.iter(), |body, record| {
            unless_damaged(record.id, body.event(record))?.map(&mut take);
            Ok(true)
        })?;
    }
    Ok(())
}

/// What was read; `None` when it is damaged, which is said.
pub(super) fn unless_damaged<T>(event: impl Into<Option<EventId>>, read: io::Result<T>) -> io::Result<Option<T>> {
    match read {
        Ok(read) => Ok(Some(read)),
        Err(error) if is_damage(&error) => {
            let event = event.into().map(|id| id.to_string());
            tracing::error!(event, %error, "an event is damaged; it is left out, and so are those that came with it where the body is");
            Ok(None)
        }
        Err(error) => Err(error),
    }
}
