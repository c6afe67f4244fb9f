//! Reading segment files: the folder's list, whole segments group by group, single frames.
//!
//! Nothing here changes a file. A group is handed out only when all of it verifies.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

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
    let file = File::open(path)?;
    match file.read_exact_at(&mut bytes, 0) {
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(Err(HeadError::Unreadable)),
        read => read?,
    }
    Ok(SegmentHead::from_bytes(&bytes))
}

/// How a segment ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct ScanEnd {
    /// Behind the last valid group.
    pub(super) end: u32,
    /// The number of the group that comes next.
    pub(super) next_group: u64,
    /// Whether the last group seals the segment.
    pub(super) sealed: bool,
    /// Bytes from `end` to the last one that is not zero.
    pub(super) tail: u64,
    /// A valid head of a later group behind `end`: what is at `end` was acknowledged and is damaged.
    pub(super) later: Option<u32>,
}

/// Walks the valid groups of a segment's `bytes` in order and hands each frame but the groups' heads to `visit`.
pub(super) fn walk<E>(bytes: &[u8], head: SegmentHead, mut visit: impl FnMut(Position, Frame<'_>) -> Result<(), E>) -> Result<ScanEnd, E> {
    let seed = head.seed();
    let mut at = SEGMENT_HEAD;
    let mut next_group = head.first_group;
    let mut sealed = false;
    while let Some((size, group)) = whole_group(&bytes[at.min(bytes.len())..], seed, next_group) {
        let mut inside = at + GROUP_HEAD;
        let mut frames = &bytes[inside..at + size];
        for _ in 0..group.count {
            let Some(found) = frame(frames, seed) else { break };
            sealed = found.kind == Kind::Seal;
            visit(Position { segment: head.number, offset: inside as u32 }, found)?;
            inside += found.size();
            frames = &frames[found.size()..];
        }
        at += size;
        next_group += 1;
        if sealed {
            break;
        }
    }
    let rest = &bytes[at.min(bytes.len())..];
    let tail = rest.iter().rposition(|b| *b != 0).map_or(0, |last| last as u64 + 1);
    let later = if sealed { None } else { later_group(&rest[..tail as usize], seed, next_group).map(|o| (at + o) as u32) };
    Ok(ScanEnd { end: at as u32, next_group, sealed, tail, later })
}

/// The size and head of the group at the beginning of `bytes`, when all of it verifies and it is number `number`.
fn whole_group(bytes: &[u8], seed: u32, number: u64) -> Option<(usize, GroupHead)> {
    let group = GroupHead::of(frame(bytes, seed)?).filter(|group| group.number == number)?;
    let size = GROUP_HEAD + group.bytes as usize;
    let frames = bytes.get(GROUP_HEAD..size)?;
    (crc32c::crc32c_append(seed, frames) == group.crc).then_some((size, group))
}

/// Where a valid head of a group later than `expected` is: group n+1 is written only after n is synced.
fn later_group(bytes: &[u8], seed: u32, expected: u64) -> Option<usize> {
    const LENGTH: [u8; 4] = ((GROUP_HEAD - FRAME_HEAD) as u32).to_le_bytes();
    (0..bytes.len().saturating_sub(GROUP_HEAD - 1)).find(|&at| {
        bytes[at..at + 4] == LENGTH
            && bytes[at + 8] == Kind::Group as u8
            && frame(&bytes[at..], seed).and_then(GroupHead::of).is_some_and(|group| group.number > expected)
    })
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

/// An error that says where a record does not verify.
pub(super) fn damaged(at: Position) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("the record at {} of segment {} does not verify", at.offset, at.segment))
}

/// The frame in `bytes`, which [`read_frame`] brought from `at`.
pub(super) fn verified(bytes: &[u8], seed: u32, at: Position) -> io::Result<Frame<'_>> {
    frame(bytes, seed).ok_or_else(|| damaged(at))
}
