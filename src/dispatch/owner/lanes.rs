//! Lanes: the elements of a list and `on_give_up` are worked on like runs, under names of their own.
//!
//! What happens in a lane is folded into it and, wrapped, into its run, and recorded under its run. A run waits here while
//! any of its lanes is worked on; when none is, it is decided again what it needs.

use super::{Active, Owner, Phase, REST};
use crate::event::{RuleHash, RunId};
use crate::rules::Part;
use crate::runs::{Fact, Shape, wrap};
use std::collections::hash_map::Entry;

/// Whose lane it is.
#[derive(Clone)]
pub(super) struct LaneOf {
    /// The run it is in.
    pub(super) run: RunId,
    /// The list it is an element of.
    pub(super) shape: Option<Shape>,
}

/// The name of a lane among those that are worked on. No run has it: it is no hash of a rule's name.
fn name_of(run: RunId, part: Part) -> RunId {
    RunId { rule: RuleHash::of(&format!("{run}\n{part:?}")), ..run }
}

impl Owner {
    /// Begins the lanes that are not worked on already.
    pub(super) fn begin_lanes(&mut self, id: RunId, shape: Option<&Shape>, parts: &[Part]) {
        let mut begun = Vec::new();
        for part in parts {
            let name = name_of(id, *part);
            let Some(active) = self.active.get_mut(&id).filter(|_| !begun.contains(&name)) else { continue };
            active.phase = Phase::Lanes;
            let (run, context) = (active.run.lane(*part), active.context.clone());
            if let Entry::Vacant(free) = self.active.entry(name) {
                let lane = Some(LaneOf { run: id, shape: shape.cloned() });
                free.insert(Active { lane, ..Active::new(run, context) });
                begun.push(name);
            }
        }
        if let Some(active) = self.active.get_mut(&id) {
            active.lanes += begun.len();
            if active.lanes == 0 {
                tracing::error!(run = %id, "a run waits for what nobody works on; it is looked at again");
                return self.rest(id, REST);
            }
        }
        begun.into_iter().for_each(|name| self.advance(name));
    }

    /// Events told the end of something that is awaited: the journal knows whose. Runs that are not worked on are due there; in
    /// others, lanes that rest may be due now.
    pub(super) fn look_for_woken(&mut self) {
        if !self.woken.has_changed().unwrap_or(false) {
            return;
        }
        self.woken.borrow_and_update();
        let rests =
            |active: &Active| active.lane.is_none() && matches!(active.phase, Phase::Lanes) && active.run.awaited().next().is_some();
        let resting: Vec<RunId> = self.active.iter().filter(|(_, active)| rests(active)).map(|(id, _)| *id).collect();
        for id in resting {
            let stored = match self.world.journal.run(id) {
                Ok(stored) => stored,
                Err(error) => {
                    tracing::error!(run = %id, %error, "cannot read a run; what it awaits is looked at when its time comes");
                    continue;
                }
            };
            if let (Some(active), Some(stored)) = (self.active.get_mut(&id), stored)
                && active.run.wake_as(&stored)
            {
                self.advance(id);
            }
        }
    }

    /// A lane is not worked on any more.
    pub(super) fn lane_over(&mut self, lane: &LaneOf) {
        let Some(active) = self.active.get_mut(&lane.run) else { return };
        active.lanes = active.lanes.saturating_sub(1);
        match (self.ends.is_some(), active.lanes) {
            (true, 0) => self.release(lane.run),
            (true, _) => {}
            (false, _) => self.advance(lane.run),
        }
    }

    /// The facts of a run or lane as facts of its run, folded into that. They are folded into the lane already.
    pub(super) fn of_run(&mut self, id: RunId, facts: Vec<Fact>) -> (RunId, Vec<Fact>) {
        let Some(Active { run, lane: Some(lane), context: Some(context), .. }) = self.active.get(&id) else { return (id, facts) };
        let (of, facts) = (lane.run, wrap(run, &context.rule, lane.shape.as_ref(), facts));
        if let Some(active) = self.active.get_mut(&of) {
            facts.iter().for_each(|fact| active.run.apply(fact));
        }
        (of, facts)
    }
}
