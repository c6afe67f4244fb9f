//! The parameters of lists, checked. Pure.

use std::fmt;
use std::str::FromStr;

use axum::extract::Query;
use hyper::{StatusCode, Uri};

use crate::event::{EventId, RunId};
use crate::http::server::Problem;
use crate::journal::{EventQuery, RunQuery};
use crate::normalize::canonical_type;
use crate::runs::RunState;
use crate::time::{Timestamp, parse_duration};

/// Items of a page when nothing is said.
pub(super) const LIMIT_DEFAULT: usize = 100;
/// The most items of a page.
pub(super) const LIMIT_MAX: usize = 1000;
/// Characters of an unknown parameter's name that its refusal shows.
const NAME_SHOWN: usize = 40;

/// The parameters of a request, each at most once.
struct Parameters(Vec<(String, String)>);

impl Parameters {
    fn of(uri: &Uri, known: &[&str]) -> Result<Self, Problem> {
        let Query(pairs) = Query::<Vec<(String, String)>>::try_from_uri(uri)
            .map_err(|_| Problem::new(StatusCode::BAD_REQUEST, "the query string cannot be read"))?;
        for (index, (name, _)) in pairs.iter().enumerate() {
            let shown: String = name.chars().take(NAME_SHOWN).collect();
            if !known.contains(&name.as_str()) {
                return Err(bad(&shown, format_args!("is not known here; expected one of {}", known.join(", "))));
            }
            if pairs[..index].iter().any(|(other, _)| other == name) {
                return Err(bad(&shown, format_args!("is given twice")));
            }
        }
        Ok(Self(pairs))
    }

    fn text(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(n, _)| n == name).map(|(_, value)| value.as_str())
    }

    fn id<T: FromStr>(&self, name: &str, expected: &str) -> Result<Option<T>, Problem> {
        let parse = |text: &str| text.parse().map_err(|_| bad(name, format_args!("expected {expected}")));
        self.text(name).map(parse).transpose()
    }

    /// An instant, or how long ago.
    fn time(&self, name: &str, now: Timestamp) -> Result<Option<Timestamp>, Problem> {
        let parse = |text: &str| {
            let ago = || parse_duration(text).ok().map(|ago| now.minus(ago));
            Timestamp::parse_lenient(text)
                .or_else(ago)
                .ok_or_else(|| bad(name, format_args!("expected a time such as 2026-01-31T12:00:00Z, or how long ago: 90s, 2h, 3d")))
        };
        self.text(name).map(parse).transpose()
    }

    fn limit(&self) -> Result<usize, Problem> {
        let Some(text) = self.text("limit") else { return Ok(LIMIT_DEFAULT) };
        let limit = text.parse().ok().filter(|limit| (1..=LIMIT_MAX).contains(limit));
        limit.ok_or_else(|| bad("limit", format_args!("expected a number from 1 to {LIMIT_MAX}")))
    }

    /// Where the next page begins; `before` says the same for people.
    fn cursor<T: FromStr>(&self, expected: &str) -> Result<Option<T>, Problem> {
        match (self.id("cursor", expected)?, self.id("before", expected)?) {
            (Some(_), Some(_)) => Err(bad("before", format_args!("says the same as `cursor`; give one of them"))),
            (cursor, before) => Ok(cursor.or(before)),
        }
    }
}

fn bad(parameter: &str, what: fmt::Arguments<'_>) -> Problem {
    Problem::new(StatusCode::BAD_REQUEST, format!("parameter `{parameter}`: {what}")).with("parameter", parameter.into())
}

const EVENT_ID: &str = "an event id: 26 characters such as 01JD8Z3V6Q4K3W5T9M2N7P8R1S";
const RUN_ID: &str = "a run id: an event id, a dash and 16 hex digits";

/// Of `/api/v1/events`.
pub(super) fn events(uri: &Uri, now: Timestamp) -> Result<EventQuery, Problem> {
    let p = Parameters::of(uri, &["since", "until", "type", "source", "key", "limit", "cursor", "before"])?;
    Ok(EventQuery {
        since: p.time("since", now)?,
        until: p.time("until", now)?,
        event_type: p.text("type").map(event_type),
        source: p.text("source").map(str::to_owned),
        key: p.text("key").map(str::to_owned),
        limit: p.limit()?,
        before: p.cursor(EVENT_ID)?,
    })
}

/// Of `/api/v1/events/{id}`: whether the rules are asked for too.
pub(super) fn explained(uri: &Uri) -> Result<bool, Problem> {
    let p = Parameters::of(uri, &["explain"])?;
    match p.text("explain") {
        None | Some("false") => Ok(false),
        Some("true") => Ok(true),
        Some(_) => Err(bad("explain", format_args!("expected true or false"))),
    }
}

/// Of `/api/v1/runs`.
pub(super) fn runs(uri: &Uri, now: Timestamp) -> Result<RunQuery, Problem> {
    let p = Parameters::of(uri, &["since", "until", "state", "rule", "event", "limit", "cursor", "before"])?;
    let state = |text: &str| {
        let names = || RunState::ALL.map(RunState::as_str).join(", ");
        RunState::ALL.into_iter().find(|s| s.as_str() == text).ok_or_else(|| bad("state", format_args!("expected one of {}", names())))
    };
    Ok(RunQuery {
        since: p.time("since", now)?,
        until: p.time("until", now)?,
        state: p.text("state").map(state).transpose()?,
        rule: p.text("rule").map(str::to_owned),
        event: p.id("event", EVENT_ID)?,
        limit: p.limit()?,
        before: p.cursor(RUN_ID)?,
    })
}

/// Which events a stream sends.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Filter {
    event_type: Option<String>,
    source: Option<String>,
}

impl Filter {
    pub(super) fn takes(&self, event_type: &str, source: &str) -> bool {
        let is_type = |wanted: &str| match wanted.strip_suffix('*') {
            Some(prefix) => event_type.starts_with(prefix),
            None => event_type == wanted,
        };
        self.event_type.as_deref().is_none_or(is_type) && self.source.as_deref().is_none_or(|wanted| wanted == source)
    }
}

/// Of `/api/v1/events/stream`.
pub(super) fn filter(uri: &Uri) -> Result<Filter, Problem> {
    let p = Parameters::of(uri, &["type", "source"])?;
    Ok(Filter { event_type: p.text("type").map(event_type), source: p.text("source").map(str::to_owned) })
}

/// In the spelling that events have, whatever the case; `queueItem.*` stays.
pub(super) fn event_type(written: &str) -> String {
    canonical_type(written).as_ref().to_owned()
}

/// The id in a path. What is no id is the id of nothing.
pub(super) fn event_id(text: &str) -> Result<EventId, Problem> {
    text.parse().map_err(|_| Problem::new(StatusCode::NOT_FOUND, format!("`id` in the path: expected {EVENT_ID}")))
}

/// The id in a path.
pub(super) fn run_id(text: &str) -> Result<RunId, Problem> {
    text.parse().map_err(|_| Problem::new(StatusCode::NOT_FOUND, format!("`id` in the path: expected {RUN_ID}")))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn uri(query: &str) -> Uri {
        format!("/x?{query}").parse().expect("a URI")
    }

    #[test]
    fn parameters_are_read() {
        let now = Timestamp::from_millis(1_000_000_000);
        let id = "01JD8Z3V6Q4K3W5T9M2N7P8R1S";
        let query =
            events(&uri(&format!("since=2h&until=2026-01-01T00:00:00Z&type=queueitem.added&source=a&key=k%7C1&limit=5&cursor={id}")), now)
                .expect("good");
        assert_eq!(query.since, Some(now.minus(Duration::from_secs(7200))));
        assert_eq!(query.until, Timestamp::parse_lenient("2026-01-01T00:00:00Z"));
        assert_eq!(query.event_type.as_deref(), Some("queueItem.added"));
        assert_eq!((query.source.as_deref(), query.key.as_deref(), query.limit), (Some("a"), Some("k|1"), 5));
        assert_eq!(query.before, id.parse().ok());
        let query = runs(&uri(&format!("state=dead&rule=r&event={id}&before={id}-00000000000000ff")), now).expect("good");
        assert_eq!((query.state, query.rule.as_deref(), query.limit), (Some(RunState::Dead), Some("r"), LIMIT_DEFAULT));
        assert!(query.event.is_some() && query.before.is_some());
        let filter = filter(&uri("type=queueItem.*&source=a")).expect("good");
        assert!(filter.takes("queueItem.added", "a"));
        assert!(!filter.takes("job.completed", "a") && !filter.takes("queueItem.added", "b"));
    }

    #[test]
    fn bad_parameters_are_named() {
        let now = Timestamp::EPOCH;
        for (query, parameter) in [
            ("since=yesterday", "since"),
            ("until=", "until"),
            ("limit=0", "limit"),
            ("limit=1001", "limit"),
            ("limit=ten", "limit"),
            ("cursor=x", "cursor"),
            ("before=x", "before"),
            ("since=1h&since=2h", "since"),
            ("state=dead", "state"),
            ("colour=red", "colour"),
        ] {
            let problem = events(&uri(query), now).expect_err(query);
            assert_eq!(problem.status(), 400);
            assert!(problem.detail().starts_with(&format!("parameter `{parameter}`: ")), "{}", problem.detail());
        }
        for query in ["state=fine", "event=x", "type=a", "cursor=01JD8Z3V6Q4K3W5T9M2N7P8R1S"] {
            assert!(runs(&uri(query), now).is_err(), "{query}");
        }
        assert!(filter(&uri("limit=1")).is_err());
        let (event, run) = (event_id("x").expect_err("no id"), run_id("01JD8Z3V6Q4K3W5T9M2N7P8R1S").expect_err("no id"));
        assert_eq!((event.status(), run.status()), (StatusCode::NOT_FOUND, StatusCode::NOT_FOUND), "the id of nothing");
    }
}
