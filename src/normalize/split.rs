//! A delivery taken apart: the envelope, and one `data` per element of its array, always in the singular.
//!
//! Values are moved, not copied; only what several elements share is cloned for them, within limits.

use serde_json::Value;

use crate::event::{Fields, Tree};

/// The most events that one body becomes; a longer array stays one event, with a problem that says so.
pub const ELEMENTS_MAX: usize = 100_000;

/// How many bytes of shared fields (`Queue`, …) the elements of one body may repeat in memory together.
pub const SHARED_BYTES_MAX: usize = 128 << 20;

/// The arrays that Orchestrator sends, and their name for one element.
const PLURALS: &[(&str, &str, &str)] = &[
    // array, element, prefix of the types that have it
    ("QueueItems", "QueueItem", "queueitem"),
    ("Jobs", "Job", "job"),
    ("Releases", "Release", "process"),
    ("Robots", "Robot", "robot"),
    ("Sessions", "Session", "robot.status"),
    ("Tasks", "Task", "task"),
    ("Queues", "Queue", "queue."),
];

/// Fields of the delivery, not of the thing it is about. They leave `data` once they are read.
const ENVELOPE: &[&str] = &[
    "Type",
    "EventId",
    "Timestamp",
    "EventTime",
    "TenantId",
    "OrganizationUnitId",
    "OrganizationUnitKey",
    "EntityKey",
    "EventSourceId",
    "Name",
    "FolderId",
];

/// A delivery in its parts.
#[derive(Debug, Default)]
pub(super) struct Delivery<'t> {
    /// The envelope's fields as they came.
    pub envelope: Fields<'t>,
    /// `data` without the element: its place holds null.
    shared: Fields<'t>,
    /// The name of one element and the elements; `None` where the body has no array.
    elements: Option<(&'static str, Vec<Tree<'t>>)>,
    /// Set when the array was too long to be taken apart.
    pub too_many: Option<usize>,
}

impl<'t> Delivery<'t> {
    /// Takes a body apart. A body with neither `Type` nor `EventId` has no envelope: all its fields are
    /// data.
    pub(super) fn of(body: Fields<'t>) -> Self {
        let has_envelope = ["Type", "EventId"].iter().any(|name| matches!(body.get(name), Some(Tree::Text(_))));
        let plural = chosen_plural(&body);
        let mut parts = Self { envelope: Fields::with_room(body.iter().len()), ..Self::default() };
        let mut array = None;
        for (name, value) in body {
            if has_envelope && ENVELOPE.contains(&&*name) {
                parts.envelope.push(name, value);
            } else if let Some((_, element)) = plural.filter(|(plural, _)| *plural == name) {
                let items = match value {
                    Tree::List(items) => items,
                    single => vec![single],
                };
                if !items.is_empty() {
                    parts.shared.set(element, Tree::Null);
                    array = Some((element, items));
                }
            } else if plural.is_some_and(|(_, element)| element == name) && array.is_some() {
                // The array's elements take this name; they came first.
            } else {
                parts.shared.push(name, value);
            }
        }
        match (array, plural) {
            (Some((_, items)), Some((plural, element))) if too_many(&items, &parts.shared) => {
                parts.too_many = Some(items.len());
                parts.shared.remove(element);
                parts.shared.set(plural, Tree::List(items));
            }
            (array, _) => parts.elements = array,
        }
        parts
    }

    /// How many events it becomes, at least one.
    pub(super) fn len(&self) -> usize {
        self.elements.as_ref().map_or(1, |(_, items)| items.len())
    }

    /// The `data` of every element, in order.
    pub(super) fn into_data(self) -> Vec<Tree<'t>> {
        let Some((name, items)) = self.elements else { return vec![Tree::Object(self.shared)] };
        let last = items.len() - 1;
        let mut shared = self.shared;
        let mut all = Vec::with_capacity(items.len());
        for (index, item) in items.into_iter().enumerate() {
            let mut data = if index == last { std::mem::take(&mut shared) } else { shared.clone() };
            data.set(name, item);
            all.push(Tree::Object(data));
        }
        all
    }

    /// The `data` of one element; `Null` where there is no such element.
    pub(super) fn one(&self, element: u32) -> Value {
        let found = match &self.elements {
            None if element == 0 => None,
            Some((name, items)) if (element as usize) < items.len() => Some((*name, &items[element as usize])),
            _ => return Value::Null,
        };
        let mut data = self.shared.to_map();
        if let Some((name, item)) = found {
            data.insert(name.to_owned(), item.to_value());
        }
        Value::Object(data)
    }
}

/// The array to be taken apart: the one that belongs to the type, else the first of [`PLURALS`] that is there.
fn chosen_plural(body: &Fields<'_>) -> Option<(&'static str, &'static str)> {
    let there = |plural: &str| body.get(plural).is_some_and(|value| *value != Tree::Null);
    let kind = body.get("Type").and_then(Tree::as_str).map(super::types::spelled).unwrap_or_default();
    let is_of = |prefix: &str| kind.get(..prefix.len()).is_some_and(|head| head.eq_ignore_ascii_case(prefix));
    let found = PLURALS.iter().filter(|(plural, _, _)| there(plural));
    let of_type = found.clone().filter(|(_, _, prefix)| is_of(prefix)).max_by_key(|(_, _, prefix)| prefix.len());
    of_type.or_else(|| found.clone().next()).map(|(plural, element, _)| (*plural, *element))
}

fn too_many(items: &[Tree<'_>], shared: &Fields<'_>) -> bool {
    if items.len() > ELEMENTS_MAX {
        return true;
    }
    let each = SHARED_BYTES_MAX / items.len().max(1);
    items.len() > 1 && shared.iter().map(|(name, value)| name.len() + weight(value)).sum::<usize>() > each
}

/// About how many bytes a value takes that is cloned and owned.
fn weight(value: &Tree<'_>) -> usize {
    const NODE: usize = size_of::<Value>();
    NODE + match value {
        Tree::Text(text) => text.len(),
        Tree::List(items) => items.iter().map(weight).sum(),
        Tree::Object(fields) => fields.iter().map(|(name, value)| name.len() + 3 * NODE + weight(value)).sum(),
        _ => 0,
    }
}
