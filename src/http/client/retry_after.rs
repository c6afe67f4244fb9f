//! `Retry-After` as a pure function of headers and the time.

use std::time::Duration;

use crate::time::Timestamp;

/// The shortest wait that an answer can ask for.
pub const RETRY_AFTER_MIN: Duration = Duration::from_secs(1);
/// The longest wait that is believed; callers have smaller limits of their own.
pub const RETRY_AFTER_MAX: Duration = Duration::from_secs(24 * 3600);

/// How long an answer asks to wait: seconds, or an HTTP date, which counts from the server's own `Date` where there is
/// one, so that a wrong clock at either end does no harm. Of two headers the larger wait counts; what is neither
/// (`-5`, `soon`) asks for nothing.
#[must_use]
pub fn retry_after(headers: &[(String, String)], now: Timestamp) -> Option<Duration> {
    let values = |name: &'static str| headers.iter().filter(move |(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, v)| v.as_str());
    let server_now = values("date").find_map(Timestamp::parse_http_date).unwrap_or(now);
    values("retry-after").filter_map(|value| one(value, server_now)).max()
}

/// One value; a list of numbers is what a proxy makes of two headers.
fn one(value: &str, server_now: Timestamp) -> Option<Duration> {
    if let Some(date) = Timestamp::parse_http_date(value) {
        return Some(date.since(server_now).clamp(RETRY_AFTER_MIN, RETRY_AFTER_MAX));
    }
    value.split(',').map(seconds).collect::<Option<Vec<_>>>()?.into_iter().max()
}

/// A number of seconds, as a header or a JSON body writes it. Fractions are rounded up.
#[must_use]
pub fn seconds(text: &str) -> Option<Duration> {
    let text = text.trim();
    let (whole, fraction) = text.split_once('.').unwrap_or((text, "0"));
    let digits = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
    if !digits(whole) || !digits(fraction) {
        return None;
    }
    // Digits only: what does not fit is too large, and the limit stands for it.
    let whole = whole.parse::<u64>().unwrap_or(u64::MAX);
    let up = u64::from(fraction.bytes().any(|b| b != b'0'));
    Some(Duration::from_secs(whole.saturating_add(up)).clamp(RETRY_AFTER_MIN, RETRY_AFTER_MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn retry_after_in_every_spelling() {
        let now = Timestamp::parse_lenient("2026-11-22T10:00:00Z").unwrap();
        let check = |headers: &[(&str, &str)], expected: Option<u64>| {
            let headers: Vec<_> = headers.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect();
            assert_eq!(retry_after(&headers, now), expected.map(Duration::from_secs), "{headers:?}");
        };
        check(&[], None);
        check(&[("retry-after", "17")], Some(17));
        check(&[("Retry-After", " 17 ")], Some(17));
        check(&[("retry-after", "0")], Some(1));
        check(&[("retry-after", "1.2")], Some(2));
        check(&[("retry-after", "1000000000000")], Some(86_400));
        check(&[("retry-after", "99999999999999999999999999")], Some(86_400));
        check(&[("retry-after", "5"), ("retry-after", "30")], Some(30));
        check(&[("retry-after", "5, 30")], Some(30));
        check(&[("retry-after", "5"), ("retry-after", "soon")], Some(5));
        for garbage in ["-5", "abc", "", "1e3", "+3", "0x10", "NaN", ".", "5,", "١٧"] {
            check(&[("retry-after", garbage)], None);
        }
        // Against our clock, then against the server's own.
        check(&[("retry-after", "Sun, 22 Nov 2026 10:00:40 GMT")], Some(40));
        check(&[("retry-after", "Sun, 22 Nov 2026 10:00:40 GMT"), ("date", "Sun, 22 Nov 2026 10:00:10 GMT")], Some(30));
        check(&[("retry-after", "Sun, 22 Nov 2026 10:00:40 GMT"), ("date", "yesterday")], Some(40));
        check(&[("retry-after", "Sun, 22 Nov 2026 09:00:00 GMT")], Some(1));
        check(&[("retry-after", "Sun, 22 Nov 2099 09:00:00 GMT")], Some(86_400));
    }
}
