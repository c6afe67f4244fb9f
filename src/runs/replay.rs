//! Replay: events go through the rules again, under run ids of their own.

use serde::{Deserialize, Serialize};

use super::{Run, RunState};
use crate::event::{EventId, RunId};
use crate::time::Timestamp;

/// What a run that was planned by a replay knows of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Replayed {
    /// When its turn comes; many are spread where a rate was asked for.
    pub due: Timestamp,
    /// It is done although it succeeded before: derived references carry its number, so that items are made again.
    #[serde(default)]
    pub forced: bool,
    /// Why, in the person's words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// What a person says of a replay, besides which events of the journal are meant.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ReplayAsked {
    /// These events; where it is empty, those of a query.
    pub events: Vec<EventId>,
    /// Only this rule.
    pub rule: Option<String>,
    /// Only where the newest run of the rule for the event is in this state.
    pub state: Option<RunState>,
    /// Also what succeeded before.
    pub force: bool,
    /// Why; needed with force.
    pub reason: Option<String>,
    /// Only counted.
    pub dry_run: bool,
}

/// What a replay does with a rule that an event meets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Again {
    /// A run with this number is planned.
    Plan(u16),
    /// Its run succeeded; that needs force.
    Succeeded,
    /// A run of it is not over.
    UnderWay,
    /// It was replayed as often as can be counted.
    Exhausted,
}

/// What becomes of a rule's replay, given all its runs for the event.
#[must_use]
pub fn replay<'r>(known: impl Iterator<Item = &'r Run>, force: bool) -> Again {
    let (mut highest, mut succeeded, mut open) = (0, false, false);
    for run in known {
        highest = highest.max(run.planned.id.replay);
        succeeded |= matches!(run.state, RunState::Succeeded | RunState::Shadowed);
        open |= !run.state.is_settled();
    }
    match highest.checked_add(1) {
        _ if open => Again::UnderWay,
        _ if succeeded && !force => Again::Succeeded,
        Some(number) => Again::Plan(number),
        None => Again::Exhausted,
    }
}

impl Run {
    /// The id by which its steps are rendered: what a replay makes carries a number of its own only where it is forced.
    #[must_use]
    pub fn rendered_id(&self) -> RunId {
        let forced = self.planned.replay.as_ref().is_some_and(|replay| replay.forced);
        RunId { replay: if forced { self.planned.id.replay } else { 0 }, ..self.planned.id }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::EventId;
    use crate::runs::{Fact, NewRun};

    fn run(replay: u16, state: Option<RunState>, forced: Option<bool>) -> Run {
        let now = Timestamp::from_millis(1_000);
        let id = RunId { replay, ..RunId::of(EventId(7), "r") };
        let replayed = forced.map(|forced| Replayed { due: Timestamp::from_millis(9_000), forced, reason: None });
        let mut run = Run::new(NewRun { id, replay: replayed, ..NewRun::plain(id.event, "r", now) });
        if let Some(state) = state {
            run.apply(&Fact::Settled { state, cause: None, would: Vec::new(), at: now });
        }
        run
    }

    #[test]
    fn what_succeeded_is_done_again_only_by_force_and_what_is_not_over_never() {
        use RunState::{Ambiguous, Dead, Discarded, Shadowed, Succeeded};
        let decide = |states: &[Option<RunState>], force| {
            let runs: Vec<Run> = states.iter().enumerate().map(|(n, state)| run(n as u16, *state, None)).collect();
            replay(runs.iter(), force)
        };
        for (states, force, expected) in [
            (&[][..], false, Again::Plan(1)),
            (&[Some(Dead)], false, Again::Plan(1)),
            (&[Some(Dead), Some(Ambiguous), Some(Discarded)], false, Again::Plan(3)),
            (&[Some(Succeeded)], false, Again::Succeeded),
            (&[Some(Shadowed)], false, Again::Succeeded),
            (&[Some(Dead), Some(Succeeded)], false, Again::Succeeded),
            (&[Some(Succeeded)], true, Again::Plan(1)),
            (&[Some(Dead), None], false, Again::UnderWay),
            (&[Some(Succeeded), None], true, Again::UnderWay),
        ] {
            assert_eq!(decide(states, force), expected, "{states:?} {force}");
        }
        assert_eq!(replay([run(u16::MAX, Some(Dead), None)].iter(), true), Again::Exhausted);
    }

    #[test]
    fn only_a_forced_replay_shows_its_number_to_its_steps() {
        for (forced, number) in [(None, 0), (Some(false), 0), (Some(true), 3)] {
            let run = run(3, None, forced);
            assert_eq!((run.rendered_id().replay, run.id().replay), (number, 3));
        }
        assert_eq!(run(1, None, Some(false)).next_at, Some(Timestamp::from_millis(9_000)), "its turn comes later");
    }
}
