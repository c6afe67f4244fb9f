//! What the steps of a rule would send for an event, with given values in place of answers. Nothing is called.

use serde_json::{Map, Value, json};

use super::action::Kind;
use super::{ExpressionFault, Part, RenderInput, Rendered, Rule, Within};
use crate::event::{Event, RunId};
use crate::time::Timestamp;

/// What is known when steps are only rehearsed.
#[derive(Clone, Copy, Debug)]
pub struct Rehearsal<'a> {
    /// The event.
    pub event: &'a Event,
    /// Values of steps by id; those of steps inside a `for_each` stand for every element.
    pub replies: &'a Value,
    /// `vars`.
    pub vars: &'a Value,
    /// The run it is, or would be.
    pub run: RunId,
    /// `now`.
    pub now: Timestamp,
    /// Which steps that cannot be rendered are passed over, and shown as not known.
    pub guess: Guess,
}

/// Which steps that cannot be rendered are passed over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Guess {
    /// None.
    No,
    /// Those behind a step without a reply.
    Behind,
    /// All.
    All,
}

/// What was rendered so far.
struct Sent {
    values: Map<String, Value>,
    requests: Vec<Value>,
    /// A step before had no reply: what comes may lack its value.
    guessing: bool,
}

impl Rule {
    /// The requests of all steps, in order, as JSON in the words of the rule file. Lists are written out: the steps of
    /// each element stand one after another.
    ///
    /// # Errors
    /// What was rendered before, and the expression that failed.
    pub fn rehearse(&self, rehearsal: &Rehearsal<'_>) -> Result<Vec<Value>, (Vec<Value>, ExpressionFault)> {
        let mut sent = Sent { values: Map::new(), requests: Vec::new(), guessing: false };
        match self.rehearse_part(Part::Main, rehearsal, &mut sent) {
            Ok(_) => Ok(sent.requests),
            Err(fault) => Err((sent.requests, fault)),
        }
    }

    /// The value of the part's last step.
    fn rehearse_part(&self, part: Part, rehearsal: &Rehearsal<'_>, sent: &mut Sent) -> Result<Value, ExpressionFault> {
        let mut last = Value::Null;
        for (index, step) in self.part(part).iter().enumerate() {
            let steps = Value::Object(sent.values.clone());
            let Rehearsal { event, vars, run, now, .. } = *rehearsal;
            let input = RenderInput { event, steps: &steps, vars, run: Some(run), now };
            let reply = step.id.as_deref().and_then(|id| rehearsal.replies.get(id)).cloned();
            let value = match self.render_within(&Within { part, error: None }, index, &input) {
                Ok(Rendered::Skip { .. }) => continue,
                Ok(Rendered::Request(request)) => {
                    sent.requests.push(request.to_json());
                    sent.guessing |= reply.is_none();
                    reply.unwrap_or_else(|| json!({}))
                }
                Ok(Rendered::Each { count, .. }) => {
                    let mut values = Vec::new();
                    for element in 0..count {
                        values.push(self.rehearse_element(index, element, rehearsal, sent)?);
                    }
                    reply.unwrap_or(Value::Array(values))
                }
                Err(fault) if rehearsal.guess == Guess::All || (rehearsal.guess == Guess::Behind && sent.guessing) => {
                    sent.requests.push(json!({step.kind(): {"not_known": fault.to_string()}}));
                    json!({})
                }
                Err(fault) => return Err(fault),
            };
            if let Some(id) = &step.id {
                sent.values.insert(id.to_string(), value.clone());
            }
            last = value;
        }
        Ok(last)
    }

    fn rehearse_element(&self, step: usize, index: u32, rehearsal: &Rehearsal<'_>, sent: &mut Sent) -> Result<Value, ExpressionFault> {
        let before = sent.values.clone();
        let last = self.rehearse_part(Part::Element { step, index }, rehearsal, sent)?;
        let all = std::mem::replace(&mut sent.values, before);
        let own = all.into_iter().filter(|(id, _)| !sent.values.contains_key(id)).collect();
        Ok(self.element_value(step, Value::Object(own), &last))
    }

    /// The steps in all parts.
    pub fn all_steps(&self) -> impl Iterator<Item = &super::Step> {
        self.steps.iter().chain(&self.on_give_up).flat_map(super::Step::with_inside)
    }
}

impl super::Step {
    /// The step, then those inside it.
    pub(super) fn with_inside(&self) -> impl Iterator<Item = &Self> {
        let inside: &[Self] = match &self.action.kind {
            Kind::Each(each) => &each.steps,
            _ => &[],
        };
        std::iter::once(self).chain(inside)
    }
}
