//! Reading steps.

use std::sync::Arc;
use std::time::Duration;

use super::action::{Action, EmitAction, EnqueueAction, GetItemAction, KINDS, Kind, LookupAction, StartJobAction};
use super::decode::Decoder;
use super::limits::{EVENT_TYPE_MAX, NESTED_STEPS_MAX, STEPS_MAX, TIMEOUT_MAX, TIMEOUT_MIN};
use super::values::{content, moment, name, numeric, object, priority, reference, target};
use super::waits::{self, AWAIT};
use super::{RetryPolicy, Step, call, each, http, shapes};
use crate::event::is_plain_name;
use crate::expr::{Expression, Template, Tree};
use crate::retry::RetryWords;
use crate::yaml::{Fields, Node};

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
    decoder.ids = items.iter().flat_map(ids_of).collect();
    decoder.earlier = Some(Vec::new());
    sequence(items, policy, decoder)
}

/// The ids of a step and of those inside it.
fn ids_of(node: &Node) -> Vec<Arc<str>> {
    let own = node.get("id").and_then(|id| id.as_text().map(Arc::from));
    let inside = node.get("steps").and_then(Node::as_list).unwrap_or_default();
    own.into_iter().chain(inside.iter().flat_map(ids_of)).collect()
}

/// `on_give_up`: the steps for when a run ends dead. They see `error`, and of `steps` what was done.
pub(super) fn on_give_up(node: &Node, policy: &RetryPolicy, decoder: &mut Decoder<'_>) -> Option<Vec<Step>> {
    let Some(items) = node.as_list() else {
        let help = "put `- ` before each step";
        decoder.error_help("wrong-type", &node.place, format!("`on_give_up` is {}; expected a list", node.kind()), help);
        return None;
    };
    if items.is_empty() || items.len() > NESTED_STEPS_MAX {
        let message = format!("`on_give_up` has {} steps; expected 1 to {NESTED_STEPS_MAX}", items.len());
        decoder.error("out-of-range", &node.place, message);
        return None;
    }
    decoder.ids.extend(items.iter().flat_map(ids_of));
    (decoder.nested, decoder.has_error) = (true, true);
    let steps = sequence(items, policy, decoder);
    (decoder.nested, decoder.has_error) = (false, false);
    steps
}

/// Steps one after another; each sees those before it.
pub(super) fn sequence(items: &[Node], policy: &RetryPolicy, decoder: &mut Decoder<'_>) -> Option<Vec<Step>> {
    let mut steps = Vec::new();
    for item in items {
        let decoded = step(item, policy, decoder);
        let id = item.get("id").and_then(|id| Some((id.as_text()?, &id.place)));
        if let Some((id, place)) = id {
            if !decoder.taken.insert(Arc::from(id)) {
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
    // A connector's own words stand between the rule's and the step's.
    let of_connector = call::connector_of(node, decoder).map(|connector| connector.retry).filter(|words| *words != RetryWords::default());
    let of_connector = of_connector.map(|words| words.over(policy));
    let policy = of_connector.as_ref().unwrap_or(policy);
    let retry = fields.get("retry").and_then(|node| RetryPolicy::read(node, policy, decoder.faults)).or(of_connector);
    let kinds: Vec<_> = fields.entries().iter().filter(|(key, _)| KINDS.contains(&key.name.as_str())).collect();
    let kind = match kinds.as_slice() {
        [(key, value)] if key.name == "for_each" => {
            let policy = retry.as_ref().unwrap_or(policy);
            each::for_each(value, &fields, policy, decoder).map(|a| Kind::Each(Box::new(a)))
        }
        [(key, value)] => {
            each::only_beside_for_each(&fields, decoder);
            kind(&key.name, value, retry.as_ref(), decoder)
        }
        [] => {
            decoder.error_help("no-action", &node.place, "the step does nothing", format!("add one of: {}", KINDS.join(", ")));
            None
        }
        [_, (second, _), ..] => {
            decoder.error_help("two-actions", &second.place, "the step has more than one action", "make each action a step of its own");
            None
        }
    }?;
    let timeout = timeout(&fields, &kind, decoder);
    if decoder.faults.iter().skip(before).any(|fault| fault.severity == crate::fault::Severity::Error) {
        return None;
    }
    let action = Action { kind };
    let wants_event = wants_event(&action, condition.as_ref());
    Some(Step { id, condition, retry, timeout, action, wants_event })
}

/// Whether a step reads `event`, which has to be made for it.
pub(super) fn wants_event(action: &Action, condition: Option<&Expression>) -> bool {
    let wants = |path: &String| path == "event" || path.starts_with("event.");
    action.references().iter().any(wants) || condition.is_some_and(|c| c.references().iter().any(wants))
}

/// `timeout`: of one attempt, or, where something is awaited, of the whole wait.
fn timeout(fields: &Fields<'_>, kind: &Kind, decoder: &mut Decoder<'_>) -> Option<Duration> {
    let awaits = match kind {
        Kind::AwaitItem(_) | Kind::AwaitJob(_) => true,
        Kind::StartJob(job) => job.wait,
        Kind::Wait(_) | Kind::Each(_) => {
            for key in ["timeout", "retry"] {
                let is_policy = key == "retry" && matches!(kind, Kind::Each(_));
                if let Some(place) = fields.key_place(key).filter(|_| !is_policy) {
                    let help = if matches!(kind, Kind::Wait(_)) { "remove it" } else { "write it at the steps inside" };
                    decoder.error_help("bad-value", place, format!("`{key}` means nothing beside `{}`", kind.name()), help);
                }
            }
            return None;
        }
        _ => false,
    };
    let own = if let Kind::Call(call) = kind { call.operation.timeout } else { None };
    let range = if awaits { AWAIT } else { TIMEOUT_MIN..=TIMEOUT_MAX };
    fields.duration("timeout", range, decoder.faults).or(own)
}

fn kind(name: &str, node: &Node, policy: Option<&RetryPolicy>, decoder: &mut Decoder<'_>) -> Option<Kind> {
    match name {
        "enqueue" => enqueue(node, decoder).map(|a| Kind::Enqueue(Box::new(a))),
        "start_job" => start_job(node, decoder).map(|a| Kind::StartJob(Box::new(a))),
        "get_item" => item_lookup(node, "get_item", decoder).map(|a| Kind::GetItem(Box::new(a))),
        "call" => call::read(node, decoder).map(|a| Kind::Call(Box::new(a))),
        "http" => http::read(node, decoder).map(|a| Kind::Http(Box::new(a))),
        "await_item" => waits::await_item(node, decoder).map(|a| Kind::AwaitItem(Box::new(a))),
        "await_job" => waits::await_job(node, decoder).map(|a| Kind::AwaitJob(Box::new(a))),
        "wait" => waits::wait(node, decoder).map(Kind::Wait),
        "enqueue_each" => each::enqueue_each(node, policy, decoder).map(|a| Kind::Each(Box::new(a))),
        _ => emit(node, decoder).map(|a| Kind::Emit(Box::new(a))),
    }
}

fn enqueue(node: &Node, decoder: &mut Decoder<'_>) -> Option<EnqueueAction> {
    let fields = Fields::read(node, "`enqueue`", &shapes::ENQUEUE, decoder.faults)?;
    enqueue_fields(&fields, decoder)
}

/// Reads an item to be added.
pub(super) fn enqueue_fields(fields: &Fields<'_>, decoder: &mut Decoder<'_>) -> Option<EnqueueAction> {
    let target = target(fields, decoder);
    let queue = fields.require("queue", "`enqueue`", decoder.faults).and_then(|node| name(node, "queue", decoder));
    let priority = priority(fields, decoder);
    let reference = reference(fields, decoder);
    let (defer, due, risk_sla) = (moment(fields, "defer", decoder), moment(fields, "due", decoder), moment(fields, "risk_sla", decoder));
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
    let wait = fields.boolean("wait", decoder.faults).unwrap_or(false);
    if let Some(node) = fields.get("count").filter(|_| wait && count.as_ref().is_some_and(|count| count.constant() != Some("1"))) {
        decoder.error_help("bad-value", &node.place, "`wait: true` awaits one job", "remove `count`, or start them in a `for_each`");
    }
    Some(StartJobAction { target, process: process?, input: input?, priority, count, runtime, reference, wait })
}

/// Which item `get_item` or `await_item` means.
pub(super) fn item_lookup(node: &Node, kind: &str, decoder: &mut Decoder<'_>) -> Option<GetItemAction> {
    let what = format!("`{kind}`");
    let fields = Fields::read(node, &what, &shapes::GET_ITEM, decoder.faults)?;
    let target = target(&fields, decoder);
    let by = match (fields.get("id"), fields.get("queue"), fields.get("reference")) {
        (Some(id), None, None) => numeric(id, decoder).map(LookupAction::Id),
        (None, Some(queue), Some(reference)) => {
            let (queue, reference) = (name(queue, "queue", decoder), decoder.scalar(reference, "reference"));
            Some(LookupAction::Reference { queue: queue?, reference: reference? })
        }
        _ => {
            let message = format!("{what} needs either `id`, or `queue` and `reference`");
            decoder.error_help("missing-key", &node.place, message, "write one of the two");
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
