//! Moments as people write them in arguments.

use std::time::Duration;

use super::output::Stop;
use crate::time::{Timestamp, parse_duration};

/// A moment: absolute, or so long ago.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum When {
    /// Then.
    At(Timestamp),
    /// So long before now.
    Ago(Duration),
}

impl When {
    /// The instant, seen from `now`.
    pub(super) fn instant(self, now: Timestamp) -> Timestamp {
        match self {
            Self::At(then) => then,
            Self::Ago(duration) => now.minus(duration),
        }
    }
}

/// The instants of `--since` and `--until`.
///
/// # Errors
/// The one is after the other: nothing can lie between them.
pub(super) fn span(since: Option<When>, until: Option<When>, now: Timestamp) -> Result<(Option<Timestamp>, Option<Timestamp>), Stop> {
    let (since, until) = (since.map(|when| when.instant(now)), until.map(|when| when.instant(now)));
    match (since, until) {
        (Some(from), Some(to)) if from > to => {
            let message = format!("`--since` ({from}) is after `--until` ({to}); nothing lies between them: exchange the two");
            Err(Stop::unknown(message))
        }
        found => Ok(found),
    }
}

/// Reads RFC 3339, a date (midnight UTC), or a duration.
pub(super) fn parse_when(text: &str) -> Result<When, String> {
    if let Some(then) = Timestamp::parse_lenient(text) {
        return Ok(When::At(then));
    }
    parse_duration(text)
        .map(When::Ago)
        .map_err(|_| "expected a moment `2026-11-22T10:00:00Z`, a date `2026-11-22` (midnight UTC), or how long ago `2h`".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_span_that_ends_before_it_begins_is_refused() {
        let now = Timestamp::parse_lenient("2026-11-22T10:00:00Z").expect("a stamp");
        let ago = |hours: u64| Some(When::Ago(Duration::from_secs(hours * 3600)));
        assert!(span(ago(1), ago(2), now).is_err());
        assert!(span(Some(When::At(now)), ago(1), now).is_err());
        for (since, until) in [(ago(2), ago(1)), (ago(1), ago(1)), (ago(1), None), (None, ago(1)), (None, None)] {
            assert!(span(since, until, now).is_ok(), "{since:?} {until:?}");
        }
    }

    #[test]
    fn moments_are_absolute_or_ago() {
        let now = Timestamp::parse_lenient("2026-11-22T10:00:00Z").expect("a stamp");
        for (text, expected) in
            [("2h", "2026-11-22T08:00:00Z"), ("2026-11-21", "2026-11-21T00:00:00Z"), ("2026-11-21T01:02:03+02:00", "2026-11-20T23:02:03Z")]
        {
            assert_eq!(parse_when(text).map(|when| when.instant(now).to_string()), Ok(expected.to_owned()), "{text}");
        }
        for bad in ["2026-02-30", "yesterday", "", "-2h", "12", "2026-13-01"] {
            assert!(parse_when(bad).is_err(), "{bad}");
        }
    }
}
