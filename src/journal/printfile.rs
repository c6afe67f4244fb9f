//! The fingerprints of a sealed segment in a file of its own, so that opening does not read the segment for them.
//!
//! ```text
//! prints/0000000001     8 magic · 4 segment · 4 its salt · 8 first group · 8 count ·
//!                       12 per fingerprint, in the order of the records: 8 fingerprint · 4 offset · 4 CRC32C of all before
//! ```
//!
//! Never the truth and never synced: a file that is missing, torn or of another segment is made again from its segment.
//! They are not in the checkpoints because sled holds what it has written or read in memory, many times over its cache.

use std::io;
use std::path::{Path, PathBuf};

use crate::journal::codec::{Take, Undecodable};
use crate::journal::files::{Files, read_plain};
use crate::journal::format::SegmentHead;
use crate::journal::index::SegmentIndex;
use crate::journal::scan::{damaged, read_head, segment_path, walk};

const MAGIC: &[u8; 8] = b"TLPRINT1";
const HEAD: usize = 32;
const PRINT: usize = 12;
const CRC: usize = 4;

/// A fingerprint and the offset of its record.
type Print = (u64, u32);

/// The folder, beside the one of the segments.
fn folder(journal: &Path) -> PathBuf {
    journal.with_file_name("prints")
}

fn path(journal: &Path, number: u32) -> PathBuf {
    folder(journal).join(format!("{number:010}"))
}

fn head_bytes(head: SegmentHead, count: usize) -> [u8; HEAD] {
    let mut out = [0; HEAD];
    out[..8].copy_from_slice(MAGIC);
    out[8..12].copy_from_slice(&head.number.to_le_bytes());
    out[12..16].copy_from_slice(&head.salt.to_le_bytes());
    out[16..24].copy_from_slice(&head.first_group.to_le_bytes());
    out[24..].copy_from_slice(&(count as u64).to_le_bytes());
    out
}

/// Writes those of a segment that was sealed. A failure is told and costs the next open a scan.
pub(super) fn write(files: &Files, journal: &Path, head: SegmentHead, prints: &[Print]) {
    let mut out = Vec::with_capacity(HEAD + prints.len() * PRINT + CRC);
    out.extend_from_slice(&head_bytes(head, prints.len()));
    for (print, offset) in prints {
        out.extend_from_slice(&print.to_le_bytes());
        out.extend_from_slice(&offset.to_le_bytes());
    }
    let crc = crc32c::crc32c(&out);
    out.extend_from_slice(&crc.to_le_bytes());
    let path = path(journal, head.number);
    let written =
        files.make_dir(&folder(journal)).and_then(|()| files.create(&path)).and_then(|file| files.write_at(&file, &path, &out, 0));
    if let Err(error) = written {
        tracing::warn!(%error, file = %path.display(), "the fingerprints of a segment were not written; the next start reads the segment for them");
    }
}

/// Removes those of a segment.
pub(super) fn remove(files: &Files, journal: &Path, number: u32) -> io::Result<()> {
    files.remove(&path(journal, number))
}

/// Hands those of a sealed segment to `visit`, in the order of their records.
pub(super) fn each(files: &Files, journal: &Path, number: u32, visit: &mut dyn FnMut(u64, u32)) -> io::Result<()> {
    let place = segment_path(journal, number);
    let head = read_head(&place)?.map_err(|_| damaged(crate::journal::format::Position { segment: number, offset: 0 }))?;
    let stored = read_plain(&path(journal, number)).ok();
    if let Some(prints) = stored.as_deref().and_then(|bytes| verified(bytes, head)) {
        for print in prints.chunks_exact(PRINT) {
            let mut take = Take(print);
            visit(take.u64()?, take.u32()?);
        }
        return Ok(());
    }
    let bytes = read_plain(&place)?;
    let mut index = SegmentIndex::new(number);
    walk(&bytes, head, |at, frame| index.frame(at.offset, frame).map_err(|_: Undecodable| damaged(at)))?;
    drop(bytes);
    write(files, journal, head, &index.prints);
    index.prints.iter().for_each(|(print, offset)| visit(*print, *offset));
    Ok(())
}

/// The fingerprints in a file of this segment, when all of it is as it was written.
fn verified(bytes: &[u8], head: SegmentHead) -> Option<&[u8]> {
    let (content, crc) = bytes.split_last_chunk::<CRC>()?;
    let prints = content.get(HEAD..)?;
    let whole = prints.len() % PRINT == 0 && content[..HEAD] == head_bytes(head, prints.len() / PRINT);
    (whole && crc32c::crc32c(content) == u32::from_le_bytes(*crc)).then_some(prints)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_whole_file_of_the_same_segment_is_believed() {
        let dir = tempfile::tempdir().expect("a folder");
        let journal = dir.path().join("journal");
        let head = SegmentHead { number: 7, first_group: 3, salt: 99 };
        let prints: Vec<Print> = (0..50).map(|n| (u64::from(n) << 40, n)).collect();
        write(&Files::default(), &journal, head, &prints);
        let bytes = std::fs::read(path(&journal, 7)).expect("reads");
        let found = verified(&bytes, head).expect("whole");
        assert_eq!(found.len(), prints.len() * PRINT);
        assert_eq!(&found[PRINT..PRINT + 8], &prints[1].0.to_le_bytes());
        for other in [SegmentHead { number: 8, ..head }, SegmentHead { first_group: 4, ..head }, SegmentHead { salt: 98, ..head }] {
            assert_eq!(verified(&bytes, other), None);
        }
        for at in 0..bytes.len() {
            let mut wrong = bytes.clone();
            wrong[at] ^= 1;
            assert_eq!(verified(&wrong, head), None, "byte {at}");
            assert_eq!(verified(&bytes[..at], head), None, "cut at {at}");
        }
        write(&Files::default(), &journal, head, &[]);
        assert_eq!(verified(&std::fs::read(path(&journal, 7)).expect("reads"), head), Some(&[][..]));
    }
}
