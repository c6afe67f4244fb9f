//! A delivery on its way to the writer and back.
//!
//! Whatever can be done before the order of records is known is done by the thread that brings the delivery: records are
//! encoded, fingerprints are taken. The writer looks the fingerprints up, fills in ids and copies. The parcel then goes
//! back with the answer, so that memory is freed where it was taken.

use bytes::Bytes;
use smallvec::SmallVec;

use crate::event::{Apart, Change, EventId, Verified, Via};
use crate::journal::codec::{DATA_HERE, put_opt, put_opt_str, put_str, put_time, via_code};
use crate::journal::index::{delivery_print, key_print};
use crate::journal::tellings::{NO_PLACE, apart_flag};
use crate::journal::words::{Accepted, Delivery, Kept};
use crate::runs::AwaitedKey;

/// Fixed parts of a fold or a body, and heads of frames, generously.
const FIXED: usize = 256;

/// What an event's payload seldom is longer than.
const EVENT: usize = 384;

/// Bytes that memory brings at once.
const CACHE_LINE: usize = 64;

/// Where in an event's payload the fields stand that are filled in last.
const EVENT_BACK: usize = 16;
const EVENT_ELEMENT: usize = 20;
const EVENT_FLAGS: usize = 24;
const EVENT_PLACE: usize = 25;

/// A delivery, encoded.
#[derive(Debug)]
pub(super) struct Parcel {
    pub(super) delivery: Delivery,
    /// The rule generation none of whose rules can meet any of its events; 0 when nobody looked.
    pub(super) unmet: u64,
    /// Values that are kept with it.
    pub(super) kept: Vec<Kept>,
    /// Whether no rule is to run for its events.
    pub(super) late: bool,
    /// The fingerprint of its id.
    pub(super) print: Option<u64>,
    /// The payload of the body record up to the body's own bytes, then those of the event records, one behind the other.
    pub(super) encoded: Vec<u8>,
    /// Where the first of those ends.
    pub(super) body_head: usize,
    /// One per change; that of a single one stands here, where the writer looks anyway.
    pub(super) elements: SmallVec<[Element; 1]>,
    /// What became of it: filled in by the writer.
    pub(super) accepted: Accepted,
}

/// What is known of a change before it is an event.
#[derive(Clone, Copy, Debug)]
pub(super) struct Element {
    /// Where its payload ends; it begins where the one before ends.
    pub(super) end: usize,
    /// By what more than its text its key tells changes apart.
    pub(super) apart: Apart,
    /// Its key's fingerprint.
    pub(super) print: u64,
    /// Those of the slots beside its stamp's, if it has one.
    pub(super) beside: Option<[u64; 2]>,
    /// Its place among the tellings of its moment: filled in by the writer.
    pub(super) place: Option<u32>,
    /// What it says is over.
    pub(super) ended: Option<AwaitedKey>,
    /// Whether it became an event, and no copy of one: filled in by the writer.
    pub(super) new: bool,
}

impl Parcel {
    /// Encodes a delivery.
    pub(super) fn of(delivery: Delivery, unmet: u64, kept: Vec<Kept>) -> Self {
        let mut encoded = Vec::with_capacity(FIXED + EVENT * delivery.changes.len());
        put_body_head(&mut encoded, &delivery);
        let body_head = encoded.len();
        let mut elements = SmallVec::with_capacity(delivery.changes.len());
        for change in &delivery.changes {
            put_event(&mut encoded, &delivery, change);
            let key = &change.key;
            let beside = key.stamp.is_some().then(|| [key_print(key, -1), key_print(key, 1)]);
            let ended = AwaitedKey::ended_by(&change.event_type, &key.text);
            let (end, apart, print) = (encoded.len(), key.apart, key_print(key, 0));
            elements.push(Element { end, apart, print, beside, place: None, ended, new: false });
        }
        let accepted = Accepted { events: Vec::with_capacity(elements.len()), ..Accepted::default() };
        let print = delivery.delivery_id.as_deref().map(delivery_print);
        Self { delivery, unmet, kept, late: false, print, encoded, body_head, elements, accepted }
    }

    /// Reads what the writer will read of it: another processor wrote it, and of many parcels all of this comes at once.
    pub(super) fn fetch(&self) -> u8 {
        self.encoded.iter().step_by(CACHE_LINE).fold(0, |all, byte| all ^ byte)
    }

    /// At least as many bytes as its frames take, whatever becomes of it.
    pub(super) fn bytes_at_most(&self) -> usize {
        let delivery = &self.delivery;
        let verified = match &delivery.verified {
            Verified::Secret(name) => name.len(),
            Verified::No | Verified::Yes => 0,
        };
        let fold = FIXED + delivery.source.len() + delivery.delivery_id.as_ref().map_or(0, |id| id.len());
        let kept: usize = self.kept.iter().map(|kept| FIXED + kept.key.len() + kept.value.as_ref().map_or(0, Bytes::len)).sum();
        kept + self.encoded.len() + verified + delivery.body.len() + fold * (1 + self.elements.len())
    }
}

/// The payload of a body record up to the body's own bytes.
fn put_body_head(out: &mut Vec<u8>, delivery: &Delivery) {
    put_time(out, delivery.received);
    put_str(out, &delivery.source);
    out.push(via_code(delivery.via));
    put_opt_str(out, delivery.orchestrator.as_deref());
    match &delivery.verified {
        Verified::No => out.push(0),
        Verified::Yes => out.push(1),
        Verified::Secret(name) => {
            out.push(2);
            put_str(out, name);
        }
    }
    put_opt_str(out, delivery.delivery_id.as_deref());
}

/// The payload of an event record but for what [`complete_event`] fills in. What did not come as a webhook has its data in
/// the record: there is no body of Orchestrator's to find it in.
fn put_event(out: &mut Vec<u8>, delivery: &Delivery, change: &Change) {
    let here = delivery.via != Via::Webhook;
    out.extend_from_slice(&[0; EVENT_ELEMENT]);
    out.extend_from_slice(&change.element.to_le_bytes());
    out.push(apart_flag(change.key.apart) | if here { DATA_HERE } else { 0 });
    if change.key.apart != Apart::Text {
        out.extend_from_slice(&NO_PLACE.to_le_bytes());
    }
    put_time(out, delivery.received);
    put_str(out, &change.key.text);
    put_opt(out, change.key.stamp, put_time);
    out.extend_from_slice(&u64::try_from(change.key.tolerance.as_nanos()).unwrap_or(u64::MAX).to_le_bytes());
    put_str(out, &change.event_type);
    put_opt_str(out, change.subject.as_deref());
    put_opt(out, change.time, put_time);
    put_opt(out, change.observed, put_time);
    put_opt_str(out, change.tenant.as_deref());
    put_opt(out, change.folder.as_ref(), |out, folder| {
        put_opt(out, folder.id, |out, id| out.extend_from_slice(&id.to_le_bytes()));
        put_opt_str(out, folder.key.as_deref());
        put_opt_str(out, folder.path.as_deref());
    });
    put_opt_str(out, change.service_id.as_deref());
    put_opt(out, change.problem.as_ref(), |out, problem| {
        put_str(out, &problem.message);
        out.extend_from_slice(&problem.line.to_le_bytes());
        out.extend_from_slice(&problem.column.to_le_bytes());
    });
    put_opt(out, change.origin.as_ref(), |out, origin| {
        put_str(out, &origin.run);
        put_str(out, &origin.step);
        out.push(origin.hops);
    });
    if here {
        out.extend_from_slice(change.data.to_string().as_bytes());
    }
}

/// Fills in what is known once an event has its place. `flags` are of [`CONFLICT`](super::codec::CONFLICT) and [`SHOWN_ONLY`](super::codec::SHOWN_ONLY).
/// `place` is only for keys that tell changes apart by more than their text.
pub(super) fn complete_event(payload: &mut [u8], id: EventId, back: u32, flags: u8, place: Option<u32>) {
    payload[..EVENT_BACK].copy_from_slice(&id.to_bytes());
    payload[EVENT_BACK..EVENT_ELEMENT].copy_from_slice(&back.to_le_bytes());
    payload[EVENT_FLAGS] |= flags;
    if let Some(place) = place {
        payload[EVENT_PLACE..EVENT_PLACE + 4].copy_from_slice(&place.to_le_bytes());
    }
}
