//! What is known of a segment's content: where its events are and which keys it holds.
//!
//! Built frame by frame, by the writer and by a scan alike; kept in memory for the open segment, and for sealed ones as
//! pages of checkpoints, the fingerprints in a file.

use sha2::{Digest, Sha256};

use crate::event::{EventId, Key};
use crate::journal::codec::{self, BodyRecord, EventRecord, FoldRecord, Take, Undecodable};
use crate::journal::format::{Frame, Kind};
use crate::journal::rows::VALUE_MAX;
use crate::time::Timestamp;

/// A block of the sparse index begins at the first event behind this many bytes.
const BLOCK_BYTES: u32 = 64 << 10;

/// The first byte of a stored summary.
const SUMMARY_LAYOUT: u8 = 2;

const BLOCK_SIZE: usize = 40;

/// A stretch of a segment: from an event to the next block's first one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Block {
    pub(super) first: EventId,
    pub(super) offset: u32,
    /// Smallest and largest `received` in ms.
    pub(super) received: (i64, i64),
    pub(super) events: u32,
}

/// The sums over a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Summary {
    pub(super) number: u32,
    /// Behind the last frame.
    pub(super) end: u32,
    /// First and last event.
    pub(super) ids: Option<(EventId, EventId)>,
    /// Smallest and largest `received` in ms.
    pub(super) received: (i64, i64),
    pub(super) events: u64,
    /// How many fingerprints.
    pub(super) prints: u64,
    pub(super) last_group: u64,
    /// When its newest record was written, in ms, as the seal says; 0 when that is not known.
    pub(super) sealed: i64,
    /// Bytes of carried records in it.
    pub(super) carried: u64,
}

impl Summary {
    pub(super) fn new(number: u32) -> Self {
        Self { number, end: 0, ids: None, received: (i64::MAX, i64::MIN), events: 0, prints: 0, last_group: 0, sealed: 0, carried: 0 }
    }

    pub(super) fn to_bytes(self) -> Vec<u8> {
        let (first, last) = self.ids.unwrap_or((EventId(0), EventId(0)));
        let mut out = vec![SUMMARY_LAYOUT];
        out.extend_from_slice(&self.number.to_le_bytes());
        out.extend_from_slice(&self.end.to_le_bytes());
        out.extend_from_slice(&first.to_bytes());
        out.extend_from_slice(&last.to_bytes());
        for number in [self.received.0, self.received.1] {
            out.extend_from_slice(&number.to_le_bytes());
        }
        for number in [self.events, self.prints, self.last_group, self.sealed.cast_unsigned(), self.carried] {
            out.extend_from_slice(&number.to_le_bytes());
        }
        out
    }

    pub(super) fn from_bytes(value: &[u8]) -> Result<Self, Undecodable> {
        let mut take = Take(value);
        if take.array()? != [SUMMARY_LAYOUT] {
            return Err(Undecodable);
        }
        let (number, end) = (take.u32()?, take.u32()?);
        let (first, last) = (take.id()?, take.id()?);
        let received = (i64::from_le_bytes(take.array()?), i64::from_le_bytes(take.array()?));
        let events = take.u64()?;
        let ids = (events > 0).then_some((first, last));
        Ok(Self {
            number,
            end,
            ids,
            received,
            events,
            prints: take.u64()?,
            last_group: take.u64()?,
            sealed: take.u64()?.cast_signed(),
            carried: take.u64()?,
        })
    }
}

/// The index of a segment while frames are added.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct SegmentIndex {
    pub(super) summary: Summary,
    pub(super) blocks: Vec<Block>,
    /// Fingerprints and offsets, in the order of the records.
    pub(super) prints: Vec<(u64, u32)>,
}

impl SegmentIndex {
    pub(super) fn new(number: u32) -> Self {
        Self { summary: Summary::new(number), blocks: Vec::new(), prints: Vec::new() }
    }

    /// Adds an event whose frame begins at `offset`; only an original has a fingerprint.
    pub(super) fn event(&mut self, offset: u32, id: EventId, received: Timestamp, print: Option<u64>) {
        let millis = received.as_millis();
        match self.blocks.last_mut() {
            Some(block) if offset - block.offset < BLOCK_BYTES => {
                block.received = (block.received.0.min(millis), block.received.1.max(millis));
                block.events += 1;
            }
            _ => self.blocks.push(Block { first: id, offset, received: (millis, millis), events: 1 }),
        }
        let summary = &mut self.summary;
        summary.ids = Some((summary.ids.map_or(id, |(first, _)| first), id));
        summary.received = (summary.received.0.min(millis), summary.received.1.max(millis));
        summary.events += 1;
        if let Some(print) = print {
            self.print(offset, print);
        }
    }

    /// Adds a fingerprint that is no event's.
    pub(super) fn print(&mut self, offset: u32, print: u64) {
        self.prints.push((print, offset));
        self.summary.prints += 1;
    }

    /// Adds whatever a frame holds.
    pub(super) fn frame(&mut self, offset: u32, frame: Frame<'_>) -> Result<(), Undecodable> {
        match frame.kind {
            Kind::Event => {
                let event = EventRecord::decode(frame.payload)?;
                let print = event.routable().then(|| match event.place {
                    Some(place) => telling_print(&event.key(), 0, place),
                    None => key_print(&event.key(), 0),
                });
                self.event(offset, event.id, event.received, print);
            }
            Kind::Body => {
                if let Some(id) = BodyRecord::decode(frame.payload)?.delivery_id {
                    self.print(offset, delivery_print(id));
                }
            }
            Kind::Fold => {
                if let (_, Some(id), _) = FoldRecord::decode(frame.payload)? {
                    self.print(offset, delivery_print(id));
                }
                if let Some((key, place)) = FoldRecord::telling(frame.payload)? {
                    self.print(offset, telling_print(&key, 0, place));
                }
            }
            Kind::Carried => self.summary.carried += frame.size() as u64,
            Kind::Seal => self.summary.sealed = codec::seal(frame.payload).map_or(0, Timestamp::as_millis),
            _ => {}
        }
        Ok(())
    }

    /// The pages of blocks, each at most [`VALUE_MAX`] long.
    pub(super) fn pages(&self) -> Vec<Vec<u8>> {
        let blocks = self.blocks.chunks(VALUE_MAX / BLOCK_SIZE).map(|page| {
            let mut out = Vec::with_capacity(page.len() * BLOCK_SIZE);
            for block in page {
                out.extend_from_slice(&block.first.to_bytes());
                out.extend_from_slice(&block.offset.to_le_bytes());
                out.extend_from_slice(&block.received.0.to_le_bytes());
                out.extend_from_slice(&block.received.1.to_le_bytes());
                out.extend_from_slice(&block.events.to_le_bytes());
            }
            out
        });
        blocks.collect()
    }
}

/// The blocks of a page.
pub(super) fn blocks(page: &[u8]) -> Result<Vec<Block>, Undecodable> {
    let mut take = Take(page);
    let mut found = Vec::with_capacity(page.len() / BLOCK_SIZE);
    while !take.0.is_empty() {
        found.push(Block {
            first: take.id()?,
            offset: take.u32()?,
            received: (i64::from_le_bytes(take.array()?), i64::from_le_bytes(take.array()?)),
            events: take.u32()?,
        });
    }
    Ok(found)
}

/// The fingerprint of a key, for its stamp's slot or one `beside` it.
pub(super) fn key_print(key: &Key, beside: i64) -> u64 {
    print(&[b"key", &slot(key, beside), key.text.as_bytes()])
}

/// The fingerprint of one of the tellings of a moment, for its slot or one `beside` it.
pub(super) fn telling_print(key: &Key, beside: i64, place: u32) -> u64 {
    print(&[b"telling", &slot(key, beside), &place.to_le_bytes(), key.base().as_bytes()])
}

fn slot(key: &Key, beside: i64) -> [u8; 9] {
    key.slot().map_or([0; 9], |slot| {
        let mut bytes = [1; 9];
        bytes[1..].copy_from_slice(&slot.saturating_add(beside).to_le_bytes());
        bytes
    })
}

/// The fingerprint of a delivery's id.
pub(super) fn delivery_print(id: &str) -> u64 {
    print(&[b"delivery", id.as_bytes()])
}

/// The first 16 bytes of the SHA-256 of a body.
pub(super) fn body_hash(body: &[u8]) -> [u8; 16] {
    let digest = Sha256::digest(body);
    let mut first = [0; 16];
    first.copy_from_slice(&digest[..16]);
    first
}

fn print(parts: &[&[u8]]) -> u64 {
    let mut hasher = Sha256::new();
    for part in parts {
        hasher.update(part);
    }
    let digest = hasher.finalize();
    let mut first = [0; 8];
    first.copy_from_slice(&digest[..8]);
    u64::from_le_bytes(first)
}
