//! Tests of the rules module, by what they are about.

mod calls;
mod draft;
mod examples;
mod faults;
mod lists;
mod loops;
mod matching;
mod rendering;
mod samples;
mod watches;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde_json::{Value, json};

use super::*;
use crate::event::Event;
use crate::fault::{Faults, SourceText};
use crate::time::Timestamp;

/// What the configuration of these tests knows.
pub(in crate::rules) fn known() -> Known {
    let source = |name: &str, unsigned: bool, reconciles: Option<&str>| KnownSource {
        name: name.into(),
        unsigned,
        reconciles: reconciles.map(Into::into),
        orchestrator: (!unsigned).then(|| "prod".into()),
    };
    Known {
        orchestrators: vec!["prod".into()],
        sources: vec![source("prod-hook", false, None), source("prod-poll", false, Some("prod-hook")), source("lab", true, None)],
        vars: json!({"review_queue": "Invoices-Review", "limit": 1000, "base": "https://api.example.com"}),
        connectors: connectors(),
        ingress: Some(([0, 0, 0, 0], 8080).into()),
    }
}

/// A connector that rules of these tests may call.
pub(in crate::rules) const CHAT: &str = "
connector: chat
base_url: https://chat.example.com
retry: {attempts: 5}
operations:
  post_message:
    method: POST
    path: /messages
    timeout: 7s
    input:
      channel: {required: true}
      text: {required: true, max_length: 40}
      urgent: {type: boolean, default: false}
    body: {channel: \"${input.channel}\", text: \"${input.text}\"}
    lookup: {operation: find, with: {channel: \"${input.channel}\"}, found: value.ok}
  find: {method: GET, path: /messages, input: {channel: {}}}
  forget: {method: POST, path: /forget}
";

fn connectors() -> crate::connectors::Connectors {
    let (connectors, faults) = crate::connectors::Connectors::load(&[file("chat.yaml", CHAT)], None);
    assert!(faults.is_empty(), "{faults:?}");
    connectors
}

fn file(name: &str, text: &str) -> Arc<SourceText> {
    Arc::new(SourceText { path: PathBuf::from(name), text: text.to_owned() })
}

fn no_samples(_: &Path) -> Result<String, String> {
    Err("no such file".to_owned())
}

fn load(text: &str) -> (Option<RuleSet>, Faults) {
    RuleSet::load(&[file("r.yaml", text)], &known(), &no_samples)
}

/// A set that must be fine.
fn set(text: &str) -> RuleSet {
    let (set, faults) = load(text);
    set.unwrap_or_else(|| panic!("{text}\n{}", lines(&faults)))
}

/// As [`set`], for tests beside their code.
pub(in crate::rules) fn load_set(text: &str) -> RuleSet {
    set(text)
}

fn lines(faults: &Faults) -> String {
    faults.iter().map(|fault| format!("{} [{}]\n", fault.one_line(), fault.code)).collect()
}

pub(in crate::rules) fn now() -> Timestamp {
    Timestamp::parse_lenient("2026-03-01T10:00:00Z").expect("a stamp")
}

pub(in crate::rules) fn event(value: Value) -> Event {
    Event::from_json(&value).expect("an event")
}

/// A failed item of the queue `Invoices`.
pub(in crate::rules) fn failed() -> Value {
    json!({
        "id": "01JD8Z3V6Q4K3W5T9M2N7P8R1S", "key": "t|item|7|queueItem.transactionFailed|", "source": "prod-hook", "orchestrator": "prod",
        "type": "queueItem.transactionFailed", "folder": {"id": 11, "key": "K-1"}, "folded": {"count": 1, "from": [
            {"source": "prod-hook", "via": "webhook", "folder": 12, "count": 1, "last": "2026-03-01T10:00:00Z"}]},
        "data": {"Queue": {"Id": 1, "Name": "Invoices"}, "QueueItem": {"Id": 7, "Reference": "A-1", "RetryNumber": 2, "Priority": "Low",
            "DueDate": "2026-04-01T00:00:00Z", "ProcessingException": {"Type": "ApplicationException", "Reason": "boom"},
            "SpecificContent": {"InvoiceId": "A-1", "Amount": 20000, "Amount@odata.type": "#Int64", "Text": "5", "Nothing": null,
                "Lines": [1, 2], "Evil": "../../x\r\nA: b"}}},
    })
}

fn input<'a>(event: &'a Event, steps: &'a Value, vars: &'a Value) -> RenderInput<'a> {
    RenderInput { event, steps, vars, run: None, now: now() }
}

/// Renders the only step of a rule that holds `step` under `steps:`.
fn render(step: &str) -> Result<Rendered, ExpressionFault> {
    let text = format!("rule: r\nevents: \"*\"\nsteps:\n  - {}\n", step.replace('\n', "\n    "));
    let rules = set(&text);
    let (event, steps, vars) = (event(failed()), json!({}), known().vars);
    rules.rules()[0].render(0, &input(&event, &steps, &vars))
}

fn request(step: &str) -> Value {
    match render(step) {
        Ok(Rendered::Request(request)) => request.to_json(),
        other => panic!("{step}: {other:?}"),
    }
}
