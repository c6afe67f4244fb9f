//! Payloads of frames to bytes and back. What every event has is compact binary; what is rare is JSON.
//!
//! ```text
//! str    4 length, bytes            opt    1 (0 none, 1 some), value         time   8 seconds, 4 nanoseconds
//!
//! body   time received · str source · 1 via · opt str orchestrator · verified (0 no, 1 yes, 2 str secret) ·
//!        opt str delivery id · the rest: the body's bytes
//! event  16 id (big endian) · 4 bytes back to the frame of its body · 4 element ·
//!        1 flags (1 conflict, 2 only shown, 4 data at the end, 8 late, 16 told apart by value, 32 by row) ·
//!        with flag 16 or 32: 4 place among the tellings of its moment · time received ·
//!        str key · opt time stamp · 8 tolerance in ns · str type · opt str subject ·
//!        opt time time · opt time observed · opt str tenant · opt folder (opt 8 id, opt str key, opt str path) ·
//!        opt str service id · opt problem (str, 4 line, 4 column) · opt origin (str run, str step, 1 hops) ·
//!        with flag 4 the rest: data as JSON; else data is found again in the body
//! fold   16 id of the original · str source · 1 via · opt 8 folder · time received ·
//!        opt str delivery id, when nothing else knows it · 16 first bytes of the body's SHA-256, or zeros ·
//!        opt telling (see `tellings.rs`); nothing in old journals
//! plan   16 id of the newest event routed · the rest: the runs as a JSON list,
//!        or {"runs": […], "held": […]} where rules were held back
//! fact   26 run · the rest: the fact as JSON
//! rules  8 generation · 32 SHA-256 of the JSON · the rest: files and names as JSON
//! kept   1 space · str key · opt value (the rest)
//! seal   time of the newest record (nothing in old journals)
//! carried and dropped: see `carried.rs`
//! hole   1 why (0 the bytes here did not verify, 1 what stood behind was missing) · 8 when it was found, in ms · zeros;
//!        shorter where there is no room
//! ```

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use crate::event::{Apart, Change, EventId, Folder, Key, Origin, Problem, RunId, SourceName, Verified, Via};
use crate::journal::routing::Held;
use crate::journal::tellings::{self, apart_of};
use crate::journal::words::{Kept, Plan, Space};
use crate::runs::{Fact, NewRun};
use crate::time::Timestamp;

pub(super) const CONFLICT: u8 = 1;
pub(super) const SHOWN_ONLY: u8 = 2;
pub(super) const DATA_HERE: u8 = 4;
pub(super) const LATE: u8 = 8;

/// A payload whose CRC holds and that makes no sense all the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a record verifies but does not decode")]
pub(super) struct Undecodable;

impl From<Undecodable> for std::io::Error {
    fn from(error: Undecodable) -> Self {
        Self::new(std::io::ErrorKind::InvalidData, error)
    }
}

type Decoded<T> = Result<T, Undecodable>;

// ---- writing ----

pub(super) fn put_str(out: &mut Vec<u8>, text: &str) {
    out.extend_from_slice(&(text.len() as u32).to_le_bytes());
    out.extend_from_slice(text.as_bytes());
}

pub(super) fn put_opt<T>(out: &mut Vec<u8>, value: Option<T>, put: impl FnOnce(&mut Vec<u8>, T)) {
    match value {
        None => out.push(0),
        Some(value) => {
            out.push(1);
            put(out, value);
        }
    }
}

pub(super) fn put_opt_str(out: &mut Vec<u8>, text: Option<&str>) {
    put_opt(out, text, put_str);
}

pub(super) fn put_time(out: &mut Vec<u8>, time: Timestamp) {
    let nanos = time.as_nanos();
    out.extend_from_slice(&(nanos.div_euclid(1_000_000_000) as i64).to_le_bytes());
    out.extend_from_slice(&(nanos.rem_euclid(1_000_000_000) as u32).to_le_bytes());
}

pub(super) fn via_code(via: Via) -> u8 {
    match via {
        Via::Webhook => 0,
        Via::Poll => 1,
        Via::Backfill => 2,
        Via::Emit => 3,
        Via::Internal => 4,
    }
}

pub(super) fn put_fold(out: &mut Vec<u8>, fold: &FoldRecord, id: Option<&str>, body_hash: [u8; 16], telling: Option<(&Key, u32)>) {
    out.extend_from_slice(&fold.original.to_bytes());
    put_str(out, &fold.source);
    out.push(via_code(fold.via));
    put_opt(out, fold.folder, |out, id| out.extend_from_slice(&id.to_le_bytes()));
    put_time(out, fold.received);
    put_opt_str(out, id);
    out.extend_from_slice(&body_hash);
    tellings::put(out, telling);
}

/// The payload of a plan. `None` when the runs have no JSON form, which their types rule out.
pub(super) fn plan_bytes(plan: &Plan, held: &[Held]) -> serde_json::Result<Vec<u8>> {
    let mut out = plan.through.to_bytes().to_vec();
    if held.is_empty() {
        serde_json::to_writer(&mut out, &plan.runs)?;
    } else {
        serde_json::to_writer(&mut out, &serde_json::json!({"runs": plan.runs, "held": held}))?;
    }
    Ok(out)
}

pub(super) fn fact_bytes(run: RunId, fact: &Fact) -> serde_json::Result<Vec<u8>> {
    let mut out = run.to_bytes().to_vec();
    serde_json::to_writer(&mut out, fact)?;
    Ok(out)
}

pub(super) fn put_rules(out: &mut Vec<u8>, generation: u64, hash: [u8; 32], json: &[u8]) {
    out.extend_from_slice(&generation.to_le_bytes());
    out.extend_from_slice(&hash);
    out.extend_from_slice(json);
}

pub(super) fn put_kept(out: &mut Vec<u8>, kept: &Kept) {
    out.push(kept.space as u8);
    put_str(out, &kept.key);
    put_opt(out, kept.value.as_deref(), Vec::extend_from_slice);
}

// ---- reading ----

/// Takes values from the front of a payload.
pub(super) struct Take<'a>(pub(super) &'a [u8]);

impl<'a> Take<'a> {
    pub(super) fn bytes(&mut self, count: usize) -> Decoded<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(count).ok_or(Undecodable)?;
        self.0 = rest;
        Ok(taken)
    }

    pub(super) fn array<const N: usize>(&mut self) -> Decoded<[u8; N]> {
        self.bytes(N)?.try_into().map_err(|_| Undecodable)
    }

    pub(super) fn u8(&mut self) -> Decoded<u8> {
        Ok(self.array::<1>()?[0])
    }

    pub(super) fn u32(&mut self) -> Decoded<u32> {
        Ok(u32::from_le_bytes(self.array()?))
    }

    pub(super) fn u64(&mut self) -> Decoded<u64> {
        Ok(u64::from_le_bytes(self.array()?))
    }

    pub(super) fn id(&mut self) -> Decoded<EventId> {
        Ok(EventId::from_bytes(self.array()?))
    }

    fn i64(&mut self) -> Decoded<i64> {
        Ok(i64::from_le_bytes(self.array()?))
    }

    pub(super) fn str(&mut self) -> Decoded<&'a str> {
        let length = self.u32()? as usize;
        std::str::from_utf8(self.bytes(length)?).map_err(|_| Undecodable)
    }

    pub(super) fn opt<T>(&mut self, take: impl FnOnce(&mut Self) -> Decoded<T>) -> Decoded<Option<T>> {
        match self.u8()? {
            0 => Ok(None),
            1 => take(self).map(Some),
            _ => Err(Undecodable),
        }
    }

    fn opt_arc(&mut self) -> Decoded<Option<Arc<str>>> {
        Ok(self.opt(Self::str)?.map(Arc::from))
    }

    pub(super) fn time(&mut self) -> Decoded<Timestamp> {
        let seconds = i128::from(self.i64()?);
        Ok(Timestamp::from_nanos(seconds * 1_000_000_000 + i128::from(self.u32()?)))
    }

    fn via(&mut self) -> Decoded<Via> {
        let code = self.u8()?;
        [Via::Webhook, Via::Poll, Via::Backfill, Via::Emit, Via::Internal].into_iter().find(|v| via_code(*v) == code).ok_or(Undecodable)
    }
}

/// A body record.
pub(super) struct BodyRecord<'a> {
    pub(super) source: &'a str,
    pub(super) via: Via,
    pub(super) orchestrator: Option<&'a str>,
    pub(super) verified: Verified,
    pub(super) delivery_id: Option<&'a str>,
    pub(super) body: &'a [u8],
}

impl<'a> BodyRecord<'a> {
    pub(super) fn decode(payload: &'a [u8]) -> Decoded<Self> {
        let mut take = Take(payload);
        take.time()?;
        Ok(Self {
            source: take.str()?,
            via: take.via()?,
            orchestrator: take.opt(Take::str)?,
            verified: match take.u8()? {
                0 => Verified::No,
                1 => Verified::Yes,
                2 => Verified::Secret(take.str()?.into()),
                _ => return Err(Undecodable),
            },
            delivery_id: take.opt(Take::str)?,
            body: take.0,
        })
    }
}

/// The part of an event record that is needed to find, compare and filter it.
#[derive(Clone, Copy, Debug)]
pub(super) struct EventRecord<'a> {
    pub(super) id: EventId,
    pub(super) back: u32,
    pub(super) element: u32,
    pub(super) flags: u8,
    /// Among the tellings of its moment.
    pub(super) place: Option<u32>,
    pub(super) received: Timestamp,
    pub(super) key: &'a str,
    pub(super) stamp: Option<Timestamp>,
    pub(super) tolerance: Duration,
    pub(super) event_type: &'a str,
    pub(super) subject: Option<&'a str>,
    rest: &'a [u8],
}

impl<'a> EventRecord<'a> {
    pub(super) fn decode(payload: &'a [u8]) -> Decoded<Self> {
        let mut take = Take(payload);
        let (id, back, element, flags) = (take.id()?, take.u32()?, take.u32()?, take.u8()?);
        let place = if apart_of(flags) == Apart::Text { None } else { Some(take.u32()?) };
        Ok(Self {
            id,
            back,
            element,
            flags,
            place: place.filter(|place| *place != tellings::NO_PLACE),
            received: take.time()?,
            key: take.str()?,
            stamp: take.opt(Take::time)?,
            tolerance: Duration::from_nanos(take.u64()?),
            event_type: take.str()?,
            subject: take.opt(Take::str)?,
            rest: take.0,
        })
    }

    pub(super) fn conflict(&self) -> bool {
        self.flags & CONFLICT != 0
    }

    /// Whether it came too late for rules.
    pub(super) fn late(&self) -> bool {
        self.flags & LATE != 0
    }

    /// Whether the router gets to see it.
    pub(super) fn routable(&self) -> bool {
        self.flags & SHOWN_ONLY == 0
    }

    pub(super) fn key(&self) -> Key {
        Key { text: self.key.into(), stamp: self.stamp, tolerance: self.tolerance, apart: apart_of(self.flags) }
    }

    /// The whole change; `data` finds the data in the body where the record does not hold it.
    pub(super) fn change(&self, data: impl FnOnce() -> serde_json::Value) -> Decoded<Change> {
        let mut take = Take(self.rest);
        let mut change = Change {
            key: self.key(),
            event_type: self.event_type.into(),
            subject: self.subject.map(Arc::from),
            element: self.element,
            time: take.opt(Take::time)?,
            observed: take.opt(Take::time)?,
            tenant: take.opt_arc()?,
            folder: take.opt(|take| {
                Ok(Folder {
                    id: take.opt(Take::i64)?,
                    key: take.opt(Take::str)?.map(str::to_owned),
                    path: take.opt(Take::str)?.map(str::to_owned),
                })
            })?,
            service_id: take.opt_arc()?,
            problem: take.opt(|take| Ok(Problem { message: take.str()?.to_owned(), line: take.u32()?, column: take.u32()? }))?,
            origin: take.opt(|take| Ok(Origin { run: take.str()?.to_owned(), step: take.str()?.to_owned(), hops: take.u8()? }))?,
            data: Arc::new(serde_json::Value::Null),
        };
        change.data =
            Arc::new(if self.flags & DATA_HERE == 0 { data() } else { serde_json::from_slice(take.0).map_err(|_| Undecodable)? });
        Ok(change)
    }
}

/// A copy of an event.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct FoldRecord {
    pub(super) original: EventId,
    pub(super) source: SourceName,
    pub(super) via: Via,
    pub(super) folder: Option<i64>,
    pub(super) received: Timestamp,
}

impl FoldRecord {
    /// The fold, its delivery's id and the hash of its body.
    pub(super) fn decode(payload: &[u8]) -> Decoded<(Self, Option<&str>, [u8; 16])> {
        Self::take(&mut Take(payload))
    }

    /// The key under which the copy told the change otherwise than its original, and its place among the tellings.
    pub(super) fn telling(payload: &[u8]) -> Decoded<Option<(Key, u32)>> {
        let mut take = Take(payload);
        Self::take(&mut take)?;
        tellings::take(&mut take)
    }

    fn take<'a>(take: &mut Take<'a>) -> Decoded<(Self, Option<&'a str>, [u8; 16])> {
        let fold = Self {
            original: take.id()?,
            source: take.str()?.into(),
            via: take.via()?,
            folder: take.opt(Take::i64)?,
            received: take.time()?,
        };
        Ok((fold, take.opt(Take::str)?, take.array()?))
    }
}

pub(super) fn plan(payload: &[u8]) -> Decoded<Plan> {
    let mut take = Take(payload);
    Ok(Plan { through: take.id()?, runs: stored_plan(take.0)?.0 })
}

/// The newest event that a plan routed, and what the plan held back.
pub(super) fn plan_held(payload: &[u8]) -> Decoded<(EventId, Vec<Held>)> {
    let mut take = Take(payload);
    let through = take.id()?;
    Ok((through, if take.0.first() == Some(&b'{') { stored_plan(take.0)?.1 } else { Vec::new() }))
}

fn stored_plan(json: &[u8]) -> Decoded<(Vec<NewRun>, Vec<Held>)> {
    #[derive(serde::Deserialize)]
    struct Stored {
        runs: Vec<NewRun>,
        held: Vec<Held>,
    }
    if json.first() != Some(&b'{') {
        return Ok((serde_json::from_slice(json).map_err(|_| Undecodable)?, Vec::new()));
    }
    let stored: Stored = serde_json::from_slice(json).map_err(|_| Undecodable)?;
    Ok((stored.runs, stored.held))
}

pub(super) fn fact(payload: &[u8]) -> Decoded<(RunId, Fact)> {
    let mut take = Take(payload);
    let run = RunId::from_bytes(&take.array()?);
    Ok((run, serde_json::from_slice(take.0).map_err(|_| Undecodable)?))
}

/// Generation, hash and JSON of rule texts.
pub(super) fn rules(payload: &[u8]) -> Decoded<(u64, [u8; 32], &[u8])> {
    let mut take = Take(payload);
    Ok((take.u64()?, take.array()?, take.0))
}

/// When the newest record of a sealed segment was written.
pub(super) fn seal(payload: &[u8]) -> Option<Timestamp> {
    Take(payload).time().ok()
}

pub(super) fn kept(payload: &[u8]) -> Decoded<Kept> {
    let mut take = Take(payload);
    let space = Space::of(take.u8()?).ok_or(Undecodable)?;
    let key = take.str()?.to_owned();
    let value = take.opt(|take| Ok(Bytes::copy_from_slice(take.0)))?;
    Ok(Kept { space, key, value })
}
