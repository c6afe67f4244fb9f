//! Damaged segments and any payload under any kind.

use bytes::Bytes;

use crate::clock::Clock;
use crate::event::fuzz::{near, over_inputs};
use crate::journal::codec::{BodyRecord, EventRecord};
use crate::journal::fold::Record;
use crate::journal::format::{Frame, Kind, Position, SegmentHead};
use crate::journal::index::SegmentIndex;
use crate::journal::scan::walk;
use crate::journal::tests::{change, delivery, planned, wait};
use crate::journal::*;

const KINDS: [Kind; 9] = [Kind::Group, Kind::Seal, Kind::Body, Kind::Event, Kind::Fold, Kind::Plan, Kind::Fact, Kind::Rules, Kind::Kept];

/// A real segment: bodies, events, copies, a plan and kept values in a handful of groups.
fn segment() -> Vec<u8> {
    let dir = tempfile::tempdir().expect("a folder");
    let clock = Clock::manual(Timestamp::from_millis(1_700_000_000_000));
    let options = Options { segment_bytes: 1 << 20, clock, boot_id: "boot".to_owned() };
    let (journal, _) = Journal::open(&dir.path().join("state"), options).expect("opens");
    for n in 0..3 {
        let accepted = wait(journal.accept(delivery(vec![change(n), change(n + 1)]))).expect("kept");
        let runs = accepted.events.iter().map(|id| planned(*id, "rule")).collect();
        wait(journal.plan(Plan { through: accepted.events[0], runs })).expect("planned");
    }
    wait(journal.keep(vec![Kept { space: Space::Cursor, key: "k".to_owned(), value: Some(Bytes::from_static(b"17")) }])).expect("kept");
    journal.close();
    let mut bytes = std::fs::read(dir.path().join("state/journal/0000000001.seg")).expect("a segment");
    let end = bytes.iter().rposition(|byte| *byte != 0).map_or(0, |at| at + 1);
    bytes.truncate(end);
    bytes
}

type Frames = Vec<(Position, Kind, Vec<u8>)>;

fn frames(bytes: &[u8]) -> Option<(SegmentHead, Frames)> {
    let head = SegmentHead::from_bytes(bytes).ok()?;
    let mut frames = Vec::new();
    let mut index = SegmentIndex::new(head.number);
    let end = walk(bytes, head, |at, frame| {
        frames.push((at, frame.kind, frame.payload.to_vec()));
        index.frame(at.offset, frame).map(drop)?;
        Record::decode(frame).map(drop)
    });
    end.expect("what verifies was written by us").end.le(&(bytes.len() as u32)).then_some((head, frames))
}

#[test]
fn a_damaged_segment_gives_only_what_was_written() {
    let whole = segment();
    let (head, written) = frames(&whole).expect("a good one");
    assert!(written.len() > 10);
    over_inputs!(|input: &[u8]| {
        let damaged = near(&[&whole], input);
        if let Some((found_head, found)) = frames(&damaged)
            && found_head == head
        {
            // Records may be missing or stand elsewhere; none is made up, and none is torn.
            for (at, kind, payload) in found {
                assert!(written.iter().any(|(_, k, p)| (*k, p) == (kind, &payload)), "a record at {at:?} that nobody wrote");
            }
        }
    });
}

#[test]
fn any_payload_decodes_or_is_refused() {
    let seeds: Vec<Vec<u8>> = frames(&segment()).expect("a good one").1.into_iter().map(|(_, _, payload)| payload).collect();
    let seeds: Vec<&[u8]> = seeds.iter().map(Vec::as_slice).collect();
    over_inputs!(|input: &[u8]| {
        let payload = near(&seeds, input.get(1..).unwrap_or_default());
        let kind = KINDS[usize::from(input.first().copied().unwrap_or_default()) % KINDS.len()];
        let frame = Frame { kind, payload: &payload };
        let _decoded = Record::decode(frame);
        let _indexed = SegmentIndex::new(1).frame(64, frame);
        let _body = BodyRecord::decode(&payload).map(|body| body.body.len());
        let _event = EventRecord::decode(&payload).map(|event| event.change(|| serde_json::Value::Null));
    });
}
