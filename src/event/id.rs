//! Ids: of events (ULID, rising even when the clock does not) and of runs (derived, so planning twice is harmless).

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use ulid::Ulid;

use crate::time::Timestamp;

/// The id of an event: a ULID, 26 characters of Crockford base32. Order of ids is order of acceptance.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EventId(pub u128);

impl EventId {
    /// The time in it, in milliseconds of the Unix epoch: when it was accepted, or a little later than that where
    /// the clock stood still or went back.
    #[must_use]
    pub fn millis(self) -> u64 {
        (self.0 >> 80) as u64
    }

    /// The smallest id of a moment: where a query by time begins.
    #[must_use]
    pub fn first_at(time: Timestamp) -> Self {
        let millis = u128::try_from(time.as_millis()).unwrap_or(0) & ((1 << 48) - 1);
        Self(millis << 80)
    }

    /// As stored: big endian, so that bytes sort as ids do.
    #[must_use]
    pub fn to_bytes(self) -> [u8; 16] {
        self.0.to_be_bytes()
    }

    /// From its stored form.
    #[must_use]
    pub fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(u128::from_be_bytes(bytes))
    }
}

impl fmt::Display for EventId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut buffer = [0_u8; ulid::ULID_LEN];
        f.write_str(Ulid(self.0).array_to_str(&mut buffer))
    }
}

impl fmt::Debug for EventId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for EventId {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        Ulid::from_string(text)
            .map(|u| Self(u.0))
            .map_err(|_| format!("`{text}` is no event id; expected 26 characters such as 01JD8Z3V6Q4K3W5T9M2N7P8R1S"))
    }
}

impl Serialize for EventId {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for EventId {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<str>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

/// Gives rising ids: the moment in the upper 48 bits while the clock rises, else the last id plus one.
/// Knows no clock and no randomness: both come as arguments.
#[derive(Clone, Copy, Debug)]
pub struct IdGenerator {
    last: EventId,
}

impl IdGenerator {
    /// Continues after `last`, the newest id that is in the journal.
    #[must_use]
    pub fn after(last: EventId) -> Self {
        Self { last }
    }

    /// The next id. `random` fills the lower 80 bits when the millisecond is new.
    pub fn next(&mut self, now: Timestamp, random: u128) -> EventId {
        let millis = u128::try_from(now.as_millis()).unwrap_or(0) & ((1 << 48) - 1);
        let fresh = EventId((millis << 80) | (random & ((1 << 79) - 1)));
        let next = if fresh.millis() > self.last.millis() { fresh } else { EventId(self.last.0.saturating_add(1)) };
        self.last = next;
        next
    }
}

/// The first 8 bytes of the SHA-256 of a rule's name: what a run id keeps of it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct RuleHash(pub u64);

impl RuleHash {
    /// Of a rule's name.
    #[must_use]
    pub fn of(rule: &str) -> Self {
        let digest = Sha256::digest(rule.as_bytes());
        let mut first = [0_u8; 8];
        first.copy_from_slice(&digest[..8]);
        Self(u64::from_be_bytes(first))
    }
}

/// The id of a run: event, rule and replay number. Printed `<event>-<16 hex digits>`, with `.r<N>` for replays.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RunId {
    /// The event it runs for.
    pub event: EventId,
    /// The rule it runs.
    pub rule: RuleHash,
    /// 0, or the number of the replay.
    pub replay: u16,
}

impl RunId {
    /// The run of `rule` for `event`.
    #[must_use]
    pub fn of(event: EventId, rule: &str) -> Self {
        Self { event, rule: RuleHash::of(rule), replay: 0 }
    }

    /// As stored: sorts by event first.
    #[must_use]
    pub fn to_bytes(self) -> [u8; 26] {
        let mut bytes = [0_u8; 26];
        bytes[..16].copy_from_slice(&self.event.to_bytes());
        bytes[16..24].copy_from_slice(&self.rule.0.to_be_bytes());
        bytes[24..].copy_from_slice(&self.replay.to_be_bytes());
        bytes
    }

    /// From its stored form.
    #[must_use]
    pub fn from_bytes(bytes: &[u8; 26]) -> Self {
        let mut event = [0_u8; 16];
        event.copy_from_slice(&bytes[..16]);
        let mut rule = [0_u8; 8];
        rule.copy_from_slice(&bytes[16..24]);
        Self {
            event: EventId::from_bytes(event),
            rule: RuleHash(u64::from_be_bytes(rule)),
            replay: u16::from_be_bytes([bytes[24], bytes[25]]),
        }
    }
}

impl fmt::Display for RunId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{:016x}", self.event, self.rule.0)?;
        if self.replay > 0 { write!(f, ".r{}", self.replay) } else { Ok(()) }
    }
}

impl fmt::Debug for RunId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for RunId {
    type Err = String;
    fn from_str(text: &str) -> Result<Self, String> {
        let parse = || {
            let (event, rest) = text.split_once('-')?;
            let (rule, replay) = match rest.split_once(".r") {
                Some((rule, replay)) => (rule, replay.parse().ok()?),
                None => (rest, 0),
            };
            if rule.len() != 16 {
                return None;
            }
            Some(Self { event: event.parse().ok()?, rule: RuleHash(u64::from_str_radix(rule, 16).ok()?), replay })
        };
        parse().ok_or_else(|| format!("`{text}` is no run id; expected an event id, a dash and 16 hex digits"))
    }
}

impl Serialize for RunId {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for RunId {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<str>::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_rise_when_the_clock_goes_back() {
        let mut generator = IdGenerator::after(EventId(0));
        let first = generator.next(Timestamp::from_millis(5_000), 77);
        let second = generator.next(Timestamp::from_millis(1_000), 1);
        let third = generator.next(Timestamp::from_millis(5_001), 0);
        assert!(first < second && second < third);
        assert_eq!(first.millis(), 5_000);
        assert_eq!(third.millis(), 5_001);
    }

    #[test]
    fn ids_print_and_parse() {
        let id = EventId(0x0192_0000_1111_2222_3333_4444_5555_6666);
        assert_eq!(id.to_string().parse(), Ok(id));
        for run in [RunId::of(id, "escalate"), RunId { replay: 3, ..RunId::of(id, "x") }] {
            assert_eq!(run.to_string().parse(), Ok(run));
            assert_eq!(RunId::from_bytes(&run.to_bytes()), run);
        }
        assert!("x".parse::<RunId>().is_err());
    }
}
