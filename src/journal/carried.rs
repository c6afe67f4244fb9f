//! Records of retention: what lives longer than its segment is written again, then the segment is dropped.
//!
//! ```text
//! carried  1 what it is, then
//!          0 an event   4 length, payload of its record · 4 length, payload of its body's record · the copies as JSON
//!          1 a run      the run as JSON, with the values of all its steps
//!          2 a value    payload of its kept record
//!          3 rule texts payload of their record
//! dropped  4 the last segment that is not needed any more · 16 oldest event that is left, 0 for none ·
//!          16 newest event · 16 newest routed · 8 how many events are left
//! ```

use crate::event::{EventId, Folded, TYPE_UNPARSED};
use crate::journal::codec::{self, BodyRecord, DATA_HERE, EventRecord, Take, Undecodable};
use crate::journal::words::Kept;
use crate::normalize::project;
use crate::runs::Run;

const EVENT: u8 = 0;
const RUN: u8 = 1;
const KEPT: u8 = 2;
const RULES: u8 = 3;

/// A body that is at most this much longer than the event in it is carried as it is: it holds little else.
const ENVELOPE_MAX: usize = 4 << 10;

/// What a carried record holds.
#[derive(Debug)]
pub(super) enum Carried<'a> {
    /// The payloads of an event's record and of its body's, and its copies.
    Event { event: &'a [u8], body: &'a [u8], folded: Folded },
    /// A run with the values of all its steps.
    Run(Box<Run>),
    /// A value under a name.
    Kept(Kept),
    /// The payload of a record of rule texts.
    Rules(&'a [u8]),
}

impl<'a> Carried<'a> {
    pub(super) fn decode(payload: &'a [u8]) -> Result<Self, Undecodable> {
        let mut take = Take(payload);
        match take.u8()? {
            EVENT => {
                let event = take_part(&mut take)?;
                let body = take_part(&mut take)?;
                Ok(Self::Event { event, body, folded: serde_json::from_slice(take.0).map_err(|_| Undecodable)? })
            }
            RUN => serde_json::from_slice(take.0).map(|run| Self::Run(Box::new(run))).map_err(|_| Undecodable),
            KEPT => codec::kept(take.0).map(Self::Kept),
            RULES => Ok(Self::Rules(take.0)),
            _ => Err(Undecodable),
        }
    }
}

fn take_part<'a>(take: &mut Take<'a>) -> Result<&'a [u8], Undecodable> {
    let length = take.u32()? as usize;
    take.bytes(length)
}

fn put_part(out: &mut Vec<u8>, part: &[u8]) {
    out.extend_from_slice(&(part.len() as u32).to_le_bytes());
    out.extend_from_slice(part);
}

/// The payload for an event. Of a body with many events only this one is taken along, so that carrying all of them does not
/// multiply the body.
pub(super) fn event_bytes(event: &[u8], body: &[u8], folded: &Folded) -> Result<Vec<u8>, Undecodable> {
    let record = EventRecord::decode(event)?;
    let whole = BodyRecord::decode(body)?;
    let data = record.change(|| project(whole.body, record.event_type, record.element))?.data.to_string();
    if whole.body.len() <= data.len() + ENVELOPE_MAX || record.event_type == TYPE_UNPARSED {
        return event_again(event, body, folded);
    }
    event_again(&with_data(event, record.flags, &data), &body[..body.len() - whole.body.len()], folded)
}

/// The payload for an event that was carried before.
pub(super) fn event_again(event: &[u8], body: &[u8], folded: &Folded) -> Result<Vec<u8>, Undecodable> {
    let mut out = vec![EVENT];
    put_part(&mut out, event);
    put_part(&mut out, body);
    serde_json::to_writer(&mut out, folded).map_err(|_| Undecodable)?;
    Ok(out)
}

/// The payload of an event's record with its data in it, for when the body does not come along.
fn with_data(event: &[u8], flags: u8, data: &str) -> Vec<u8> {
    /// Behind id, distance and element.
    const FLAGS_AT: usize = 24;
    let mut out = event.to_vec();
    if flags & DATA_HERE == 0 {
        out[FLAGS_AT] |= DATA_HERE;
        out.extend_from_slice(data.as_bytes());
    }
    out
}

pub(super) fn run_bytes(run: &Run) -> serde_json::Result<Vec<u8>> {
    let mut out = vec![RUN];
    serde_json::to_writer(&mut out, run)?;
    Ok(out)
}

pub(super) fn kept_bytes(kept: &Kept) -> Vec<u8> {
    let mut out = vec![KEPT];
    codec::put_kept(&mut out, kept);
    out
}

/// From the payload of a record of rule texts.
pub(super) fn rules_bytes(rules: &[u8]) -> Vec<u8> {
    let mut out = vec![RULES];
    out.extend_from_slice(rules);
    out
}

/// Segments are not needed any more: everything in them that lives on is written again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Dropped {
    /// The last of them.
    pub(super) through: u32,
    /// The oldest event that is left; 0 when there is none.
    pub(super) oldest: EventId,
    /// The newest event that ever was.
    pub(super) newest: EventId,
    /// The newest event that was routed.
    pub(super) routed: EventId,
    /// How many events are left.
    pub(super) events: u64,
}

impl Dropped {
    pub(super) fn to_bytes(&self) -> Vec<u8> {
        let mut out = self.through.to_le_bytes().to_vec();
        for id in [self.oldest, self.newest, self.routed] {
            out.extend_from_slice(&id.to_bytes());
        }
        out.extend_from_slice(&self.events.to_le_bytes());
        out
    }

    pub(super) fn decode(payload: &[u8]) -> Result<Self, Undecodable> {
        let mut take = Take(payload);
        Ok(Self { through: take.u32()?, oldest: take.id()?, newest: take.id()?, routed: take.id()?, events: take.u64()? })
    }
}
