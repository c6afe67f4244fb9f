//! One group while it is formed: frames in a buffer, and what they will mean once they are on disk.
//!
//! Here, and nowhere else, is decided what is a copy. The fingerprints are updated while the group is formed, so two
//! copies in one body, or in two deliveries of one group, are seen as well; records of this group are read from its
//! frames, earlier ones from their segment.

use std::fs::File;
use std::io;
use std::path::PathBuf;
use std::sync::Arc;

use crate::event::{Apart, Change, EventId, IdGenerator, Key, Via};
use crate::journal::codec::{self, BodyRecord, CONFLICT, EventRecord, FoldRecord, LATE, SHOWN_ONLY};
use crate::journal::copies::{Sight, differs, said};
use crate::journal::fold::Record;
use crate::journal::format::{FRAME_HEAD, Kind, Position, SegmentHead};
use crate::journal::frames::{Frames, reusable};
use crate::journal::hot::{Backlog, Recent};
use crate::journal::index::{SegmentIndex, body_hash, telling_print};
use crate::journal::parcel::{Element, Parcel, complete_event};
use crate::journal::prints::Prints;
use crate::journal::scan::{damaged, open_segment, read_frame, verified};
use crate::journal::tellings::{self, SLOTS_AWAY, TELLINGS_MAX, Telling};
use crate::journal::words::{Delivery, Kept};
use crate::normalize::project;
use crate::time::Timestamp;

/// What lives as long as the writer: how copies are found and ids are made.
pub(super) struct Memory {
    pub(super) journal: PathBuf,
    pub(super) prints: Prints,
    pub(super) ids: IdGenerator,
    /// The newest rule generation and the hash of its texts.
    pub(super) generation: (u64, [u8; 32]),
    /// The sealed segment that was read last.
    pub(super) last_read: Option<(u32, File, u32)>,
}

/// What goes into the segment's index.
#[derive(Clone, Copy, Debug)]
enum Indexed {
    Event { offset: u32, id: EventId, received: Timestamp, print: Option<u64>, unmet: u64 },
    Print { offset: u32, print: u64 },
    Carried { bytes: u64 },
}

/// The group.
pub(super) struct Group<'m> {
    memory: &'m mut Memory,
    head: SegmentHead,
    file: Arc<File>,
    /// Where in the segment the group will begin.
    base: u64,
    frames: Frames,
    count: u32,
    now: Timestamp,
    random: u128,
    records: Vec<(Position, Record)>,
    indexed: Vec<Indexed>,
}

/// A finished group.
#[derive(Default)]
pub(super) struct Formed {
    pub(super) frames: Frames,
    pub(super) records: Vec<(Position, Record)>,
    indexed: Vec<Indexed>,
}

impl Formed {
    /// Its memory, for the next one.
    pub(super) fn emptied(self) -> Self {
        Self { frames: self.frames.emptied(), records: reusable(self.records), indexed: reusable(self.indexed) }
    }

    /// How many events it holds.
    pub(super) fn events(&self) -> usize {
        self.indexed.iter().filter(|added| matches!(added, Indexed::Event { .. })).count()
    }

    /// Adds its events to those that the router has not seen, but for what is only shown, and to those found at once.
    pub(super) fn events_to(&self, segment: u32, backlog: &mut Backlog, recent: &mut Recent) {
        for added in &self.indexed {
            if let Indexed::Event { offset, id, print, unmet, .. } = *added {
                recent.push(id, Position { segment, offset });
                if print.is_some() {
                    backlog.push(id, unmet);
                }
            }
        }
    }

    /// Adds what the group holds to its segment's index.
    pub(super) fn index(&self, index: &mut SegmentIndex) {
        for added in &self.indexed {
            match *added {
                Indexed::Event { offset, id, received, print, .. } => index.event(offset, id, received, print),
                Indexed::Print { offset, print } => index.print(offset, print),
                Indexed::Carried { bytes } => index.summary.carried += bytes,
            }
        }
    }
}

/// What a delivery's id says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Delivered {
    /// Never seen, or it has none.
    New,
    /// The same bytes came before.
    Again,
    /// Other bytes came before.
    Otherwise,
}

/// A record, from the buffer or a file.
struct Found {
    bytes: Vec<u8>,
    seed: u32,
    at: Position,
}

impl Found {
    fn payload(&self, kind: Kind) -> io::Result<&[u8]> {
        let found = verified(&self.bytes, self.seed, self.at)?;
        if found.kind == kind { Ok(found.payload) } else { Err(damaged(self.at)) }
    }
}

impl<'m> Group<'m> {
    /// Begins a group at `base` of the open segment, in the memory of an earlier one.
    pub(super) fn begin(memory: &'m mut Memory, head: SegmentHead, file: Arc<File>, base: u64, now: Timestamp, spare: Formed) -> Self {
        let Formed { frames, records, indexed } = spare.emptied();
        let mut random = [0; 16];
        // Without randomness ids still rise; they are then easier to guess, which nothing depends on.
        let random = getrandom::fill(&mut random).map_or(0, |()| u128::from_le_bytes(random));
        Self { memory, head, file, base, frames: Frames::begin(frames), count: 0, now, random, records, indexed }
    }

    fn put(&mut self, kind: Kind, payload: impl FnOnce(&mut Vec<u8>)) -> Position {
        let at = self.frames.put(kind, self.head.seed(), payload);
        self.counted(at)
    }

    /// One more frame begins at `at`.
    fn counted(&mut self, at: usize) -> Position {
        self.count += 1;
        Position { segment: self.head.number, offset: (self.base + at as u64) as u32 }
    }

    /// Adds a record that is encoded already.
    pub(super) fn record(&mut self, kind: Kind, payload: &[u8], record: Record) {
        let at = self.put(kind, |out| out.extend_from_slice(payload));
        if kind == Kind::Carried {
            self.indexed.push(Indexed::Carried { bytes: (FRAME_HEAD + payload.len()) as u64 });
        }
        self.records.push((at, record));
    }

    /// Adds a value under a name.
    pub(super) fn keep(&mut self, kept: Kept) {
        let at = self.put(Kind::Kept, |out| codec::put_kept(out, &kept));
        self.records.push((at, Record::Kept(kept)));
    }

    /// Adds rule texts unless they are those of the newest generation; its number.
    pub(super) fn rules(&mut self, json: &[u8], hash: [u8; 32]) -> u64 {
        let (newest, known) = self.memory.generation;
        if newest > 0 && known == hash {
            return newest;
        }
        let generation = newest + 1;
        self.memory.generation = (generation, hash);
        let at = self.put(Kind::Rules, |out| codec::put_rules(out, generation, hash, json));
        self.records.push((at, Record::Rules { generation, hash }));
        generation
    }

    /// Has the memory bring what [`Group::accept`] will look for of these.
    pub(super) fn fetch<'a>(&self, parcels: impl Iterator<Item = &'a Parcel>) {
        let prints = parcels.flat_map(|parcel| {
            std::hint::black_box(parcel.fetch());
            parcel.print.into_iter().chain(parcel.elements.iter().map(|element| element.print))
        });
        self.memory.prints.fetch(prints);
    }

    /// Adds a delivery: what is new as events, what is known as folds.
    pub(super) fn accept(&mut self, parcel: &mut Parcel) {
        let Parcel { delivery, unmet, print, encoded, body_head, elements, accepted, late, .. } = parcel;
        // What a poll brings from before everything that is remembered may be a copy of something that was handled.
        let horizon = if delivery.via == Via::Poll { self.memory.prints.horizon() } else { None };
        let delivered = self.delivered(delivery, *print);
        let mut body = None;
        let mut known = delivered != Delivered::New || print.is_none();
        let mut begin = *body_head;
        for (index, (change, element)) in delivery.changes.iter().zip(elements).enumerate() {
            let payload = begin..element.end;
            begin = element.end;
            let later = delivery.changes.get(index + 1..).unwrap_or_default();
            let (original, place) = match element.apart {
                Apart::Text => (self.original(&change.key, element), None),
                _ => self.told(&change.key, element, later),
            };
            let flags = match (&original, delivered) {
                (None, Delivered::Otherwise) => CONFLICT,
                (None, _) => 0,
                (Some((_, record)), Delivered::Otherwise) if self.says_otherwise(record, delivery, change) => CONFLICT | SHOWN_ONLY,
                (Some((id, _)), _) => {
                    self.fold(*id, delivery, change, print.filter(|_| !known), place);
                    known = true;
                    accepted.folded += 1;
                    continue;
                }
            };
            let too_old = horizon.is_some_and(|horizon| change.time.is_some_and(|time| time < horizon));
            let flags = if *late || too_old { flags | LATE } else { flags };
            let body = match body {
                Some(body) => body,
                None => *body.insert(self.body(delivery, &encoded[..*body_head], *print)),
            };
            (known, element.new) = (true, true);
            accepted.conflict |= flags & CONFLICT != 0;
            let print = place.map_or(element.print, |place| telling_print(&change.key, 0, place));
            let element = Element { print, place, ..*element };
            accepted.events.push(self.event(delivery.received, &mut encoded[payload], &element, flags, body, *unmet));
        }
    }

    fn body(&mut self, delivery: &Delivery, head: &[u8], print: Option<u64>) -> Position {
        let at = self.frames.put_both(Kind::Body, self.head.seed(), head, &delivery.body);
        let at = self.counted(at);
        if let Some(print) = print {
            self.memory.prints.insert(print, at, Some(delivery.received));
            self.indexed.push(Indexed::Print { offset: at.offset, print });
        }
        at
    }

    fn event(&mut self, received: Timestamp, payload: &mut [u8], element: &Element, flags: u8, body: Position, unmet: u64) -> EventId {
        let id = self.memory.ids.next(self.now, self.random);
        let offset = (self.base + self.frames.len() as u64) as u32;
        complete_event(payload, id, offset - body.offset, flags, element.place);
        let at = self.put(Kind::Event, |out| out.extend_from_slice(payload));
        let routable = flags & SHOWN_ONLY == 0;
        // The first one of a change stays its original: what is only shown is never found as one.
        let print = routable.then_some(element.print);
        if let Some(print) = print {
            self.memory.prints.insert(print, at, Some(received));
        }
        self.indexed.push(Indexed::Event { offset: at.offset, id, received, print, unmet });
        self.records.push((at, Record::Event { id, received, routable, ended: element.ended }));
        id
    }

    /// With `print` the record holds the delivery's id as well, because no other does; with `place` the key.
    fn fold(&mut self, original: EventId, delivery: &Delivery, change: &Change, print: Option<u64>, place: Option<u32>) {
        let record = FoldRecord {
            original,
            source: delivery.source.clone(),
            via: delivery.via,
            folder: change.folder.as_ref().and_then(|folder| folder.id),
            received: delivery.received,
        };
        let id = print.and(delivery.delivery_id.as_deref());
        let hash = if id.is_some() { body_hash(&delivery.body) } else { [0; 16] };
        let telling = place.map(|place| (&change.key, place));
        let at = self.put(Kind::Fold, |out| codec::put_fold(out, &record, id, hash, telling));
        for print in print.into_iter().chain(telling.map(|(key, place)| telling_print(key, 0, place))) {
            self.memory.prints.insert(print, at, Some(delivery.received));
            self.indexed.push(Indexed::Print { offset: at.offset, print });
        }
        self.records.push((at, Record::Fold(record)));
    }

    /// Whether this delivery's id came before, and with which bytes.
    fn delivered(&mut self, delivery: &Delivery, print: Option<u64>) -> Delivered {
        let (Some(id), Some(print)) = (&delivery.delivery_id, print) else { return Delivered::New };
        let hits = self.memory.prints.get(print);
        let said = hits.into_iter().find_map(|at| {
            let found = self.find(at)?;
            said(verified(&found.bytes, found.seed, at).ok()?, id, &delivery.body).ok().flatten()
        });
        match said {
            Some(true) => Delivered::Again,
            Some(false) => Delivered::Otherwise,
            None => Delivered::New,
        }
    }

    /// The original of a change: its id and record.
    fn original(&mut self, key: &Key, element: &Element) -> Option<(EventId, Found)> {
        let mut best: Option<(std::time::Duration, EventId, Found)> = None;
        for print in std::iter::once(element.print).chain(element.beside.into_iter().flatten()) {
            // The newest record of the change under this fingerprint.
            let candidate = self.memory.prints.get(print).into_iter().find_map(|at| {
                let found = self.find(at)?;
                let record = EventRecord::decode(found.payload(Kind::Event).ok()?).ok()?;
                let distance = key.stamp.zip(record.stamp).map_or_else(Default::default, |(a, b)| a.distance(b));
                let is_it = record.key == &*key.text && record.key().same_change(key);
                is_it.then_some((distance, record.id)).map(|(distance, id)| (distance, id, found))
            });
            if let Some((distance, ..)) = &candidate
                && best.as_ref().is_none_or(|(nearest, ..)| distance < nearest)
            {
                best = candidate;
            }
        }
        best.map(|(_, id, found)| (id, found))
    }

    /// The original of a change that is told in two ways, and where its telling is to stand; nowhere if it was told this way before.
    fn told(&mut self, key: &Key, element: &Element, later: &[Change]) -> (Option<(EventId, Found)>, Option<u32>) {
        let (mut told, mut free) = (Vec::new(), None);
        for beside in -SLOTS_AWAY..=SLOTS_AWAY {
            for place in 0..TELLINGS_MAX {
                let Some(telling) = self.telling(key, beside, place) else {
                    free = if beside == 0 { Some(place) } else { free };
                    break;
                };
                told.push(telling);
            }
        }
        let Some((id, known)) = tellings::original(key, later.iter().map(|change| &change.key), &told) else {
            // Of before tellings were kept, and where there are too many.
            return self.original(key, element).map_or((None, free), |original| (Some(original), None));
        };
        let at = told.iter().filter(|telling| telling.original == id).find_map(|telling| telling.event);
        let original = at.and_then(|at| Some((id, self.find(at)?)));
        let place = if known && original.is_some() { None } else { free };
        (original, place)
    }

    /// The telling in this place, if there is one.
    fn telling(&mut self, key: &Key, beside: i64, place: u32) -> Option<Telling> {
        let hits = self.memory.prints.get(telling_print(key, beside, place));
        hits.into_iter().find_map(|at| {
            let found = self.find(at)?;
            let (telling, there) = Telling::of(verified(&found.bytes, found.seed, at).ok()?, at).ok()??;
            let slot = telling.key.slot() == key.slot().map(|slot| slot.saturating_add(beside));
            (there == place && slot && telling.key.base() == key.base()).then_some(telling)
        })
    }

    /// Whether `change`, under an `EventId` that came before with another body, says something else than its original.
    fn says_otherwise(&mut self, original: &Found, delivery: &Delivery, change: &Change) -> bool {
        let compare = |this: &mut Self| -> io::Result<bool> {
            let record = EventRecord::decode(original.payload(Kind::Event)?)?;
            let at = Position { offset: original.at.offset.saturating_sub(record.back), ..original.at };
            let found = this.find(at).ok_or_else(|| damaged(at))?;
            let body = BodyRecord::decode(found.payload(Kind::Body)?)?;
            let data = record.change(|| project(body.body, record.event_type, record.element))?.data;
            let before = Sight { body: body.body, data: &data, delivery_id: body.delivery_id };
            // What came as a webhook has its data in its body only.
            let new = match delivery.via {
                Via::Webhook => Arc::new(project(&delivery.body, &change.event_type, change.element)),
                _ => Arc::clone(&change.data),
            };
            let now = Sight { body: &delivery.body, data: &new, delivery_id: delivery.delivery_id.as_deref() };
            // Only a webhook's body has fields around the element; other bodies are ours.
            Ok(if body.via == Via::Webhook { differs(before, now) } else { data != new })
        };
        // An original that cannot be read proves nothing; the change is then shown rather than hidden.
        compare(self).unwrap_or(true)
    }

    /// The record at a position, wherever it is; `None` when it cannot be read, which makes it no original.
    fn find(&mut self, at: Position) -> Option<Found> {
        let (bytes, seed) = if at.segment == self.head.number {
            let seed = self.head.seed();
            match u64::from(at.offset).checked_sub(self.base) {
                Some(inside) => (self.frames.frame_at(inside as usize)?, seed),
                None => (read_frame(&self.file, at.offset).ok()?, seed),
            }
        } else {
            if self.memory.last_read.as_ref().is_none_or(|(number, ..)| *number != at.segment) {
                let (file, head) = open_segment(&self.memory.journal, at.segment).ok()?;
                self.memory.last_read = Some((at.segment, file, head.seed()));
            }
            let (_, file, seed) = self.memory.last_read.as_ref()?;
            (read_frame(file, at.offset).ok()?, *seed)
        };
        Some(Found { bytes, seed, at })
    }

    /// Closes the group; an error, which gives the memory back, when there is nothing in it.
    pub(super) fn finish(mut self, number: u64) -> Result<Formed, Formed> {
        self.memory.prints.settle();
        if self.count > 0 {
            self.frames.close(number, self.count, self.head.seed());
        }
        let formed = Formed { frames: self.frames, records: self.records, indexed: self.indexed };
        if self.count > 0 { Ok(formed) } else { Err(formed) }
    }
}
