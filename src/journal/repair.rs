//! Mending a segment in place, so that the damage is dealt with once and its trace stays.
//!
//! The bytes are kept aside in a file first, synced. Then the place becomes one group that verifies: the records that are
//! whole stay where they were, holes cover the rest. An end in the middle leaves bytes that do not verify, and the next open
//! mends them again. Other bytes of the segment are never touched.

use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use crate::journal::files::{Files, read_plain};
use crate::journal::fold::{Record, fold};
use crate::journal::format::{FRAME_HEAD, GROUP_HEAD, GroupHead, Kind, SegmentHead, begin_frame, finish_frame, frame};
use crate::journal::hole::HoleRecord;
use crate::journal::rebuild::Replayed;
use crate::journal::scan::{Gap, ScanEnd, journal_dir, read_head, segment_path, walk};
use crate::journal::segment::{OpenSegment, SEAL_BYTES};
use crate::journal::state::State;
use crate::journal::words::Damage;
use crate::time::Timestamp;

/// What a gap means for people; nothing is kept aside yet.
pub(super) fn damage(path: &Path, gap: &Gap) -> Damage {
    Damage {
        missing: false,
        offset: gap.offset.into(),
        bytes: (gap.end - gap.offset).into(),
        whole: gap.whole.into(),
        lost: gap.lost.iter().map(|(_, length)| u64::from(*length)).sum(),
        ..Damage::missing(path)
    }
}

/// Mends everything that a scan found damaged though it was acknowledged.
pub(super) fn mend(files: &Files, dir: &Path, state: &mut State, replayed: &mut Replayed, now: Timestamp) -> io::Result<Vec<Damage>> {
    let journal = journal_dir(dir);
    let path = segment_path(&journal, replayed.head.number);
    let mut mended = Vec::new();
    for gap in &replayed.end.gaps {
        mended.push(mend_gap(files, dir, &path, replayed.head, gap, now)?);
    }
    if !mended.is_empty() {
        // The holes count from now on, and at each later open.
        let end = walk(&read_plain(&path)?, replayed.head, |at, frame| match Record::decode(frame)? {
            Some(record @ Record::Hole(_)) => fold(state, at, &record),
            _ => Ok(()),
        })?;
        if (end.end, end.next_group, &*end.gaps) != (replayed.end.end, replayed.end.next_group, &[]) {
            return Err(io::Error::other("it does not verify after mending; is the disk failing?"));
        }
        replayed.end = end;
    }
    let next = segment_path(&journal, replayed.head.number + 1);
    // The next segment was begun after the seal was synced. If no group is missing between them, only the seal is
    // damaged, and it says nothing else.
    if !replayed.end.sealed && next.exists() && read_head(&next)?.is_ok_and(|next| next.first_group == replayed.end.next_group + 1) {
        mended.push(seal_again(files, dir, &path, replayed, now)?);
    }
    Ok(mended)
}

/// Keeps the bytes of a gap aside and mends it.
fn mend_gap(files: &Files, dir: &Path, path: &Path, head: SegmentHead, gap: &Gap, now: Timestamp) -> io::Result<Damage> {
    let file = files.open(path)?;
    let mut old = vec![0; (gap.end - gap.offset) as usize];
    file.read_exact_at(&mut old, gap.offset.into())?;
    let aside = keep_aside(files, dir, &format!("{:010}-{:010}", head.number, gap.offset), &old)?;
    files.write_at(&file, path, &mended(&old, head.seed(), gap, now), gap.offset.into())?;
    files.sync(&file, path)?;
    Ok(Damage { aside: Some(aside), ..damage(path, gap) })
}

/// Writes the seal of a segment again.
fn seal_again(files: &Files, dir: &Path, path: &Path, replayed: &mut Replayed, now: Timestamp) -> io::Result<Damage> {
    let (head, end) = (replayed.head, &mut replayed.end);
    let mut segment = OpenSegment::resume(files, path.to_owned(), head, end.end.into(), 0, u64::MAX)?;
    let there = segment.file.metadata()?.len().saturating_sub(end.end.into());
    let mut old = vec![0; there.min(SEAL_BYTES) as usize];
    segment.file.read_exact_at(&mut old, end.end.into())?;
    let aside = keep_aside(files, dir, &format!("{:010}-{:010}", head.number, end.end), &old)?;
    segment.seal(files, end.next_group, now)?;
    let damage = Damage { offset: end.end.into(), bytes: old.len() as u64, missing: false, aside: Some(aside), ..Damage::missing(path) };
    end.sealed = true;
    end.end = segment.end as u32;
    end.next_group += 1;
    replayed.index.summary.end = end.end;
    replayed.index.summary.last_group = end.next_group - 1;
    Ok(damage)
}

/// The folder for what is kept aside.
pub(super) fn quarantine(files: &Files, dir: &Path) -> io::Result<PathBuf> {
    let quarantine = dir.join("quarantine");
    files.make_dir(&quarantine)?;
    Ok(quarantine)
}

/// Keeps aside what stands behind the last valid group of a segment.
pub(super) fn keep_tail(files: &Files, dir: &Path, path: &Path, end: &ScanEnd) -> io::Result<PathBuf> {
    let mut tail = vec![0; end.tail as usize];
    files.open(path)?.read_exact_at(&mut tail, end.end.into())?;
    let stem = path.file_stem().unwrap_or_default().to_string_lossy();
    keep_aside(files, dir, &format!("{stem}-{:010}", end.end), &tail)
}

/// Writes bytes into the quarantine, under a name that is free.
fn keep_aside(files: &Files, dir: &Path, name: &str, bytes: &[u8]) -> io::Result<PathBuf> {
    let quarantine = quarantine(files, dir)?;
    let mut number = 1;
    let path = loop {
        let path = quarantine.join(if number == 1 { format!("{name}.bin") } else { format!("{name}-{number}.bin") });
        match read_plain(&path) {
            // An earlier attempt came as far as this.
            Ok(there) if there == bytes => return Ok(path),
            Ok(_) => number += 1,
            Err(_) => break path,
        }
    };
    files.replace(&path, bytes)?;
    Ok(path)
}

/// The bytes of a gap as one valid group.
fn mended(old: &[u8], seed: u32, gap: &Gap, now: Timestamp) -> Vec<u8> {
    let mut new = old.to_vec();
    // A stretch too short for a hole cannot come from records that were one behind the other; then nothing is saved.
    let whole_gap = [(gap.offset + GROUP_HEAD as u32, gap.end - gap.offset - GROUP_HEAD as u32)];
    let lost = if gap.lost.iter().any(|(_, length)| (*length as usize) < FRAME_HEAD) { &whole_gap[..] } else { &gap.lost };
    for (offset, length) in lost {
        let at = (offset - gap.offset) as usize;
        new[at..at + *length as usize].copy_from_slice(&hole(*length as usize, seed, false, now));
    }
    let mut count = 0;
    let mut at = GROUP_HEAD;
    while let Some(found) = new.get(at..).and_then(|rest| frame(rest, seed)) {
        count += 1;
        at += found.size();
    }
    GroupHead::write(gap.group, count, &mut new, seed);
    new
}

/// A hole of `length` bytes, at least [`FRAME_HEAD`].
pub(super) fn hole(length: usize, seed: u32, missing: bool, now: Timestamp) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(length);
    let at = begin_frame(&mut bytes, Kind::Hole);
    bytes.extend_from_slice(&HoleRecord::payload(missing, now, length - FRAME_HEAD));
    finish_frame(&mut bytes, at, seed);
    bytes
}
