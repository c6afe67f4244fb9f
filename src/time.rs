//! Instants, durations, sizes and rates as values, with the spellings that people and Orchestrator use.
//!
//! Knows no clock: `now` is always an argument (the clock lives in `clock`).

mod daily;

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

pub use daily::Daily;

/// An instant in UTC with the 100 ns precision of Orchestrator's stamps, between the years 1 and 9999.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(jiff::Timestamp);

impl Timestamp {
    /// The Unix epoch; the smallest instant that counts as sane.
    pub const EPOCH: Self = Self(jiff::Timestamp::UNIX_EPOCH);

    /// From milliseconds since the Unix epoch; out of range is clamped.
    #[must_use]
    pub fn from_millis(millis: i64) -> Self {
        let clamped = millis.clamp(jiff::Timestamp::MIN.as_millisecond(), jiff::Timestamp::MAX.as_millisecond());
        Self(jiff::Timestamp::from_millisecond(clamped).unwrap_or(jiff::Timestamp::UNIX_EPOCH))
    }

    /// From nanoseconds since the Unix epoch; out of range is clamped.
    #[must_use]
    pub fn from_nanos(nanos: i128) -> Self {
        let clamped = nanos.clamp(jiff::Timestamp::MIN.as_nanosecond(), jiff::Timestamp::MAX.as_nanosecond());
        Self(jiff::Timestamp::from_nanosecond(clamped).unwrap_or(jiff::Timestamp::UNIX_EPOCH))
    }

    /// Milliseconds since the Unix epoch.
    #[must_use]
    pub fn as_millis(self) -> i64 {
        self.0.as_millisecond()
    }

    /// Nanoseconds since the Unix epoch.
    #[must_use]
    pub fn as_nanos(self) -> i128 {
        self.0.as_nanosecond()
    }

    /// This instant later by `duration`; the end of time is the limit.
    #[must_use]
    pub fn plus(self, duration: Duration) -> Self {
        let nanos = i128::try_from(duration.as_nanos()).unwrap_or(i128::MAX);
        Self::from_nanos(self.as_nanos().saturating_add(nanos))
    }

    /// This instant earlier by `duration`; the beginning of time is the limit.
    #[must_use]
    pub fn minus(self, duration: Duration) -> Self {
        let nanos = i128::try_from(duration.as_nanos()).unwrap_or(i128::MAX);
        Self::from_nanos(self.as_nanos().saturating_sub(nanos))
    }

    /// How long after `earlier` this is; zero when it is not.
    #[must_use]
    pub fn since(self, earlier: Self) -> Duration {
        let nanos = self.as_nanos().saturating_sub(earlier.as_nanos()).max(0);
        Duration::from_nanos(u64::try_from(nanos).unwrap_or(u64::MAX))
    }

    /// The distance between two instants, whichever is first.
    #[must_use]
    pub fn distance(self, other: Self) -> Duration {
        if self >= other { self.since(other) } else { other.since(self) }
    }

    /// The instant when it means one: .NET's `0001-01-01` and everything before the epoch or after the year
    /// 9000 say "not set" (Orchestrator release notes of April 2025).
    #[must_use]
    pub fn sane(self) -> Option<Self> {
        let millis = self.as_millis();
        (millis > 0 && millis < 221_845_392_000_000).then_some(self)
    }

    /// Reads what Orchestrator and people write: RFC 3339 with any number of fraction digits, a missing zone
    /// (taken as UTC), or a date alone (midnight UTC). `None` when it is no instant.
    #[must_use]
    pub fn parse_lenient(text: &str) -> Option<Self> {
        let text = text.trim();
        if let Ok(stamp) = text.parse::<jiff::Timestamp>() {
            return Some(Self(stamp));
        }
        if let Ok(datetime) = text.parse::<jiff::civil::DateTime>() {
            return datetime.to_zoned(jiff::tz::TimeZone::UTC).ok().map(|z| Self(z.timestamp()));
        }
        None
    }

    /// Reads an HTTP date (RFC 9110 5.6.7), the other form of `Retry-After`.
    #[must_use]
    pub fn parse_http_date(text: &str) -> Option<Self> {
        jiff::fmt::rfc2822::parse(text.trim()).ok().map(|z| Self(z.timestamp()))
    }

    /// The instant for calendars and zones.
    #[must_use]
    pub fn to_jiff(self) -> jiff::Timestamp {
        self.0
    }

    /// From jiff's own type.
    #[must_use]
    pub fn from_jiff(stamp: jiff::Timestamp) -> Self {
        Self(stamp)
    }
}

impl fmt::Display for Timestamp {
    /// RFC 3339 in UTC with as many fraction digits as the instant has.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

impl fmt::Debug for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, f)
    }
}

impl Serialize for Timestamp {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Timestamp {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<str>::deserialize(deserializer)?;
        Self::parse_lenient(&text).ok_or_else(|| serde::de::Error::custom(format!("`{text}` is no timestamp")))
    }
}

/// The longest duration that a setting may have: ten years.
pub const DURATION_MAX: Duration = Duration::from_secs(10 * 365 * 24 * 3600);

/// Reads `250ms`, `90s`, `10m`, `2h`, `30d`, `1h30m`. The error says what is wrong and what is expected.
///
/// # Errors
/// A missing unit, an unknown unit, a sign, a fraction, or more than ten years.
pub fn parse_duration(text: &str) -> Result<Duration, String> {
    const EXPECTED: &str = "expected a number with a unit, such as `90s`, `10m`, `2h` or `30d`";
    let text = text.trim();
    if text.is_empty() {
        return Err(format!("empty duration; {EXPECTED}"));
    }
    let mut rest = text;
    let mut total = Duration::ZERO;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
        if digits == 0 {
            return Err(format!("`{text}` is no duration; {EXPECTED}"));
        }
        let number: u64 = rest[..digits].parse().map_err(|_| format!("`{text}` is too long; at most 3650d"))?;
        rest = &rest[digits..];
        let letters = rest.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(rest.len());
        let unit = match &rest[..letters] {
            "ms" => 1,
            "s" => 1_000,
            "m" => 60_000,
            "h" => 3_600_000,
            "d" => 86_400_000,
            "" if rest.is_empty() => return Err(format!("`{text}` has no unit; {EXPECTED}")),
            "" => return Err(format!("`{text}` is no duration; {EXPECTED}")),
            other => return Err(format!("unknown unit `{other}` in `{text}`; {EXPECTED}")),
        };
        rest = &rest[letters..];
        let millis = number.checked_mul(unit).ok_or_else(|| format!("`{text}` is too long; at most 3650d"))?;
        total = total.checked_add(Duration::from_millis(millis)).unwrap_or(Duration::MAX);
        if total > DURATION_MAX {
            return Err(format!("`{text}` is too long; at most 3650d"));
        }
    }
    Ok(total)
}

/// Prints a duration the way `parse_duration` reads it, in at most two units: `1h30m`, `90s`, `250ms`.
#[must_use]
pub fn format_duration(duration: Duration) -> String {
    let millis = duration.as_millis();
    if millis == 0 {
        return "0s".to_owned();
    }
    if millis < 1_000 {
        return format!("{millis}ms");
    }
    let units: [(u128, &str); 4] = [(86_400_000, "d"), (3_600_000, "h"), (60_000, "m"), (1_000, "s")];
    let Some(first) = units.iter().position(|(size, _)| millis >= *size) else { return format!("{millis}ms") };
    let (size, name) = units[first];
    let mut text = format!("{}{name}", millis / size);
    if let Some((next, next_name)) = units.get(first + 1) {
        let rest = (millis % size) / next;
        if rest > 0 {
            text.push_str(&format!("{rest}{next_name}"));
        }
    }
    text
}

/// Reads `512B`, `64KiB`, `32MiB`, `10GiB` and the decimal `64KB`, `32MB`, `10GB`, `1TB`; bytes are the answer.
///
/// # Errors
/// A missing or unknown unit, or a number beyond 2^63.
pub fn parse_size(text: &str) -> Result<u64, String> {
    const EXPECTED: &str = "expected a number with a unit, such as `64KiB`, `32MiB` or `10GiB`";
    let text = text.trim();
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    if digits == 0 {
        return Err(format!("`{text}` is no size; {EXPECTED}"));
    }
    let number: u64 = text[..digits].parse().map_err(|_| format!("`{text}` is too large"))?;
    let unit: u64 = match text[digits..].trim() {
        "B" => 1,
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        "GiB" => 1 << 30,
        "TiB" => 1 << 40,
        "KB" | "kB" => 1_000,
        "MB" => 1_000_000,
        "GB" => 1_000_000_000,
        "TB" => 1_000_000_000_000,
        "" => return Err(format!("`{text}` has no unit; {EXPECTED}")),
        other => return Err(format!("unknown unit `{other}` in `{text}`; {EXPECTED}")),
    };
    number.checked_mul(unit).filter(|bytes| *bytes <= i64::MAX as u64).ok_or_else(|| format!("`{text}` is too large"))
}

/// Prints bytes for people: `1.5 MiB`.
#[must_use]
pub fn format_size(bytes: u64) -> String {
    const UNITS: [&str; 5] = ["B", "KiB", "MiB", "GiB", "TiB"];
    let mut value = bytes as f64;
    let mut unit = 0;
    while value >= 1024.0 && unit + 1 < UNITS.len() {
        value /= 1024.0;
        unit += 1;
    }
    if unit == 0 { format!("{bytes} B") } else { format!("{value:.1} {}", UNITS[unit]) }
}

/// How often something may happen: `count` in each `period`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// How many.
    pub count: u32,
    /// In how long.
    pub period: Duration,
}

impl Rate {
    /// Reads `100/min`, `10/s`, `5/h`.
    ///
    /// # Errors
    /// No slash, no positive number, or an unknown period.
    pub fn parse(text: &str) -> Result<Self, String> {
        const EXPECTED: &str = "expected a number per period, such as `100/min` or `10/s`";
        let (count, period) = text.trim().split_once('/').ok_or_else(|| format!("`{text}` is no rate; {EXPECTED}"))?;
        let count: u32 = count.trim().parse().map_err(|_| format!("`{text}` is no rate; {EXPECTED}"))?;
        if count == 0 {
            return Err(format!("`{text}` allows nothing; {EXPECTED}"));
        }
        let period = match period.trim() {
            "s" | "sec" => Duration::from_secs(1),
            "m" | "min" => Duration::from_secs(60),
            "h" | "hour" => Duration::from_secs(3600),
            "d" | "day" => Duration::from_secs(86_400),
            other => return Err(format!("unknown period `{other}` in `{text}`; {EXPECTED}")),
        };
        Ok(Self { count, period })
    }

    /// How many in a second.
    #[must_use]
    pub fn per_second(self) -> f64 {
        f64::from(self.count) / self.period.as_secs_f64()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_are_per_second() {
        for (text, per_second) in [("10/s", 10.0), ("100/min", 100.0 / 60.0), (" 60 / m ", 1.0), ("7200/h", 2.0), ("43200/day", 0.5)] {
            assert_eq!(Rate::parse(text).map(Rate::per_second), Ok(per_second), "{text}");
        }
        for bad in ["", "10", "0/s", "-1/s", "1.5/s", "10/week", "/s", "99999999999/s"] {
            assert!(Rate::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn stamps_of_every_precision_are_read() {
        for text in
            ["2018-11-26T14:14:31.2113498Z", "2018-11-26T14:14:31.21Z", "2018-11-26T16:14:31+02:00", "2018-11-26T14:14:31", "2018-11-26"]
        {
            assert!(Timestamp::parse_lenient(text).is_some(), "{text}");
        }
        assert_eq!(Timestamp::parse_lenient("0001-01-01T00:00:00").and_then(Timestamp::sane), None);
        assert_eq!(Timestamp::parse_lenient("yesterday"), None);
        let stamp = Timestamp::parse_lenient("2018-11-26T14:14:31.2113498Z").expect("a stamp");
        assert_eq!(stamp.to_string(), "2018-11-26T14:14:31.2113498Z");
        assert!(Timestamp::parse_http_date("Sun, 22 Nov 2026 10:00:00 GMT").is_some());
    }

    #[test]
    fn durations_need_units() {
        assert_eq!(parse_duration("1h30m"), Ok(Duration::from_secs(5400)));
        assert_eq!(parse_duration("250ms"), Ok(Duration::from_millis(250)));
        for bad in ["10", "10 parsecs", "-5s", "1e99s", "", "99999999999999999999s", "4000d", "1.5h"] {
            assert!(parse_duration(bad).is_err(), "{bad}");
        }
        assert!(parse_duration("10 parsecs").is_err_and(|why| why.starts_with("`10 parsecs` is no duration; expected")));
        for text in ["1h30m", "90d", "250ms", "45s"] {
            let parsed = parse_duration(text).expect("parses");
            assert_eq!(parse_duration(&format_duration(parsed)), Ok(parsed));
        }
    }

    #[test]
    fn sizes_tell_binary_from_decimal() {
        assert_eq!(parse_size("1GiB"), Ok(1 << 30));
        assert_eq!(parse_size("1GB"), Ok(1_000_000_000));
        for bad in ["1", "GiB", "1 XB", "99999999999GiB"] {
            assert!(parse_size(bad).is_err(), "{bad}");
        }
        assert_eq!(format_size(1536), "1.5 KiB");
    }

    #[test]
    fn rates_are_a_count_in_a_period() {
        assert_eq!(Rate::parse("100/min"), Ok(Rate { count: 100, period: Duration::from_secs(60) }));
        for bad in ["100", "0/s", "x/s", "1/fortnight"] {
            assert!(Rate::parse(bad).is_err(), "{bad}");
        }
    }
}
