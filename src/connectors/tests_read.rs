//! Reading the tests of a connector.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::Value;

use super::limits::STATUS;
use super::model::{Delivered, Test, TestResponse, Tested, Trigger, TriggerKind};
use super::operation::Operation;
use super::shapes;
use crate::fault::{Fault, Faults, Place, nearest};
use crate::yaml::{Fields, Node};

/// Operations by name.
type Operations = BTreeMap<Arc<str>, Arc<Operation>>;
/// Triggers by name.
type Triggers = BTreeMap<Arc<str>, Trigger>;

/// Reads `tests`. Where the operations or triggers have faults of their own, nothing is said of names.
pub(super) fn tests(
    node: Option<&Node>,
    operations: Option<&Operations>,
    triggers: Option<&Triggers>,
    faults: &mut Faults,
) -> Option<Vec<Test>> {
    let Some(node) = node else { return Some(Vec::new()) };
    let Some(items) = node.as_list() else {
        faults.push(Fault::error("wrong-type", node.place.clone(), format!("`tests` is {}; expected a list", node.kind())));
        return None;
    };
    let read: Vec<_> = items.iter().map(|item| test(item, operations, triggers, faults)).collect();
    let tests = read.into_iter().collect::<Option<Vec<Test>>>()?;
    let mut fine = true;
    for (index, test) in tests.iter().enumerate() {
        if tests[..index].iter().any(|other| other.name == test.name) {
            faults.push(Fault::error("duplicate-name", test.place.clone(), format!("test `{}` is there twice", test.name)));
            fine = false;
        }
    }
    fine.then_some(tests)
}

fn test(node: &Node, operations: Option<&Operations>, triggers: Option<&Triggers>, faults: &mut Faults) -> Option<Test> {
    let fields = Fields::read(node, "the test", &shapes::TEST, faults)?;
    fields.require("name", "the test", faults);
    let name = fields.text("name", faults).map(|(name, _)| name.to_owned());
    let what = tested(&fields, operations, triggers, faults);
    let config = mapping(&fields, "config", faults);
    let response = fields.get("response").map_or(Some(None), |node| response(node, faults).map(Some));
    let expect = fields.require("expect", "the test", faults).and_then(|node| {
        Fields::read(node, "`expect`", &shapes::EXPECTED, faults)?;
        let entries = node.as_map().unwrap_or_default();
        if entries.is_empty() {
            faults.push(Fault::error("empty", node.place.clone(), "`expect` expects nothing").help("write what the request must be"));
            return None;
        }
        let foreign = |name: &str| match what.as_ref()? {
            Tested::Call(..) => (name == "events").then_some("a trigger"),
            Tested::Poll(..) => OF_ANSWERS.contains(&name).then_some("an operation; the events of a trigger are `events`"),
            Tested::Delivery(..) => (name != "events").then_some("what is sent; what is delivered becomes `events`"),
        };
        if let Some((key, owner)) = entries.iter().find_map(|(key, _)| Some((key, foreign(&key.name)?))) {
            faults.push(Fault::error("test", key.place.clone(), format!("`{}` belongs to a test of {owner}", key.name)));
            return None;
        }
        let is_poll = matches!(what, Some(Tested::Poll(..)));
        let of_answer = |name: &str| OF_ANSWERS.contains(&name) || (is_poll && name == "events");
        let answer = entries.iter().find(|(key, _)| of_answer(&key.name));
        if let Some((key, _)) = answer.filter(|_| fields.get("response").is_none() && node.get("error").is_none()) {
            let fault =
                Fault::error("no-response", key.place.clone(), format!("`{}` says what an answer means, and there is none", key.name));
            faults.push(fault.help("add `response: {status: 200, body: …}` to the test"));
            return None;
        }
        Some(node.to_json())
    });
    Some(Test { name: name?, what: what?, config: config?, response: response?, expect: expect?, place: node.place.clone() })
}

/// What a test is of.
fn tested(fields: &Fields<'_>, operations: Option<&Operations>, triggers: Option<&Triggers>, faults: &mut Faults) -> Option<Tested> {
    let refuse = |names: &[&str], faults: &mut Faults| {
        let found = names.iter().find_map(|name| Some((name, fields.get(name).and(fields.key_place(name))?)));
        if let Some((name, place)) = found {
            let message = format!("`{name}` does not belong to this test");
            faults.push(Fault::error("test", place.clone(), message).help(HELP));
        }
        found.is_none()
    };
    match (fields.get("call"), fields.get("trigger")) {
        (Some(_), None) => {
            let with = mapping(fields, "with", faults);
            let (call, place) = fields.text("call", faults)?;
            if operations.is_some_and(|operations| !operations.contains_key(call)) {
                let names = operations.into_iter().flat_map(BTreeMap::keys);
                faults.push(unknown("unknown-operation", place, format!("there is no operation `{call}`"), call, names));
                return None;
            }
            refuse(&["cursor", "delivery"], faults).then_some(Tested::Call(call.into(), with?))
        }
        (None, Some(_)) => {
            let (name, place) = fields.text("trigger", faults)?;
            let triggers = triggers?;
            let Some(trigger) = triggers.get(name) else {
                faults.push(unknown("unknown-trigger", place, format!("there is no trigger `{name}`"), name, triggers.keys()));
                return None;
            };
            match trigger.kind {
                TriggerKind::Poll { .. } => {
                    let cursor = fields.get("cursor").map_or(Value::Null, Node::to_json);
                    refuse(&["with", "delivery"], faults).then_some(Tested::Poll(name.into(), cursor))
                }
                TriggerKind::Webhook(_) => {
                    let Some(node) = fields.get("delivery") else {
                        let fault = Fault::error("missing-key", fields.place.clone(), "a test of a webhook has no `delivery`");
                        faults.push(fault.help("add `delivery: {headers, body}` with what the service sends"));
                        return None;
                    };
                    let inner = Fields::read(node, "`delivery`", &shapes::DELIVERY, faults)?;
                    let body = inner.require("body", "`delivery`", faults)?.to_json();
                    let delivered = Delivered { headers: headers(&inner), body };
                    refuse(&["with", "cursor", "response"], faults).then_some(Tested::Delivery(name.into(), delivered))
                }
            }
        }
        _ => {
            let message = "the test needs exactly one of `call` and `trigger`";
            faults.push(Fault::error("missing-key", fields.place.clone(), message).help(HELP));
            None
        }
    }
}

/// What goes with what.
const HELP: &str = "`call` goes with `with` and `response`, `trigger` with `cursor` and `response`, or with `delivery`";

/// What `expect` says of the answer to a call.
const OF_ANSWERS: [&str; 3] = ["output", "error", "retry"];

fn unknown<'n>(code: &'static str, place: &Place, message: String, name: &str, known: impl Iterator<Item = &'n Arc<str>>) -> Fault {
    let fault = Fault::error(code, place.clone(), message);
    match nearest(name, known.map(|name| &**name)) {
        Some(near) => fault.help(format!("did you mean `{near}`?")),
        None => fault,
    }
}

fn mapping(fields: &Fields<'_>, key: &str, faults: &mut Faults) -> Option<Value> {
    match fields.get(key) {
        None => Some(Value::Object(serde_json::Map::new())),
        Some(node) if node.as_map().is_some() => Some(node.to_json()),
        Some(node) => {
            faults.push(Fault::error("wrong-type", node.place.clone(), format!("`{key}` is {}; expected a mapping", node.kind())));
            None
        }
    }
}

/// By their names in lower case.
fn headers(fields: &Fields<'_>) -> BTreeMap<String, String> {
    let entries = fields.get("headers").and_then(Node::as_map).unwrap_or_default();
    let text = |value: &Node| value.as_text().map_or_else(|| value.to_json().to_string(), str::to_owned);
    entries.iter().map(|(key, value)| (key.name.to_ascii_lowercase(), text(value))).collect()
}

fn response(node: &Node, faults: &mut Faults) -> Option<TestResponse> {
    let fields = Fields::read(node, "`response`", &shapes::RESPONSE, faults)?;
    let status = match fields.get("status") {
        None => 200,
        Some(_) => fields.integer("status", STATUS, faults).and_then(|n| u16::try_from(n).ok())?,
    };
    // `body: null` is the JSON null, which reads like no body.
    let body = fields.get("body").map_or(Value::Null, Node::to_json);
    Some(TestResponse { status, headers: headers(&fields), body })
}
