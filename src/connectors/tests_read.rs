//! Reading the tests of a connector.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::Value;

use super::limits::STATUS;
use super::model::{Test, TestResponse};
use super::operation::Operation;
use super::shapes;
use crate::fault::{Fault, Faults, nearest};
use crate::yaml::{Fields, Node};

/// Reads `tests`.
pub(super) fn tests(
    node: Option<&Node>,
    operations: &Option<BTreeMap<Arc<str>, Arc<Operation>>>,
    faults: &mut Faults,
) -> Option<Vec<Test>> {
    let Some(node) = node else { return Some(Vec::new()) };
    let Some(items) = node.as_list() else {
        faults.push(Fault::error("wrong-type", node.place.clone(), format!("`tests` is {}; expected a list", node.kind())));
        return None;
    };
    let read: Vec<_> = items.iter().map(|item| test(item, operations.as_ref(), faults)).collect();
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

fn test(node: &Node, operations: Option<&BTreeMap<Arc<str>, Arc<Operation>>>, faults: &mut Faults) -> Option<Test> {
    let fields = Fields::read(node, "the test", &shapes::TEST, faults)?;
    fields.require("name", "the test", faults);
    let name = fields.text("name", faults).map(|(name, _)| name.to_owned());
    fields.require("call", "the test", faults);
    let call = fields.text("call", faults).and_then(|(call, place)| {
        // Where the operations have faults of their own, nothing is said of names.
        let Some(operations) = operations else { return Some(Arc::from(call)) };
        if operations.contains_key(call) {
            return Some(Arc::from(call));
        }
        let fault = Fault::error("unknown-operation", place.clone(), format!("there is no operation `{call}`"));
        faults.push(match nearest(call, operations.keys().map(|name| &**name)) {
            Some(near) => fault.help(format!("did you mean `{near}`?")),
            None => fault,
        });
        None
    });
    let mapping = |key: &str, faults: &mut Faults| match fields.get(key) {
        None => Some(Value::Object(serde_json::Map::new())),
        Some(node) if node.as_map().is_some() => Some(node.to_json()),
        Some(node) => {
            faults.push(Fault::error("wrong-type", node.place.clone(), format!("`{key}` is {}; expected a mapping", node.kind())));
            None
        }
    };
    let (with, config) = (mapping("with", faults), mapping("config", faults));
    let response = fields.get("response").map_or(Some(None), |node| response(node, faults).map(Some));
    let expect = fields.require("expect", "the test", faults).and_then(|node| {
        Fields::read(node, "`expect`", &shapes::EXPECTED, faults)?;
        let entries = node.as_map().unwrap_or_default();
        if entries.is_empty() {
            faults.push(Fault::error("empty", node.place.clone(), "`expect` expects nothing").help("write what the request must be"));
            return None;
        }
        let answer = entries.iter().find(|(key, _)| matches!(key.name.as_str(), "output" | "error" | "retry"));
        if let Some((key, _)) = answer.filter(|_| fields.get("response").is_none() && node.get("error").is_none()) {
            let fault =
                Fault::error("no-response", key.place.clone(), format!("`{}` says what an answer means, and there is none", key.name));
            faults.push(fault.help("add `response: {status: 200, body: …}` to the test"));
            return None;
        }
        Some(node.to_json())
    });
    Some(Test { name: name?, call: call?, with: with?, config: config?, response: response?, expect: expect?, place: node.place.clone() })
}

fn response(node: &Node, faults: &mut Faults) -> Option<TestResponse> {
    let fields = Fields::read(node, "`response`", &shapes::RESPONSE, faults)?;
    let status = match fields.get("status") {
        None => 200,
        Some(_) => fields.integer("status", STATUS, faults).and_then(|n| u16::try_from(n).ok())?,
    };
    let mut headers = BTreeMap::new();
    for (key, value) in fields.get("headers").and_then(Node::as_map).unwrap_or_default() {
        headers.insert(key.name.to_ascii_lowercase(), value.as_text().map_or_else(|| value.to_json().to_string(), str::to_owned));
    }
    // `body: null` is the JSON null, which reads like no body.
    let body = fields.get("body").map_or(Value::Null, Node::to_json);
    Some(TestResponse { status, headers, body })
}
