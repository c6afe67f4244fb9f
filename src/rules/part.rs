//! The sequences of steps in a rule: its own, one per element of a list, and those for when it is given up.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::action::Kind;
use super::{Rule, Step};

/// A sequence of steps of a rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Part {
    /// The rule's own.
    #[default]
    Main,
    /// Those of one element of a `for_each` or `enqueue_each`.
    Element {
        /// The index of the step that has the list.
        step: usize,
        /// The element's index in the list.
        index: u32,
    },
    /// `on_give_up`.
    GiveUp,
}

impl Rule {
    /// The steps of a part; none where the rule has no such part.
    #[must_use]
    pub fn part(&self, part: Part) -> &[Step] {
        match part {
            Part::Main => &self.steps,
            Part::GiveUp => &self.on_give_up,
            Part::Element { step, .. } => match self.steps.get(step).map(|step| &step.action.kind) {
                Some(Kind::Each(each)) => &each.steps,
                _ => &[],
            },
        }
    }

    /// How runs, logs and `ParentOperationId` name a step: its id, or its number from 1; those of an element behind the
    /// list's step and the element's number from 1 (`lines.3.item`), those of `on_give_up` behind that word.
    #[must_use]
    pub fn label(&self, part: Part, index: usize) -> String {
        let own = self.part(part).get(index).map_or_else(|| (index + 1).to_string(), |step| step.label(index));
        match part {
            Part::Main => own,
            Part::GiveUp => format!("on_give_up.{own}"),
            Part::Element { step, index: element } => {
                let list = self.steps.get(step).map_or_else(|| (step + 1).to_string(), |list| list.label(step));
                let number = u64::from(element) + 1;
                match self.steps.get(step).map(|step| &step.action.kind) {
                    Some(Kind::Each(each)) if each.only_items => format!("{list}.{number}"),
                    _ => format!("{list}.{number}.{own}"),
                }
            }
        }
    }

    /// The value of an element of a list: what later steps see of it. `values` are those of its steps by id; `last` is
    /// that of its last one.
    #[must_use]
    pub fn element_value(&self, step: usize, values: Value, last: &Value) -> Value {
        match self.steps.get(step).map(|step| &step.action.kind) {
            Some(Kind::Each(each)) if each.only_items => short_item(last),
            _ => values,
        }
    }
}

/// What a list keeps of each item that it added.
fn short_item(item: &Value) -> Value {
    const FIELDS: &[&str] = &["Id", "Key", "Reference", "Status", "duplicate"];
    let kept = FIELDS.iter().filter_map(|name| Some(((*name).to_owned(), item.get(name).filter(|value| !value.is_null())?.clone())));
    Value::Object(kept.collect::<Map<_, _>>())
}
