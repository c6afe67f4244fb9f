//! What holds a rule back although an event meets it: the event is too old, or another one with the same key ran a
//! moment ago.
//!
//! Pure: what ran before is asked of whoever keeps it (the router's memory, a backtest's, none in `explain`).

use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::decode::Decoder;
use super::limits::{DEDUPE_WINDOW_MAX, DEDUPE_WINDOW_MIN, EXPIRES_MAX, EXPIRES_MIN};
use super::render::event_scope;
use super::shapes::DEDUPE;
use super::{Because, ExpressionFault, Rule, RuleSet};
use crate::event::{Event, EventId, RuleHash};
use crate::expr::{EvalError, Template, explain as words};
use crate::time::{Timestamp, format_duration};
use crate::yaml::{Fields, Node};

/// How much of a key is shown, in characters.
const KEY_SHOWN_MAX: usize = 120;

/// `dedupe`: of events with the same key, one runs in a while.
#[derive(Debug)]
pub(super) struct Dedupe {
    key: Template,
    window: Duration,
    wants_event: bool,
}

impl Dedupe {
    /// Reads `dedupe`.
    pub(super) fn read(node: &Node, decoder: &mut Decoder<'_>) -> Option<Self> {
        let fields = Fields::read(node, "`dedupe`", &DEDUPE, decoder.faults)?;
        let key = fields.require("key", "`dedupe`", decoder.faults).and_then(|node| decoder.scalar(node, "key"));
        fields.require("window", "`dedupe`", decoder.faults)?;
        let window = fields.duration("window", DEDUPE_WINDOW_MIN..=DEDUPE_WINDOW_MAX, decoder.faults);
        let key = key?;
        let wants_event = key.references().iter().any(|path| path == "event" || path.starts_with("event."));
        Some(Self { key, window: window?, wants_event })
    }
}

/// Reads `expires`.
pub(super) fn expires(fields: &Fields<'_>, decoder: &mut Decoder<'_>) -> Option<Duration> {
    fields.duration("expires", EXPIRES_MIN..=EXPIRES_MAX, decoder.faults)
}

/// An event that ran for a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ran {
    /// The event.
    pub event: EventId,
    /// When it was received: the window begins here.
    pub at: Timestamp,
    /// When the window ends, as the rule was then; afterwards nobody needs to know.
    pub until: Timestamp,
}

/// Whether a rule that an event met runs.
#[derive(Clone, Debug, PartialEq)]
pub enum Verdict {
    /// It runs; with a name of the memory under which this is to be kept, where the rule has `dedupe`.
    Runs(Option<(String, Ran)>),
    /// It does not.
    Held(Because),
    /// It cannot be told: the key has no value. The run is dead at once.
    Fault(ExpressionFault),
}

impl RuleSet {
    /// Whether a rule that the event met runs. `ran` looks up by name what ran before.
    ///
    /// # Errors
    /// Those of `ran`.
    pub fn verdict<E>(
        &self,
        rule: &Rule,
        event: &Event,
        now: Timestamp,
        ran: impl FnOnce(&str) -> Result<Option<Ran>, E>,
    ) -> Result<Verdict, E> {
        if let Some(because) = rule.expired(event, now) {
            return Ok(Verdict::Held(because));
        }
        let Some(dedupe) = &rule.dedupe else { return Ok(Verdict::Runs(None)) };
        let key = match rule.dedupe_key(dedupe, event, self.vars(), now) {
            Ok(key) => key,
            Err(fault) => return Ok(Verdict::Fault(fault)),
        };
        let name = memory_name(&rule.name, &key);
        let window_end = |at: Timestamp| at.plus(dedupe.window);
        Ok(match ran(&name)? {
            // An event that is routed a second time is no copy of itself.
            Some(before) if before.event != event.id && event.received < window_end(before.at) => {
                Verdict::Held(copy_of(&key, dedupe.window, before))
            }
            _ => Verdict::Runs(Some((name, Ran { event: event.id, at: event.received, until: window_end(event.received) }))),
        })
    }
}

impl Rule {
    /// Why the event is too old for it, if it is.
    pub(super) fn expired(&self, event: &Event, now: Timestamp) -> Option<Because> {
        let limit = self.expires?;
        let happened = event.change.time.unwrap_or(event.received);
        let age = now.since(happened);
        (age > limit).then(|| Because {
            path: "expires".to_owned(),
            expected: json!(format!("at most {} old", format_duration(limit))),
            found: json!(format!("{} old", format_duration(age))),
            hint: Some(format!("it happened at {happened}")),
        })
    }

    fn dedupe_key(&self, dedupe: &Dedupe, event: &Event, vars: &Value, now: Timestamp) -> Result<String, ExpressionFault> {
        let json = dedupe.wants_event.then(|| event.to_json());
        let scope = event_scope(event, json.as_ref(), now).bind("vars", vars).bind("rule", &self.as_value);
        let fault = |error: EvalError| ExpressionFault { place: "dedupe.key".to_owned(), message: words(error) };
        dedupe.key.render_text(&scope, |_, value| value).map_err(fault)
    }
}

fn copy_of(key: &str, window: Duration, before: Ran) -> Because {
    let shown: String = key.chars().take(KEY_SHOWN_MAX).collect();
    Because {
        path: "dedupe".to_owned(),
        expected: json!(format!("no run with the key `{shown}` within {}", format_duration(window))),
        found: json!({"event": before.event, "received": before.at}),
        hint: Some(format!("event {} with the same key ran", before.event)),
    }
}

/// The name of a rule's key in the memory: `<16 hex digits of the rule>:<32 of the key>`.
fn memory_name(rule: &str, key: &str) -> String {
    let digest = Sha256::digest(key.as_bytes());
    let hex: String = digest[..16].iter().map(|byte| format!("{byte:02x}")).collect();
    format!("{:016x}:{hex}", RuleHash::of(rule).0)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::convert::Infallible;

    use proptest::prelude::*;

    use super::*;
    use crate::rules::tests::{load_set, now};

    const RULE: &str = "rule: r\nevents: a.b\nexpires: 2h\ndedupe: {key: '${data.Key}', window: 10m}\nsteps: [{emit: {type: c.d}}]";

    fn event(id: u128, key: &Value, received: Timestamp, time: Option<Timestamp>) -> Event {
        let mut event = Event::from_json(&json!({"type": "a.b", "data": {"Key": key}})).expect("an event");
        event.id = EventId(id);
        event.received = received;
        event.change.time = time;
        event
    }

    fn verdict(set: &RuleSet, event: &Event, now: Timestamp, memory: &BTreeMap<String, Ran>) -> Verdict {
        set.verdict(&set.rules()[0], event, now, |name| Ok::<_, Infallible>(memory.get(name).copied())).expect("no error")
    }

    #[test]
    fn the_second_event_of_a_key_waits_for_the_window_to_end() {
        let set = load_set(RULE);
        let minutes = |minutes: u64| now().plus(Duration::from_secs(60 * minutes));
        let mut memory = BTreeMap::new();
        let mut ran = Vec::new();
        for (id, key, at) in [(1, "A", 0), (2, "A", 5), (3, "B", 6), (4, "A", 9), (5, "A", 10), (6, "A", 11), (5, "A", 10)] {
            match verdict(&set, &event(id, &json!(key), minutes(at), None), minutes(at), &memory) {
                Verdict::Runs(Some((name, one))) => {
                    ran.push(id);
                    memory.insert(name, one);
                }
                Verdict::Held(because) => {
                    assert_eq!(because.path, "dedupe");
                    assert_eq!(because.expected, json!("no run with the key `A` within 10m"));
                    assert_eq!(because.found["event"], json!(memory.values().map(|ran| ran.event).find(|e| e.0 != 3)));
                }
                other => panic!("{other:?}"),
            }
        }
        assert_eq!(ran, [1, 3, 5, 5], "the window begins with the run, not with the copy; an event is no copy of itself");
    }

    #[test]
    fn a_key_without_a_value_is_a_fault() {
        let set = load_set(RULE);
        let missing = Event::from_json(&json!({"type": "a.b", "data": {}, "received": now()})).expect("an event");
        let Verdict::Fault(fault) = verdict(&set, &missing, now(), &BTreeMap::new()) else { panic!("no fault") };
        assert!(fault.place == "dedupe.key" && fault.message.contains("data.Key"), "{fault}");
    }

    #[test]
    fn an_event_is_as_old_as_what_happened() {
        let set = load_set(RULE);
        let hour = |hours: u64| now().plus(Duration::from_secs(3600 * hours));
        // (received, happened, now) in hours -> runs
        for (received, happened, at, runs) in [
            (0, None, 0, true),
            (0, None, 2, true),
            (0, None, 3, false),
            (3, Some(0), 3, false),
            (5, Some(9), 5, true),
            (0, Some(0), 1, true),
        ] {
            let event = event(1, &json!("A"), hour(received), happened.map(hour));
            let found = verdict(&set, &event, hour(at), &BTreeMap::new());
            assert_eq!(matches!(found, Verdict::Runs(_)), runs, "{received} {happened:?} {at}: {found:?}");
            let explained = &set.explain(&event, hour(at))[0];
            assert_eq!(explained.matched, runs, "explain says the same");
            if let Verdict::Held(because) = found {
                assert_eq!((because.path.as_str(), &because.found), ("expires", &json!("3h old")));
                assert_eq!(explained.because.as_ref(), Some(&because));
            }
        }
    }

    proptest! {
        /// Against the plain reading: an event runs unless one of its key that ran came less than a window before.
        #[test]
        fn one_event_of_a_key_runs_in_a_window(events in proptest::collection::vec((0..3_u8, 0..900_u64), 1..40)) {
            let set = load_set(RULE);
            let (mut at, mut memory) = (now(), BTreeMap::new());
            let mut ran: Vec<(u8, Timestamp)> = Vec::new();
            for (id, (key, later)) in (1..).zip(events) {
                at = at.plus(Duration::from_secs(later));
                let runs = match verdict(&set, &event(id, &json!(key), at, None), at, &memory) {
                    Verdict::Runs(Some((name, one))) => {
                        memory.insert(name, one);
                        true
                    }
                    _ => false,
                };
                let free = !ran.iter().any(|(k, before)| *k == key && at.since(*before) < Duration::from_secs(600));
                prop_assert_eq!(runs, free);
                if runs {
                    ran.push((key, at));
                }
            }
        }
    }
}
