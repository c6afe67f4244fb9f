//! Making the checkpoints anew by hand, and going on after segments were lost.
//!
//! Accepting a loss closes the chain of segments again: where segments are missing, small ones with a hole take their
//! place; where the end of one is missing, a hole and a seal do. So the loss is a record, counted for good.

use std::io::{self, IoSlice};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use crate::journal::Journal;
use crate::journal::checkpoints::Checkpoints;
use crate::journal::files::{Files, read_plain};
use crate::journal::fold::Record;
use crate::journal::format::{FRAME_HEAD, Frame, GROUP_HEAD, GroupHead, HeadError, Kind, Position, SEGMENT_HEAD, SegmentHead};
use crate::journal::lock::{self, failed};
use crate::journal::marker::{self, Found, Marker};
use crate::journal::open::newer_format;
use crate::journal::repair::{self, hole};
use crate::journal::rows::Standing;
use crate::journal::scan::{ScanEnd, journal_dir, read_head, segment_numbers, segment_path, walk};
use crate::journal::segment::{NextSegment, OpenSegment, SEAL_BYTES};
use crate::journal::words::{Damage, OpenError, OpenReport, Options};
use crate::time::Timestamp;

/// Bytes of a hole that stands for something missing.
const HOLE_BYTES: usize = FRAME_HEAD + 9;

/// Makes the checkpoints in `dir` anew from the journal. With `accept_loss` also when segments are missing or end too early.
/// Blocking; reads the whole journal.
///
/// # Errors
/// As opening; what is lost and not accepted refuses.
pub fn rebuild(dir: &Path, options: Options, accept_loss: bool) -> Result<OpenReport, OpenError> {
    let files = Files::default();
    if !dir.is_dir() {
        return Err(OpenError::Io(format!("there is no state folder `{}`", dir.display())));
    }
    let mut damage = if accept_loss {
        let lock = lock::take(&files, dir)?;
        lock::sign(&lock).map_err(|error| failed("write", &dir.join("lock"), &error))?;
        refuse_newer(dir)?;
        accept(&files, dir, &options).map_err(|error| failed("mend", &journal_dir(dir), &error))?
    } else {
        // Refuses where something is lost, before the checkpoints that know of it are set aside.
        let (journal, report) = Journal::open(dir, options.clone())?;
        journal.close();
        report.damage
    };
    let marker = Marker { rebuild: true, ..Marker::now(&options.boot_id, false) };
    marker::write(&files, dir, &marker).map_err(|error| failed("write the marker in", dir, &error))?;
    let (journal, mut report) = Journal::open(dir, options)?;
    journal.close();
    damage.append(&mut report.damage);
    Ok(OpenReport { damage, ..report })
}

fn refuse_newer(dir: &Path) -> Result<(), OpenError> {
    if let Found::Newer(version) = marker::read(dir).map_err(|error| failed("read", dir, &error))? {
        return Err(newer_format(&dir.join("store.json"), version));
    }
    let journal = journal_dir(dir);
    for number in segment_numbers(&journal).map_err(|error| failed("read", &journal, &error))? {
        let path = segment_path(&journal, number);
        if let Err(HeadError::Newer(version)) = read_head(&path).map_err(|error| failed("read", &path, &error))? {
            return Err(newer_format(&path, version));
        }
    }
    Ok(())
}

/// Closes the chain of segments over what is lost.
fn accept(files: &Files, dir: &Path, options: &Options) -> io::Result<Vec<Damage>> {
    let (journal, now) = (journal_dir(dir), options.clock.now());
    files.make_dir(&journal)?;
    let standing = known(dir, &options.boot_id)?;
    let first = standing.as_ref().map_or(0, |standing| standing.heads.first);
    let mut known = standing.map(|standing| (standing.next, standing.group));
    let mut damage = Vec::new();
    for number in segment_numbers(&journal)? {
        let path = segment_path(&journal, number);
        if read_head(&path)?.ok().is_none_or(|head| head.number != number) {
            let aside = repair::quarantine(files, dir)?.join(format!("{number:010}.seg"));
            damage.push(Damage { aside: Some(aside.clone()), ..Damage::all_of(&path) });
            files.rename(&path, &aside)?;
            files.sync_dir(&journal)?;
            // It held something, whatever else is known.
            known = known.max(Some((Position { segment: number, offset: SEGMENT_HEAD as u32 + 1 }, 1)));
        }
    }
    let mut stubs = Chain { files, journal: &journal, limit: options.segment_bytes, now };
    damage.extend(accept_beginning(&mut stubs, first)?);
    let numbers = segment_numbers(&journal)?;
    for pair in numbers.windows(2) {
        let (number, next) = (pair[0], pair[1]);
        let (head, end) = scanned(&journal, number)?;
        let path = segment_path(&journal, number);
        let Ok(following) = read_head(&segment_path(&journal, next))? else { continue };
        let last_group = following.first_group.saturating_sub(1);
        let mut group = end.next_group;
        if !(end.sealed || next == number + 1 && group == last_group) {
            if end.tail > 0 {
                repair::keep_tail(files, dir, &path, &end)?;
            }
            let mut segment = OpenSegment::resume(files, path.clone(), head, end.end.into(), end.tail, u64::MAX)?;
            let seal = if next == number + 1 { last_group } else { group + 1 };
            stubs.hole_and_seal(&mut segment, group, Some(seal))?;
            damage.push(Damage::cut_short(&path, end.end, end.tail));
            group = seal + 1;
        }
        for missing in number + 1..next {
            let seal = if missing + 1 == next { last_group } else { group + 1 };
            let mut segment = stubs.begin(missing, group)?;
            stubs.hole_and_seal(&mut segment, group, Some(seal))?;
            damage.push(Damage::missing(&segment_path(&journal, missing)));
            group = seal + 1;
        }
    }
    damage.extend(accept_end(files, dir, &mut stubs, known)?);
    Ok(damage)
}

/// The beginning of the journal, when segments are missing there that retention did not remove.
fn accept_beginning(stubs: &mut Chain<'_>, known: u32) -> io::Result<Vec<Damage>> {
    let numbers = segment_numbers(stubs.journal)?;
    let Some(first) = numbers.first().copied() else { return Ok(Vec::new()) };
    let mut needed = known.max(1);
    for number in numbers {
        walk_segment(stubs.journal, number, |_, frame| {
            if let (Kind::Dropped, Ok(Some(Record::Dropped(dropped)))) = (frame.kind, Record::decode(frame)) {
                needed = needed.max(dropped.through.saturating_add(1));
            }
        })?;
    }
    let Ok(following) = read_head(&segment_path(stubs.journal, first))? else { return Ok(Vec::new()) };
    let missing = u64::from(first.saturating_sub(needed));
    let mut damage = Vec::new();
    // Each holds two groups: the hole, and the seal.
    let Some(mut group) = following.first_group.checked_sub(2 * missing).filter(|group| *group > 0) else {
        return Err(io::Error::other(format!("segment {first} leaves no room for what is missing before it")));
    };
    for number in needed..first {
        let mut segment = stubs.begin(number, group)?;
        stubs.hole_and_seal(&mut segment, group, Some(group + 1))?;
        damage.push(Damage::missing(&segment_path(stubs.journal, number)));
        group += 2;
    }
    Ok(damage)
}

/// The end of the journal, when there was more than is there.
fn accept_end(files: &Files, dir: &Path, stubs: &mut Chain<'_>, known: Option<(Position, u64)>) -> io::Result<Option<Damage>> {
    let journal = stubs.journal;
    let Some((known, group)) = known.filter(|(known, _)| known.segment > 0) else { return Ok(None) };
    let Some(last) = segment_numbers(journal)?.last().copied() else {
        let mut segment = stubs.begin(known.segment, group.max(1))?;
        stubs.hole_and_seal(&mut segment, group.max(1), None)?;
        return Ok(Some(Damage::missing(&segment_path(journal, known.segment))));
    };
    let (head, end) = scanned(journal, last)?;
    if (last, end.end) >= (known.segment, known.offset) {
        return Ok(None);
    }
    let path = segment_path(journal, last);
    if end.sealed {
        let mut segment = stubs.begin(last + 1, end.next_group)?;
        stubs.hole_and_seal(&mut segment, end.next_group, None)?;
        return Ok(Some(Damage::missing(&segment_path(journal, last + 1))));
    }
    if end.tail > 0 {
        repair::keep_tail(files, dir, &path, &end)?;
    }
    let mut segment = OpenSegment::resume(files, path.clone(), head, end.end.into(), end.tail, u64::MAX)?;
    stubs.hole_and_seal(&mut segment, end.next_group, None)?;
    Ok(Some(Damage::cut_short(&path, end.end, end.tail)))
}

/// How far the checkpoints are, where they can be believed.
fn known(dir: &Path, boot_id: &str) -> io::Result<Option<Standing>> {
    let folder = dir.join("checkpoints");
    if marker::distrust(&marker::read(dir)?, boot_id).is_some() || !folder.is_dir() {
        return Ok(None);
    }
    let standing = catch_unwind(AssertUnwindSafe(|| Checkpoints::open(&folder).and_then(|checkpoints| checkpoints.standing())));
    // They are set aside in a moment; what cannot be read of them is of no use.
    Ok(standing.ok().and_then(Result::ok).flatten())
}

fn scanned(journal: &Path, number: u32) -> io::Result<(SegmentHead, ScanEnd)> {
    walk_segment(journal, number, |_, _| ())
}

fn walk_segment(journal: &Path, number: u32, mut visit: impl FnMut(Position, Frame<'_>)) -> io::Result<(SegmentHead, ScanEnd)> {
    let bytes = read_plain(&segment_path(journal, number))?;
    let head = SegmentHead::from_bytes(&bytes).map_err(|_| io::ErrorKind::InvalidData)?;
    let end = walk(&bytes, head, |at, frame| {
        visit(at, frame);
        Ok::<_, io::Error>(())
    })?;
    Ok((head, end))
}

/// Writes segments and groups that stand for what is missing.
struct Chain<'a> {
    files: &'a Files,
    journal: &'a Path,
    limit: u64,
    now: Timestamp,
}

impl Chain<'_> {
    fn begin(&self, number: u32, group: u64) -> io::Result<OpenSegment> {
        let room = (GROUP_HEAD + HOLE_BYTES) as u64 + SEAL_BYTES;
        NextSegment::prepare(self.files, self.journal, number, group, self.limit.min(SEGMENT_HEAD as u64 + room), room)?
            .take(self.files, self.journal)
    }

    /// A hole as group `group`, and where the segment ends with it, a seal as a later one.
    fn hole_and_seal(&mut self, segment: &mut OpenSegment, group: u64, seal: Option<u64>) -> io::Result<()> {
        if seal.is_some_and(|seal| seal <= group) {
            return Err(io::Error::other(format!("segment {} leaves no room for what is missing before it", segment.head.number + 1)));
        }
        let seed = segment.head.seed();
        let mut bytes = vec![0; GROUP_HEAD];
        bytes.extend_from_slice(&hole(HOLE_BYTES, seed, true, self.now));
        GroupHead::write(group, 1, &mut bytes, seed);
        segment.append(self.files, &mut [IoSlice::new(&bytes)])?;
        seal.map_or(Ok(()), |seal| segment.seal(self.files, seal, self.now))
    }
}
