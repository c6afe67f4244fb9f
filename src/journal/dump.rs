//! The whole journal as lines of JSON, and back.
//!
//! ```text
//! {"tripline": "state", "format": 1, "version": "0.1.0", "at": TIME}         the first line
//! {"segment": 1}                                                             records of this segment follow
//! {"at": OFFSET, "kind": KIND, "codec": 1, "payload": BASE64, …}             one record; more fields are for readers
//! {"end": true, "records": N, "crc32c": N, "events": N, "newest": ID, …}     the last line: the dump is whole
//! ```
//!
//! `kind` is the word of the record: `body`, `event`, `fold`, `plan`, `fact`, `rules`, `kept`, `carried`, `dropped`, `hole`,
//! `seal`. For readers an event has `event` (as `events show` prints it, without its copies), a plan `through` and `runs`, a
//! fact `run` and `fact`, a kept value `space`, `key` and `value`. Only `at`, `kind`, `codec` and `payload` are read again:
//! records come back to where they were, so everything that refers to a place is right. Over these, with the number of the segment,
//! goes the CRC32C of the last line: a dump that was damaged on its way is refused.

use std::io::{self, BufRead, Write};
use std::path::Path;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::journal::Journal;
use crate::journal::codec::{self, EventRecord};
use crate::journal::delivered::Body;
use crate::journal::files::Files;
use crate::journal::format::{
    CODEC, FORMAT, FRAME_HEAD, Frame, GROUP_HEAD, GroupHead, Kind, SEGMENT_HEAD, SegmentHead, begin_frame, finish_frame, frame,
};
use crate::journal::lock::{self, failed};
use crate::journal::read::Reader;
use crate::journal::repair::hole;
use crate::journal::scan::{journal_dir, walk};
use crate::journal::segment::{NextSegment, OpenSegment};
use crate::journal::verify::there_is_a_journal;
use crate::journal::words::{OpenError, OpenReport, Options};
use crate::time::Timestamp;

/// The longest line of a dump: a body of the largest size twice over, in base64 and as an event.
const LINE_MAX: u64 = 512 << 20;

/// What an export wrote.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Exported {
    /// Records.
    pub records: u64,
    /// Events among them.
    pub events: u64,
    /// Places that do not verify; the records in them are not in the dump.
    pub damaged: u64,
}

/// Writes the journal in `dir` as lines of JSON, segment by segment. Takes no lock: with a daemon running, the dump is the
/// journal up to some moment. `progress` is told bytes done and bytes in all.
///
/// # Errors
/// The journal cannot be read, or `out` not be written.
pub fn export(dir: &Path, now: Timestamp, out: &mut dyn Write, progress: &dyn Fn(u64, u64)) -> io::Result<Exported> {
    let reader = Reader::new(dir);
    there_is_a_journal(dir)?;
    let numbers = reader.numbers()?;
    let total: u64 = numbers.iter().map(|number| reader.size(*number)).sum();
    let mut line = |value: Value| writeln!(out, "{value}");
    line(json!({"tripline": "state", "format": FORMAT, "version": env!("CARGO_PKG_VERSION"), "at": now.to_string()}))?;
    let mut exported = Exported::default();
    let (mut newest, mut routed, mut done, mut crc) = (None, None, 0, 0);
    for number in numbers {
        let Some((bytes, head)) = reader.load(number)? else { continue };
        line(json!({"segment": number}))?;
        let end = walk(&bytes, head, |at, found| {
            let mut fields = Map::new();
            fields.insert("at".into(), at.offset.into());
            fields.insert("kind".into(), word(found.kind).into());
            fields.insert("codec".into(), CODEC.into());
            fields.insert("payload".into(), STANDARD.encode(found.payload).into());
            crc = crc_with(crc, number, at.offset.into(), found.kind, found.payload);
            // What makes no sense to us may go along all the same.
            drop(for_readers(&mut fields, found, &bytes, head, at.offset));
            exported.records += 1;
            if found.kind == Kind::Event
                && let Ok(event) = EventRecord::decode(found.payload)
            {
                exported.events += 1;
                newest = Some(event.id.to_string());
            }
            if found.kind == Kind::Plan
                && let Ok(plan) = codec::plan(found.payload)
            {
                routed = Some(plan.through.to_string());
            }
            line(Value::Object(fields))
        })?;
        exported.damaged += end.gaps.len() as u64;
        done += bytes.len() as u64;
        progress(done, total);
    }
    line(json!({"end": true, "records": exported.records, "crc32c": crc, "events": exported.events, "newest": newest, "routed": routed}))?;
    out.flush()?;
    Ok(exported)
}

/// The CRC over the records so far and one more.
fn crc_with(crc: u32, segment: u32, at: u64, kind: Kind, payload: &[u8]) -> u32 {
    let crc = crc32c::crc32c_append(crc, &segment.to_le_bytes());
    let crc = crc32c::crc32c_append(crc, &at.to_le_bytes());
    crc32c::crc32c_append(crc32c::crc32c_append(crc, &[kind as u8, CODEC]), payload)
}

/// What a person wants to see of a record.
fn for_readers(fields: &mut Map<String, Value>, found: Frame<'_>, bytes: &[u8], head: SegmentHead, offset: u32) -> io::Result<()> {
    match found.kind {
        Kind::Event => {
            let record = EventRecord::decode(found.payload)?;
            let body = bytes.get(offset.saturating_sub(record.back) as usize..).and_then(|body| frame(body, head.seed()));
            if let Some(body) = body.filter(|body| body.kind == Kind::Body) {
                fields.insert("event".into(), Body::of(body.payload)?.event(&record)?.to_json());
            }
        }
        Kind::Plan => {
            let plan = codec::plan(found.payload)?;
            fields.insert("through".into(), plan.through.to_string().into());
            fields.insert("runs".into(), serde_json::to_value(plan.runs)?);
        }
        Kind::Fact => {
            let (run, fact) = codec::fact(found.payload)?;
            fields.insert("run".into(), run.to_string().into());
            fields.insert("fact".into(), serde_json::to_value(fact)?);
        }
        Kind::Kept => {
            let kept = codec::kept(found.payload)?;
            fields.insert("space".into(), format!("{:?}", kept.space).to_lowercase().into());
            fields.insert("key".into(), kept.key.into());
            let value = kept.value.map(|value| serde_json::from_slice(&value).unwrap_or_else(|_| STANDARD.encode(&value).into()));
            fields.insert("value".into(), value.unwrap_or_default());
        }
        _ => {}
    }
    Ok(())
}

fn word(kind: Kind) -> &'static str {
    match kind {
        Kind::Group => "group",
        Kind::Seal => "seal",
        Kind::Hole => "hole",
        Kind::Body => "body",
        Kind::Event => "event",
        Kind::Fold => "fold",
        Kind::Plan => "plan",
        Kind::Fact => "fact",
        Kind::Rules => "rules",
        Kind::Kept => "kept",
        Kind::Carried => "carried",
        Kind::Dropped => "dropped",
    }
}

fn kind(name: &str) -> Option<Kind> {
    Kind::ALL.into_iter().find(|kind| word(*kind) == name && *kind != Kind::Group)
}

/// A line that is read again; the fields for readers are passed over.
#[derive(Deserialize)]
struct Line {
    tripline: Option<String>,
    format: Option<u32>,
    segment: Option<u32>,
    at: Option<Value>,
    kind: Option<String>,
    codec: Option<u8>,
    payload: Option<String>,
    #[serde(default)]
    end: bool,
    records: Option<u64>,
    crc32c: Option<u32>,
}

/// Makes the state folder `dir` from a dump. The folder must be new or empty.
///
/// # Errors
/// There is something in `dir`; the dump is not one, of a newer version, cut short, or cannot be read; nothing was made then,
/// but for segments that the next import of a whole dump refuses to overwrite: remove the folder first.
pub fn import(dir: &Path, options: Options, dump: &mut dyn BufRead) -> Result<OpenReport, OpenError> {
    let files = Files::default();
    lock::prepare(&files, dir)?;
    let lock = lock::take(&files, dir)?;
    let journal = journal_dir(dir);
    if journal.exists() || dir.join("store.json").exists() || dir.join("checkpoints").exists() {
        return Err(OpenError::Io(format!("there is a state in `{}` already; import into a new folder", dir.display())));
    }
    // What is not whole has no name that a later start would take for a journal.
    let unfinished = dir.join("import.tmp");
    if unfinished.exists() {
        std::fs::remove_dir_all(&unfinished).map_err(|error| failed("remove", &unfinished, &error))?;
    }
    files.make_dir(&unfinished).map_err(|error| failed("make", &unfinished, &error))?;
    let mut restore =
        Restore { files: &files, journal: &unfinished, segment: None, group: Vec::new(), begin: 0, next: 1, records: 0, crc: 0 };
    let restored = restore.all(dump);
    if let Err(why) = restored {
        // Half of a journal is of no use to anybody.
        drop(std::fs::remove_dir_all(&unfinished));
        return Err(OpenError::Io(why));
    }
    let named = files.rename(&unfinished, &journal).and_then(|()| files.sync_dir(dir));
    named.map_err(|error| failed("name", &journal, &error))?;
    drop(lock);
    let (journal, report) = Journal::open(dir, options)?;
    journal.close();
    Ok(report)
}

/// Segments while they are written from a dump.
struct Restore<'a> {
    files: &'a Files,
    journal: &'a Path,
    segment: Option<OpenSegment>,
    /// The group that is put together, with room for its head; empty between groups.
    group: Vec<u8>,
    /// Where in the segment it begins.
    begin: u64,
    /// The number of the next group.
    next: u64,
    records: u64,
    /// Of all records so far.
    crc: u32,
}

impl Restore<'_> {
    fn all(&mut self, dump: &mut dyn BufRead) -> Result<(), String> {
        let mut text = Vec::new();
        let mut number = 0_u64;
        loop {
            number += 1;
            text.clear();
            let read =
                io::Read::take(&mut *dump, LINE_MAX).read_until(b'\n', &mut text).map_err(|error| format!("line {number}: {error}"))?;
            if read == 0 {
                return Err(format!("the dump is cut short: it has {} lines and no last one", number - 1));
            }
            let at_line = |why: String| format!("line {number} of the dump: {why}");
            let line: Line = serde_json::from_slice(&text).map_err(|error| match number {
                1 => format!("it is no dump of `tripline state export` ({error})"),
                _ => at_line(error.to_string()),
            })?;
            if self.line(line, number == 1).map_err(at_line)? {
                return match dump.fill_buf() {
                    Ok([]) => Ok(()),
                    Ok(_) => Err(format!("the dump ends with line {number}, and there is more behind it")),
                    Err(error) => Err(format!("line {}: {error}", number + 1)),
                };
            }
        }
    }

    /// Takes one line; `true` after the last.
    fn line(&mut self, line: Line, first: bool) -> Result<bool, String> {
        if first {
            return match (line.tripline.as_deref(), line.format) {
                (Some("state"), Some(format)) if format <= FORMAT => Ok(false),
                (Some("state"), Some(format)) => Err(format!("it has format {format}, and this version reads formats up to {FORMAT}")),
                _ => Err("it is no dump of `tripline state export`".to_owned()),
            };
        }
        let written = |error: io::Error| format!("cannot be written: {error}");
        if line.end {
            self.close_segment().map_err(written)?;
            return match line.records {
                Some(records) if records != self.records => Err(format!("it says {records} records, and there are {}", self.records)),
                None => Err("it does not say how many records there are".to_owned()),
                // Dumps of an earlier version have none.
                Some(_) if line.crc32c.is_some_and(|crc| crc != self.crc) => {
                    Err("the dump is damaged: its checksum is another one; make a new dump, or take another copy of it".to_owned())
                }
                Some(_) => Ok(true),
            };
        }
        if let Some(number) = line.segment {
            self.close_segment().map_err(written)?;
            let segment = NextSegment::prepare(self.files, self.journal, number, self.next, 0, 0);
            self.segment = Some(segment.and_then(|next| next.take(self.files, self.journal)).map_err(written)?);
            return Ok(false);
        }
        let (Some(at), Some(name), Some(payload)) = (line.at.and_then(|at| at.as_u64()), line.kind, line.payload) else {
            return Err("it is neither a record nor a segment".to_owned());
        };
        let kind = kind(&name).ok_or_else(|| format!("`{name}` is a kind of record that this version does not know"))?;
        if line.codec.is_some_and(|codec| codec != CODEC) {
            return Err("its codec is one that this version does not know".to_owned());
        }
        let payload = STANDARD.decode(payload).map_err(|error| format!("`payload`: {error}"))?;
        self.record(at, kind, &payload)?;
        Ok(false)
    }

    fn record(&mut self, at: u64, kind: Kind, payload: &[u8]) -> Result<(), String> {
        let seed = self.segment.as_ref().map(|segment| segment.head.seed()).ok_or("a record before the first segment")?;
        let end = self.segment.as_ref().map_or(0, |segment| segment.end);
        if !self.group.is_empty() && at != self.begin + self.group.len() as u64 {
            self.close_group().map_err(|error| format!("cannot be written: {error}"))?;
        }
        if self.group.is_empty() {
            let end = self.segment.as_ref().map_or(end, |segment| segment.end);
            self.begin = end;
            self.group = vec![0; GROUP_HEAD];
            let first = end + GROUP_HEAD as u64;
            match at.checked_sub(first) {
                Some(0) => {}
                // What stood between does not verify and is not in the dump.
                Some(lost) if lost >= FRAME_HEAD as u64 && at <= u64::from(u32::MAX) => {
                    self.group.extend_from_slice(&hole(lost as usize, seed, false, Timestamp::EPOCH));
                }
                _ => return Err(format!("a record at {at} cannot stand there; {first} is the first place")),
            }
        }
        let number = self.segment.as_ref().map_or(0, |segment| segment.head.number);
        self.crc = crc_with(self.crc, number, at, kind, payload);
        let frame = begin_frame(&mut self.group, kind);
        self.group.extend_from_slice(payload);
        finish_frame(&mut self.group, frame, seed);
        self.records += 1;
        Ok(())
    }

    fn close_group(&mut self) -> io::Result<()> {
        let (Some(segment), false) = (&mut self.segment, self.group.is_empty()) else { return Ok(()) };
        let seed = segment.head.seed();
        let mut count = 0;
        let mut at = GROUP_HEAD;
        while let Some(found) = self.group.get(at..).and_then(|rest| frame(rest, seed)) {
            count += 1;
            at += found.size();
        }
        GroupHead::write(self.next, count, &mut self.group, seed);
        segment.append_unsynced(self.files, &self.group)?;
        self.next += 1;
        self.group.clear();
        Ok(())
    }

    fn close_segment(&mut self) -> io::Result<()> {
        self.close_group()?;
        match self.segment.take() {
            Some(segment) if segment.end > SEGMENT_HEAD as u64 => segment.sync(self.files),
            _ => Ok(()),
        }
    }
}
