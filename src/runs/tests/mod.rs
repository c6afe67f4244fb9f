//! The engine as a whole, in values: runs, their lanes and what is recorded, against a world that remembers.

mod lanes;
mod model;
mod statuses;

use std::sync::Arc;

use serde_json::{Value, json};

use super::*;
use crate::event::{Event, EventId};
use crate::fault::SourceText;
use crate::rules::{Known, Rule, RuleSet};
use crate::time::Timestamp;

fn rule(text: &str) -> Arc<Rule> {
    let source = Arc::new(SourceText { path: "rules/x.yaml".into(), text: text.to_owned() });
    let known = Known { orchestrators: vec!["prod".into()], sources: Vec::new(), vars: json!({}), ..Known::default() };
    let (set, faults) = RuleSet::load(&[source], &known, &|_| Err("no samples".to_owned()));
    set.unwrap_or_else(|| panic!("{faults:?}")).rules()[0].clone()
}

fn event(lines: usize) -> Event {
    let lines: Vec<Value> = (1..=lines).map(|n| json!({"No": n})).collect();
    let data = json!({"Queue": {"Name": "Invoices"}, "QueueItem": {"Id": 7, "Reference": "A", "SpecificContent": {"Lines": lines}}});
    Event::from_json(&json!({"type": "queueItem.added", "orchestrator": "prod", "data": data})).expect("an event")
}

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_millis((1_000_000 + seconds) * 1_000)
}

fn fresh() -> Run {
    Run::new(NewRun::plain(EventId(7), "r", at(0)))
}

fn attempt(number: u32, class: Option<Class>, now: Timestamp) -> Attempt {
    Attempt { number, started: now, ended: now, request: String::new(), status: None, class, error: None, bytes: 0, recorded: None }
}

fn failure(class: Class) -> Failure {
    Failure { class, status: None, message: "no".to_owned(), retry_after: None }
}
