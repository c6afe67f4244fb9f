//! Reading one rule document.

use std::sync::Arc;

use serde_json::json;

use super::decode::Decoder;
use super::filter::Filter;
use super::hold::{self, Dedupe};
use super::pattern::Pattern;
use super::{Known, Limits, Mode, RetryPolicy, Rule, indexed, order, shapes, steps, testing};
use crate::event::RULE_NAME_MAX;
use crate::fault::{Fault, Faults, Severity};
use crate::yaml::{Fields, Node, Yaml};

/// Loads `event: {file: …}` of tests, relative to the rule's file.
pub(super) type ReadSample<'a> = &'a dyn Fn(&std::path::Path) -> Result<String, String>;

/// Reads a rule; `None` when anything in it is wrong.
pub(super) fn rule(node: &Node, known: &Known, read_sample: ReadSample<'_>, faults: &mut Faults) -> Option<Rule> {
    let before = faults.len();
    let fields = Fields::read(node, "a rule", &shapes::RULE, faults)?;
    if let Some((key, _)) = fields.entries().iter().find(|(key, _)| key.name == "on") {
        faults.push(
            Fault::error("unknown-key", key.place.clone(), "unknown key `on` in a rule")
                .help("write `events`: in other YAML tools `on` means true"),
        );
    }
    let mut decoder = Decoder::new(known, faults);
    let name = name(&fields, &mut decoder);
    let description = fields.text("description", decoder.faults).map(|(text, _)| text.to_owned());
    let filter = Filter::read(&fields, &mut decoder);
    let pattern = fields.get("match").map(|node| Pattern::compile(node, decoder.faults));
    if let (Some(filter), Some(node)) = (&filter, fields.get("match")) {
        super::fields::kinds(&filter.events, node, decoder.faults);
    }
    let when = fields.get("when").map(|node| decoder.expression(node, "when"));
    let retry =
        fields.get("retry").map_or(Some(RetryPolicy::default()), |node| RetryPolicy::read(node, &RetryPolicy::default(), decoder.faults));
    let mode = mode(&fields, &mut decoder);
    let dedupe = fields.get("dedupe").map(|node| Dedupe::read(node, &mut decoder));
    let expires = hold::expires(&fields, &mut decoder);
    let order = order::order(&fields, &mut decoder);
    let limits = fields.get("limits").map_or(Some(Limits::default()), |node| order::limits(node, &mut decoder));
    let record = fields.boolean("record", decoder.faults).unwrap_or(false);
    let steps = match fields.require("steps", "the rule", decoder.faults) {
        Some(node) => steps::steps(node, retry.as_ref().unwrap_or(&RetryPolicy::default()), &mut decoder),
        None => None,
    };
    if let (Some([]), Some(node)) = (steps.as_deref(), fields.get("steps")) {
        decoder.error_help("empty", &node.place, "the rule has no steps", "add at least one");
    }
    let policy = retry.unwrap_or_default();
    let on_give_up = fields.get("on_give_up").map_or(Some(Vec::new()), |node| steps::on_give_up(node, &policy, &mut decoder));
    let tests = match fields.get("tests") {
        Some(node) => testing::read(node, &mut decoder, filter.as_ref(), read_sample),
        None => Some(Vec::new()),
    };
    if decoder.faults.iter().skip(before).any(|fault| fault.severity == Severity::Error) {
        return None;
    }
    let (name, filter) = (name?, filter?);
    let indexed = indexed::pattern(&filter, fields.get("match"), &node.place);
    let as_value = json!({"name": name, "description": description});
    let when = match when {
        Some(expression) => Some(expression?),
        None => None,
    };
    let when_wants_event = when.as_ref().is_some_and(|w| w.references().iter().any(|path| path == "event" || path.starts_with("event.")));
    Some(Rule {
        name,
        description,
        mode,
        retry: retry?,
        limits: limits?,
        record,
        steps: steps?,
        on_give_up: on_give_up?,
        tests: tests?,
        place: format!("{}:{}", node.place.source.path.display(), node.place.line),
        filter,
        indexed,
        pattern: match pattern {
            Some(pattern) => Some(pattern?),
            None => None,
        },
        when,
        when_wants_event,
        dedupe: match dedupe {
            Some(dedupe) => Some(dedupe?),
            None => None,
        },
        expires,
        order,
        as_value,
    })
}

fn name(fields: &Fields<'_>, decoder: &mut Decoder<'_>) -> Option<Arc<str>> {
    let node = fields.require("rule", "the document", decoder.faults)?;
    let (name, place) = fields.text("rule", decoder.faults)?;
    let length = name.chars().count();
    if length == 0 || length > RULE_NAME_MAX || name.trim() != name {
        let message = format!("a rule name has 1 to {RULE_NAME_MAX} characters and no spaces around it; this one has {length}");
        decoder.error("rule-name", place, message);
        return None;
    }
    if let Some(bad) = name.chars().position(char::is_control) {
        decoder.error("rule-name", &node.place_of(bad), "a rule name has no line breaks and control characters");
        return None;
    }
    Some(Arc::from(name))
}

fn mode(fields: &Fields<'_>, decoder: &mut Decoder<'_>) -> Mode {
    let Some(node) = fields.get("mode") else { return Mode::Live };
    match &node.value {
        Yaml::Text(text) if text == "live" => Mode::Live,
        Yaml::Text(text) if text == "shadow" => Mode::Shadow,
        Yaml::Text(text) if text == "off" => Mode::Off,
        // Other YAML tools write `off` as false.
        Yaml::Bool(false) => Mode::Off,
        _ => {
            let written = node.as_text().map_or_else(|| node.kind().to_owned(), |text| format!("`{text}`"));
            decoder.error("bad-value", &node.place, format!("`mode` is {written}; expected live, shadow or off"));
            Mode::Off
        }
    }
}
