//! Steps over the elements of a list: `for_each` and `enqueue_each`.

use std::sync::Arc;

use serde_json::Value;

use super::action::{EachAction, EnqueueAction, Kind, Over};
use super::decode::{Decoder, NAMES};
use super::limits::{ELEMENTS_MAX, NESTED_STEPS_MAX, PARALLEL_MAX};
use super::render::{Fallible, event_scope};
use super::{Action, ExpressionFault, RenderInput, RetryPolicy, Rule, Step};
use super::{shapes, steps};
use crate::expr::{At, Expression, Scope};
use crate::fault::{Fault, nearest};
use crate::yaml::{Fields, Node, Yaml};

/// What an element is called unless the step says otherwise.
const AS_DEFAULT: &str = "each";

/// Reads `for_each` with its neighbours `as`, `parallel` and `steps`. `policy` is what nested steps retry by.
pub(super) fn for_each(over: &Node, beside: &Fields<'_>, policy: &RetryPolicy, decoder: &mut Decoder<'_>) -> Option<EachAction> {
    if !may_stand_here(over, "for_each", decoder) {
        return None;
    }
    let over = decoder.value(over, "for_each").map(Over::Expression);
    let name = element_name(beside, decoder);
    let parallel = parallel(beside, decoder);
    let Some(node) = beside.get("steps") else {
        decoder.error_help("missing-key", beside.place, "`for_each` has no `steps`", "add `steps:` beside it");
        return None;
    };
    let Some(items) = node.as_list() else {
        decoder.error_help("wrong-type", &node.place, format!("`steps` is {}; expected a list", node.kind()), "put `- ` before each step");
        return None;
    };
    if items.is_empty() || items.len() > NESTED_STEPS_MAX {
        let message = format!("`for_each` has {} steps; expected 1 to {NESTED_STEPS_MAX}", items.len());
        decoder.error("out-of-range", &node.place, message);
        return None;
    }
    let steps = within(name.as_ref(), decoder, |decoder| steps::sequence(items, policy, decoder));
    Some(EachAction { over: over?, name: name?, parallel: parallel?, steps: steps?, only_items: false })
}

/// Reads `enqueue_each`: where the list is, and what `enqueue` has.
pub(super) fn enqueue_each(node: &Node, policy: Option<&RetryPolicy>, decoder: &mut Decoder<'_>) -> Option<EachAction> {
    if !may_stand_here(node, "enqueue_each", decoder) {
        return None;
    }
    let fields = Fields::read(node, "`enqueue_each`", &shapes::ENQUEUE_EACH, decoder.faults)?;
    let over = fields.require("over", "`enqueue_each`", decoder.faults).and_then(|node| match &node.value {
        Yaml::Text(text) if !text.trim_start().starts_with("${") => {
            let help = format!("write over: \"${{{}}}\"", text.trim());
            decoder.error_help("wrong-type", &node.place, "`over` is a text; expected a list", help);
            None
        }
        Yaml::Text(_) | Yaml::List(_) => decoder.tree(node).map(Over::Tree),
        _ => {
            decoder.error("wrong-type", &node.place, format!("`over` is {}; expected a list, or one `${{…}}` that gives one", node.kind()));
            None
        }
    });
    let name = element_name(&fields, decoder);
    let parallel = parallel(&fields, decoder);
    let item: Option<EnqueueAction> = within(name.as_ref(), decoder, |decoder| steps::enqueue_fields(&fields, decoder));
    if let Some(reference) = fields.get("reference").and_then(Node::as_text)
        && let Some(name) = &name
        && !item.as_ref().is_some_and(|item| item.reference.as_ref().is_some_and(|r| mentions(&r.references(), name)))
    {
        let message = format!("`reference` is `{reference}` for every element: items after the first count as duplicates");
        decoder.warning("constant-reference", fields.place, message, format!("put something of `{name}` into it, or leave it out"));
    }
    let kind = Kind::Enqueue(Box::new(item?));
    let step = Step { id: None, condition: None, retry: policy.copied(), timeout: None, action: Action { kind }, wants_event: false };
    let step = Step { wants_event: steps::wants_event(&step.action, None), ..step };
    Some(EachAction { over: over?, name: name?, parallel: parallel?, steps: vec![step], only_items: true })
}

fn mentions(paths: &[String], name: &str) -> bool {
    paths.iter().any(|path| path == name || path.strip_prefix(name).is_some_and(|rest| rest.starts_with('.')))
}

/// Lists in lists would need no bound of their own and cannot be shown plainly: an element emits an event instead.
fn may_stand_here(node: &Node, kind: &str, decoder: &mut Decoder<'_>) -> bool {
    if !decoder.nested {
        return true;
    }
    let help = "emit an event per element, and handle its list in a rule of its own";
    decoder.error_help("nested", &node.place, format!("`{kind}` cannot stand inside `for_each` or `on_give_up`"), help);
    false
}

/// Reads the inside of a list's step: its element has a name there, and what stands there is not seen behind it.
fn within<T>(name: Option<&Arc<str>>, decoder: &mut Decoder<'_>, read: impl FnOnce(&mut Decoder<'_>) -> T) -> T {
    let earlier = decoder.earlier.clone();
    decoder.bound.extend(name.cloned());
    decoder.nested = true;
    let read = read(decoder);
    decoder.nested = false;
    decoder.bound.clear();
    decoder.earlier = earlier;
    read
}

fn element_name(fields: &Fields<'_>, decoder: &mut Decoder<'_>) -> Option<Arc<str>> {
    let Some(node) = fields.get("as") else { return Some(Arc::from(AS_DEFAULT)) };
    let (name, place) = fields.text("as", decoder.faults)?;
    let plain = Expression::compile(name).is_ok_and(|expression| expression.references() == [name]) && !name.contains('.');
    if !plain {
        decoder.error("bad-name", place, format!("`{name}` is no name: expected letters, digits and `_`, and no word of the language"));
        return None;
    }
    if NAMES.contains(&name) || name == "error" {
        let fault = Fault::error("bad-name", node.place.clone(), format!("`{name}` means something else already"));
        decoder.faults.push(fault.help("choose another name, such as `line` or `entry`"));
        return None;
    }
    Some(Arc::from(name))
}

fn parallel(fields: &Fields<'_>, decoder: &mut Decoder<'_>) -> Option<u32> {
    if fields.get("parallel").is_none() {
        return Some(1);
    }
    fields.integer("parallel", 1..=u64::from(PARALLEL_MAX), decoder.faults).and_then(|n| u32::try_from(n).ok())
}

/// Reports keys that mean something only beside `for_each`.
pub(super) fn only_beside_for_each(fields: &Fields<'_>, decoder: &mut Decoder<'_>) {
    for name in ["as", "parallel", "steps"] {
        if let Some(place) = fields.key_place(name) {
            let fault = Fault::error("unknown-key", place.clone(), format!("`{name}` belongs beside `for_each`"));
            decoder.faults.push(match nearest("for_each", fields.entries().iter().map(|(key, _)| key.name.as_str())) {
                Some(near) => fault.help(format!("did you mean `for_each` instead of `{near}`?")),
                None => fault.help("add `for_each:`, or remove it"),
            });
        }
    }
}

/// The elements.
pub(super) fn elements(each: &EachAction, scope: &Scope<'_>, at: &At<'_>) -> Result<Vec<Value>, ExpressionFault> {
    let (value, at) = match &each.over {
        Over::Expression(expression) => (expression.eval(scope).map_err(|error| at.failed(error))?, *at),
        Over::Tree(tree) => (tree.render(scope, &at.field("over"))?, at.field("over")),
    };
    let Value::Array(elements) = value else {
        let what = match value {
            Value::Null => "nothing",
            Value::Object(_) => "an object",
            _ => "a single value",
        };
        return Err(at.fault(format!("expected a list, found {what}")));
    };
    if elements.len() > ELEMENTS_MAX {
        return Err(at.fault(format!("the list has {} elements; at most {ELEMENTS_MAX} are taken", elements.len())));
    }
    Ok(elements)
}

impl Rule {
    /// The names that every step sees.
    pub(super) fn scope<'a>(&'a self, event: Option<&'a Value>, input: &RenderInput<'a>, run: Option<&'a Value>) -> Scope<'a> {
        let scope =
            event_scope(input.event, event, input.now).bind("steps", input.steps).bind("vars", input.vars).bind("rule", &self.as_value);
        match run {
            Some(run) => scope.bind("run", run),
            None => scope,
        }
    }

    /// An element of a step's list, with its name.
    pub(super) fn element(
        &self,
        step: usize,
        index: u32,
        input: &RenderInput<'_>,
        run: Option<&Value>,
        at: &At<'_>,
    ) -> Fallible<(Arc<str>, Value)> {
        let Some((own, Kind::Each(each))) = self.steps.get(step).map(|own| (own, &own.action.kind)) else {
            return Err(at.fault("the rule has no such list"));
        };
        let event = own.wants_event.then(|| input.event.to_json());
        let at = at.field(own.kind());
        let elements = elements(each, &self.scope(event.as_ref(), input, run), &at)?;
        match elements.into_iter().nth(index as usize) {
            Some(element) => Ok((each.name.clone(), element)),
            None => Err(at.fault(format!("the list has no element {}", u64::from(index) + 1))),
        }
    }
}
