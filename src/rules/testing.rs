//! Tests inside rule files: an event, values for its steps, and what is expected. Nothing is called.

use std::path::Path;

use serde::Serialize;
use serde_json::{Map, Value};

use super::decode::Decoder;
use super::expect::{self, Expect};
use super::filter::Filter;
use super::read::ReadSample;
use super::{Guess, Rehearsal, Rule, shapes};
use crate::event::{Event, RuleName, RunId};
use crate::fault::{Fault, Place, nearest};
use crate::normalize::{self, SourceView};
use crate::time::Timestamp;
use crate::yaml::{Fields, Node};

/// A test inside a rule file.
#[derive(Debug)]
pub struct TestCase {
    /// Its name.
    pub name: String,
    event: Event,
    replies: Value,
    expect: Option<Expect>,
    /// What `now` is for it, where it says so.
    now: Option<Timestamp>,
}

/// What a test gave.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct TestReport {
    /// The rule.
    pub rule: RuleName,
    /// The test.
    pub name: String,
    /// Whether it passed.
    pub passed: bool,
    /// Why not: a structural difference, one line per path.
    pub why: Option<String>,
}

/// Reads `tests`.
pub(super) fn read(node: &Node, decoder: &mut Decoder<'_>, filter: Option<&Filter>, read_sample: ReadSample<'_>) -> Option<Vec<TestCase>> {
    let Some(items) = node.as_list() else {
        decoder.error("wrong-type", &node.place, format!("`tests` is {}; expected a list", node.kind()));
        return None;
    };
    let mut names = std::collections::HashSet::new();
    let mut cases = Vec::new();
    for item in items {
        if let Some(name) = item.get("name")
            && let Some(text) = name.as_text()
            && !names.insert(text)
        {
            decoder.error("duplicate-test", &name.place, format!("test name `{text}` is used twice in this rule"));
        }
        cases.push(case(item, decoder, filter, read_sample));
    }
    cases.into_iter().collect()
}

fn case(node: &Node, decoder: &mut Decoder<'_>, filter: Option<&Filter>, read_sample: ReadSample<'_>) -> Option<TestCase> {
    let fields = Fields::read(node, "a test", &shapes::TEST, decoder.faults)?;
    let name = fields.require("name", "the test", decoder.faults).and_then(|_| fields.text("name", decoder.faults));
    let event = fields.require("event", "the test", decoder.faults).and_then(|node| event(node, decoder, filter, read_sample));
    let replies = fields.get("replies").map_or(Some(Value::Object(Map::new())), |node| replies(node, decoder));
    let expect = match fields.get("expect") {
        Some(node) => Some(expect::read(node, decoder)?),
        None => {
            let help = "add the steps that must be carried out, or {matched: false, because: …}";
            decoder.warning("no-expect", &node.place, "the test expects nothing, so it fails", help);
            None
        }
    };
    let now = match fields.text("now", decoder.faults) {
        Some((text, place)) => match Timestamp::parse_lenient(text).and_then(Timestamp::sane) {
            Some(now) => Some(now),
            None => {
                decoder.error_help(
                    "bad-moment",
                    place,
                    format!("`now`: `{text}` is no timestamp"),
                    "write for example now: 2026-01-31T12:00:00Z",
                );
                return None;
            }
        },
        None if fields.get("now").is_some() => return None,
        None => None,
    };
    Some(TestCase { name: name?.0.to_owned(), event: event?, replies: replies?, expect, now })
}

fn replies(node: &Node, decoder: &mut Decoder<'_>) -> Option<Value> {
    let Some(entries) = node.as_map() else {
        decoder.error("wrong-type", &node.place, format!("`replies` is {}; expected a mapping from step ids to values", node.kind()));
        return None;
    };
    let mut fine = true;
    for (key, _) in entries {
        if !decoder.ids.iter().any(|id| **id == *key.name) {
            let fault = Fault::error("unknown-step", key.place.clone(), format!("no step has the id `{}`", key.name));
            let near = nearest(&key.name, decoder.ids.iter().map(|id| &**id)).map(|near| format!("did you mean `{near}`?"));
            decoder.faults.push(match near {
                Some(help) => fault.help(help),
                None => fault.help("replies stand under the ids of steps"),
            });
            fine = false;
        }
    }
    fine.then(|| node.to_json())
}

fn event(node: &Node, decoder: &mut Decoder<'_>, filter: Option<&Filter>, read_sample: ReadSample<'_>) -> Option<Event> {
    let fields = Fields::read(node, "`event`", &shapes::TEST_EVENT, decoder.faults)?;
    let Value::Object(mut written) = node.to_json() else { return None };
    written.remove("file");
    if let Some((file, place)) = fields.text("file", decoder.faults) {
        match sample(file, place, read_sample) {
            Ok(sample) => written = sample.into_iter().chain(written).collect(),
            Err(message) => {
                decoder.error("sample", place, message);
                return None;
            }
        }
    }
    // An event that does not say where it comes from comes from where the rule listens.
    if !written.contains_key("source")
        && let Some(first) = filter.and_then(|filter| filter.sources.as_ref()?.first())
    {
        written.insert("source".to_owned(), Value::from(&**first));
    }
    if !written.contains_key("orchestrator")
        && let [only] = decoder.known.orchestrators.as_slice()
    {
        written.insert("orchestrator".to_owned(), Value::from(&**only));
    }
    match Event::from_json(&Value::Object(written)) {
        Ok(event) => Some(event),
        Err(error) => {
            let place = fields.get(error.field).map_or(fields.place, |node| &node.place);
            decoder.error("bad-event", place, format!("`{}` of the event: {}", error.field, error.message));
            None
        }
    }
}

/// A sample file: an event as `events show` prints it, or the body of a delivery.
fn sample(file: &str, place: &Place, read_sample: ReadSample<'_>) -> Result<Map<String, Value>, String> {
    let path = place.source.path.parent().unwrap_or(Path::new("")).join(file);
    let text = read_sample(&path).map_err(|message| format!("cannot read the sample `{file}`: {message}"))?;
    let json = normalize::parse_json(text.as_bytes()).map_err(|problem| {
        format!("the sample `{file}` is no JSON: line {}, column {}: {}", problem.line, problem.column, problem.message)
    })?;
    let Value::Object(map) = json else { return Err(format!("the sample `{file}` is no JSON object")) };
    if !map.contains_key("Type") {
        return Ok(map);
    }
    let view = SourceView { name: "test".into(), tenant_url: None };
    let changes = normalize::orchestrator(text.as_bytes(), &view, Timestamp::EPOCH).changes;
    let [change] = changes.as_slice() else {
        return Err(format!("the sample `{file}` holds {} changes; keep one", changes.len()));
    };
    let mut sampled = Map::new();
    sampled.insert("type".to_owned(), Value::from(&*change.event_type));
    sampled.insert("data".to_owned(), Value::clone(&change.data));
    sampled.insert("key".to_owned(), Value::from(change.key.to_string()));
    if let Some(folder) = &change.folder {
        sampled.insert("folder".to_owned(), serde_json::json!(folder));
    }
    Ok(sampled)
}

impl TestCase {
    /// Runs it.
    pub(super) fn run(&self, rule: &Rule, vars: &Value, now: Timestamp) -> TestReport {
        let now = self.now.unwrap_or(now);
        let why = match &self.expect {
            None => Some("the test has no `expect`".to_owned()),
            Some(expect) => self.why_not(rule, expect, vars, now),
        };
        TestReport { rule: rule.name.clone(), name: self.name.clone(), passed: why.is_none(), why }
    }

    fn why_not(&self, rule: &Rule, expect: &Expect, vars: &Value, now: Timestamp) -> Option<String> {
        if let super::explain::When::Fault(fault) = rule.when_if_met(&self.event, vars, now) {
            return Some(fault.to_string());
        }
        let unmet = rule.first_unmet(&self.event, vars, now);
        match expect.of_match(unmet.as_ref()) {
            expect::Verdict::Done(why) => return why,
            expect::Verdict::CompareSteps => {}
        }
        match requests(rule, &self.event, &self.replies, vars, now) {
            Ok(requests) => expect.of_steps(&requests),
            Err(fault) => Some(fault.to_string()),
        }
    }
}

/// What the steps would send, as JSON, with the replies as their values.
fn requests(rule: &Rule, event: &Event, replies: &Value, vars: &Value, now: Timestamp) -> Result<Vec<Value>, super::ExpressionFault> {
    let rehearsal = Rehearsal { event, replies, vars, run: RunId::of(event.id, &rule.name), now, guess: Guess::No };
    rule.rehearse(&rehearsal).map_err(|(_, fault)| fault)
}

/// What a rule does with an event, in the words of `expect`; nothing where its condition fails, which no test can expect.
pub(super) fn outcome(rule: &Rule, event: &Event, replies: &Value, vars: &Value, now: Timestamp) -> Option<Value> {
    if let super::explain::When::Fault(_) = rule.when_if_met(event, vars, now) {
        return None;
    }
    Some(match rule.first_unmet(event, vars, now) {
        Some(because) => serde_json::json!({"matched": false, "because": because.path}),
        None => match requests(rule, event, replies, vars, now) {
            Ok(requests) => Value::Array(requests),
            // A step needs a reply that nobody has: that the rule matches can be told.
            Err(_) => serde_json::json!({"matched": true}),
        },
    })
}
