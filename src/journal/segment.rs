//! The open segment: the one file that is written.
//!
//! Space is there before records are written into it, so that a full disk shows before a group is begun: the file system
//! keeps it in steps of [`RESERVE_STEP`]. While nobody waits, zeros are written ahead of the records, in steps of
//! [`ZERO_STEP`]: a commit into written blocks touches no metadata and is done in half the time. Under load nothing is
//! written twice; groups are large then, and the metadata is little beside them.

use std::fs::File;
use std::io::{self, IoSlice};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::journal::codec::put_time;
use crate::journal::files::{Files, Identity};
use crate::journal::format::{FRAME_HEAD, GROUP_HEAD, GroupHead, Kind, SEGMENT_HEAD, SegmentHead, begin_frame, finish_frame};
use crate::journal::scan::segment_path;
use crate::time::Timestamp;

/// Space is kept in steps of this many bytes.
const RESERVE_STEP: u64 = 4 << 20;

/// Zeros are written ahead in steps of this many bytes: who comes meanwhile waits for one of them …
const ZERO_STEP: u64 = 256 << 10;

/// … when less than this is left, as soon as nobody waits.
const ZERO_LOW: u64 = 2 << 20;

/// The bytes of a group with only a seal in it.
pub(super) const SEAL_BYTES: u64 = (GROUP_HEAD + FRAME_HEAD + 12) as u64;

/// The open segment.
#[derive(Debug)]
pub(super) struct OpenSegment {
    pub(super) head: SegmentHead,
    pub(super) file: Arc<File>,
    identity: Identity,
    path: PathBuf,
    /// Behind the last group.
    pub(super) end: u64,
    /// Space is kept up to here.
    reserved: u64,
    /// Blocks are written up to here, as far as this process knows.
    zeroed: u64,
    /// A segment is rolled when it would grow beyond this.
    limit: u64,
}

/// A segment that has no name yet: made and synced, so that taking it into use cannot fail for want of space.
#[derive(Debug)]
pub(super) struct NextSegment {
    segment: OpenSegment,
    temp: PathBuf,
}

impl NextSegment {
    /// Prepares segment `number` with room for a first group of `bytes`. What a failure leaves behind is overwritten by the next try.
    pub(super) fn prepare(files: &Files, journal: &Path, number: u32, first_group: u64, limit: u64, bytes: u64) -> io::Result<Self> {
        let temp = journal.join("next.tmp");
        let salt = getrandom::u32().map_err(io::Error::other)?;
        let head = SegmentHead { number, first_group, salt };
        let file = files.create(&temp)?;
        let reserved = RESERVE_STEP.min(limit).max(SEGMENT_HEAD as u64 + bytes + SEAL_BYTES);
        files.reserve(&file, &temp, 0, reserved)?;
        files.write_at(&file, &temp, &head.to_bytes(), 0)?;
        files.sync(&file, &temp)?;
        let path = segment_path(journal, number);
        let (end, identity) = (SEGMENT_HEAD as u64, Identity::of(&file)?);
        Ok(Self { segment: OpenSegment { head, file: Arc::new(file), identity, path, end, reserved, zeroed: end, limit }, temp })
    }

    /// Gives it its name.
    pub(super) fn take(self, files: &Files, journal: &Path) -> io::Result<OpenSegment> {
        files.rename(&self.temp, &self.segment.path)?;
        files.sync_dir(journal)?;
        Ok(self.segment)
    }
}

impl OpenSegment {
    /// Takes up a segment again whose valid groups end at `end`; `tail` bytes behind them are wiped. Everything in it is
    /// synced: the process before may have ended between a write and its sync.
    pub(super) fn resume(files: &Files, path: PathBuf, head: SegmentHead, end: u64, tail: u64, limit: u64) -> io::Result<Self> {
        let file = files.open(&path)?;
        if tail > 0 {
            files.zero(&file, &path, end, end + tail)?;
        }
        files.sync(&file, &path)?;
        let (reserved, identity) = (file.metadata()?.len().max(end), Identity::of(&file)?);
        Ok(Self { head, file: Arc::new(file), identity, path, end, reserved, zeroed: end, limit })
    }

    /// From now on it is rolled when it would grow beyond `limit`.
    pub(super) fn limit_to(&mut self, limit: u64) {
        self.limit = limit;
    }

    /// Whether `bytes` more belong into the next segment. An empty segment takes anything.
    pub(super) fn is_full_for(&self, bytes: u64) -> bool {
        self.end > SEGMENT_HEAD as u64 && self.end + bytes + SEAL_BYTES > self.limit
    }

    /// Makes sure that `bytes` and a seal can be written without asking the file system for space.
    pub(super) fn reserve(&mut self, files: &Files, bytes: u64) -> io::Result<()> {
        let needed = self.end + bytes + SEAL_BYTES;
        if needed <= self.reserved {
            return Ok(());
        }
        let steps = (needed - self.reserved).div_ceil(RESERVE_STEP).max(1);
        // Not beyond the limit, unless one record alone needs it.
        let target = (self.reserved + steps * RESERVE_STEP).min(self.limit.max(needed));
        // The sync of the next group makes it durable.
        files.reserve(&self.file, &self.path, self.reserved, target)?;
        self.reserved = target;
        Ok(())
    }

    /// The same for these bytes alone, whatever the limit says.
    pub(super) fn reserve_just(&mut self, files: &Files, bytes: u64) -> io::Result<()> {
        let needed = self.end + bytes + SEAL_BYTES;
        if needed > self.reserved {
            files.reserve(&self.file, &self.path, self.reserved, needed)?;
            self.reserved = needed;
        }
        Ok(())
    }

    /// Whether a step should be prepared while nobody waits.
    pub(super) fn is_low(&self) -> bool {
        self.zeroed < self.limit && self.zeroed.saturating_sub(self.end) < ZERO_LOW
    }

    /// Writes zeros behind the records, and keeps space for them first.
    pub(super) fn zero_ahead(&mut self, files: &Files) -> io::Result<()> {
        let from = self.zeroed.max(self.end);
        let to = (from + ZERO_STEP).min(self.limit.max(from));
        self.reserve(files, (to - self.end).saturating_sub(SEAL_BYTES))?;
        let to = to.min(self.reserved);
        files.zero(&self.file, &self.path, from, to)?;
        files.sync(&self.file, &self.path)?;
        self.zeroed = to;
        Ok(())
    }

    /// Writes a group at the end and syncs it. After an error nothing may be written any more.
    pub(super) fn append(&mut self, files: &Files, group: &mut [IoSlice<'_>]) -> io::Result<()> {
        let bytes = group.iter().map(|slice| slice.len() as u64).sum::<u64>();
        files.write_slices_at(&self.file, &self.path, group, self.end)?;
        files.sync(&self.file, &self.path)?;
        self.end += bytes;
        Ok(())
    }

    /// Writes a group at the end, for whoever syncs once when all is written.
    pub(super) fn append_unsynced(&mut self, files: &Files, group: &[u8]) -> io::Result<()> {
        files.write_at(&self.file, &self.path, group, self.end)?;
        self.end += group.len() as u64;
        Ok(())
    }

    /// Syncs everything in it.
    pub(super) fn sync(&self, files: &Files) -> io::Result<()> {
        files.sync(&self.file, &self.path)
    }

    /// Whether the file still stands under its name: when the folder was removed, moved or replaced, what is written here
    /// is found by no later start. An error that says nothing about that is none.
    pub(super) fn in_place(&self) -> io::Result<()> {
        let gone = match Identity::named(&self.path) {
            Ok(named) => named != self.identity,
            Err(error) => matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory),
        };
        if gone {
            return Err(io::Error::other(format!("`{}` was removed or replaced while it was in use", self.path.display())));
        }
        Ok(())
    }

    /// Writes the seal as group `number`, with the time of the newest record, and gives back what was prepared behind it.
    pub(super) fn seal(&mut self, files: &Files, number: u64, newest: Timestamp) -> io::Result<()> {
        let seed = self.head.seed();
        let mut group = vec![0; GROUP_HEAD];
        let at = begin_frame(&mut group, Kind::Seal);
        put_time(&mut group, newest);
        finish_frame(&mut group, at, seed);
        GroupHead::write(number, 1, &mut group, seed);
        self.append(files, &mut [IoSlice::new(&group)])?;
        if let Err(error) = files.truncate(&self.file, &self.path, self.end) {
            // The zeros cost space and mean nothing.
            tracing::debug!(%error, segment = self.head.number, "cannot cut a sealed segment");
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fresh(dir: &Path, limit: u64) -> OpenSegment {
        let files = Files::default();
        NextSegment::prepare(&files, dir, 1, 1, limit, 0).and_then(|next| next.take(&files, dir)).expect("a segment")
    }

    fn append(segment: &mut OpenSegment, bytes: &[u8]) {
        segment.reserve(&Files::default(), bytes.len() as u64).expect("has space");
        segment.append(&Files::default(), &mut [IoSlice::new(bytes)]).expect("appends");
    }

    /// However groups and zeros alternate, what was appended stands there, and zeros behind it.
    #[test]
    fn zeros_never_fall_on_records() {
        let dir = tempfile::tempdir().expect("a folder");
        for round in 0..10_usize {
            let mut segment = fresh(dir.path(), 64 << 20);
            let mut expected = Vec::new();
            for group in 0..40_usize {
                if (group + round) % 3 == 0 {
                    segment.zero_ahead(&Files::default()).expect("writes");
                }
                let bytes = vec![1 + group as u8; 1 + (group * 7919 + round * 104_729) % 40_000];
                append(&mut segment, &bytes);
                expected.extend(bytes);
            }
            expected.resize(expected.len() + 10_000, 0);
            let found = crate::journal::files::read_plain(&segment.path).expect("reads");
            assert!(found[SEGMENT_HEAD..][..expected.len()] == expected, "round {round}");
        }
    }

    #[test]
    fn zeros_are_written_in_small_steps_as_far_as_they_are_wanted_and_the_segment_goes() {
        let dir = tempfile::tempdir().expect("a folder");
        for limit in [64 << 20, ZERO_LOW, 10_000, SEGMENT_HEAD as u64, 10] {
            let mut segment = fresh(dir.path(), limit);
            while segment.is_low() {
                let before = segment.zeroed.max(segment.end);
                segment.zero_ahead(&Files::default()).expect("writes");
                assert!((before + 1..=before + ZERO_STEP).contains(&segment.zeroed), "limit {limit}: {before}, {}", segment.zeroed);
            }
            let start = SEGMENT_HEAD as u64;
            let wanted = (start + ZERO_LOW).min(limit.max(start));
            assert!((wanted..wanted + ZERO_STEP).contains(&segment.zeroed), "limit {limit}: {}", segment.zeroed);
            append(&mut segment, &[1; 20_000]);
            assert!(segment.end > 20_000, "an empty segment takes anything");
        }
    }

    #[test]
    fn a_file_that_was_replaced_is_told_from_the_one_that_is_written() {
        let dir = tempfile::tempdir().expect("a folder");
        let segment = fresh(dir.path(), 64 << 20);
        segment.in_place().expect("stands there");
        let kept = dir.path().join("kept");
        std::fs::rename(&segment.path, &kept).expect("moves");
        segment.in_place().expect_err("has no name any more");
        std::fs::copy(&kept, &segment.path).expect("copies");
        segment.in_place().expect_err("is another one");
        std::fs::rename(&kept, &segment.path).expect("moves back");
        segment.in_place().expect("stands there again");
    }
}
