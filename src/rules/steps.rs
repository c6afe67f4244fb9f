//! Reading steps.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use super::action::{
    Action, EmitAction, EnqueueAction, FolderAction, GetItemAction, KINDS, KINDS_LATER, Kind, LookupAction, Moment, StartJobAction,
    TargetAction,
};
use super::decode::Decoder;
use super::limits::{CONTENT_KEY_FORBIDDEN, CONTENT_MAX, EVENT_TYPE_MAX, REFERENCE_MAX, STEPS_MAX, TIMEOUT_MAX, TIMEOUT_MIN};
use super::tree::Tree;
use super::{RetryPolicy, Step, http, retry, shapes};
use crate::event::is_plain_name;
use crate::expr::Template;
use crate::fault::{Fault, Place, nearest};
use crate::time::{Timestamp, parse_duration};
use crate::yaml::{Fields, Node, Yaml};

/// All steps of a rule.
pub(super) fn steps(node: &Node, policy: &RetryPolicy, decoder: &mut Decoder<'_>) -> Option<Vec<Step>> {
    let Some(items) = node.as_list() else {
        decoder.error_help("wrong-type", &node.place, format!("`steps` is {}; expected a list", node.kind()), "put `- ` before each step");
        return None;
    };
    if items.len() > STEPS_MAX {
        decoder.error("too-many", &node.place, format!("the rule has {} steps; at most {STEPS_MAX} are allowed", items.len()));
        return None;
    }
    decoder.ids = items.iter().filter_map(|item| item.get("id")?.as_text().map(Arc::from)).collect();
    decoder.earlier = Some(Vec::new());
    let mut seen = HashSet::new();
    let mut steps = Vec::new();
    for item in items {
        let decoded = step(item, policy, decoder);
        let id = item.get("id").and_then(|id| Some((id.as_text()?, &id.place)));
        if let Some((id, place)) = id {
            if !seen.insert(id) {
                decoder.error("duplicate-id", place, format!("step id `{id}` is used twice in this rule"));
            }
            if let Some(earlier) = &mut decoder.earlier {
                earlier.push(Arc::from(id));
            }
        }
        steps.push(decoded);
    }
    steps.into_iter().collect()
}

fn step(node: &Node, policy: &RetryPolicy, decoder: &mut Decoder<'_>) -> Option<Step> {
    let fields = Fields::read(node, "the step", &shapes::STEP, decoder.faults)?;
    let before = decoder.faults.len();
    let id = fields.text("id", decoder.faults).and_then(|(id, place)| {
        let numeric = id.bytes().all(|b| b.is_ascii_digit());
        if !is_plain_name(id) || numeric {
            decoder.error("bad-name", place, format!("step id `{id}` is not 1 to 64 of `A-Z a-z 0-9 _ -` with at least one letter"));
            return None;
        }
        Some(Arc::from(id))
    });
    let condition = fields.get("if").and_then(|node| decoder.expression(node, "if"));
    let retry = fields.get("retry").and_then(|node| retry::read(node, policy, decoder.faults));
    let timeout = fields.duration("timeout", TIMEOUT_MIN..=TIMEOUT_MAX, decoder.faults);
    let kinds: Vec<_> = fields.entries().iter().filter(|(key, _)| KINDS.contains(&key.name.as_str())).collect();
    let later = fields.entries().iter().any(|(key, _)| KINDS_LATER.contains(&key.name.as_str()));
    let kind = match kinds.as_slice() {
        [(key, value)] => kind(&key.name, value, decoder),
        [] if later => None,
        [] => {
            decoder.error_help("no-action", &node.place, "the step does nothing", format!("add one of: {}", KINDS.join(", ")));
            None
        }
        [_, (second, _), ..] => {
            decoder.error_help("two-actions", &second.place, "the step has more than one action", "make each action a step of its own");
            None
        }
    }?;
    if decoder.faults.iter().skip(before).any(|fault| fault.severity == crate::fault::Severity::Error) {
        return None;
    }
    let action = Action { kind };
    let wants = |path: &String| path == "event" || path.starts_with("event.");
    let wants_event = action.references().iter().any(wants) || condition.as_ref().is_some_and(|c| c.references().iter().any(wants));
    Some(Step { id, condition, retry, timeout, action, wants_event })
}

fn kind(name: &str, node: &Node, decoder: &mut Decoder<'_>) -> Option<Kind> {
    match name {
        "enqueue" => enqueue(node, decoder).map(|a| Kind::Enqueue(Box::new(a))),
        "start_job" => start_job(node, decoder).map(|a| Kind::StartJob(Box::new(a))),
        "get_item" => get_item(node, decoder).map(|a| Kind::GetItem(Box::new(a))),
        "http" => http::read(node, decoder).map(|a| Kind::Http(Box::new(a))),
        _ => emit(node, decoder).map(|a| Kind::Emit(Box::new(a))),
    }
}

fn enqueue(node: &Node, decoder: &mut Decoder<'_>) -> Option<EnqueueAction> {
    let fields = Fields::read(node, "`enqueue`", &shapes::ENQUEUE, decoder.faults)?;
    let target = target(&fields, decoder);
    let queue = fields.require("queue", "`enqueue`", decoder.faults).and_then(|node| name(node, "queue", decoder));
    let priority = priority(&fields, decoder);
    let reference = reference(&fields, decoder);
    let (defer, due, risk_sla) = (moment(&fields, "defer", decoder), moment(&fields, "due", decoder), moment(&fields, "risk_sla", decoder));
    let content = fields.get("content").map_or(Some(Tree::Map(Vec::new())), |node| content(node, decoder));
    let accept_duplicate = fields.text("on_duplicate", decoder.faults).is_none_or(|(word, place)| match word {
        "accept" => true,
        "fail" => false,
        other => {
            decoder.error("bad-value", place, format!("`on_duplicate` is `{other}`; expected `accept` or `fail`"));
            true
        }
    });
    Some(EnqueueAction { target, queue: queue?, priority, reference, defer, due, risk_sla, content: content?, accept_duplicate })
}

fn start_job(node: &Node, decoder: &mut Decoder<'_>) -> Option<StartJobAction> {
    let fields = Fields::read(node, "`start_job`", &shapes::START_JOB, decoder.faults)?;
    let target = target(&fields, decoder);
    let process = fields.require("process", "`start_job`", decoder.faults).and_then(|node| name(node, "process", decoder));
    let input = fields.get("input").map_or(Some(Tree::Map(Vec::new())), |node| object(node, "input", decoder));
    let priority = priority(&fields, decoder);
    let count = fields.get("count").and_then(|node| decoder.scalar(node, "count"));
    if let (Some(count), Some(node)) = (count.as_ref().and_then(Template::constant), fields.get("count"))
        && super::render::job_count(&count.into()).is_none()
    {
        decoder.error(
            "out-of-range",
            &node.place,
            format!("`count` is `{count}`; expected a whole number from 1 to {}", super::limits::JOBS_MAX),
        );
    }
    let runtime = fields.get("runtime").and_then(|node| name(node, "runtime", decoder));
    let reference = reference(&fields, decoder);
    Some(StartJobAction { target, process: process?, input: input?, priority, count, runtime, reference })
}

fn get_item(node: &Node, decoder: &mut Decoder<'_>) -> Option<GetItemAction> {
    let fields = Fields::read(node, "`get_item`", &shapes::GET_ITEM, decoder.faults)?;
    let target = target(&fields, decoder);
    let by = match (fields.get("id"), fields.get("queue"), fields.get("reference")) {
        (Some(id), None, None) => {
            let template = decoder.scalar(id, "id");
            if let Some(constant) = template.as_ref().and_then(Template::constant)
                && constant.trim().parse::<i64>().is_err()
            {
                decoder.error("bad-value", &id.place, format!("`id` is `{constant}`; expected a number"));
            }
            template.map(LookupAction::Id)
        }
        (None, Some(queue), Some(reference)) => {
            let (queue, reference) = (name(queue, "queue", decoder), decoder.scalar(reference, "reference"));
            Some(LookupAction::Reference { queue: queue?, reference: reference? })
        }
        _ => {
            decoder.error_help(
                "missing-key",
                &node.place,
                "`get_item` needs either `id`, or `queue` and `reference`",
                "write one of the two",
            );
            None
        }
    };
    Some(GetItemAction { target, by: by? })
}

fn emit(node: &Node, decoder: &mut Decoder<'_>) -> Option<EmitAction> {
    let fields = Fields::read(node, "`emit`", &shapes::EMIT, decoder.faults)?;
    let event_type = fields.require("type", "`emit`", decoder.faults).and_then(|node| {
        let template = decoder.template(node, "type")?;
        match template.constant().map(check_emit_type) {
            Some(Err(message)) => {
                decoder.error("bad-type", &node.place, message);
                None
            }
            _ => Some(template),
        }
    });
    let data = fields.get("data").map_or(Some(Tree::Map(Vec::new())), |node| object(node, "data", decoder));
    let subject = fields.get("subject").and_then(|node| decoder.scalar(node, "subject"));
    Some(EmitAction { event_type: event_type?, data: data?, subject })
}

/// Whether a rule may emit events of this type.
pub(super) fn check_emit_type(event_type: &str) -> Result<(), String> {
    if event_type.trim().is_empty() || event_type.chars().count() > EVENT_TYPE_MAX || event_type.chars().any(|c| c.is_control() || c == '*')
    {
        return Err(format!("an event type has 1 to {EVENT_TYPE_MAX} characters, without `*` and control characters"));
    }
    if event_type.to_ascii_lowercase().starts_with("tripline.") {
        return Err(format!("`{event_type}` belongs to tripline itself; choose another prefix"));
    }
    Ok(())
}

fn target(fields: &Fields<'_>, decoder: &mut Decoder<'_>) -> TargetAction {
    let orchestrator = fields.text("orchestrator", decoder.faults).and_then(|(name, place)| {
        if decoder.known.orchestrators.iter().any(|known| &**known == name) {
            return Some(Arc::from(name));
        }
        let fault = if name.contains("${") {
            Fault::error("bad-value", place.clone(), "`orchestrator` must be a name of the configuration")
                .help("`${…}` is not evaluated here")
        } else {
            let fault = Fault::error("unknown-orchestrator", place.clone(), format!("no orchestrator is named `{name}`"));
            let names: Vec<&str> = decoder.known.orchestrators.iter().map(|known| &**known).collect();
            match nearest(name, names.iter().copied()) {
                Some(near) => fault.help(format!("did you mean `{near}`?")),
                None if names.is_empty() => fault.help("the configuration has no `orchestrators`"),
                None => fault.help(format!("known are: {}", names.join(", "))),
            }
        };
        decoder.faults.push(fault);
        None
    });
    if fields.get("orchestrator").is_none() && decoder.known.orchestrators.is_empty() {
        let help = "add it under `orchestrators`";
        decoder.warning("no-orchestrator", fields.place, "the configuration has no orchestrator for this step", help);
    }
    TargetAction { orchestrator, folder: fields.get("folder").and_then(|node| folder(node, decoder)) }
}

fn folder(node: &Node, decoder: &mut Decoder<'_>) -> Option<FolderAction> {
    match &node.value {
        Yaml::Text(_) => name(node, "folder", decoder).map(FolderAction::Path),
        Yaml::Map(_) => {
            let fields = Fields::read(node, "`folder`", &shapes::FOLDER_OF_STEP, decoder.faults)?;
            match (fields.get("path"), fields.get("id"), fields.get("key")) {
                (Some(path), None, None) => name(path, "path", decoder).map(FolderAction::Path),
                (None, Some(id), None) => decoder.scalar(id, "id").map(FolderAction::Id),
                (None, None, Some(key)) => name(key, "key", decoder).map(FolderAction::Key),
                _ => {
                    decoder.error("bad-value", &node.place, "`folder` needs exactly one of `path`, `id` and `key`");
                    None
                }
            }
        }
        _ => {
            let message = format!("`folder` is {}; expected a path, or a mapping with `id` or `key`", node.kind());
            let help = match &node.value {
                Yaml::Number(n) => format!("write folder: {{id: {n}}}"),
                _ => "write folder: Finance/Invoices".to_owned(),
            };
            decoder.error_help("wrong-type", &node.place, message, help);
            None
        }
    }
}

/// A name: a template that is not empty.
fn name(node: &Node, what: &str, decoder: &mut Decoder<'_>) -> Option<Template> {
    let template = decoder.template(node, what)?;
    if template.constant().is_some_and(|text| text.trim().is_empty()) {
        decoder.error("empty", &node.place, format!("`{what}` is empty"));
        return None;
    }
    Some(template)
}

fn priority(fields: &Fields<'_>, decoder: &mut Decoder<'_>) -> Option<Template> {
    let node = fields.get("priority")?;
    let template = decoder.template(node, "priority")?;
    if let Some(constant) = template.constant()
        && super::render::priority_word(constant).is_none()
    {
        decoder.error("bad-value", &node.place, format!("`priority` is `{constant}`; expected High, Normal or Low"));
        return None;
    }
    Some(template)
}

fn reference(fields: &Fields<'_>, decoder: &mut Decoder<'_>) -> Option<Template> {
    let node = fields.get("reference")?;
    let template = decoder.scalar(node, "reference")?;
    if let Some(constant) = template.constant() {
        let length = constant.encode_utf16().count();
        if length == 0 || length > REFERENCE_MAX {
            decoder.error("reference-length", &node.place, format!("`reference` has {length} characters; expected 1 to {REFERENCE_MAX}"));
            return None;
        }
        let help = "put something of the event into it, such as ${item.Reference}, or leave it out";
        decoder.warning("constant-reference", &node.place, "`reference` is the same for every event: later ones count as duplicates", help);
    }
    Some(template)
}

fn moment(fields: &Fields<'_>, what: &str, decoder: &mut Decoder<'_>) -> Option<Moment> {
    let node = fields.get(what)?;
    let template = decoder.scalar(node, what)?;
    let Some(constant) = template.constant() else { return Some(Moment::Rendered(template)) };
    match read_moment(constant) {
        Ok(moment) => Some(moment),
        Err(message) => {
            decoder.error("bad-moment", &node.place, format!("`{what}`: {message}"));
            None
        }
    }
}

/// A duration from now on, a timestamp, or a date (midnight UTC).
pub(super) fn read_moment(text: &str) -> Result<Moment, String> {
    if let Some(stamp) = Timestamp::parse_lenient(text) {
        return stamp.sane().map(Moment::At).ok_or_else(|| format!("`{text}` is no sensible date"));
    }
    // What CEL's `duration` gives: seconds, perhaps with a fraction.
    if let Some(seconds) = text.strip_suffix('s').and_then(|n| n.parse::<f64>().ok())
        && text.contains('.')
    {
        return Duration::try_from_secs_f64(seconds).map(Moment::In).map_err(|_| format!("`{text}` is no duration"));
    }
    parse_duration(text).map(Moment::In).map_err(|message| format!("{message}; a timestamp or a date is fine too"))
}

fn content(node: &Node, decoder: &mut Decoder<'_>) -> Option<Tree> {
    let written = node.to_json().to_string();
    if !written.contains("${") && written.encode_utf16().count() > CONTENT_MAX {
        decoder.error(
            "content-size",
            &node.place,
            format!("`content` is longer than {CONTENT_MAX} characters, which Orchestrator refuses"),
        );
    }
    if let Yaml::Map(entries) = &node.value {
        for (key, value) in entries {
            check_content_key(&key.name, &key.place, decoder);
            if matches!(value.value, Yaml::List(_) | Yaml::Map(_)) {
                let message = format!("`{}` of `content` is {}; Orchestrator takes single values only", key.name, value.kind());
                decoder.error_help("nested-content", &value.place, message, "flatten it, or put JSON text in a string");
            }
        }
    }
    object(node, "content", decoder)
}

fn check_content_key(key: &str, place: &Place, decoder: &mut Decoder<'_>) {
    if let Some(found) = key.chars().find(|c| CONTENT_KEY_FORBIDDEN.contains(c)) {
        let message = format!("`{key}` of `content` contains `{found}`, which Orchestrator refuses");
        decoder.error_help("content-key", place, message, format!("rename it, such as `{}`", key.replace(CONTENT_KEY_FORBIDDEN, "_")));
    } else if key.is_empty() {
        decoder.error("content-key", place, "a key of `content` is empty");
    }
}

/// A mapping, or one `${…}` that gives one.
fn object(node: &Node, what: &str, decoder: &mut Decoder<'_>) -> Option<Tree> {
    let lone = node.as_text().is_some_and(|text| text.trim_start().starts_with("${"));
    if !lone && node.as_map().is_none() {
        decoder.error_help(
            "wrong-type",
            &node.place,
            format!("`{what}` is {}; expected a mapping", node.kind()),
            "or one `${…}` that gives one",
        );
        return None;
    }
    decoder.tree(node)
}
