//! The record that stands where records were lost, and what is kept of it.

use bytes::Bytes;

use crate::journal::format::{FRAME_HEAD, Position};
use crate::journal::words::{Kept, Space};
use crate::time::Timestamp;

/// Records that were lost, where they stood.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct HoleRecord {
    /// Whether what stood behind this place was missing; else its own bytes did not verify.
    pub(super) missing: bool,
    /// When it was found, in ms; 0 where there was no room for it.
    pub(super) found: i64,
    /// How many bytes it covers.
    bytes: usize,
}

impl HoleRecord {
    /// The payload of a hole of so many bytes.
    pub(super) fn payload(missing: bool, found: Timestamp, bytes: usize) -> Vec<u8> {
        let mut out = vec![u8::from(missing)];
        out.extend_from_slice(&found.as_millis().to_le_bytes());
        out.resize(bytes, 0);
        out
    }

    pub(super) fn decode(payload: &[u8]) -> Self {
        let found = payload.get(1..9).and_then(|found| found.try_into().ok()).map_or(0, i64::from_le_bytes);
        Self { missing: payload.first() == Some(&1), found, bytes: payload.len() + FRAME_HEAD }
    }

    /// What is kept of it for as long as the journal lives.
    pub(super) fn kept(self, at: Position) -> Kept {
        let value = serde_json::json!({
            "segment": at.segment, "offset": at.offset, "bytes": if self.missing { 0 } else { self.bytes },
            "missing": self.missing, "found": (self.found != 0).then(|| Timestamp::from_millis(self.found).to_string()),
        });
        let key = format!("{:010}/{:010}", at.segment, at.offset);
        Kept { space: Space::Loss, key, value: Some(Bytes::from(value.to_string())) }
    }
}
