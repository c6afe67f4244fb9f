//! The events of a journal in the order they were accepted, each with what was planned for it: for whoever wants to know
//! what other rules would have done. Reads the segments once; what waits for its plan is kept as a position only.

use std::collections::{BTreeMap, VecDeque};
use std::io;
use std::sync::Arc;

use crate::event::{Event, EventId};
use crate::journal::codec::{self, EventRecord};
use crate::journal::events::{self, OpenFile};
use crate::journal::fold::Record;
use crate::journal::format::{Kind, Position};
use crate::journal::read::Reader;
use crate::journal::scan::{open_segment, segment_path};
use crate::journal::texts;
use crate::journal::words::RuleTexts;
use crate::runs::NewRun;

/// An event that was routed.
pub struct Replayed<'a> {
    /// It.
    pub event: &'a Event,
    /// The runs that were planned for it; no replays.
    pub runs: &'a [NewRun],
    /// The texts of a rule generation, as far as they are kept.
    pub texts: &'a dyn Fn(u64) -> Option<RuleTexts>,
    /// How far the segments are read, in bytes.
    pub read: u64,
    /// How many bytes they have.
    pub bytes: u64,
}

impl Reader {
    /// Hands every routed event to `visit`, oldest first, until it says false. Events of which the plan is not in the journal
    /// any more are left out.
    pub fn replayed(&self, visit: &mut dyn FnMut(Replayed<'_>) -> bool) -> io::Result<()> {
        let mut begins = BTreeMap::new();
        let mut bytes = 0;
        for number in self.numbers()? {
            begins.insert(number, bytes);
            bytes += std::fs::metadata(segment_path(&self.journal, number)).map_or(0, |about| about.len());
        }
        let mut waiting: VecDeque<(EventId, Position)> = VecDeque::new();
        let mut places: BTreeMap<u64, Position> = BTreeMap::new();
        let mut open: Option<OpenFile> = None;
        let mut enough = false;
        let walked = self.walk_all(&mut |at, frame| {
            match frame.kind {
                Kind::Event => {
                    let record = EventRecord::decode(frame.payload)?;
                    if record.routable() {
                        waiting.push_back((record.id, at));
                    }
                }
                Kind::Rules | Kind::Carried => {
                    if let Some(Record::Rules { generation, .. }) = Record::decode(frame)? {
                        places.insert(generation, at);
                    }
                }
                Kind::Plan => {
                    let plan = codec::plan(frame.payload)?;
                    let texts = |generation: u64| -> Option<RuleTexts> {
                        let (kind, payload) = self.record(*places.get(&generation)?).ok()?;
                        texts::of_record(kind, &payload).ok()?
                    };
                    let read = begins.get(&at.segment).copied().unwrap_or(bytes) + u64::from(at.offset);
                    while let Some((id, place)) = waiting.front().copied()
                        && id <= plan.through
                    {
                        waiting.pop_front();
                        let event = self.event_at(place, &mut open)?;
                        let runs: Vec<NewRun> = plan.runs.iter().filter(|run| run.id.event == id && run.id.replay == 0).cloned().collect();
                        if !visit(Replayed { event: &event, runs: &runs, texts: &texts, read, bytes }) {
                            enough = true;
                            return Err(io::ErrorKind::Interrupted.into());
                        }
                    }
                }
                _ => {}
            }
            Ok(())
        });
        if enough { Ok(()) } else { walked }
    }

    fn event_at(&self, at: Position, open: &mut Option<OpenFile>) -> io::Result<Event> {
        let file = match open.take() {
            Some(file) if file.number == at.segment => file,
            _ => {
                let (file, head) = open_segment(&self.journal, at.segment)?;
                OpenFile { file: Arc::new(file), number: at.segment, seed: head.seed(), end: u32::MAX }
            }
        };
        let event = events::read_at(&file, at.offset);
        *open = Some(file);
        event
    }
}
