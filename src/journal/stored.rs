//! How stored events were routed, read from the segments without the daemon.

use std::collections::BTreeMap;
use std::io;

use crate::event::EventId;
use crate::journal::codec::{self, EventRecord};
use crate::journal::fold::Record;
use crate::journal::format::{Frame, Kind, Position};
use crate::journal::read::{Reader, load_if_there};
use crate::journal::routing::{self, MetBy, Routing, Routings};
use crate::journal::scan::{is_damage, walk};
use crate::journal::texts;
use crate::journal::words::{Kept, Space};

impl Reader {
    /// As [`super::Journal::routings`]. Reads the whole journal.
    pub fn routings(&self) -> io::Result<Routings> {
        let (mut firsts, mut routed) = (BTreeMap::new(), EventId(0));
        self.walk_all(&mut |_, frame| {
            match frame.kind {
                Kind::Plan => routed = routed.max(codec::plan_held(frame.payload)?.0),
                Kind::Kept | Kind::Carried => {
                    if let Some(Record::Kept(Kept { space: Space::Routed, key, value })) = Record::decode(frame)? {
                        firsts.insert(key, value);
                    }
                }
                _ => {}
            }
            Ok(())
        })?;
        let firsts = firsts.iter().filter_map(|(name, value)| routing::first_of(name, value.as_deref()?));
        Ok(Routings::new(firsts, routed))
    }

    /// Hands every record to `visit`; what does not verify is left out.
    pub(super) fn walk_all(&self, visit: &mut dyn FnMut(Position, Frame<'_>) -> io::Result<()>) -> io::Result<()> {
        for number in self.numbers()? {
            let Some((bytes, head)) = load_if_there(&self.journal, number)? else { continue };
            let walked = walk(&bytes, head, |at, frame| match visit(at, frame) {
                Err(error) if is_damage(&error) => Ok(()),
                visited => visited,
            })?;
            self.note(number, &walked.gaps);
        }
        Ok(())
    }

    /// As [`super::Journal::routing`]. Reads the whole journal.
    pub fn routing(&self, event: EventId) -> io::Result<Routing> {
        let routings = self.routings()?;
        let generation = routings.of(event);
        let (mut held, mut routable) = (None, true);
        let mut texts: BTreeMap<u64, Position> = BTreeMap::new();
        self.walk_all(&mut |at, frame| {
            match frame.kind {
                Kind::Plan if held.is_none() => {
                    let (through, of_plan) = codec::plan_held(frame.payload)?;
                    held = (through >= event).then_some(of_plan);
                }
                Kind::Event => {
                    let record = EventRecord::decode(frame.payload)?;
                    routable &= record.id != event || record.routable();
                }
                Kind::Rules | Kind::Carried => {
                    if let Some(Record::Rules { generation, .. }) = Record::decode(frame)? {
                        texts.insert(generation, at);
                    }
                }
                _ => {}
            }
            Ok(())
        })?;
        let of_generation = generation.and_then(|generation| texts.get_key_value(&generation));
        let texts = match of_generation.or(texts.last_key_value()) {
            Some((generation, at)) => {
                let (kind, payload) = self.record(*at)?;
                texts::of_record(kind, &payload)?.map(|texts| (*generation, texts))
            }
            None => None,
        };
        let held = held.unwrap_or_default().into_iter().filter(|held| held.event == event).collect();
        let met = if routable { MetBy::Rules(held) } else { MetBy::Nobody };
        Ok(Routing { routed: event <= routings.routed(), generation, texts, met })
    }
}
