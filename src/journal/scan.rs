//! Reading segment files: the folder's list, whole segments group by group, single frames.
//!
//! Nothing here changes a file. A group is handed out only when all of it verifies.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use crate::journal::files::open_plain;
use crate::journal::format::{
    FRAME_HEAD, Frame, GROUP_HEAD, GroupHead, HeadError, Kind, Position, SEGMENT_HEAD, SegmentHead, frame, frame_size,
};

/// The folder of segments in a state folder.
pub(super) fn journal_dir(state: &Path) -> PathBuf {
    state.join("journal")
}

/// The file of a segment.
pub(super) fn segment_path(journal: &Path, number: u32) -> PathBuf {
    journal.join(format!("{number:010}.seg"))
}

/// The numbers of the segments in a folder, ascending. A missing folder has none.
pub(super) fn segment_numbers(journal: &Path) -> io::Result<Vec<u32>> {
    let entries = match std::fs::read_dir(journal) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries?,
    };
    let mut numbers = Vec::new();
    for entry in entries {
        let name = entry?.file_name();
        let number = name.to_str().and_then(|name| name.strip_suffix(".seg")).filter(|stem| stem.len() == 10);
        numbers.extend(number.and_then(|stem| stem.parse::<u32>().ok()));
    }
    numbers.sort_unstable();
    Ok(numbers)
}

/// The head of a segment file.
pub(super) fn read_head(path: &Path) -> io::Result<Result<SegmentHead, HeadError>> {
    let mut bytes = [0; SEGMENT_HEAD];
    let file = open_plain(path)?;
    match file.read_exact_at(&mut bytes, 0) {
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(Err(HeadError::Unreadable)),
        read => read?,
    }
    Ok(SegmentHead::from_bytes(&bytes))
}

/// A segment, open for reading, and its head.
pub(super) fn open_segment(journal: &Path, number: u32) -> io::Result<(File, SegmentHead)> {
    let path = segment_path(journal, number);
    let head = read_head(&path)?.map_err(|_| damaged(Position { segment: number, offset: 0 }))?;
    Ok((open_plain(&path)?, head))
}

/// How a segment ended, and what in it does not verify.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ScanEnd {
    /// Behind the last valid group.
    pub(super) end: u32,
    /// The number of the group that comes next.
    pub(super) next_group: u64,
    /// Whether the last group seals the segment.
    pub(super) sealed: bool,
    /// Bytes from `end` to the last one that is not zero.
    pub(super) tail: u64,
    /// Damage: what stood there was acknowledged, since a later group follows.
    pub(super) gaps: Vec<Gap>,
}

/// A stretch of a segment from the beginning of a group that does not verify to the next later one that does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Gap {
    pub(super) offset: u32,
    pub(super) end: u32,
    /// The number of the group that should begin here.
    pub(super) group: u64,
    /// Offset and length of what is no valid record; the records between are whole, each has a CRC of its own.
    pub(super) lost: Vec<(u32, u32)>,
    /// How many records of it are whole.
    pub(super) whole: u32,
}

/// Walks the valid records of a segment's `bytes` in order and hands each frame but the groups' heads to `visit`. Records in
/// a group that does not verify as a whole count where a later group shows that it was acknowledged.
pub(super) fn walk<E>(bytes: &[u8], head: SegmentHead, mut visit: impl FnMut(Position, Frame<'_>) -> Result<(), E>) -> Result<ScanEnd, E> {
    let seed = head.seed();
    let place = |offset: usize| Position { segment: head.number, offset: offset as u32 };
    let used = bytes.iter().rposition(|b| *b != 0).map_or(0, |last| last + 1).max(SEGMENT_HEAD.min(bytes.len()));
    let mut at = SEGMENT_HEAD.min(bytes.len());
    let (mut next_group, mut sealed, mut gaps) = (head.first_group, false, Vec::new());
    // Behind a hole, groups may be missing.
    let mut hole = false;
    while !sealed {
        if let Some((size, group)) = whole_group(&bytes[at..], seed, next_group, hole) {
            hole = false;
            let mut inside = at + GROUP_HEAD;
            for _ in 0..group.count {
                let Some(found) = frame(&bytes[inside..at + size], seed) else { break };
                sealed = found.kind == Kind::Seal;
                hole |= found.kind == Kind::Hole;
                visit(place(inside), found)?;
                inside += found.size();
            }
            at += size;
            next_group = group.number + 1;
            continue;
        }
        let Some((offset, number)) = later_group(bytes.get(at..used).unwrap_or_default(), seed, next_group) else { break };
        let end = at + offset;
        let mut gap = Gap { offset: at as u32, end: end as u32, group: next_group, lost: Vec::new(), whole: 0 };
        let mut inside = at + GROUP_HEAD;
        while inside < end {
            let lost = next_frame(&bytes[inside..end], seed);
            if lost > 0 {
                gap.lost.push((inside as u32, lost as u32));
                inside += lost;
            }
            if let Some(found) = frame(&bytes[inside..end], seed) {
                if found.kind != Kind::Group {
                    gap.whole += 1;
                    visit(place(inside), found)?;
                }
                inside += found.size();
            }
        }
        gaps.push(gap);
        (at, next_group) = (end, number);
    }
    let tail = used.saturating_sub(at) as u64;
    Ok(ScanEnd { end: at as u32, next_group, sealed, tail, gaps })
}

/// The size and head of the group at the beginning of `bytes`, when all of it verifies and it is number `number`, or a later
/// one where that may be.
fn whole_group(bytes: &[u8], seed: u32, number: u64, or_later: bool) -> Option<(usize, GroupHead)> {
    let group = GroupHead::of(frame(bytes, seed)?).filter(|group| group.number == number || (or_later && group.number > number))?;
    let size = GROUP_HEAD + group.bytes as usize;
    let frames = bytes.get(GROUP_HEAD..size)?;
    (crc32c::crc32c_append(seed, frames) == group.crc).then_some((size, group))
}

/// Where a valid head of a group later than `expected` is, and its number: group n+1 is written only after n is synced.
fn later_group(bytes: &[u8], seed: u32, expected: u64) -> Option<(usize, u64)> {
    const LENGTH: [u8; 4] = ((GROUP_HEAD - FRAME_HEAD) as u32).to_le_bytes();
    // What is damaged begins with the head of a group at least.
    (GROUP_HEAD..bytes.len().saturating_sub(GROUP_HEAD - 1)).find_map(|at| {
        let found = bytes[at..at + 4] == LENGTH && bytes[at + 8] == Kind::Group as u8;
        let group = found.then(|| frame(&bytes[at..], seed).and_then(GroupHead::of)).flatten()?;
        (group.number > expected).then_some((at, group.number))
    })
}

/// How many bytes come before the next frame that verifies: none, or room for the head of a frame at least.
pub(super) fn next_frame(bytes: &[u8], seed: u32) -> usize {
    let verifies = |at: usize| frame(&bytes[at..], seed).is_some();
    if verifies(0) { 0 } else { (FRAME_HEAD..bytes.len()).find(|at| verifies(*at)).unwrap_or(bytes.len()) }
}

/// Reads one frame of a file; its bytes come whole, for [`frame`].
pub(super) fn read_frame(file: &File, offset: u32) -> io::Result<Vec<u8>> {
    /// Most records fit into this, so that one read is enough.
    const FIRST_READ: usize = 2048;
    let mut bytes = vec![0; FIRST_READ];
    let mut have = 0;
    while have < bytes.len() {
        match file.read_at(&mut bytes[have..], u64::from(offset) + have as u64)? {
            0 => break,
            count => have += count,
        }
    }
    bytes.truncate(have);
    let size = frame_size(&bytes).ok_or(io::ErrorKind::UnexpectedEof)?;
    if size > have {
        // A length that no file of this size can hold is damage, not a reason to ask for that much memory.
        if u64::from(offset) + size as u64 > file.metadata()?.len() {
            return Err(io::ErrorKind::InvalidData.into());
        }
        bytes.resize(size, 0);
        file.read_exact_at(&mut bytes[have..], u64::from(offset) + have as u64)?;
    }
    bytes.truncate(size);
    Ok(bytes)
}

/// Whether an error says that what stands on the disk is damaged, not that it cannot be read at all.
pub(super) fn is_damage(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof)
}

/// An error that says where a record does not verify.
pub(super) fn damaged(at: Position) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("the record at {} of segment {} does not verify", at.offset, at.segment))
}

/// The frame in `bytes`, which [`read_frame`] brought from `at`.
pub(super) fn verified(bytes: &[u8], seed: u32, at: Position) -> io::Result<Frame<'_>> {
    frame(bytes, seed).ok_or_else(|| damaged(at))
}
