//! Tests inside connector files: a call, perhaps an answer, and what must come of them. Nothing is sent.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::Serialize;
use serde_json::{Map, Value, json};

use super::call::Caller;
use super::model::{ConfigValue, Connector, Test, TestResponse, Tested};
use super::outcome::Meaning;
use super::request::{CallRequest, CallResponse};
use super::{Access, MASK};
use crate::expr::At;
use crate::time::Timestamp;
use crate::yaml::{differences, short};

/// What a test gave.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ConnectorTestReport {
    /// The connector.
    pub connector: Arc<str>,
    /// The test.
    pub name: String,
    /// Whether it passed.
    pub passed: bool,
    /// Why not: a structural difference, one line per path.
    pub why: Option<String>,
}

impl Connector {
    /// Runs its tests.
    #[must_use]
    pub fn test(&self, now: Timestamp) -> Vec<ConnectorTestReport> {
        let report = |test: &Test| {
            let why = self.why_not(test, now);
            ConnectorTestReport { connector: self.name.clone(), name: test.name.clone(), passed: why.is_none(), why }
        };
        self.tests.iter().map(report).collect()
    }

    fn why_not(&self, test: &Test, now: Timestamp) -> Option<String> {
        let lines = match &test.what {
            Tested::Call(call, with) => return self.call_fails(test, call, with, now),
            Tested::Poll(trigger, cursor) => self.poll_differs(test, trigger, cursor, now),
            Tested::Delivery(trigger, delivered) => self.delivery_differs(test, trigger, delivered, now),
        };
        lines.map_or_else(Some, |lines| (!lines.is_empty()).then(|| lines.join("\n")))
    }

    fn call_fails(&self, test: &Test, call: &str, with: &Value, now: Timestamp) -> Option<String> {
        let Some(operation) = self.operations.get(call) else { return Some(format!("there is no operation `{call}`")) };
        let config = self.tested_config(test);
        let access = Access::new(self.name.clone(), config.clone(), BTreeMap::new(), Vec::new());
        let said = with.as_object().cloned().unwrap_or_default();
        let rendered = operation.input(&said, &config, &At::root("with")).and_then(|input| {
            let request = self.request(operation, &input, &config, &caller(now))?;
            Ok((input, request))
        });
        let (input, request) = match (rendered, test.expect.get("error")) {
            (Ok(rendered), _) => rendered,
            (Err(fault), Some(error)) if test.response.is_none() => return failed(error, &fault.to_string()),
            (Err(fault), _) => return Some(fault.to_string()),
        };
        let expected = test.expect.as_object().cloned().unwrap_or_default();
        let (of_answer, of_request): (Map<_, _>, Map<_, _>) =
            expected.into_iter().partition(|(key, _)| matches!(key.as_str(), "output" | "error" | "retry"));
        let mut lines = request_differs(of_request, &request);
        if let Some(response) = &test.response {
            let response = response.as_call();
            lines.extend(answer(&of_answer, self.outcome(operation, &input, &access, &response, now), response.status));
        } else if of_answer.contains_key("error") {
            lines.push("error: expected that nothing can be sent, got a request".to_owned());
        }
        (!lines.is_empty()).then(|| lines.join("\n"))
    }

    /// `config` as the test sees it: what it says itself, else what is set; secrets are not read.
    pub(super) fn tested_config(&self, test: &Test) -> Value {
        let own = |name: &str| test.config.get(name).cloned();
        let set = |value: &Option<ConfigValue>| match value {
            Some(ConfigValue::Plain(value)) => value.clone(),
            Some(ConfigValue::Read(_)) => json!(MASK),
            None => Value::Null,
        };
        Value::Object(self.config.iter().map(|f| (f.name.to_string(), own(&f.name).unwrap_or_else(|| set(&f.value)))).collect())
    }
}

impl TestResponse {
    pub(super) fn as_call(&self) -> CallResponse {
        CallResponse::new(self.status, self.headers.clone(), self.body.clone())
    }
}

/// Who calls in a test.
pub(super) fn caller(now: Timestamp) -> Caller {
    Caller { run: "test".to_owned(), rule: "test".to_owned(), idempotency_key: Some("test:1".to_owned()), now }
}

/// What differs between the request and what it should be.
pub(super) fn request_differs(expected: Map<String, Value>, request: &CallRequest) -> Vec<String> {
    let mut found = request.to_json(None);
    // `url` may be written with its query.
    if expected.get("url").and_then(Value::as_str).is_some_and(|url| url.contains('?')) {
        found["url"] = json!(request.full_url());
    }
    differences(&Value::Object(lower_headers(expected)), &found)
}

/// What differs between what an answer means and what it should.
fn answer(expected: &Map<String, Value>, meaning: Meaning, status: u16) -> Vec<String> {
    let told = |message: Option<String>| message.unwrap_or_else(|| format!("status {status}"));
    let (value, error, again) = match meaning {
        Meaning::Value(value) => (Some(value), None, false),
        Meaning::Retry(message) => (None, Some(message), true),
        Meaning::Dead(message) => (None, Some(message), false),
        Meaning::Refused(message) => (None, Some(told(message)), matches!(status, 408 | 425 | 429 | 500..)),
    };
    let mut lines = Vec::new();
    if let Some(output) = expected.get("output") {
        match &value {
            Some(value) => lines.extend(differences(&json!({ "output": output }), &json!({ "output": value }))),
            None => lines.push(format!("output: expected {}, got the error `{}`", short(output), error.clone().unwrap_or_default())),
        }
    }
    if let Some(wanted) = expected.get("error") {
        match &error {
            Some(error) => lines.extend(failed(wanted, error)),
            None => lines.push(format!("error: expected {}, got a value", short(wanted))),
        }
    }
    if let Some(wanted) = expected.get("retry") {
        let found = error.is_some() && again;
        if *wanted != json!(found) {
            lines.push(format!("retry: expected {wanted}, got {found}"));
        }
    }
    if error.is_some() && expected.is_empty() {
        lines.push(format!("the answer is an error: {}", error.unwrap_or_default()));
    }
    lines
}

/// Whether an error is the one that is expected: a text that it contains, or `true` for any.
fn failed(wanted: &Value, error: &str) -> Option<String> {
    let fits = match wanted {
        Value::Bool(true) => true,
        Value::String(text) => error.contains(text.as_str()),
        _ => false,
    };
    (!fits).then(|| format!("error: expected {}, got `{error}`", short(wanted)))
}

fn lower_headers(mut expected: Map<String, Value>) -> Map<String, Value> {
    if let Some(Value::Object(headers)) = expected.get_mut("headers") {
        *headers = std::mem::take(headers).into_iter().map(|(name, value)| (name.to_ascii_lowercase(), value)).collect();
    }
    expected
}
