//! When a segment may go, as functions of values; and whether the wall clock is to be believed.

use std::time::Duration;

use crate::config::Retention;
use crate::journal::index::Summary;
use crate::time::Timestamp;

/// A jump of the wall clock by more than this is none that time would make.
const JUMP_MAX: Duration = Duration::from_secs(24 * 3600);

/// Opened with records older than [`JUMP_MAX`], nothing goes by age for this long: whoever sees that the clock is wrong has
/// time to set it.
const SETTLE: Duration = Duration::from_secs(3600);

/// A segment is sealed after this part of `age`, however little is in it, so that what is old can go …
const SEGMENTS_PER_AGE: u32 = 16;
/// … but not more often than this.
const SEAL_EVERY: Duration = Duration::from_secs(60);

/// A segment is at most this part of `size` …
const SEGMENTS_PER_SIZE: u64 = 8;
/// … but not smaller than this.
const SEGMENT_MIN: u64 = 1 << 20;

/// How long a segment may be written at.
pub(super) fn seal_after(limits: &Retention) -> Duration {
    (limits.age / SEGMENTS_PER_AGE).max(SEAL_EVERY)
}

/// How large a segment may be, of at most `usual` bytes.
pub(super) fn segment_bytes(limits: &Retention, usual: u64) -> u64 {
    usual.min((limits.size / SEGMENTS_PER_SIZE).max(SEGMENT_MIN))
}

/// What all segments hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Held {
    /// Bytes.
    pub(super) bytes: u64,
    /// Those of them that were written again because they are needed. They do not count: dropping their segment would only
    /// write them once more.
    pub(super) carried: u64,
}

/// Whether the oldest segment, sealed and routed, may go. Without `now` nothing goes by age.
pub(super) fn may_go(limits: &Retention, oldest: &Summary, held: Held, now: Option<Timestamp>) -> bool {
    let newest_record = if oldest.sealed != 0 { oldest.sealed } else { oldest.received.1 };
    let expired = now.is_some_and(|now| Timestamp::from_millis(newest_record) < now.minus(limits.age));
    expired || held.bytes.saturating_sub(held.carried) > limits.size
}

/// Dead runs whose last fact was before this have had their time. Without `now` none had.
pub(super) fn dead_before(limits: &Retention, now: Option<Timestamp>) -> Option<Timestamp> {
    now.map(|now| now.minus(limits.dead))
}

/// Why nothing goes by age.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Doubt {
    /// The wall clock jumped, by this many milliseconds.
    Jumped(i64),
    /// The newest record is this old, and the journal was opened only now.
    Settling(Duration),
}

/// Compares the wall clock with one that nobody sets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct ClockWatch {
    wall: Timestamp,
    steady: Duration,
    /// Since when, by the steady clock, and how old the newest record was then.
    settling: Option<(Duration, Duration)>,
}

impl ClockWatch {
    /// Begins at the opening of a journal whose newest record is from `newest`.
    pub(super) fn begin(wall: Timestamp, steady: Duration, newest: Option<Timestamp>) -> Self {
        let old = newest.map_or(Duration::ZERO, |newest| wall.since(newest));
        Self { wall, steady, settling: (old > JUMP_MAX).then_some((steady, old)) }
    }

    /// Somebody says that the time is right.
    pub(super) fn believe(&mut self, wall: Timestamp, steady: Duration) {
        *self = Self { wall, steady, settling: None };
    }

    /// Whether the wall clock is in doubt. A clock that jumped and comes back is believed again.
    pub(super) fn look(&mut self, wall: Timestamp, steady: Duration) -> Option<Doubt> {
        let passed = i64::try_from(steady.saturating_sub(self.steady).as_millis()).unwrap_or(i64::MAX);
        let jump = wall.as_millis().saturating_sub(self.wall.as_millis()).saturating_sub(passed);
        if jump.unsigned_abs() > JUMP_MAX.as_millis() as u64 {
            return Some(Doubt::Jumped(jump));
        }
        (self.wall, self.steady) = (wall, steady);
        let (since, old) = self.settling?;
        if steady.saturating_sub(since) < SETTLE {
            return Some(Doubt::Settling(old));
        }
        self.settling = None;
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: Duration = Duration::from_secs(24 * 3600);

    fn at(days: i64) -> Timestamp {
        Timestamp::from_millis(1_700_000_000_000 + days * 86_400_000)
    }

    #[test]
    fn a_segment_goes_by_age_or_by_size() {
        let limits = Retention { age: 30 * DAY, size: 1000, dead: 90 * DAY };
        let sealed = |days: i64| Summary { sealed: at(days).as_millis(), ..Summary::new(1) };
        let unsealed = Summary { received: (at(0).as_millis(), at(2).as_millis()), ..Summary::new(1) };
        let held = |bytes, carried| Held { bytes, carried };
        for (what, oldest, held, now, goes) in [
            ("young", sealed(0), held(900, 0), Some(at(30)), false),
            ("old", sealed(0), held(900, 0), Some(at(31)), true),
            ("old by its events", unsealed, held(900, 0), Some(at(33)), true),
            ("its newest event is young", unsealed, held(900, 0), Some(at(31)), false),
            ("old, in doubt", sealed(0), held(900, 0), None, false),
            ("too much", sealed(0), held(1001, 0), None, true),
            ("too much only with what is needed", sealed(0), held(5000, 4000), Some(at(1)), false),
            ("sealed in the future", sealed(99), held(0, 0), Some(at(50)), false),
        ] {
            assert_eq!(may_go(&limits, &oldest, held, now), goes, "{what}");
        }
        assert_eq!(dead_before(&limits, Some(at(100))), Some(at(10)));
        assert_eq!(dead_before(&limits, None), None);
    }

    #[test]
    fn a_clock_that_jumps_is_not_believed_until_it_comes_back_or_somebody_says_so() {
        let mut watch = ClockWatch::begin(at(0), DAY, Some(at(0)));
        assert_eq!(watch.look(at(5), 6 * DAY), None, "time passed");
        assert_eq!(watch.look(at(6), 6 * DAY), None, "a day is no jump");
        let far = at(3656);
        assert!(matches!(watch.look(far, 6 * DAY), Some(Doubt::Jumped(jump)) if jump > 0));
        assert!(matches!(watch.look(far, 9 * DAY), Some(Doubt::Jumped(_))), "waiting makes it no better");
        assert_eq!(watch.look(at(9), 9 * DAY), None, "it came back");
        assert!(matches!(watch.look(at(-100), 9 * DAY), Some(Doubt::Jumped(jump)) if jump < 0));
        watch.believe(at(-100), 9 * DAY);
        assert_eq!(watch.look(at(-99), 10 * DAY), None);
    }

    #[test]
    fn after_a_long_rest_nothing_goes_by_age_for_a_while() {
        let mut watch = ClockWatch::begin(at(3), DAY, Some(at(0)));
        assert_eq!(watch.look(at(3), DAY), Some(Doubt::Settling(3 * DAY)));
        let later = at(3).plus(SETTLE);
        assert_eq!(watch.look(later, DAY + SETTLE), None);
        assert_eq!(ClockWatch::begin(at(1), DAY, Some(at(0))).look(at(1), DAY), None);
        assert_eq!(ClockWatch::begin(at(1), DAY, None).look(at(1), DAY), None, "nothing is there");
    }

    #[test]
    fn segments_are_small_and_young_enough_to_go_one_by_one() {
        let limits = |size: u64, age: u32| Retention { age: DAY * age, size, dead: 90 * DAY };
        assert_eq!(segment_bytes(&limits(10 << 30, 30), 64 << 20), 64 << 20);
        assert_eq!(segment_bytes(&limits(64 << 20, 30), 64 << 20), 8 << 20);
        assert_eq!(segment_bytes(&limits(1 << 20, 30), 64 << 20), 1 << 20);
        assert_eq!(segment_bytes(&limits(1 << 20, 30), 3000), 3000);
        assert_eq!(seal_after(&limits(0, 32)), 2 * DAY);
        assert_eq!(seal_after(&Retention { age: Duration::from_secs(60), ..limits(0, 1) }), SEAL_EVERY);
    }
}
