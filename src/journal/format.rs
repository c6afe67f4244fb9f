//! The form of a segment file, byte by byte. All numbers are little endian.
//!
//! ```text
//! segment: journal/0000000001.seg
//!   0  8  magic "TRIPLSEG"
//!   8  4  format version (1)
//!  12  4  segment number, from 1, without gaps
//!  16  8  number of its first group
//!  24  4  salt: random, so that no body can contain a frame that verifies
//!  28  4  CRC32C of bytes 0..28, seeded with the segment number
//!  32  …  frames, without gaps; zeros behind the last one
//!
//! frame:
//!   0  4  length of the payload
//!   4  4  CRC32C of the other bytes of the frame, seeded with segment number ^ salt
//!   8  1  kind
//!   9  1  version of the payload's codec
//!  10  2  zero
//!  12  …  payload
//!
//! group: a frame of kind 1 and the frames it counts; all of them count, or none
//!   0  8  group number, one more than the group before
//!   8  4  bytes of the frames that follow
//!  12  4  how many there are
//!  16  4  CRC32C of those bytes, seeded as above
//! ```
//!
//! Group n+1 is written only after `fdatasync` of group n: a bad group with nothing valid behind it was never
//! acknowledged (the torn tail); one with a valid later group behind it is damage. Damage is mended in place once its
//! bytes are kept aside: a new head of a group, the records that verify where they were, holes over the rest. Behind a group
//! with a hole in it the numbers of groups may jump.

/// The format that this version writes; it reads no newer one.
pub(super) const FORMAT: u32 = 1;
/// The first bytes of a segment.
pub(super) const MAGIC: &[u8; 8] = b"TRIPLSEG";
/// Bytes before the first frame.
pub(super) const SEGMENT_HEAD: usize = 32;
/// Bytes of a frame before its payload.
pub(super) const FRAME_HEAD: usize = 12;
/// Bytes of a whole group frame.
pub(super) const GROUP_HEAD: usize = FRAME_HEAD + 20;
/// The version of the codecs of payloads.
pub(super) const CODEC: u8 = 1;

/// What a frame holds. Numbers are never used again for something else.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Kind {
    /// The head of a group.
    Group = 1,
    /// Nothing follows in this segment; the next one exists or is about to.
    Seal = 2,
    /// Records were lost here.
    Hole = 3,
    /// A delivery's body.
    Body = 16,
    /// An event: one element of the body before it.
    Event = 17,
    /// A copy of an event.
    Fold = 18,
    /// What the router decided.
    Plan = 19,
    /// A fact about a run.
    Fact = 20,
    /// The texts of a rule generation.
    Rules = 21,
    /// A value under a name.
    Kept = 22,
    /// Something that lives longer than the segment it was in, written again.
    Carried = 23,
    /// The segments up to here are not needed any more.
    Dropped = 24,
}

impl Kind {
    /// All of them.
    pub(super) const ALL: [Self; 12] = [
        Self::Group,
        Self::Seal,
        Self::Hole,
        Self::Body,
        Self::Event,
        Self::Fold,
        Self::Plan,
        Self::Fact,
        Self::Rules,
        Self::Kept,
        Self::Carried,
        Self::Dropped,
    ];

    fn of(byte: u8) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| *kind as u8 == byte)
    }
}

/// Where a frame begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub(super) struct Position {
    pub(super) segment: u32,
    pub(super) offset: u32,
}

impl Position {
    /// In eight bytes; sorts as positions do.
    pub(super) fn packed(self) -> u64 {
        u64::from(self.segment) << 32 | u64::from(self.offset)
    }

    pub(super) fn unpacked(packed: u64) -> Self {
        Self { segment: (packed >> 32) as u32, offset: (packed & 0xffff_ffff) as u32 }
    }
}

/// The head of a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct SegmentHead {
    pub(super) number: u32,
    pub(super) first_group: u64,
    pub(super) salt: u32,
}

/// Why the first bytes of a segment are not what they should be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum HeadError {
    /// Not ours, or damaged.
    Unreadable,
    /// Of a newer version of the program.
    Newer(u32),
}

impl SegmentHead {
    /// What the CRCs of this segment's frames begin with.
    pub(super) fn seed(self) -> u32 {
        self.number ^ self.salt
    }

    pub(super) fn to_bytes(self) -> [u8; SEGMENT_HEAD] {
        let mut bytes = [0; SEGMENT_HEAD];
        bytes[..8].copy_from_slice(MAGIC);
        bytes[8..12].copy_from_slice(&FORMAT.to_le_bytes());
        bytes[12..16].copy_from_slice(&self.number.to_le_bytes());
        bytes[16..24].copy_from_slice(&self.first_group.to_le_bytes());
        bytes[24..28].copy_from_slice(&self.salt.to_le_bytes());
        let crc = crc32c::crc32c_append(self.number, &bytes[..28]);
        bytes[28..].copy_from_slice(&crc.to_le_bytes());
        bytes
    }

    pub(super) fn from_bytes(bytes: &[u8]) -> Result<Self, HeadError> {
        let bytes = bytes.get(..SEGMENT_HEAD).ok_or(HeadError::Unreadable)?;
        if &bytes[..8] != MAGIC {
            return Err(HeadError::Unreadable);
        }
        let version = u32_at(bytes, 8);
        if version > FORMAT {
            return Err(HeadError::Newer(version));
        }
        let head = Self { number: u32_at(bytes, 12), first_group: u64_at(bytes, 16), salt: u32_at(bytes, 24) };
        if version == FORMAT && crc32c::crc32c_append(head.number, &bytes[..28]) == u32_at(bytes, 28) {
            Ok(head)
        } else {
            Err(HeadError::Unreadable)
        }
    }
}

pub(super) fn u32_at(bytes: &[u8], at: usize) -> u32 {
    bytes.get(at..at + 4).and_then(|b| b.try_into().ok()).map_or(0, u32::from_le_bytes)
}

pub(super) fn u64_at(bytes: &[u8], at: usize) -> u64 {
    bytes.get(at..at + 8).and_then(|b| b.try_into().ok()).map_or(0, u64::from_le_bytes)
}

/// A frame that verified.
#[derive(Clone, Copy, Debug)]
pub(super) struct Frame<'a> {
    pub(super) kind: Kind,
    pub(super) payload: &'a [u8],
}

impl Frame<'_> {
    /// Bytes of the whole frame.
    pub(super) fn size(&self) -> usize {
        FRAME_HEAD + self.payload.len()
    }
}

/// Bytes of the frame that begins with `head`, if it can be one.
pub(super) fn frame_size(head: &[u8]) -> Option<usize> {
    (head.len() >= FRAME_HEAD).then(|| FRAME_HEAD + u32_at(head, 0) as usize)
}

/// The frame at the beginning of `bytes`, when it verifies.
pub(super) fn frame(bytes: &[u8], seed: u32) -> Option<Frame<'_>> {
    let bytes = bytes.get(..frame_size(bytes)?)?;
    let kind = Kind::of(bytes[8])?;
    (bytes[9] == CODEC && frame_crc(bytes, seed) == u32_at(bytes, 4)).then(|| Frame { kind, payload: &bytes[FRAME_HEAD..] })
}

fn frame_crc(bytes: &[u8], seed: u32) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c_append(seed, &bytes[..4]), &bytes[8..])
}

/// Begins a frame at the end of `buffer`; the payload is appended next, then [`finish_frame`] is called with the
/// offset that this returned.
pub(super) fn begin_frame(buffer: &mut Vec<u8>, kind: Kind) -> usize {
    let at = buffer.len();
    buffer.extend_from_slice(&[0, 0, 0, 0, 0, 0, 0, 0, kind as u8, CODEC, 0, 0]);
    at
}

pub(super) fn finish_frame(buffer: &mut [u8], at: usize, seed: u32) {
    finish_frame_with(buffer, at, &[], seed);
}

/// The same where the payload goes on with `tail`, which is not in the buffer.
pub(super) fn finish_frame_with(buffer: &mut [u8], at: usize, tail: &[u8], seed: u32) {
    let length = (buffer.len() - at - FRAME_HEAD + tail.len()) as u32;
    buffer[at..at + 4].copy_from_slice(&length.to_le_bytes());
    let crc = crc32c::crc32c_append(frame_crc(&buffer[at..], seed), tail);
    buffer[at + 4..at + 8].copy_from_slice(&crc.to_le_bytes());
}

/// The head of a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct GroupHead {
    pub(super) number: u64,
    pub(super) bytes: u32,
    pub(super) count: u32,
    pub(super) crc: u32,
}

impl GroupHead {
    pub(super) fn of(frame: Frame<'_>) -> Option<Self> {
        (frame.kind == Kind::Group && frame.payload.len() == GROUP_HEAD - FRAME_HEAD).then(|| Self {
            number: u64_at(frame.payload, 0),
            bytes: u32_at(frame.payload, 8),
            count: u32_at(frame.payload, 12),
            crc: u32_at(frame.payload, 16),
        })
    }

    /// Writes the head over the first [`GROUP_HEAD`] bytes of `group`, which holds all its frames behind them.
    pub(super) fn write(number: u64, count: u32, group: &mut [u8], seed: u32) {
        let (head, frames) = group.split_at_mut(GROUP_HEAD);
        Self { number, bytes: frames.len() as u32, count, crc: crc32c::crc32c_append(seed, frames) }.put(head, seed);
    }

    /// Writes the frame over [`GROUP_HEAD`] bytes.
    pub(super) fn put(self, head: &mut [u8], seed: u32) {
        let mut payload = [0; GROUP_HEAD - FRAME_HEAD];
        payload[..8].copy_from_slice(&self.number.to_le_bytes());
        payload[8..12].copy_from_slice(&self.bytes.to_le_bytes());
        payload[12..16].copy_from_slice(&self.count.to_le_bytes());
        payload[16..].copy_from_slice(&self.crc.to_le_bytes());
        head[8..12].copy_from_slice(&[Kind::Group as u8, CODEC, 0, 0]);
        head[FRAME_HEAD..].copy_from_slice(&payload);
        finish_frame(head, 0, seed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_segment_head_survives_and_every_changed_bit_shows() {
        let head = SegmentHead { number: 7, first_group: 99, salt: 0xdead_beef };
        let bytes = head.to_bytes();
        assert_eq!(SegmentHead::from_bytes(&bytes), Ok(head));
        for bit in 0..SEGMENT_HEAD * 8 {
            let mut changed = bytes;
            changed[bit / 8] ^= 1 << (bit % 8);
            assert!(SegmentHead::from_bytes(&changed).is_err(), "bit {bit}");
        }
        let mut newer = bytes;
        newer[8..12].copy_from_slice(&2_u32.to_le_bytes());
        assert_eq!(SegmentHead::from_bytes(&newer), Err(HeadError::Newer(2)));
    }

    #[test]
    fn a_frame_verifies_only_in_its_own_segment() {
        let mut buffer = Vec::new();
        let at = begin_frame(&mut buffer, Kind::Fact);
        buffer.extend_from_slice(b"payload");
        finish_frame(&mut buffer, at, 1);
        let found = frame(&buffer, 1).expect("verifies");
        assert_eq!((found.kind, found.payload, found.size()), (Kind::Fact, &b"payload"[..], buffer.len()));
        assert!(frame(&buffer, 2).is_none());
        for bit in 0..buffer.len() * 8 {
            let mut changed = buffer.clone();
            changed[bit / 8] ^= 1 << (bit % 8);
            assert!(frame(&changed, 1).is_none(), "bit {bit}");
        }
        assert!(frame(&[0; 64], 0).is_none(), "zeros are no frame, whatever the seed");
    }

    #[test]
    fn positions_sort_as_their_packed_form() {
        let a = Position { segment: 1, offset: u32::MAX };
        let b = Position { segment: 2, offset: 0 };
        assert!(a < b && a.packed() < b.packed());
        assert_eq!(Position::unpacked(a.packed()), a);
    }
}
