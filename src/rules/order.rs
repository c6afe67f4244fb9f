//! `ordered_by`, `skip_if_newer` and `limits`: which runs of a rule go one after another, and how many requests it sends.

use std::time::Duration;

use serde_json::Value;

use super::decode::Decoder;
use super::limits::ORDER_KEY_MAX;
use super::render::event_scope;
use super::{ExpressionFault, Rule, shapes};
use crate::event::Event;
use crate::expr::{EvalError, Template, explain as words};
use crate::time::{Rate, Timestamp};
use crate::yaml::{Fields, Node};

/// How many requests a rule sends.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Limits {
    /// At most this many at once.
    pub concurrency: Option<u32>,
    /// At most this many in a time, evenly.
    pub rate: Option<Rate>,
}

impl Limits {
    /// Whether there is anything to keep to.
    #[must_use]
    pub fn any(&self) -> bool {
        self.concurrency.is_some() || self.rate.is_some()
    }

    /// The time between two requests.
    #[must_use]
    pub fn apart(&self) -> Option<Duration> {
        self.rate.map(|rate| rate.period / rate.count.max(1))
    }
}

/// `ordered_by`, and whether older events are dropped.
#[derive(Debug)]
pub(super) struct Order {
    key: Template,
    skip_if_newer: bool,
    wants_event: bool,
}

/// Reads `ordered_by` and `skip_if_newer`.
pub(super) fn order(fields: &Fields<'_>, decoder: &mut Decoder<'_>) -> Option<Order> {
    let skip_if_newer = fields.boolean("skip_if_newer", decoder.faults).unwrap_or(false);
    let Some(node) = fields.get("ordered_by") else {
        if let Some(place) = fields.key_place("skip_if_newer") {
            let help = "add it: an event is older or newer than others with the same key";
            decoder.error_help("missing-key", place, "`skip_if_newer` needs `ordered_by`", help);
        }
        return None;
    };
    let key = decoder.scalar(node, "ordered_by")?;
    if let Some(constant) = key.constant() {
        let help = format!("did you mean \"${{{}}}\"?", constant.trim());
        decoder.warning(
            "constant-order",
            &node.place,
            "`ordered_by` is the same for every event: all runs of the rule go one by one",
            help,
        );
    }
    let wants_event = key.references().iter().any(|path| path == "event" || path.starts_with("event."));
    Some(Order { key, skip_if_newer, wants_event })
}

/// Reads `limits`.
pub(super) fn limits(node: &Node, decoder: &mut Decoder<'_>) -> Option<Limits> {
    let fields = Fields::read(node, "`limits`", &shapes::LIMITS, decoder.faults)?;
    let concurrency = fields.integer("concurrency", shapes::CONCURRENCY, decoder.faults).and_then(|n| u32::try_from(n).ok());
    let rate = fields.text("rate", decoder.faults).and_then(|(text, place)| match Rate::parse(text) {
        Ok(rate) => Some(rate),
        Err(message) => {
            decoder.error("bad-value", place, format!("`rate`: {message}"));
            None
        }
    });
    Some(Limits { concurrency, rate })
}

impl Rule {
    /// The key of an event whose runs go one after another; `None` where the rule has no order.
    ///
    /// # Errors
    /// A missing field, a type error, or a key that is empty or too long.
    pub fn order_key(&self, event: &Event, vars: &Value, now: Timestamp) -> Result<Option<String>, ExpressionFault> {
        let Some(order) = &self.order else { return Ok(None) };
        let json = order.wants_event.then(|| event.to_json());
        let scope = event_scope(event, json.as_ref(), now).bind("vars", vars).bind("rule", &self.as_value);
        let fault = |message: String| ExpressionFault { place: "ordered_by".to_owned(), message };
        let key = order.key.render_text(&scope, |_, value| value).map_err(|error: EvalError| fault(words(error)))?;
        match key.len() {
            0 => Err(fault("the key is empty".to_owned())),
            length if length > ORDER_KEY_MAX => Err(fault(format!("the key has {length} bytes; at most {ORDER_KEY_MAX} are compared"))),
            _ => Ok(Some(key)),
        }
    }

    /// Whether a run whose event is older than one that was handled for its key is dropped.
    #[must_use]
    pub fn skips_if_newer(&self) -> bool {
        self.order.as_ref().is_some_and(|order| order.skip_if_newer)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::rules::tests::{load_set, now};

    fn rule(extra: &str) -> std::sync::Arc<Rule> {
        load_set(&format!("rule: r\nevents: a.b\n{extra}\nsteps: [{{emit: {{type: c.d}}}}]")).rules()[0].clone()
    }

    #[test]
    fn the_key_is_a_text_of_the_event() {
        let event = Event::from_json(&json!({"type": "a.b", "data": {"Key": "A-1", "No": 7, "Long": "x".repeat(2_000), "None": ""}}))
            .expect("an event");
        for (written, key) in [("${data.Key}", Ok("A-1")), ("${data.No}", Ok("7")), ("${data.Key}/${event.type}", Ok("A-1/a.b"))] {
            assert_eq!(
                rule(&format!("ordered_by: '{written}'")).order_key(&event, &json!({}), now()),
                key.map(|k: &str| Some(k.to_owned()))
            );
        }
        for (written, why) in [("${data.Nobody}", "data.Nobody"), ("${data.Long}", "2000 bytes"), ("${data.None}", "empty")] {
            let fault = rule(&format!("ordered_by: '{written}'")).order_key(&event, &json!({}), now()).expect_err(written);
            assert!(fault.place == "ordered_by" && fault.message.contains(why), "{written}: {fault}");
        }
        assert_eq!(rule("mode: live").order_key(&event, &json!({}), now()), Ok(None));
    }

    #[test]
    fn limits_are_a_number_and_a_rate() {
        let limits = rule("limits: {concurrency: 4, rate: 60/min}").limits;
        assert_eq!((limits.concurrency, limits.apart()), (Some(4), Some(Duration::from_secs(1))));
        assert!(!rule("mode: live").limits.any());
        assert!(rule("ordered_by: '${data.Key}'\nskip_if_newer: true").skips_if_newer());
    }
}
