//! Watched sources: what should happen, and by when.

use std::sync::Arc;
use std::time::Duration;

use super::orchestrators::folder;
use super::shapes;
use super::sources::{Surroundings, orchestrator};
use crate::fault::{Fault, Faults, Place, nearest};
use crate::normalize::{canonical_type, known_types};
use crate::rules::index::TypePattern;
use crate::rules::pattern::Pattern;
use crate::rules::{Absent, Stuck, Waits, Watch, WatchKind, When};
use crate::time::Daily;
use crate::yaml::{Fields, KeyNode, Node};

/// How long something may take before it is missed.
const LONG: std::ops::RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_secs(366 * 86_400);

/// How often it may be looked.
const EVERY: std::ops::RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_secs(366 * 86_400);

/// Reads `watch`.
pub(super) fn watch(key: &KeyNode, node: &Node, around: &Surroundings<'_>, faults: &mut Faults) -> Option<Watch> {
    let what = format!("`watch` of source `{}`", key.name);
    let fields = Fields::read(node, &what, &shapes::WATCH, faults)?;
    let read = match (fields.get("stuck"), fields.get("absent")) {
        (Some(node), None) => stuck(node, &what, key, around, faults),
        (None, Some(node)) => absent(node, &what, key, around, faults),
        (Some(_), Some(node)) => {
            let fault = Fault::error("watch", node.place.clone(), format!("{what} has both `stuck` and `absent`"));
            faults.push(fault.help("make two sources of it"));
            None
        }
        (None, None) => {
            if fields.entries().is_empty() {
                let fault = Fault::error("missing-key", node.place.clone(), format!("{what} does not say what to watch"));
                faults.push(fault.help("add `stuck: {queue: NAME, longer_than: 2h}` or `absent: {events: TYPE, within: 24h}`"));
            }
            None
        }
    };
    let (orchestrator, kind) = read?;
    let written = format!("{:?} {}", orchestrator, node.to_json());
    Some(Watch { name: Arc::from(key.name.as_str()), orchestrator, kind, written })
}

type Read = Option<(Option<Arc<str>>, WatchKind)>;

fn stuck(node: &Node, what: &str, key: &KeyNode, around: &Surroundings<'_>, faults: &mut Faults) -> Read {
    let fields = Fields::read(node, &format!("`stuck` of {what}"), &shapes::STUCK, faults)?;
    let before = faults.iter().count();
    let queue = fields.require("queue", "`stuck`", faults).and_then(|_| fields.text("queue", faults));
    if let Some(("", place)) = queue {
        faults.push(Fault::error("empty", place.clone(), "`queue` is empty; expected the queue's name"));
    }
    let longer_than = fields.require("longer_than", "`stuck`", faults).and_then(|_| fields.duration("longer_than", LONG, faults));
    let status = match fields.text("status", faults) {
        None | Some(("InProgress", _)) => Waits::InProgress,
        Some(("New", _)) => Waits::New,
        Some((other, place)) => {
            let fault =
                Fault::error("status", place.clone(), format!("`status: {other}` is none in which items wait; expected New or InProgress"));
            faults.push(match nearest(other, ["New", "InProgress"]) {
                Some(near) => fault.help(format!("did you mean `{near}`?")),
                None => fault,
            });
            Waits::InProgress
        }
    };
    let folder = fields.get("folder").map(|node| folder(node, faults));
    let of = orchestrator(&fields, what, key, false, around, faults);
    if faults.iter().skip(before).any(|fault| fault.severity == crate::fault::Severity::Error) {
        return None;
    }
    let folder = match folder {
        Some(folder) => Some(folder?),
        None => None,
    };
    let stuck = Stuck { queue: queue?.0.to_owned(), folder, status, longer_than: longer_than? };
    Some((of, WatchKind::Stuck(stuck)))
}

fn absent(node: &Node, what: &str, key: &KeyNode, around: &Surroundings<'_>, faults: &mut Faults) -> Read {
    let fields = Fields::read(node, &format!("`absent` of {what}"), &shapes::ABSENT, faults)?;
    let before = faults.iter().count();
    let written = fields.require("events", "`absent`", faults).and_then(|_| fields.texts("events", faults)).unwrap_or_default();
    if written.is_empty()
        && let Some(place) = fields.key_place("events")
    {
        faults.push(Fault::error("empty", place.clone(), "`events` is empty: nothing could ever come").help("name at least one type"));
    }
    let types: Vec<TypePattern> = written.iter().filter_map(|(text, place)| event_type(text, place, faults)).collect();
    let pattern = fields.get("match").map(|node| Pattern::compile(node, faults));
    let within = fields.require("within", "`absent`", faults).and_then(|_| fields.duration("within", LONG, faults));
    let every = fields.duration("every", EVERY, faults);
    let at = fields.text("at", faults).and_then(|(text, place)| match Daily::parse(text) {
        Ok(daily) => Some(daily),
        Err(message) => {
            faults.push(Fault::error("at", place.clone(), format!("`at`: {message}")));
            None
        }
    });
    if let (Some(place), Some(_)) = (fields.key_place("at"), fields.get("every")) {
        let fault = Fault::error("watch", place.clone(), "`absent` has both `at` and `every`");
        faults.push(fault.help("`at` looks once a day, `every` again and again; without both it is told when nothing came for `within`"));
    }
    // Names an orchestrator only where several must be told apart.
    let of = match fields.get("orchestrator") {
        Some(_) => orchestrator(&fields, what, key, false, around, faults),
        None => None,
    };
    if faults.iter().skip(before).any(|fault| fault.severity == crate::fault::Severity::Error) {
        return None;
    }
    let pattern = match pattern {
        Some(pattern) => Some(pattern?),
        None => None,
    };
    let when = at.map(When::At).or(every.map(When::Every)).unwrap_or(When::Silence);
    let events = written.iter().map(|(text, _)| (*text).to_owned()).collect();
    Some((of, WatchKind::Absent(Absent { events, types, pattern, within: within?, when })))
}

/// A watch sees what other sources bring, and nothing else.
pub(super) fn check_fed(watch: &Watch, place: &Place, fed: bool, faults: &mut Faults) {
    if fed || matches!(watch.kind, WatchKind::Absent(_)) {
        return;
    }
    let message = format!("source `{}` watches for stuck items, and no source brings items of its orchestrator", watch.name);
    faults.push(Fault::warning("no-items", place.clone(), message).help("add a source with `poll: {kind: queue_items}`, or a webhook"));
}

fn event_type(text: &str, place: &Place, faults: &mut Faults) -> Option<TypePattern> {
    let text = text.trim();
    if text.contains('*') {
        return match TypePattern::parse(&text.to_ascii_lowercase()) {
            Ok(pattern) => Some(pattern),
            Err(message) => {
                faults.push(Fault::error("bad-type", place.clone(), message));
                None
            }
        };
    }
    if text.is_empty() {
        faults.push(Fault::error("bad-type", place.clone(), "an event type is empty"));
        return None;
    }
    let canonical = canonical_type(text);
    let families = || known_types().iter().filter_map(|name| name.split_once('.')).map(|(family, _)| family);
    let of_orchestrator = canonical.split_once('.').is_some_and(|(family, _)| families().any(|known| known.eq_ignore_ascii_case(family)));
    if of_orchestrator && !known_types().contains(&&*canonical) {
        let fault = Fault::warning("unknown-type", place.clone(), format!("`{text}` is no event type that is known: it may never come"));
        faults.push(match nearest(text, known_types().iter().copied()) {
            Some(near) => fault.help(format!("did you mean `{near}`?")),
            None => fault.help("see docs/rules.md for the types"),
        });
    }
    Some(TypePattern::Exact(canonical.to_ascii_lowercase().into()))
}
