//! What a test expects, and how what came differs from it.

use serde_json::{Value, json};

use super::action::{KINDS, LISTS, Moment};
use super::decode::Decoder;
use super::values::read_moment;
use super::{Because, shapes};
use crate::fault::{Fault, nearest};
use crate::time::format_duration;
use crate::yaml::{Fields, Node, Yaml, differences, short};

/// What a test expects.
#[derive(Debug)]
pub(super) enum Expect {
    /// The rule matches, and among its requests are these, in this order; each as far as it is written.
    Steps(Vec<Value>),
    /// The rule matches.
    Matched,
    /// It does not, for this condition where one is named.
    NotMatched {
        /// The path of the condition.
        because: Option<String>,
    },
}

/// What the match alone says.
pub(super) enum Verdict {
    /// The test is decided: why it failed, or that it passed.
    Done(Option<String>),
    /// The steps decide.
    CompareSteps,
}

/// Reads `expect`.
pub(super) fn read(node: &Node, decoder: &mut Decoder<'_>) -> Option<Expect> {
    match &node.value {
        Yaml::List(items) => {
            let steps: Vec<_> = items.iter().map(|item| step(item, decoder)).collect();
            steps.into_iter().collect::<Option<Vec<_>>>().map(Expect::Steps)
        }
        Yaml::Map(_) => matched(node, decoder),
        _ => {
            let help = "write a list of steps, {matched: true}, or {matched: false, because: …}";
            decoder.error_help("wrong-type", &node.place, format!("`expect` is {}", node.kind()), help);
            None
        }
    }
}

fn matched(node: &Node, decoder: &mut Decoder<'_>) -> Option<Expect> {
    if node.as_map().is_some_and(|entries| entries.iter().any(|(key, _)| KINDS.contains(&key.name.as_str()))) {
        decoder.error_help("wrong-type", &node.place, "`expect` is a mapping; expected a list of steps", "put `- ` before each step");
        return None;
    }
    let fields = Fields::read(node, "`expect`", &shapes::EXPECTED_MATCH, decoder.faults)?;
    fields.require("matched", "`expect`", decoder.faults)?;
    let matched = fields.boolean("matched", decoder.faults)?;
    let because = fields.text("because", decoder.faults);
    match (matched, because) {
        (true, Some((_, place))) => {
            decoder.error("bad-value", place, "`because` belongs to `matched: false`");
            None
        }
        (true, None) => Some(Expect::Matched),
        (false, because) => Some(Expect::NotMatched { because: because.map(|(path, _)| path.to_owned()) }),
    }
}

fn step(node: &Node, decoder: &mut Decoder<'_>) -> Option<Value> {
    let fields = Fields::read(node, "an expected step", &shapes::EXPECTED_STEP, decoder.faults)?;
    let [(key, value)] = fields.entries() else {
        decoder.error("bad-value", &node.place, "an expected step has exactly one action");
        return None;
    };
    if !KINDS.contains(&key.name.as_str()) {
        return None;
    }
    if LISTS.contains(&key.name.as_str()) {
        let help = "expect what is done for each element, such as `enqueue`, one after another";
        decoder.error_help("bad-value", &key.place, format!("`{}` sends nothing itself", key.name), help);
        return None;
    }
    if key.name == "wait" {
        return wait(value, decoder);
    }
    let Some(entries) = value.as_map() else {
        decoder.error("wrong-type", &value.place, format!("`{}` is {}; expected a mapping", key.name, value.kind()));
        return None;
    };
    let words = shapes::expected_words(&key.name);
    let mut fine = true;
    for (word, _) in entries {
        if !words.contains(&word.name.as_str()) {
            let fault = Fault::error("unknown-key", word.place.clone(), format!("unknown key `{}` in `{}`", word.name, key.name));
            decoder.faults.push(match nearest(&word.name, words.iter().copied()) {
                Some(near) => fault.help(format!("did you mean `{near}`?")),
                None => fault.help(format!("known are: {}", words.join(", "))),
            });
            fine = false;
        }
    }
    fine.then(|| node.to_json())
}

/// What a `wait` step shows: the duration in its shortest form, or the timestamp.
fn wait(node: &Node, decoder: &mut Decoder<'_>) -> Option<Value> {
    let text = node.as_text().map(read_moment);
    match text {
        Some(Ok(Moment::In(duration))) => Some(json!({"wait": format_duration(duration)})),
        Some(Ok(Moment::At(stamp))) => Some(json!({ "wait": stamp })),
        _ => {
            decoder.error("bad-moment", &node.place, "an expected `wait` is a duration such as `10m`, a timestamp or a date");
            None
        }
    }
}

impl Expect {
    /// What the match says; `unmet` is the condition that failed.
    pub(super) fn of_match(&self, unmet: Option<&Because>) -> Verdict {
        match (self, unmet) {
            (Self::Steps(_), None) => Verdict::CompareSteps,
            (Self::Matched, None) => Verdict::Done(None),
            (Self::Steps(_) | Self::Matched, Some(because)) => Verdict::Done(Some(format!("the rule does not match: {}", told(because)))),
            (Self::NotMatched { .. }, None) => Verdict::Done(Some("the rule matches; expected that it does not".to_owned())),
            (Self::NotMatched { because: None }, Some(_)) => Verdict::Done(None),
            (Self::NotMatched { because: Some(path) }, Some(because)) if *path == because.path => Verdict::Done(None),
            (Self::NotMatched { because: Some(path) }, Some(because)) => {
                Verdict::Done(Some(format!("because: expected `{path}`, got {}", told(because))))
            }
        }
    }

    /// Compares the requests of a rule that matched.
    pub(super) fn of_steps(&self, requests: &[Value]) -> Option<String> {
        let Self::Steps(expected) = self else { return None };
        if expected.is_empty() && !requests.is_empty() {
            return Some(format!("steps: expected none, got {}", kinds(requests)));
        }
        let mut next = 0;
        for (index, wanted) in expected.iter().enumerate() {
            let rest = &requests[next..];
            match rest.iter().position(|request| differences(wanted, request).is_empty()) {
                Some(found) => next += found + 1,
                None => return Some(best_difference(index, wanted, rest)),
            }
        }
        None
    }
}

fn told(because: &Because) -> String {
    let hint = because.hint.as_ref().map_or_else(String::new, |hint| format!(" ({hint})"));
    format!("`{}`: expected {}, found {}{hint}", because.path, short(&because.expected), short(&because.found))
}

fn kinds(requests: &[Value]) -> String {
    let names: Vec<&str> = requests.iter().filter_map(|r| r.as_object()?.keys().next().map(String::as_str)).collect();
    names.join(", ")
}

/// The difference to the next request of the same kind, or that there is none.
fn best_difference(index: usize, wanted: &Value, rest: &[Value]) -> String {
    let kind = wanted.as_object().and_then(|map| map.keys().next()).map_or("", String::as_str);
    let same_kind = rest.iter().filter(|request| request.get(kind).is_some());
    let nearest = same_kind.map(|request| differences(wanted, request)).min_by_key(Vec::len);
    match nearest {
        Some(lines) => lines.iter().map(|line| format!("expect[{index}].{line}")).collect::<Vec<_>>().join("\n"),
        None if rest.is_empty() => format!("expect[{index}].{kind}: expected a step, got no further one"),
        None => format!("expect[{index}].{kind}: expected such a step, got {}", kinds(rest)),
    }
}
