//! A time that follows the system's wall clock and never jumps. Pure.
//!
//! Due times, deadlines and ids are made of it, so that somebody who sets the clock causes neither a storm of early retries
//! nor hours of silence, nor an end to everything that waits.

use std::time::Duration;

use crate::time::Timestamp;

/// A wall clock that is off by no more is followed as it is.
const FOLLOWED: Duration = Duration::from_secs(2);
/// The farthest that is caught up with. Beyond it the wall clock counts as wrong until it comes back, or until a restart.
const CAUGHT_UP: Duration = Duration::from_secs(30 * 24 * 3600);
/// Before this instant (2025-01-01) a clock was never set: such a time is left at once for a later one.
const NEVER_SET_BEFORE: i64 = 1_735_689_600_000;

/// Where the steady time stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Steady {
    now: Timestamp,
    /// The monotonic time when it was read.
    read: Duration,
    /// How it stands to the wall clock.
    pub(super) off: Off,
}

/// How the steady time stands to the wall clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Off {
    /// They are the same.
    No,
    /// The wall clock was set; the steady time runs at double or half speed until they are the same again.
    CatchesUp,
    /// The wall clock is too far off to be followed.
    TooFar,
}

impl Steady {
    /// Begins with the wall clock.
    pub(super) fn new(wall: Timestamp, monotonic: Duration) -> Self {
        Self { now: wall, read: monotonic, off: Off::No }
    }

    /// The time, given what both clocks of the system say. It never goes back.
    pub(super) fn read(&mut self, wall: Timestamp, monotonic: Duration) -> Timestamp {
        let passed = monotonic.saturating_sub(self.read);
        let straight = self.now.plus(passed);
        let (ahead, behind) = (wall.since(straight), straight.since(wall));
        let far = ahead.max(behind);
        let (now, off) = if far <= FOLLOWED {
            (wall.max(self.now), Off::No)
        } else if straight.as_millis() < NEVER_SET_BEFORE && wall > straight {
            (wall, Off::No)
        } else if far > CAUGHT_UP {
            (straight, Off::TooFar)
        } else if wall > straight {
            (straight.plus(passed.min(ahead)), Off::CatchesUp)
        } else {
            (straight.minus((passed / 2).min(behind)), Off::CatchesUp)
        };
        *self = Self { now, read: self.read.max(monotonic), off };
        now
    }

    /// Goes on from `last`, a time that was given out before a restart, where the wall clock stands before it and is caught
    /// up with.
    pub(super) fn not_before(&mut self, last: Timestamp) {
        if last.since(self.now) <= CAUGHT_UP {
            self.now = self.now.max(last);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);
    const HOUR: Duration = Duration::from_secs(3600);
    const DAY: Duration = Duration::from_secs(24 * 3600);

    fn start() -> Timestamp {
        Timestamp::from_millis(1_795_000_000_000)
    }

    /// Reads once a second for `long` with the wall clock shifted; how far the steady time came, and how it stands.
    fn pass(steady: &mut Steady, begun: Duration, long: Duration, wall: impl Fn(Timestamp) -> Timestamp) -> (Duration, Off) {
        let before = steady.now;
        for second in 1..=long.as_secs() {
            let monotonic = begun + SECOND * u32::try_from(second).expect("small");
            let right = start().plus(monotonic);
            let earlier = steady.now;
            let now = steady.read(wall(right), monotonic);
            // The last two seconds are followed at once.
            assert!(now >= earlier && now.since(earlier) <= 2 * SECOND + FOLLOWED, "{earlier} {now}");
        }
        (steady.now.since(before), steady.off)
    }

    #[test]
    fn an_hour_forth_is_caught_up_with_at_double_speed_and_an_hour_back_at_half_speed() {
        let mut forth = Steady::new(start(), Duration::ZERO);
        assert_eq!(pass(&mut forth, Duration::ZERO, HOUR / 2, |right| right.plus(HOUR)), (HOUR, Off::CatchesUp));
        let (passed, off) = pass(&mut forth, HOUR / 2, HOUR, |right| right.plus(HOUR));
        assert_eq!((passed, off), (HOUR + HOUR / 2, Off::No));
        let mut back = Steady::new(start(), Duration::ZERO);
        assert_eq!(pass(&mut back, Duration::ZERO, HOUR, |right| right.minus(HOUR)), (HOUR / 2, Off::CatchesUp));
        let (passed, off) = pass(&mut back, HOUR, 2 * HOUR, |right| right.minus(HOUR));
        assert_eq!((passed, off), (2 * HOUR - HOUR / 2, Off::No));
    }

    #[test]
    fn ten_years_are_not_followed_and_forgotten_when_the_clock_comes_back() {
        for jump in [|right: Timestamp| right.plus(3650 * DAY), |right: Timestamp| right.minus(3650 * DAY)] {
            let mut steady = Steady::new(start(), Duration::ZERO);
            assert_eq!(pass(&mut steady, Duration::ZERO, HOUR, jump), (HOUR, Off::TooFar));
            assert_eq!(pass(&mut steady, HOUR, HOUR, |right| right), (HOUR, Off::No));
        }
    }

    #[test]
    fn a_clock_that_was_never_set_is_left_at_once_when_it_is() {
        let mut steady = Steady::new(Timestamp::EPOCH, Duration::ZERO);
        assert_eq!(steady.read(start(), SECOND), start());
        assert_eq!(steady.off, Off::No);
    }

    #[test]
    fn small_corrections_are_followed_and_never_back() {
        let mut steady = Steady::new(start(), Duration::ZERO);
        assert_eq!(steady.read(start().plus(2 * SECOND), SECOND), start().plus(2 * SECOND));
        assert_eq!(steady.read(start().plus(SECOND), SECOND), start().plus(2 * SECOND));
        assert_eq!(steady.read(start().plus(3 * SECOND), 2 * SECOND), start().plus(3 * SECOND));
    }

    #[test]
    fn after_a_restart_it_goes_on_where_it_was() {
        let mut steady = Steady::new(start(), Duration::ZERO);
        steady.not_before(start().plus(HOUR));
        assert_eq!(steady.read(start().plus(SECOND), SECOND), start().plus(HOUR + SECOND / 2));
        let mut far = Steady::new(start(), Duration::ZERO);
        far.not_before(start().plus(3650 * DAY));
        assert_eq!(far.read(start().plus(SECOND), SECOND), start().plus(SECOND));
    }

    proptest! {
        #[test]
        fn whatever_the_wall_clock_does_time_goes_on_at_half_to_double_speed(jumps in prop::collection::vec((-400_000_000_000_i64..400_000_000_000, 0_u64..100_000), 1..40)) {
            let mut steady = Steady::new(start(), Duration::ZERO);
            let mut monotonic = Duration::ZERO;
            for (off, passed) in jumps {
                let passed = Duration::from_millis(passed);
                monotonic += passed;
                let before = steady.now;
                let wall = Timestamp::from_millis(start().plus(monotonic).as_millis() + off);
                let now = steady.read(wall, monotonic);
                prop_assert!(now >= before);
                // What is followed as it is may be off by what is followed, each way.
                prop_assert!(now.since(before) + FOLLOWED >= passed / 2);
                prop_assert!(now.since(before) <= 2 * passed + FOLLOWED);
            }
        }
    }
}
