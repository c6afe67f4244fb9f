//! From a step and an event to the request it asks for.

use serde_json::{Map, Value};
use sha2::{Digest, Sha256};

use super::action::{EmitAction, EnqueueAction, FolderAction, GetItemAction, Kind, LookupAction, Moment, StartJobAction, TargetAction};
use super::limits::{CONTENT_KEY_FORBIDDEN, CONTENT_MAX, INPUT_MAX, JOBS_MAX, REFERENCE_MAX};
use super::steps::check_emit_type;
use super::values::read_moment;
use super::{Emit, Enqueue, FolderRef, GetItem, ItemLookup, Part, Request, Rule, StartJob, Target, call, each, http, waits};
use crate::event::{Event, RunId};
use crate::expr::{At, EvalError, ExpressionFault, Scope, Template, explain};
use crate::time::Timestamp;

/// What steps are rendered from.
#[derive(Clone, Copy, Debug)]
pub struct RenderInput<'a> {
    /// The event.
    pub event: &'a Event,
    /// Values of finished steps by id.
    pub steps: &'a Value,
    /// `vars`.
    pub vars: &'a Value,
    /// The run; `None` in tests and `explain`.
    pub run: Option<RunId>,
    /// The moment the run was created: stands still over attempts.
    pub now: Timestamp,
}

/// Where in its rule a step is rendered.
#[derive(Clone, Copy, Debug, Default)]
pub struct Within<'a> {
    /// Which of the rule's sequences of steps.
    pub part: Part,
    /// `error`, for `on_give_up`.
    pub error: Option<&'a Value>,
}

/// A step, rendered.
#[expect(clippy::large_enum_variant, reason = "it is taken apart at once; a box would only cost")]
#[derive(Clone, Debug, PartialEq)]
pub enum Rendered {
    /// Its `if` does not hold.
    Skip {
        /// Why: the expression, or the path that is missing.
        because: String,
    },
    /// To be carried out.
    Request(Request),
    /// Its steps are to be carried out for each element of a list.
    Each {
        /// How many elements there are.
        count: u32,
        /// How many are worked on at once.
        parallel: u32,
    },
}

pub(super) type Fallible<T> = Result<T, ExpressionFault>;

impl Rule {
    /// Renders the step with this index.
    ///
    /// # Errors
    /// A type error, a missing field, a limit, or a value that Orchestrator would refuse.
    pub fn render(&self, step: usize, input: &RenderInput<'_>) -> Result<Rendered, ExpressionFault> {
        self.render_within(&Within::default(), step, input)
    }

    /// Renders a step of any part. For an element `input.steps` has the values of the steps before its list and of
    /// those before it in the element.
    ///
    /// # Errors
    /// As [`Rule::render`].
    pub fn render_within(&self, within: &Within<'_>, step: usize, input: &RenderInput<'_>) -> Result<Rendered, ExpressionFault> {
        let run = input.run.map(|run| serde_json::json!({"id": run}));
        let steps = At::root(if within.part == Part::GiveUp { "on_give_up" } else { "steps" });
        let list;
        let (element, at) = match within.part {
            Part::Main | Part::GiveUp => (None, steps),
            Part::Element { step: outer, index } => {
                list = steps.index(outer);
                (Some(self.element(outer, index, input, run.as_ref(), &list)?), list.field("steps"))
            }
        };
        let at = at.index(step);
        let Some(own) = self.part(within.part).get(step) else { return Err(at.fault("the rule has no such step")) };
        let event = own.wants_event.then(|| input.event.to_json());
        let mut scope = self.scope(event.as_ref(), input, run.as_ref());
        if let Some((name, element)) = &element {
            scope = scope.bind(name, element);
        }
        if let Some(error) = within.error {
            scope = scope.bind("error", error);
        }
        if let Some(condition) = &own.condition {
            match condition.holds(&scope) {
                Ok(true) => {}
                Ok(false) => return Ok(Rendered::Skip { because: format!("`{}` does not hold", condition.text().trim()) }),
                Err(error @ EvalError::Missing { .. }) => return Ok(Rendered::Skip { because: error.to_string() }),
                Err(error) => return Err(at.field("if").fault(explain(error))),
            }
        }
        let kind = &own.action.kind;
        let at = at.field(kind.name());
        let derived = || derived_reference(&self.name, &self.label(within.part, step), input.event, input.run.map_or(0, |run| run.replay));
        Ok(Rendered::Request(match kind {
            Kind::Enqueue(action) => Request::Enqueue(enqueue(action, &scope, &at, input.now, derived)?),
            Kind::StartJob(action) => Request::StartJob(start_job(action, &scope, &at, derived)?),
            Kind::GetItem(action) => Request::GetItem(get_item(action, &scope, &at)?),
            Kind::Http(action) => Request::Http(http::render(action, &scope, &at)?),
            Kind::Call(action) => Request::Call(call::render(action, &scope, &at, input.event.orchestrator.as_deref())?),
            Kind::Emit(action) => Request::Emit(emit(action, &scope, &at)?),
            Kind::AwaitItem(action) => Request::AwaitItem(get_item(action, &scope, &at)?),
            Kind::AwaitJob(action) => Request::AwaitJob(waits::render_job(action, &scope, &at)?),
            Kind::Wait(moment) => Request::Wait(waits::render_wait(moment, &scope, &at)?),
            Kind::Each(action) => {
                let count = each::elements(action, &scope, &at)?.len();
                return Ok(Rendered::Each { count: u32::try_from(count).unwrap_or(u32::MAX), parallel: action.parallel });
            }
        }))
    }
}

/// The names that come from the event. `json` is the whole event, where an expression asks for it.
pub(super) fn event_scope<'a>(event: &'a Event, json: Option<&'a Value>, now: Timestamp) -> Scope<'a> {
    let data = event.data();
    let mut scope = Scope::new().bind("data", data).at(now);
    if let Some(json) = json {
        scope = scope.bind("event", json);
    }
    if let Some(item) = data.get("QueueItem") {
        scope = scope.bind("item", item);
        if let Some(content) = item.get("SpecificContent") {
            scope = scope.bind("content", content);
        }
    }
    for (name, field) in [("queue", "Queue"), ("job", "Job")] {
        if let Some(value) = data.get(field) {
            scope = scope.bind(name, value);
        }
    }
    scope
}

/// The reference of what a step makes for an event: the same for every attempt, another for every other change.
///
/// `<rule, ASCII only, at most 60 characters>:<step>:<32 hex digits of SHA-256 over rule, step and event key>`; a forced
/// replay is another one by its number, which the digest and the end `.r<number>` tell.
fn derived_reference(rule: &str, label: &str, event: &Event, replay: u16) -> String {
    let mut hash = Sha256::new();
    for part in [rule, label, &event.change.key.to_string()] {
        hash.update((part.len() as u64).to_be_bytes());
        hash.update(part.as_bytes());
    }
    if replay > 0 {
        hash.update(replay.to_be_bytes());
    }
    let digest = hash.finalize();
    let plain = |c: char| if c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.') { c } else { '-' };
    let mut text: String = rule.chars().take(if replay > 0 { 50 } else { 60 }).map(plain).collect();
    text.push(':');
    text.extend(label.chars().take(30));
    text.push(':');
    text.extend(digest[..16].iter().map(|byte| format!("{byte:02x}")));
    if replay > 0 {
        text.push_str(&format!(".r{replay}"));
    }
    text
}

fn enqueue(action: &EnqueueAction, scope: &Scope<'_>, at: &At<'_>, now: Timestamp, derived: impl Fn() -> String) -> Fallible<Enqueue> {
    let moment = |moment: &Option<Moment>, name: &str| match moment {
        Some(moment) => instant(moment, scope, &at.field(name), now),
        None => Ok(None),
    };
    Ok(Enqueue {
        target: target(&action.target, scope, at)?,
        queue: name(&action.queue, scope, &at.field("queue"))?,
        priority: priority(action.priority.as_ref(), scope, at)?,
        reference: reference(action.reference.as_ref(), scope, at, derived)?,
        defer: moment(&action.defer, "defer")?,
        due: moment(&action.due, "due")?,
        risk_sla: moment(&action.risk_sla, "risk_sla")?,
        content: content(action, scope, &at.field("content"))?,
        accept_duplicate: action.accept_duplicate,
    })
}

fn start_job(action: &StartJobAction, scope: &Scope<'_>, at: &At<'_>, derived: impl Fn() -> String) -> Fallible<StartJob> {
    let within = at.field("input");
    let input = object(action.input.render(scope, &within)?, &within)?;
    let length = utf16_of_json(&input);
    if length > INPUT_MAX {
        return Err(within.fault(format!("the input has {length} characters as JSON; Orchestrator takes {INPUT_MAX}")));
    }
    let count = match &action.count {
        None => 1,
        Some(template) => {
            let at = at.field("count");
            let value = template.render(scope).map_err(|error| at.failed(error))?;
            job_count(&value).ok_or_else(|| at.fault(format!("expected a whole number from 1 to {JOBS_MAX}")))?
        }
    };
    if action.wait && count != 1 {
        return Err(at.field("count").fault("`wait: true` awaits one job"));
    }
    Ok(StartJob {
        target: target(&action.target, scope, at)?,
        process: name(&action.process, scope, &at.field("process"))?,
        input,
        priority: priority(action.priority.as_ref(), scope, at)?,
        count,
        runtime: optional_text(action.runtime.as_ref(), scope, &at.field("runtime"))?,
        reference: reference(action.reference.as_ref(), scope, at, derived)?,
        wait: action.wait,
    })
}

fn get_item(action: &GetItemAction, scope: &Scope<'_>, at: &At<'_>) -> Fallible<GetItem> {
    let by = match &action.by {
        LookupAction::Id(template) => ItemLookup::Id(integer(template, scope, &at.field("id"))?),
        LookupAction::Reference { queue, reference } => ItemLookup::Reference {
            queue: name(queue, scope, &at.field("queue"))?,
            reference: name(reference, scope, &at.field("reference"))?,
        },
    };
    Ok(GetItem { target: target(&action.target, scope, at)?, by })
}

fn emit(action: &EmitAction, scope: &Scope<'_>, at: &At<'_>) -> Fallible<Emit> {
    let within = at.field("type");
    let event_type = name(&action.event_type, scope, &within)?;
    check_emit_type(&event_type).map_err(|message| within.fault(message))?;
    let within = at.field("data");
    let data = action.data.render(scope, &within)?;
    if !data.is_object() {
        return Err(within.fault("expected an object"));
    }
    Ok(Emit { event_type, data, subject: optional_text(action.subject.as_ref(), scope, &at.field("subject"))? })
}

/// Where a step of Orchestrator goes.
pub(super) fn target(action: &TargetAction, scope: &Scope<'_>, at: &At<'_>) -> Fallible<Target> {
    let at = at.field("folder");
    let folder = match &action.folder {
        None => None,
        Some(FolderAction::Path(template)) => Some(FolderRef::Path(name(template, scope, &at)?)),
        Some(FolderAction::Key(template)) => Some(FolderRef::Key(name(template, scope, &at)?)),
        Some(FolderAction::Id(template)) => Some(FolderRef::Id(integer(template, scope, &at)?)),
    };
    Ok(Target { orchestrator: action.orchestrator.clone(), folder })
}

/// A text that must not be empty.
pub(super) fn name(template: &Template, scope: &Scope<'_>, at: &At<'_>) -> Fallible<String> {
    let text = template.render_text(scope, |_, value| value).map_err(|error| at.failed(error))?;
    if text.trim().is_empty() {
        return Err(at.fault("is empty"));
    }
    Ok(text)
}

/// A text; null is none.
fn optional_text(template: Option<&Template>, scope: &Scope<'_>, at: &At<'_>) -> Fallible<Option<String>> {
    let Some(template) = template else { return Ok(None) };
    match template.render(scope).map_err(|error| at.failed(error))? {
        Value::Null => Ok(None),
        Value::String(text) => Ok(Some(text)),
        value @ (Value::Number(_) | Value::Bool(_)) => Ok(Some(value.to_string())),
        Value::Array(_) | Value::Object(_) => Err(at.fault("expected a text")),
    }
}

/// A whole number.
pub(super) fn integer(template: &Template, scope: &Scope<'_>, at: &At<'_>) -> Fallible<i64> {
    let number = match template.render(scope).map_err(|error| at.failed(error))? {
        Value::Number(n) => n.as_i64().or_else(|| n.as_f64().filter(|f| f.fract() == 0.0 && f.abs() < 9.0e15).map(|f| f as i64)),
        Value::String(text) => text.trim().parse().ok(),
        _ => None,
    };
    number.ok_or_else(|| at.fault("expected a whole number"))
}

fn priority(template: Option<&Template>, scope: &Scope<'_>, at: &At<'_>) -> Fallible<Option<String>> {
    let at = at.field("priority");
    match optional_text(template, scope, &at)? {
        None => Ok(None),
        Some(text) => match priority_word(&text) {
            Some(word) => Ok(Some(word.to_owned())),
            None => Err(at.fault("expected High, Normal or Low")),
        },
    }
}

/// Orchestrator's spelling of a priority.
pub(super) fn priority_word(text: &str) -> Option<&'static str> {
    ["High", "Normal", "Low"].into_iter().find(|word| word.eq_ignore_ascii_case(text.trim()))
}

/// How many jobs, when that is a sensible number.
pub(super) fn job_count(value: &Value) -> Option<u32> {
    let number = match value {
        Value::Number(n) => n.as_u64(),
        Value::String(text) => text.trim().parse().ok(),
        _ => None,
    };
    number.and_then(|n| u32::try_from(n).ok()).filter(|n| (1..=JOBS_MAX).contains(n))
}

fn reference(template: Option<&Template>, scope: &Scope<'_>, at: &At<'_>, derived: impl Fn() -> String) -> Fallible<String> {
    let Some(template) = template else { return Ok(derived()) };
    let at = at.field("reference");
    let text = name(template, scope, &at)?;
    let length = text.encode_utf16().count();
    if length > REFERENCE_MAX {
        return Err(at.fault(format!("the reference has {length} characters; Orchestrator takes {REFERENCE_MAX}")));
    }
    Ok(text)
}

fn instant(moment: &Moment, scope: &Scope<'_>, at: &At<'_>, now: Timestamp) -> Fallible<Option<Timestamp>> {
    match moment {
        Moment::In(duration) => Ok(Some(now.plus(*duration))),
        Moment::At(stamp) => Ok(Some(*stamp)),
        Moment::Rendered(template) => match template.render(scope).map_err(|error| at.failed(error))? {
            Value::Null => Ok(None),
            Value::String(text) => match read_moment(&text).map_err(|message| at.fault(message))? {
                Moment::In(duration) => Ok(Some(now.plus(duration))),
                Moment::At(stamp) => Ok(Some(stamp)),
                Moment::Rendered(_) => Ok(None),
            },
            _ => Err(at.fault("expected a duration such as `10m`, a timestamp or a date")),
        },
    }
}

fn object(value: Value, at: &At<'_>) -> Fallible<Map<String, Value>> {
    match value {
        Value::Object(map) => Ok(map),
        _ => Err(at.fault("expected an object")),
    }
}

/// SpecificContent: flat, with keys that Orchestrator takes. Type hints (`Amount@odata.type`) of a copied content
/// are left behind.
fn content(action: &EnqueueAction, scope: &Scope<'_>, at: &At<'_>) -> Fallible<Map<String, Value>> {
    let mut map = object(action.content.render(scope, at)?, at)?;
    map.retain(|key, _| !key.ends_with("@odata.type"));
    for (key, value) in &map {
        let at = at.field(key);
        if let Some(found) = key.chars().find(|c| CONTENT_KEY_FORBIDDEN.contains(c)) {
            return Err(at.fault(format!("the key `{key}` contains `{found}`, which Orchestrator refuses")));
        }
        if value.is_object() || value.is_array() {
            let what = if value.is_object() { "an object" } else { "a list" };
            return Err(at.fault(format!("`{key}` is {what}; Orchestrator takes single values only")));
        }
    }
    let length = utf16_of_json(&map);
    if length > CONTENT_MAX {
        return Err(at.fault(format!("the content has {length} characters as JSON; Orchestrator takes {CONTENT_MAX}")));
    }
    Ok(map)
}

fn utf16_of_json(map: &Map<String, Value>) -> usize {
    serde_json::to_string(map).map_or(usize::MAX, |text| text.encode_utf16().count())
}
