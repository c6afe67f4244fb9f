//! A delivery on its way to the writer and back.
//!
//! Whatever can be done before the order of records is known is done by the thread that brings the delivery: records are
//! encoded, fingerprints are taken. The writer looks the fingerprints up, fills in ids and copies. The parcel then goes
//! back with the answer, so that memory is freed where it was taken.

use bytes::Bytes;

use crate::event::Verified;
use crate::journal::codec::{put_body_head, put_event};
use crate::journal::index::{delivery_print, key_print};
use crate::journal::words::{Accepted, Delivery, Kept};

/// Fixed parts of a fold or a body, and heads of frames, generously.
const FIXED: usize = 256;

/// A delivery, encoded.
#[derive(Debug)]
pub(super) struct Parcel {
    pub(super) delivery: Delivery,
    /// The rule generation none of whose rules can meet any of its events; 0 when nobody looked.
    pub(super) unmet: u64,
    /// Values that are kept with it.
    pub(super) kept: Vec<Kept>,
    /// The fingerprint of its id.
    pub(super) print: Option<u64>,
    /// The payload of the body record up to the body's own bytes.
    pub(super) body_head: Vec<u8>,
    /// The payloads of the event records, one behind the other.
    pub(super) events: Vec<u8>,
    /// One per change.
    pub(super) elements: Vec<Element>,
    /// What became of it: filled in by the writer.
    pub(super) accepted: Accepted,
}

/// What is known of a change before it is an event.
#[derive(Clone, Copy, Debug)]
pub(super) struct Element {
    /// Where its payload ends; it begins where the one before ends.
    pub(super) end: usize,
    /// Its key's fingerprint.
    pub(super) print: u64,
    /// Those of the slots beside its stamp's, if it has one.
    pub(super) beside: Option<[u64; 2]>,
}

impl Parcel {
    /// Encodes a delivery.
    pub(super) fn of(delivery: Delivery, unmet: u64, kept: Vec<Kept>) -> Self {
        let mut body_head = Vec::with_capacity(FIXED);
        put_body_head(&mut body_head, &delivery);
        let mut events = Vec::with_capacity(FIXED * delivery.changes.len());
        let mut elements = Vec::with_capacity(delivery.changes.len());
        for change in &delivery.changes {
            put_event(&mut events, &delivery, change);
            let key = &change.key;
            let beside = key.stamp.is_some().then(|| [key_print(key, -1), key_print(key, 1)]);
            elements.push(Element { end: events.len(), print: key_print(key, 0), beside });
        }
        let accepted = Accepted { events: Vec::with_capacity(elements.len()), ..Accepted::default() };
        let print = delivery.delivery_id.as_deref().map(delivery_print);
        Self { delivery, unmet, kept, print, body_head, events, elements, accepted }
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
        kept + self.body_head.len() + verified + delivery.body.len() + self.events.len() + fold * (1 + self.elements.len())
    }
}
