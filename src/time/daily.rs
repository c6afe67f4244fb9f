//! A time of day in a time zone: `06:00 Europe/Berlin`.

use std::fmt;

use chrono::{Days, LocalResult, NaiveDateTime, NaiveTime, TimeDelta, TimeZone, Timelike};

use super::Timestamp;

/// The longest zone name that is looked at, in bytes.
const ZONE_MAX: usize = 64;

/// How far a time that a change of the clocks leaves out is put off at most: no change was ever larger.
const GAP_HOURS: i64 = 26;

/// Once a day at a time of the clock on the wall of some place.
///
/// A time that is left out when clocks go forward is as much later as they go; one that comes twice when they go back is
/// the first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Daily {
    time: NaiveTime,
    zone: chrono_tz::Tz,
}

impl Daily {
    /// Reads `06:00 Europe/Berlin`; without a zone it is UTC.
    ///
    /// # Errors
    /// What is wrong, and what is expected.
    pub fn parse(text: &str) -> Result<Self, String> {
        const EXPECTED: &str = "expected a time of day and a zone, such as `06:00 Europe/Berlin`";
        let mut words = text.split_whitespace();
        let time = words.next().unwrap_or_default();
        let zone = words.next().unwrap_or("UTC");
        if words.next().is_some() || time.len() < 4 {
            return Err(format!("`{}` is no time of day; {EXPECTED}", short(text)));
        }
        let parsed = NaiveTime::parse_from_str(time, "%H:%M").or_else(|_| NaiveTime::parse_from_str(time, "%H:%M:%S"));
        let time = parsed.ok().filter(|time| time.nanosecond() < 1_000_000_000);
        let time = time.ok_or_else(|| format!("`{}` is no time of day; {EXPECTED}", short(text)))?;
        let known = (zone.len() <= ZONE_MAX).then(|| zone.parse::<chrono_tz::Tz>().ok()).flatten();
        let zone = known.ok_or_else(|| format!("there is no time zone `{}`; {EXPECTED}", short(zone)))?;
        Ok(Self { time, zone })
    }

    /// The first time after `now`.
    #[must_use]
    pub fn after(&self, now: Timestamp) -> Timestamp {
        // Of a few days around one is the next; a zone may leave a whole day out.
        self.near(now).into_iter().find(|at| *at > now).unwrap_or_else(|| now.plus(std::time::Duration::from_secs(86_400)))
    }

    /// The last time at or before `now`.
    #[must_use]
    pub fn before(&self, now: Timestamp) -> Timestamp {
        self.near(now).into_iter().rfind(|at| *at <= now).unwrap_or_else(|| now.minus(std::time::Duration::from_secs(86_400)))
    }

    /// The times around `now`, ascending.
    fn near(&self, now: Timestamp) -> Vec<Timestamp> {
        let utc = chrono::DateTime::from_timestamp_millis(now.as_millis()).unwrap_or_default();
        let today = utc.with_timezone(&self.zone).date_naive();
        let first = today.checked_sub_days(Days::new(3)).unwrap_or(today);
        let mut all: Vec<Timestamp> =
            (0..7).filter_map(|day| first.checked_add_days(Days::new(day))).filter_map(|day| self.on(day.and_time(self.time))).collect();
        all.sort_unstable();
        all.dedup();
        all
    }

    fn on(&self, local: NaiveDateTime) -> Option<Timestamp> {
        let at = |local: NaiveDateTime| match self.zone.from_local_datetime(&local) {
            LocalResult::Single(at) | LocalResult::Ambiguous(at, _) => Some(at),
            LocalResult::None => None,
        };
        let found = at(local).or_else(|| {
            // What the clock was before the gap: the same wall time by that offset.
            let before = (1..=GAP_HOURS).find_map(|hours| at(local - TimeDelta::hours(hours)).map(|found| (found, hours)));
            before.map(|(found, hours)| found + TimeDelta::hours(hours))
        })?;
        Some(Timestamp::from_millis(found.timestamp_millis()))
    }
}

impl fmt::Display for Daily {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let seconds = if self.time.second() == 0 { "" } else { ":%S" };
        write!(f, "{} {}", self.time.format(&format!("%H:%M{seconds}")), self.zone)
    }
}

fn short(text: &str) -> String {
    text.chars().take(ZONE_MAX).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Timestamp {
        Timestamp::parse_lenient(text).expect("a moment")
    }

    #[test]
    fn the_next_one_is_by_the_clock_on_the_wall() {
        for (daily, now, next) in [
            ("06:00 Europe/Berlin", "2026-01-10T00:00:00Z", "2026-01-10T05:00:00Z"),
            ("06:00 Europe/Berlin", "2026-01-10T05:00:00Z", "2026-01-11T05:00:00Z"),
            ("06:00 Europe/Berlin", "2026-07-10T00:00:00Z", "2026-07-10T04:00:00Z"),
            // Clocks go forward on 29 March 2026 at 02:00, back on 25 October at 03:00.
            ("06:00 Europe/Berlin", "2026-03-28T12:00:00Z", "2026-03-29T04:00:00Z"),
            ("02:30 Europe/Berlin", "2026-03-28T12:00:00Z", "2026-03-29T01:30:00Z"),
            ("02:30 Europe/Berlin", "2026-10-24T12:00:00Z", "2026-10-25T00:30:00Z"),
            ("02:30 Europe/Berlin", "2026-10-25T00:30:00Z", "2026-10-26T01:30:00Z"),
            ("00:30:15 America/New_York", "2026-06-01T00:00:00Z", "2026-06-01T04:30:15Z"),
            ("23:59", "2026-06-01T00:00:00Z", "2026-06-01T23:59:00Z"),
            // Samoa had no 30 December 2011.
            ("12:00 Pacific/Apia", "2011-12-29T23:00:00Z", "2011-12-30T22:00:00Z"),
        ] {
            assert_eq!(Daily::parse(daily).expect(daily).after(at(now)), at(next), "{daily} after {now}");
        }
    }

    #[test]
    fn the_last_one_is_not_after_now() {
        let daily = Daily::parse("06:00 Europe/Berlin").expect("one");
        for (now, last) in [
            ("2026-01-10T05:00:00Z", "2026-01-10T05:00:00Z"),
            ("2026-01-10T04:59:59Z", "2026-01-09T05:00:00Z"),
            ("2026-03-29T04:00:00Z", "2026-03-29T04:00:00Z"),
        ] {
            assert_eq!(daily.before(at(now)), at(last));
        }
        assert_eq!(daily.to_string(), "06:00 Europe/Berlin");
    }

    #[test]
    fn every_hour_of_a_year_has_one_next_within_two_days() {
        let daily = Daily::parse("02:15 Europe/Berlin").expect("one");
        let (mut now, end) = (at("2026-01-01T00:00:00Z"), at("2027-01-01T00:00:00Z"));
        while now < end {
            let next = daily.after(now);
            assert!(next > now && next.since(now).as_secs() <= 25 * 3600, "{now} {next}");
            assert!(daily.before(now) <= now && daily.before(next) == next);
            now = now.plus(std::time::Duration::from_secs(3600));
        }
    }

    #[test]
    fn what_is_none_is_said() {
        for bad in ["", "6", "25:00 UTC", "06:00 Europe/Berlim", "06:60", "06:00 Europe/Berlin daily", "noon", "06:00:60"] {
            assert!(Daily::parse(bad).is_err(), "{bad}");
        }
    }
}
