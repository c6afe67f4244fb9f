//! The record that stands where records were lost, and what is kept of it.

use std::io;

use bytes::Bytes;
use serde_json::Value;

use crate::journal::format::{FRAME_HEAD, Position};
use crate::journal::words::{Kept, Space};
use crate::journal::{Journal, LOSSES_MAX};
use crate::time::Timestamp;

/// A time of which records were lost.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Loss {
    /// The place of the journal.
    pub place: String,
    /// Events that were received from then on …
    pub from: Timestamp,
    /// … and up to then may be missing.
    pub until: Timestamp,
}

impl Journal {
    /// Times of which records were lost, as far as the events around them tell, the oldest place first.
    ///
    /// # Errors
    /// What is kept cannot be read.
    pub fn losses(&self) -> io::Result<Vec<Loss>> {
        let kept = self.kept_after(Space::Loss, "", None, LOSSES_MAX)?;
        if kept.is_empty() {
            return Ok(Vec::new());
        }
        let state = self.0.shared.read();
        // First and last that was received, segment by segment.
        let received: Vec<(u32, i64, i64)> =
            state.summaries().filter(|summary| summary.events > 0).map(|one| (one.number, one.received.0, one.received.1)).collect();
        let loss = |(place, value): (String, Bytes)| {
            let segment: u32 = place.split('/').next()?.parse().ok()?;
            let of = |number: u32| received.iter().find(|one| one.0 == number);
            let before = received.iter().filter(|one| one.0 < segment).map(|one| one.2).max().or(of(segment).map(|one| one.1));
            let behind = received.iter().filter(|one| one.0 > segment).map(|one| one.1).min();
            let found = serde_json::from_slice::<Value>(&value).ok();
            let found = found.and_then(|value| Timestamp::parse_lenient(value.get("found")?.as_str()?)).map(Timestamp::as_millis);
            let until = behind.or(found).or(of(segment).map(|one| one.2))?;
            Some(Loss { place, from: Timestamp::from_millis(before.unwrap_or(until).min(until)), until: Timestamp::from_millis(until) })
        };
        Ok(kept.into_iter().filter_map(loss).collect())
    }
}

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

    /// What counts in place of a record of so many bytes that makes no sense. Always the same, whoever reads it.
    pub(super) fn instead(bytes: usize) -> Self {
        Self { missing: false, found: 0, bytes }
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
