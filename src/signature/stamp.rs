//! Times that are signed with a body: a delivery that somebody recorded is no good later.

use std::time::Duration;

use super::Verdict;
use crate::time::Timestamp;

/// From here on a number of seconds would be in the year 5138: it is one of milliseconds.
const MILLISECONDS_FROM: i64 = 100_000_000_000;

/// What a header or field says, in milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Stamp {
    millis: i64,
    /// It was written in milliseconds where seconds are due.
    wrong_unit: bool,
}

/// Seconds since 1970, as all known schemes write it.
pub(super) fn seconds(text: &[u8]) -> Result<Stamp, &'static str> {
    let number = number(text)?;
    let wrong_unit = number >= MILLISECONDS_FROM;
    Ok(Stamp { millis: if wrong_unit { number } else { number.saturating_mul(1000) }, wrong_unit })
}

/// Seconds or milliseconds since 1970, or RFC 3339.
pub(super) fn any(text: &[u8]) -> Result<Stamp, &'static str> {
    if let Ok(number) = number(text) {
        let millis = if number >= MILLISECONDS_FROM { number } else { number.saturating_mul(1000) };
        return Ok(Stamp { millis, wrong_unit: false });
    }
    let read = std::str::from_utf8(text).ok().and_then(Timestamp::parse_lenient);
    read.map(|stamp| Stamp { millis: stamp.as_millis(), wrong_unit: false }).ok_or("the timestamp is neither a number nor RFC 3339")
}

fn number(text: &[u8]) -> Result<i64, &'static str> {
    if text.is_empty() || !text.iter().all(u8::is_ascii_digit) {
        return Err("the timestamp is no whole number");
    }
    let digits = std::str::from_utf8(text).map_err(|_| "the timestamp is no whole number")?;
    digits.parse().map_err(|_| "the timestamp has too many digits")
}

impl Stamp {
    /// The verdict about a body whose signature the secret with this index gives.
    pub(super) fn judge(self, index: usize, now: Timestamp, tolerance: Duration) -> Verdict {
        if self.wrong_unit {
            return Verdict::Stale("the timestamp looks like milliseconds; seconds are expected");
        }
        let (ours, tolerance) = (now.as_millis(), i64::try_from(tolerance.as_millis()).unwrap_or(i64::MAX));
        if ours.saturating_sub(self.millis) > tolerance {
            Verdict::Stale("the timestamp is too old: sent long ago, sent again by somebody else, or a clock is wrong")
        } else if self.millis.saturating_sub(ours) > tolerance {
            Verdict::Stale("the timestamp is in the future: is one of the clocks wrong?")
        } else {
            Verdict::Genuine(index)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_good_within_the_tolerance_on_both_sides() {
        let now = Timestamp::from_millis(1_700_000_000_000);
        let judge = |text: &str| seconds(text.as_bytes()).map(|stamp| stamp.judge(3, now, crate::signature::TOLERANCE));
        for good in ["1700000000", "1699999700", "1699999701", "1700000300", "0001700000000"] {
            assert_eq!(judge(good), Ok(Verdict::Genuine(3)), "{good}");
        }
        for bad in ["1699999699", "1700000301", "0", "1000000000", "1700000000000", "9223372036854775807"] {
            assert!(matches!(judge(bad), Ok(Verdict::Stale(_))), "{bad}");
        }
        for wrong in ["", "-1", "+1", "1e9", "17000000000000000000", "99999999999999999999", "x", "1700000000.5", "1 2"] {
            assert!(judge(wrong).is_err(), "{wrong}");
        }
        assert_eq!(judge("1700000000000"), Ok(Verdict::Stale("the timestamp looks like milliseconds; seconds are expected")));
        for good in ["1700000000000", "1700000000", "2023-11-14T22:13:20Z"] {
            assert_eq!(any(good.as_bytes()).map(|stamp| stamp.judge(0, now, Duration::from_secs(1))), Ok(Verdict::Genuine(0)), "{good}");
        }
        assert!(any(b"soon").is_err() && any(b"\xff").is_err());
    }
}
