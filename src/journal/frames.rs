//! The bytes of a group: frames in one buffer, but for large bodies. Those stay where they are and are written from there: no
//! delivery of many megabytes stands in memory twice, and the buffer stays small.

use std::io::IoSlice;

use bytes::Bytes;

use crate::journal::format::{FRAME_HEAD, GROUP_HEAD, GroupHead, Kind, begin_frame, finish_frame, finish_frame_with, frame_size};

/// The end of a payload is copied into the buffer unless it is at least so long.
const HELD_FROM: usize = 16 << 10;

/// The memory of a buffer that is larger than this is given back.
const SPARE_BYTES_MAX: usize = 8 << 20;

/// Bytes that are not in the buffer.
#[derive(Debug)]
struct Held {
    /// So many of the buffer come before.
    behind: usize,
    /// So many that are not in the buffer come before.
    before: usize,
    bytes: Bytes,
}

impl Held {
    /// Where they begin in the group.
    fn begin(&self) -> usize {
        self.behind + self.before
    }

    /// How many of those that are not in the buffer end with them.
    fn through(&self) -> usize {
        self.before + self.bytes.len()
    }
}

/// A group's head, and its frames.
#[derive(Debug, Default)]
pub(super) struct Frames {
    buffer: Vec<u8>,
    held: Vec<Held>,
}

impl Frames {
    /// With room for the group's head, in the memory of an emptied one.
    pub(super) fn begin(mut spare: Self) -> Self {
        spare.buffer.resize(GROUP_HEAD, 0);
        spare
    }

    /// Its memory, for the next one.
    pub(super) fn emptied(self) -> Self {
        Self { buffer: reusable(self.buffer), held: reusable(self.held) }
    }

    /// Bytes of all.
    pub(super) fn len(&self) -> usize {
        self.buffer.len() + self.held.last().map_or(0, Held::through)
    }

    /// Adds a frame; where it begins.
    pub(super) fn put(&mut self, kind: Kind, seed: u32, payload: impl FnOnce(&mut Vec<u8>)) -> usize {
        let (begin, at) = (self.len(), begin_frame(&mut self.buffer, kind));
        payload(&mut self.buffer);
        finish_frame(&mut self.buffer, at, seed);
        begin
    }

    /// Adds a frame whose payload is `head` and `tail`.
    pub(super) fn put_both(&mut self, kind: Kind, seed: u32, head: &[u8], tail: &Bytes) -> usize {
        if tail.len() < HELD_FROM {
            return self.put(kind, seed, |out| {
                out.extend_from_slice(head);
                out.extend_from_slice(tail);
            });
        }
        let (begin, at) = (self.len(), begin_frame(&mut self.buffer, kind));
        self.buffer.extend_from_slice(head);
        finish_frame_with(&mut self.buffer, at, tail, seed);
        let before = self.held.last().map_or(0, Held::through);
        self.held.push(Held { behind: self.buffer.len(), before, bytes: tail.clone() });
        begin
    }

    /// The bytes of the frame that begins at `at`.
    pub(super) fn frame_at(&self, at: usize) -> Option<Vec<u8>> {
        let next = self.held.partition_point(|held| held.begin() <= at);
        let before = next.checked_sub(1).map_or(0, |last| self.held[last].through());
        let rest = self.buffer.get(at.checked_sub(before)?..)?;
        let size = frame_size(rest)?;
        match self.held.get(next).filter(|held| held.begin() < at + size) {
            Some(held) => Some([rest.get(..held.begin() - at)?, &*held.bytes].concat()),
            None => rest.get(..size).map(<[u8]>::to_vec),
        }
    }

    /// Writes the group's head before its frames.
    pub(super) fn close(&mut self, number: u64, count: u32, seed: u32) {
        debug_assert!(self.len() >= GROUP_HEAD + FRAME_HEAD, "a group has frames");
        let crc = self.pieces(GROUP_HEAD).fold(seed, crc32c::crc32c_append);
        let bytes = (self.len() - GROUP_HEAD) as u32;
        GroupHead { number, bytes, count, crc }.put(&mut self.buffer[..GROUP_HEAD], seed);
    }

    /// All bytes, to be written one behind the other.
    pub(super) fn slices(&self) -> Vec<IoSlice<'_>> {
        self.pieces(0).map(IoSlice::new).collect()
    }

    /// All bytes behind the first `from` of the buffer, before which nothing is held.
    fn pieces(&self, from: usize) -> impl Iterator<Item = &[u8]> {
        let begins = std::iter::once(from).chain(self.held.iter().map(|held| held.behind));
        let ends = self.held.iter().map(|held| (held.behind, &*held.bytes)).chain([(self.buffer.len(), &[][..])]);
        begins.zip(ends).flat_map(|(begin, (end, held))| [&self.buffer[begin..end], held]).filter(|piece| !piece.is_empty())
    }
}

/// The memory of a list, unless it is very much.
pub(super) fn reusable<T>(mut list: Vec<T>) -> Vec<T> {
    list.clear();
    if list.capacity().saturating_mul(size_of::<T>()) > SPARE_BYTES_MAX { Vec::new() } else { list }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::journal::format::frame;

    fn written(frames: &Frames) -> Vec<u8> {
        frames.slices().iter().flat_map(|slice| slice.to_vec()).collect()
    }

    proptest! {
        /// Whether it is copied or not, a group has the same bytes, and each of its frames is found again.
        #[test]
        fn what_is_held_is_written_where_it_belongs(tails in proptest::collection::vec(
            (0_usize..40, prop_oneof![0_usize..100, HELD_FROM - 2..HELD_FROM + 3]), 1..8,
        )) {
            let (mut frames, mut copied, mut begins) = (Frames::begin(Frames::default()), vec![0; GROUP_HEAD], Vec::new());
            for (n, (head, tail)) in tails.iter().enumerate() {
                let (head, tail) = (vec![n as u8; *head], Bytes::from(vec![b'a' + n as u8; *tail]));
                begins.push(frames.put_both(Kind::Body, 7, &head, &tail));
                let at = begin_frame(&mut copied, Kind::Body);
                prop_assert_eq!(at, begins[n]);
                copied.extend([&head[..], &tail].concat());
                finish_frame(&mut copied, at, 7);
            }
            prop_assert_eq!(frames.len(), copied.len());
            GroupHead::write(3, tails.len() as u32, &mut copied, 7);
            frames.close(3, tails.len() as u32, 7);
            prop_assert!(written(&frames) == copied);
            for begin in begins {
                let found = frames.frame_at(begin).expect("is there");
                prop_assert!(frame(&found, 7).is_some_and(|frame| frame.size() == found.len()));
                prop_assert!(copied[begin..].starts_with(&found));
            }
            prop_assert_eq!(frames.frame_at(copied.len()), None);
        }
    }

    #[test]
    fn memory_is_used_again_unless_it_is_very_much() {
        let with = |bytes: usize| {
            let mut frames = Frames::begin(Frames::default());
            frames.put(Kind::Fact, 7, |out| out.resize(out.len() + bytes, 1));
            frames.put_both(Kind::Body, 7, &[], &Bytes::from(vec![1; HELD_FROM]));
            frames.emptied()
        };
        assert!(with(1 << 20).buffer.capacity() > 1 << 20);
        assert_eq!(with(SPARE_BYTES_MAX + 1).buffer.capacity(), 0);
        assert_eq!((with(1).len(), with(1).held.len()), (0, 0));
    }
}
