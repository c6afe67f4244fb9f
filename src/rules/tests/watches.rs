//! What watches remember and when they tell: over days, changes of the clocks, late events and restarts.

use std::time::Duration;

use crate::rules::index::TypePattern;
use crate::rules::{Absent, Seen, Stay, Stuck, Waits, When};
use crate::time::{Daily, Timestamp};

fn at(text: &str) -> Timestamp {
    Timestamp::parse_lenient(text).expect("a moment")
}

fn hours(count: u64) -> Duration {
    Duration::from_secs(count * 3600)
}

fn absent(when: When, within: Duration) -> Absent {
    Absent { events: vec!["ping".to_owned()], types: vec![TypePattern::Exact("ping".into())], pattern: None, within, when }
}

/// What is remembered of events at these times, in this order.
fn seen(absent: &Absent, times: &[&str]) -> Seen {
    times.iter().fold(Seen::default(), |seen, time| absent.after(&seen, at(time)).unwrap_or(seen))
}

#[test]
fn once_a_day_it_is_looked_by_the_clock_on_the_wall() {
    let nightly = absent(When::At(Daily::parse("06:00 Europe/Berlin").expect("a time")), hours(24));
    let begun = at("2026-03-20T00:00:00Z");
    let absence =
        |times: &[&str], now: &str| nightly.absence(&seen(&nightly, times), begun, begun, None, at(now)).map(|moment| moment.to_string());
    // Clocks go forward on 29 March: six o'clock is five o'clock UTC before, four after.
    for (times, now, expected) in [
        (&["2026-03-27T06:00:00Z"][..], "2026-03-28T04:59:59Z", Some("2026-03-27T05:00:00Z")),
        (&["2026-03-27T06:00:00Z"], "2026-03-28T05:01:00Z", None),
        (&["2026-03-27T04:00:00Z"], "2026-03-28T05:01:00Z", Some("2026-03-28T05:00:00Z")),
        (&["2026-03-28T04:10:00Z"], "2026-03-29T04:00:10Z", None),
        (&["2026-03-28T04:10:00Z"], "2026-03-29T04:01:00Z", None),
        (&["2026-03-28T03:50:00Z"], "2026-03-29T04:01:00Z", Some("2026-03-29T04:00:00Z")),
        // One that came after the moment does not make up for it, in whatever order they are heard of.
        (&["2026-03-29T04:00:20Z"], "2026-03-29T04:00:40Z", Some("2026-03-29T04:00:00Z")),
        (&["2026-03-29T04:00:20Z", "2026-03-29T03:00:00Z"], "2026-03-29T04:00:40Z", None),
        (&[], "2026-03-25T12:00:00Z", Some("2026-03-25T05:00:00Z")),
    ] {
        assert_eq!(absence(times, now).as_deref(), expected, "{times:?} at {now}");
    }
}

#[test]
fn a_moment_is_told_once_and_not_before_it_was_watched_for_long_enough() {
    let hourly = absent(When::Every(hours(1)), Duration::from_secs(1800));
    let begun = at("2026-01-01T09:40:00Z");
    let none = Seen::default();
    let absence = |told, now: &str| hourly.absence(&none, begun, begun, told, at(now));
    assert_eq!(absence(None, "2026-01-01T10:01:00Z"), None, "twenty minutes were watched");
    assert_eq!(absence(None, "2026-01-01T11:00:29Z"), None, "what comes late is waited for");
    let eleven = at("2026-01-01T11:00:00Z");
    assert_eq!(absence(None, "2026-01-01T11:00:31Z"), Some(eleven));
    assert_eq!(absence(Some(eleven), "2026-01-01T11:59:00Z"), None);
    // The daemon was down at several moments: the last is told, once what was missed had time to come.
    let started = at("2026-01-01T15:20:00Z");
    let after = |now: &str| hourly.absence(&none, begun, started, Some(eleven), at(now));
    assert_eq!(after("2026-01-01T15:20:30Z"), None);
    assert_eq!(after("2026-01-01T15:21:00Z"), Some(at("2026-01-01T15:00:00Z")));
}

#[test]
fn silence_is_told_once_until_something_comes() {
    let quiet = absent(When::Silence, Duration::from_secs(600));
    let begun = at("2026-01-01T10:00:00Z");
    let absence = |times: &[&str], told, now: &str| quiet.absence(&seen(&quiet, times), begun, begun, told, at(now));
    assert_eq!(absence(&[], None, "2026-01-01T10:09:00Z"), None);
    let first = at("2026-01-01T10:10:00Z");
    assert_eq!(absence(&[], None, "2026-01-01T10:10:30Z"), Some(first));
    assert_eq!(absence(&[], Some(first), "2026-01-01T18:00:00Z"), None);
    let times = &["2026-01-01T11:00:00Z", "2026-01-01T11:05:00Z"];
    assert_eq!(absence(times, Some(first), "2026-01-01T11:15:00Z"), None);
    assert_eq!(absence(times, Some(first), "2026-01-01T11:15:31Z"), Some(at("2026-01-01T11:15:00Z")));
}

#[test]
fn what_is_remembered_stays_small() {
    let often = absent(When::Every(Duration::from_secs(60)), hours(1));
    let mut seen = Seen::default();
    let mut writes = 0;
    for second in 0..36_000 {
        if let Some(new) = often.after(&seen, at("2026-01-01T00:00:00Z").plus(Duration::from_millis(second * 100))) {
            (seen, writes) = (new, writes + 1);
        }
    }
    assert!(seen.0.len() <= 8 && writes <= 3_700, "{} {writes}", seen.0.len());
    assert!(seen.last() >= Some(at("2026-01-01T00:59:58Z")), "{:?}", seen.last());
}

#[test]
fn a_stay_is_right_in_whatever_order_it_is_told() {
    let stuck = Stuck { queue: "Invoices".to_owned(), folder: None, status: Waits::InProgress, longer_than: hours(2) };
    let stay = |status, changed: &str| Stay { status, since: at(changed), changed: at(changed), event: String::new(), reference: None };
    let told = |stays: &[Stay]| stays.iter().fold(None, |before: Option<Stay>, new| stuck.after(before.as_ref(), new.clone()).or(before));
    let added = stay(Waits::New, "2026-01-01T10:00:00Z");
    let started = stay(Waits::InProgress, "2026-01-01T11:00:00Z");
    let deferred = stay(Waits::New, "2026-01-01T11:30:00Z");
    let again = stay(Waits::InProgress, "2026-01-01T12:00:00Z");
    let over = stay(Waits::Over, "2026-01-01T12:30:00Z");
    let due = |stays: &[Stay]| told(stays).and_then(|stay| stuck.due(&stay)).map(|due| due.to_string());
    assert_eq!(due(std::slice::from_ref(&added)), None);
    assert_eq!(due(&[added.clone(), started.clone()]).as_deref(), Some("2026-01-01T13:00:00Z"));
    assert_eq!(due(&[started.clone(), added.clone(), started.clone()]).as_deref(), Some("2026-01-01T13:00:00Z"), "late and twice");
    assert_eq!(due(&[started.clone(), deferred.clone()]), None);
    assert_eq!(due(&[started.clone(), deferred.clone(), again.clone()]).as_deref(), Some("2026-01-01T14:00:00Z"), "a stay of its own");
    assert_eq!(due(&[started.clone(), again.clone(), deferred]).as_deref(), Some("2026-01-01T14:00:00Z"));
    // The end first, then what was before it.
    assert_eq!(due(&[over.clone(), started.clone()]), None);
    assert_eq!(due(&[started, over.clone(), again]), None);
    assert!(!stuck.is_over(&over, at("2026-01-01T12:39:00Z")) && stuck.is_over(&over, at("2026-01-01T12:41:00Z")));
    assert_eq!(due(&[added]), None);
}
