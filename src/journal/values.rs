//! Step values that stay in the journal: how rows name them.
//!
//! A step's value goes by the step's index, one inside an element of a list by all three: bit 31, then 7 bits of the list's
//! step, 16 of the element, 8 of the step inside. Those of `on_give_up` are named as if it were a list of one element.

use crate::runs::{Element, Fact, Run, StepView};

const LANE: u32 = 1 << 31;
/// No rule has so many steps.
pub(super) const GIVE_UP: usize = 0x7f;
/// All but the step inside.
pub(super) const LANE_MASK: u32 = !0xff;

/// What the values of an element's steps have in common.
pub(super) fn lane_key(step: usize, index: u32) -> u32 {
    LANE | (step as u32 & 0x7f) << 24 | (index & 0xffff) << 8
}

/// The name of a value inside an element.
pub(super) fn inner_key(step: usize, index: u32, inner: usize) -> u32 {
    lane_key(step, index) | inner as u32 & !LANE_MASK
}

/// The step that a name means.
pub(super) fn place(run: &mut Run, key: u32) -> Option<&mut StepView> {
    if key & LANE == 0 {
        return run.steps.get_mut(key as usize);
    }
    inner_step(run, (key >> 24 & 0x7f) as usize, key >> 8 & 0xffff, (key & 0xff) as usize)
}

/// A step inside an element that is not done.
pub(super) fn inner_step(run: &mut Run, step: usize, index: u32, inner: usize) -> Option<&mut StepView> {
    if step == GIVE_UP {
        return run.give_up.as_mut()?.lane.steps.get_mut(inner);
    }
    match run.steps.get_mut(step)?.list.as_mut()?.elements.get_mut(&index)? {
        Element::Open(lane) => lane.steps.get_mut(inner),
        Element::Done(_) => None,
    }
}

/// All steps of a run with the names of their values.
pub(super) fn all(run: &mut Run) -> Vec<(u32, &mut StepView)> {
    let mut found = Vec::new();
    for (step, view) in run.steps.iter_mut().enumerate() {
        let StepView { list, .. } = view;
        let taken = list.take();
        if let Some(list) = taken {
            // A step with a list that is not over has no value of its own yet.
            for (index, element) in &mut view.list.insert(list).elements {
                if let Element::Open(lane) = element {
                    found.extend(lane.steps.iter_mut().enumerate().map(|(inner, inside)| (inner_key(step, *index, inner), inside)));
                }
            }
        } else {
            found.push((step as u32, view));
        }
    }
    if let Some(give_up) = &mut run.give_up {
        found.extend(give_up.lane.steps.iter_mut().enumerate().map(|(inner, inside)| (inner_key(GIVE_UP, 0, inner), inside)));
    }
    found
}

/// The value in a record of a step that is done, inside an element or not.
pub(super) fn of_fact(fact: Fact) -> Option<serde_json::Value> {
    match fact {
        Fact::StepDone { value, .. } => Some(value),
        Fact::Element { fact, .. } | Fact::InGiveUp { fact } => of_fact(*fact),
        _ => None,
    }
}
