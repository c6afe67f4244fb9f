//! `tripline explain`: for each rule whether an event matches, or the first condition that fails and the value seen.

use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use serde::Deserialize;
use serde_json::{Value, json};

use super::output::{DIM, GOOD, Out, STRONG, Stop, WARN, clean, cut, paint, say};
use super::send::Came;
use super::{YES, send, setup};
use crate::clock::Clock;
use crate::config::{Config, OrchestratorConfig, WebhookSource};
use crate::event::{Change, Event, EventId, Folded, SourceName, Verified, Via};
use crate::fault::nearest;
use crate::headers::{Found, HeaderList, Headers};
use crate::normalize::services::{self, ServiceView};
use crate::normalize::{SourceView, orchestrator, parse_json};
use crate::rules::Explanation;
use crate::time::Timestamp;

/// How much of a value is shown to people, in characters.
const VALUE_SHOWN_MAX: usize = 200;

pub(super) fn run(config: Option<&Path>, file: &Path, came: Came<'_>, as_json: bool, out: &mut Out) -> Result<u8, Stop> {
    let (config, rules) = setup::project(config)?;
    let bytes = send::read(file)?;
    let now = Clock::system().now();
    for event in events(&bytes, &config, came, now)? {
        let explanations = rules.explain(&event, now);
        if as_json {
            out.json(&json!({ "event": event.to_json(), "rules": explanations }))?;
        } else {
            show(&event, &explanations, out)?;
        }
    }
    Ok(YES)
}

/// An event as printed, several of them on lines of their own, or a webhook body.
fn events(bytes: &[u8], config: &Config, came: Came<'_>, now: Timestamp) -> Result<Vec<Event>, Stop> {
    // Other services' bodies have a `type` too: whoever names such a source means one of its bodies.
    if came.source.and_then(|name| config.sources.get(name)).is_some_and(|source| source.service.is_some()) {
        return delivered(bytes, config, came, now);
    }
    match parse_json(bytes) {
        Ok(value) if is_event(&value) => Ok(vec![printed(&value)?]),
        Ok(_) => delivered(bytes, config, came, now),
        Err(problem) => {
            if let Some(values) = lines(bytes) {
                return values.iter().map(printed).collect();
            }
            let message = clean(&problem.message);
            say(&format!("{}: this is no JSON object ({message}); as a delivery it is kept like this:", paint(WARN, "warning")));
            delivered(bytes, config, came, now)
        }
    }
}

/// Events are spelt in lower case, Orchestrator's bodies are not.
fn is_event(value: &Value) -> bool {
    value.get("type").is_some() && value.get("Type").is_none()
}

/// One event per line, as `events list --json` prints them.
fn lines(bytes: &[u8]) -> Option<Vec<Value>> {
    let lines = bytes.split(|byte| *byte == b'\n').filter(|line| !line.trim_ascii().is_empty());
    let values: Option<Vec<Value>> = lines.map(|line| parse_json(line).ok().filter(is_event)).collect();
    values.filter(|values| values.len() > 1)
}

fn printed(value: &Value) -> Result<Event, Stop> {
    Event::from_json(value).map_err(|error| Stop::unknown(format!("this is no event: {}", clean(&error.to_string()))))
}

/// What a body becomes when it comes through each source, or through the one that is named.
fn delivered(bytes: &[u8], config: &Config, came: Came<'_>, now: Timestamp) -> Result<Vec<Event>, Stop> {
    let sources: Vec<&WebhookSource> = match came.source {
        None => config.sources.values().collect(),
        Some(name) => vec![config.sources.get(name).ok_or_else(|| {
            let near = nearest(name, config.sources.keys().map(|name| &**name)).map(|near| format!("; did you mean `{near}`?"));
            Stop::unknown(format!("there is no source `{}`{}", clean(name), near.unwrap_or_default()))
        })?],
    };
    if sources.is_empty() {
        return Err(Stop::unknown("the configuration has no source that a webhook body could come through"));
    }
    let mut events = Vec::new();
    for source in sources {
        let tenant_url =
            source.orchestrator.as_deref().and_then(|name| config.orchestrators.get(name)).map(OrchestratorConfig::canonical_url);
        let changes = match &source.service {
            None => orchestrator(bytes, &SourceView { name: SourceName::clone(&source.name), tenant_url }, now).changes,
            Some(service) => of_service(bytes, service, came.headers, now),
        };
        for change in changes {
            let verified = if source.insecure_unsigned { Verified::No } else { Verified::Secret(Arc::from("explain")) };
            let raw = change.problem.is_some().then(|| Bytes::copy_from_slice(bytes));
            events.push(Event {
                id: EventId::first_at(now),
                source: SourceName::clone(&source.name),
                via: Via::Webhook,
                received: now,
                orchestrator: source.orchestrator.clone(),
                verified,
                conflict: false,
                late: false,
                change,
                folded: Folded::default(),
                raw,
            });
        }
    }
    Ok(events)
}

/// What a body of another service becomes.
fn of_service(bytes: &[u8], service: &ServiceView, headers: &HeaderList, now: Timestamp) -> Vec<Change> {
    if let Some(header) = service.event_header().filter(|header| headers.find(header) == Found::Missing) {
        say(&format!(
            "{}: source `{}` names its event in the header `{header}`: give it with --header",
            paint(WARN, "warning"),
            service.name
        ));
    }
    let read = services::read(bytes, service, headers, now);
    read.changes.into_iter().map(|(change, data)| Change { data: Arc::new(data.into_value()), ..change }).collect()
}

/// A stored event, as the API explains it.
pub(super) fn show_stored(explained: &Value, out: &mut Out) -> Result<(), Stop> {
    let wrong = |error: &dyn std::fmt::Display| Stop::unknown(format!("this is no explanation: {error}"));
    let event = Event::from_json(&explained["event"]).map_err(|error| wrong(&error))?;
    let rules = explained["rules"].as_array().map(Vec::as_slice).unwrap_or_default();
    let explanations: Vec<Explanation> =
        rules.iter().map(Explanation::deserialize).collect::<Result<_, _>>().map_err(|error| wrong(&error))?;
    show(&event, &explanations, out)?;
    match (explained["note"].as_str(), explained["generation"].as_u64()) {
        (Some(note), _) => out.line(&format!("  {} {}", paint(WARN, "note:"), clean(note))),
        (None, Some(generation)) => out.line(&format!("  {}", paint(DIM, &format!("rules of generation {generation}")))),
        (None, None) => Ok(()),
    }
}

fn show(event: &Event, explanations: &[Explanation], out: &mut Out) -> Result<(), Stop> {
    let subject = event.change.subject.as_deref().unwrap_or("-");
    let source = paint(DIM, &format!("(source {})", clean(&event.source)));
    out.line(&format!("{} {} {source}", paint(STRONG, &clean(event.event_type())), clean(subject)))?;
    if explanations.is_empty() {
        out.line("  there are no rules")?;
    }
    for explanation in explanations {
        let rule = clean(&explanation.rule);
        let Some(because) = &explanation.because else {
            out.line(&format!("  {}  {rule}", paint(GOOD, "matched ")))?;
            continue;
        };
        out.line(&format!("  {}  {rule}", paint(DIM, "no match")))?;
        let value = |value: &Value| cut(&clean(&value.to_string()), VALUE_SHOWN_MAX);
        out.line(&format!("            {}: expected {}, found {}", clean(&because.path), value(&because.expected), value(&because.found)))?;
        if let Some(hint) = &because.hint {
            out.line(&format!("            {} {}", paint(DIM, "hint:"), clean(hint)))?;
        }
    }
    Ok(())
}
