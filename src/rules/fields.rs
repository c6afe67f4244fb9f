//! Fields of Orchestrator's events whose kind is documented (`QueueItemDto`, `JobDto` and the others of its API): a
//! pattern that lists a text where a number comes never matches, and nobody says why.

use crate::fault::{Fault, Faults};
use crate::rules::index::TypePattern;
use crate::yaml::{Node, Yaml};

/// What a field holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Number,
    Text,
}

/// Whole numbers, in whatever object of the event they stand.
const NUMBERS: &[&str] = &[
    "Id",
    "QueueDefinitionId",
    "RobotId",
    "RetryNumber",
    "ManualRetryNumber",
    "AncestorId",
    "ManualAncestorId",
    "SecondsInPreviousAttempts",
    "ReviewerUserId",
    "OrganizationUnitId",
    "MaxNumberOfRetries",
    "SlaInMinutes",
    "RiskSlaInMinutes",
    "MachineId",
];

/// Texts, in whatever object of the event they stand.
const TEXTS: &[&str] = &["Name", "Key", "Status", "ReviewStatus", "Priority", "Reference", "State", "ReleaseName", "ProcessKey"];

/// Objects of Orchestrator's events; what is below a `SpecificContent` or an `Output` is the user's own.
const OBJECTS: &[&str] = &["Queue", "QueueItem", "Job", "Release", "Robot", "Session", "Task", "ProcessSchedule"];

/// Families of Orchestrator's event types, in the case of the index.
const FAMILIES: &[&str] = &["queueitem.", "queue.", "job.", "process.", "robot.", "session.", "task.", "schedule."];

/// Warns of every condition on a documented field of which no alternative has the field's kind.
pub(super) fn kinds(types: &[TypePattern], pattern: &Node, faults: &mut Faults) {
    let orchestrators = |pattern: &TypePattern| match pattern {
        TypePattern::Exact(name) | TypePattern::Family(name) => FAMILIES.iter().any(|family| name.starts_with(family)),
        TypePattern::Any => false,
    };
    if types.iter().all(orchestrators) {
        object(pattern, "", faults);
    }
}

fn object(node: &Node, path: &str, faults: &mut Faults) {
    for (key, value) in node.as_map().unwrap_or_default() {
        if key.name == "$or" {
            value.as_list().unwrap_or_default().iter().for_each(|branch| object(branch, path, faults));
            continue;
        }
        let inner = if path.is_empty() { key.name.clone() } else { format!("{path}.{}", key.name) };
        match &value.value {
            Yaml::Map(_) => object(value, &inner, faults),
            Yaml::List(items) => {
                if let Some(kind) = kind(&inner) {
                    leaf(&inner, kind, items, faults);
                }
            }
            _ => {}
        }
    }
}

fn kind(path: &str) -> Option<Kind> {
    let (first, rest) = path.split_once('.')?;
    let name = rest.rsplit('.').next()?;
    if !OBJECTS.contains(&first) || rest.split('.').any(|part| part == "SpecificContent" || part == "Output") {
        return None;
    }
    if NUMBERS.contains(&name) {
        return Some(Kind::Number);
    }
    TEXTS.contains(&name).then_some(Kind::Text)
}

fn leaf(path: &str, kind: Kind, items: &[Node], faults: &mut Faults) {
    let wrong = |item: &Node| match (&item.value, kind) {
        (Yaml::Text(text), Kind::Number) => Some(text.clone()),
        (Yaml::Number(number), Kind::Text) => Some(number.to_string()),
        _ => None,
    };
    // One that fits, or an operator, says that the others are meant.
    let Some(written) = items.iter().map(wrong).collect::<Option<Vec<_>>>() else { return };
    let (Some(first), Some(item)) = (written.first(), items.first()) else { return };
    let field = path.rsplit('.').next().unwrap_or(path);
    let (message, help) = match kind {
        Kind::Number if first.parse::<f64>().is_ok() => {
            (format!("`match.{path}` comes as a number; the text \"{first}\" never equals it"), format!("write {field}: [{first}]"))
        }
        Kind::Number => (
            format!("`match.{path}` comes as a number; the text \"{first}\" never equals it"),
            format!("list numbers: {field}: [7], or {field}: [{{numeric: [\">=\", 7]}}]"),
        ),
        Kind::Text => {
            (format!("`match.{path}` comes as a text; the number {first} never equals it"), format!("write {field}: [\"{first}\"]"))
        }
    };
    faults.push(Fault::warning("pattern-kind", item.place.clone(), message).help(help));
}
