//! Every row of the table of statuses: what becomes of the run, what counts, and whose fault it is.

use super::*;

const HTTP: &str =
    "rule: r\nevents: queueItem.added\nretry: {first_wait: 1s, attempts: 1}\nsteps:\n  - http: {url: \"https://h/x\"}\n  - wait: 1m\n";

/// What is recorded last for an attempt with this outcome.
fn becomes(rule: &Rule, class: Class, status: Option<u16>) -> String {
    let outcome = Outcome::Failed(Failure { status, ..failure(class) });
    let run = fresh();
    let facts = settle(&run, rule, 0, &attempt(1, Some(class), at(0)), &outcome, None, at(0), 0.5);
    match facts.last() {
        Some(Fact::Waits { state, .. }) => state.as_str().to_owned(),
        Some(Fact::Settled { state, cause: Some(cause), .. }) => format!("{} {}", state.as_str(), cause.code),
        other => panic!("{other:?}"),
    }
}

#[test]
fn each_status_has_its_class_its_end_and_its_side() {
    let once = rule(HTTP);
    let often = rule(&HTTP.replace(", attempts: 1", ""));
    for (status, class, capped, free, side) in [
        (301, Class::Refused, "dead refused", "dead refused", Side::TargetRefused),
        (400, Class::Refused, "dead refused", "dead refused", Side::TargetRefused),
        (401, Class::Auth, "dead gave_up", "waiting", Side::TargetRefused),
        (403, Class::Configuration, "dead gave_up", "waiting", Side::TargetRefused),
        (404, Class::Refused, "dead refused", "dead refused", Side::TargetRefused),
        (408, Class::Server, "dead gave_up", "retrying", Side::TargetFailed),
        (422, Class::Refused, "dead refused", "dead refused", Side::TargetRefused),
        (425, Class::Server, "dead gave_up", "retrying", Side::TargetFailed),
        (429, Class::Throttled, "retrying", "retrying", Side::TargetFailed),
        (500, Class::Server, "dead gave_up", "retrying", Side::TargetFailed),
        (503, Class::Server, "dead gave_up", "retrying", Side::TargetFailed),
        (599, Class::Server, "dead gave_up", "retrying", Side::TargetFailed),
        (600, Class::Refused, "dead refused", "dead refused", Side::TargetRefused),
    ] {
        assert_eq!(Class::of_status(status), Some(class), "{status}");
        assert_eq!(becomes(&once, class, Some(status)), capped, "{status} with one attempt");
        assert_eq!(becomes(&often, class, Some(status)), free, "{status}");
        assert_eq!(class.side(Some(status)), side, "{status}");
    }
    assert!((200..300).all(|status| Class::of_status(status).is_none()));
    for (class, free, side) in [
        (Class::Connect, "retrying", Side::Network),
        (Class::Unknown, "retrying", Side::Network),
        (Class::Invalid, "retrying", Side::TargetFailed),
        (Class::BreakerOpen, "waiting", Side::Us),
        (Class::Refused, "dead refused", Side::Us),
    ] {
        assert_eq!((becomes(&often, class, None).as_str(), class.side(None)), (free, side), "{class:?}");
    }
    assert!(Class::ALL.iter().all(|class| !class.side(None).as_str().is_empty()));
}
