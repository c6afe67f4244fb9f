//! What people do to a run: try it again, count its step as done, put it aside.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{Attempt, Cause, List, Run, RunState, Side, StepState, StepView};
use crate::time::Timestamp;

/// How many notes a run keeps; older ones leave.
pub const NOTES_KEPT: usize = 10;
/// The longest reason that is kept, in characters.
pub const REASON_MAX: usize = 500;
/// A run that died this often is poison: it is left out when many are tried again, unless that is forced.
pub const POISON_DEATHS: u32 = 3;

/// What a person did to a run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Note {
    /// When.
    pub at: Timestamp,
    /// `retried`, `accepted` or `discarded`.
    pub what: String,
    /// Why, in the person's words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

impl Run {
    /// Nothing more happens by itself, and a person may decide: dead or ambiguous.
    #[must_use]
    pub fn is_left_to_people(&self) -> bool {
        matches!(self.state, RunState::Dead | RunState::Ambiguous)
    }

    /// Whether a person may put it aside: it is dead, ambiguous, or waits for something. One that is at work may not.
    #[must_use]
    pub fn may_be_discarded(&self) -> bool {
        self.is_left_to_people() || matches!(self.state, RunState::Waiting | RunState::Blocked | RunState::Paused | RunState::Retrying)
    }

    /// Whether a person may count its unfinished step as done.
    #[must_use]
    pub fn may_be_accepted(&self) -> bool {
        self.is_left_to_people() && self.unfinished().is_some() && self.planned.dead.is_none()
    }

    /// On whose side it is that the run stands where it stands, where something failed: that of the last attempt of its
    /// unfinished step, or of an element that failed; ours where an expression, a rule or an event is the cause.
    #[must_use]
    pub fn side(&self) -> Option<Side> {
        const OURS: &[&str] = &["expression", "loop", "rule_removed", "event_removed"];
        if !matches!(self.state, RunState::Dead | RunState::Ambiguous | RunState::Retrying | RunState::Waiting) {
            return None;
        }
        let code = &self.cause.as_ref()?.code;
        if OURS.contains(&code.as_str()) {
            return Some(Side::Us);
        }
        let last = |step: &StepView| step.attempts.last().and_then(Attempt::side);
        let step = self.unfinished()?;
        let inside = || step.list.iter().flat_map(List::lanes).find_map(|(_, lane)| lane.steps.last().and_then(last));
        last(step).or_else(inside)
    }

    /// It died again and again.
    #[must_use]
    pub fn is_poison(&self) -> bool {
        self.deaths >= POISON_DEATHS
    }

    /// Tried again: finished steps stay, the unfinished one begins anew.
    pub(super) fn begin_anew(&mut self, at: Timestamp, due: Timestamp) {
        let open_intent = self.intent.take().is_some();
        let (step, planned) = (self.next_step(), self.planned.clone());
        if let Some(view) = self.steps.last_mut().filter(|view| !view.state.is_finished()) {
            view.state = StepState::Pending;
            view.first_attempt = None;
            view.tries = 0;
            view.counted = 0;
            view.maybe_twice |= open_intent;
            view.awaits = None;
            view.awaited = None;
            view.woken = None;
            if let Some(list) = &mut view.list {
                list.begin_anew(&planned, step, at);
            }
        }
        self.give_up = None;
        self.cause = None;
        self.held_since = None;
        self.note("retried", None, at);
        self.due(RunState::Pending, due.max(at), at);
    }

    /// The unfinished step counts as done. Without one nothing changes.
    pub(super) fn accept(&mut self, value: &Value, reason: Option<&str>, at: Timestamp) {
        if !self.may_be_accepted() {
            return;
        }
        if let Some(view) = self.steps.last_mut() {
            view.state = StepState::Done;
            view.value = value.clone();
            view.close();
        }
        self.give_up = None;
        self.intent = None;
        self.cause = None;
        self.held_since = None;
        self.note("accepted", reason, at);
        self.due(RunState::Running, at, at);
    }

    /// Put aside while it `was` in a state.
    pub(super) fn discard(&mut self, reason: Option<&str>, was: RunState, at: Timestamp) {
        let before = match &self.cause {
            Some(cause) => format!("; it was {} ({}: {})", was.as_str(), cause.code, cause.message),
            None => format!("; it was {}", was.as_str()),
        };
        let why = reason.map(|reason| format!(": {reason}")).unwrap_or_default();
        self.cause = Some(Cause { code: "discarded".to_owned(), message: format!("put aside by a person{why}{before}") });
        self.state = RunState::Discarded;
        self.before_block = None;
        self.next_at = None;
        self.updated = at;
        self.note("discarded", reason, at);
    }

    /// The time of a pause counts against no limit: what giving up is counted from moves along.
    pub(super) fn count_pause(&mut self, state: RunState, at: Timestamp) {
        if state == RunState::Paused {
            self.paused_since = self.paused_since.or(Some(at));
            return;
        }
        let Some(since) = self.paused_since.take() else { return };
        let paused = at.since(since);
        let moved = |known: Timestamp| if known <= since { known.plus(paused) } else { known };
        self.held_since = self.held_since.map(moved);
        if let Some(view) = self.steps.last_mut().filter(|view| !view.state.is_finished()) {
            view.first_attempt = view.first_attempt.map(moved);
        }
    }

    fn note(&mut self, what: &str, reason: Option<&str>, at: Timestamp) {
        if self.notes.len() >= NOTES_KEPT {
            self.notes.remove(0);
        }
        let reason = reason.map(|reason| reason.chars().take(REASON_MAX).collect());
        self.notes.push(Note { at, what: what.to_owned(), reason });
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::event::EventId;
    use crate::runs::{Fact, Intent, NewRun};

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_millis(seconds * 1_000)
    }

    fn run(settled: Option<RunState>) -> Run {
        let mut run = Run::new(NewRun::plain(EventId(7), "r", at(1)));
        let intent = Intent { step: 0, attempt: 1, at: at(2), lookups: 0, next_lookup: None };
        run.apply(&Fact::Intended { id: Some("job".to_owned()), kind: "start_job".to_owned(), intent });
        if let Some(state) = settled {
            let cause = Some(Cause { code: "unknown_outcome".to_owned(), message: "who knows".to_owned() });
            run.apply(&Fact::Settled { state, cause, would: Vec::new(), at: at(3) });
        }
        run
    }

    #[test]
    fn an_accepted_step_counts_as_done_with_its_value() {
        for state in [RunState::Ambiguous, RunState::Dead] {
            let mut run = run(Some(state));
            assert!(run.may_be_accepted());
            run.apply(&Fact::Accepted { value: json!({"Id": 4}), reason: Some("seen in Orchestrator".to_owned()), at: at(9) });
            assert_eq!((run.state, run.next_at, run.next_step()), (RunState::Running, Some(at(9)), 1));
            assert_eq!(run.step_values(), json!({"job": {"Id": 4}}));
            assert_eq!((run.intent.is_none(), run.cause.is_none()), (true, true));
            assert_eq!(run.to_json()["notes"][0]["what"], "accepted");
        }
        for state in [None, Some(RunState::Succeeded), Some(RunState::Discarded)] {
            let mut run = run(state);
            let before = run.clone();
            run.apply(&Fact::Accepted { value: json!(1), reason: None, at: at(9) });
            assert_eq!(run, before, "{state:?}");
        }
    }

    #[test]
    fn a_discarded_run_says_what_it_was_and_stays_so() {
        let mut run = run(Some(RunState::Ambiguous));
        run.apply(&Fact::Discarded { reason: Some("done by hand".to_owned()), blocked: false, at: at(9) });
        assert_eq!((run.state, run.next_at), (RunState::Discarded, None));
        let message = run.cause.as_ref().expect("a cause").message.clone();
        assert!(message.contains("done by hand") && message.contains("ambiguous") && message.contains("who knows"), "{message}");
        let before = run.clone();
        run.apply(&Fact::Retried { at: at(10), due: None });
        run.apply(&Fact::Discarded { reason: None, blocked: false, at: at(11) });
        assert_eq!(run, before);
    }

    #[test]
    fn a_run_at_work_is_not_put_aside_and_one_that_waits_is() {
        let mut working = run(None);
        working.apply(&Fact::Discarded { reason: None, blocked: false, at: at(9) });
        assert_eq!(working.state, RunState::Running);
        let cause = Cause { code: "server".to_owned(), message: "503".to_owned() };
        working.apply(&Fact::Waits { state: RunState::Retrying, until: at(99), cause, at: at(9) });
        working.apply(&Fact::Discarded { reason: None, blocked: false, at: at(10) });
        assert_eq!(working.state, RunState::Discarded);
    }

    #[test]
    fn a_run_that_was_blocked_is_put_aside_also_where_nobody_knows_who_had_the_turn() {
        let aside = Fact::Discarded { reason: None, blocked: true, at: at(9) };
        let mut blocked = Run::new(run(None).planned);
        let mut alone = blocked.clone();
        blocked.block();
        blocked.apply(&aside);
        alone.apply(&aside);
        assert_eq!((alone.state, &alone), (RunState::Discarded, &blocked));
    }

    #[test]
    fn each_death_counts_and_a_retry_may_have_its_turn_later() {
        let mut run = run(Some(RunState::Dead));
        for death in 1..=POISON_DEATHS {
            assert_eq!((run.deaths, run.is_poison()), (death, death >= POISON_DEATHS));
            run.apply(&Fact::Retried { at: at(10), due: Some(at(50)) });
            assert_eq!((run.state, run.next_at), (RunState::Pending, Some(at(50))));
            let cause = Some(Cause { code: "refused".to_owned(), message: "400".to_owned() });
            run.apply(&Fact::Settled { state: RunState::Dead, cause, would: Vec::new(), at: at(60) });
        }
        assert_eq!(run.notes.len(), 3);
    }

    #[test]
    fn the_time_of_a_pause_counts_against_no_limit() {
        let waits = |state, until, now| {
            let cause = Cause { code: "x".to_owned(), message: "x".to_owned() };
            Fact::Waits { state, until: at(until), cause, at: at(now) }
        };
        let mut run = run(None);
        run.apply(&waits(RunState::Retrying, 20, 10));
        run.apply(&waits(RunState::Paused, 1_000, 20));
        run.apply(&waits(RunState::Paused, 2_000, 1_000));
        assert_eq!((run.state, run.next_at, run.held_since), (RunState::Paused, Some(at(2_000)), Some(at(10))));
        run.apply(&waits(RunState::Pending, 1_500, 1_500));
        assert_eq!((run.state, run.next_at, run.paused_since), (RunState::Pending, Some(at(1_500)), None));
        assert_eq!(run.held_since, Some(at(10 + 1_480)));
        assert_eq!(run.unfinished().and_then(|view| view.first_attempt), Some(at(2 + 1_480)));
    }

    #[test]
    fn notes_are_bounded() {
        let mut run = run(Some(RunState::Dead));
        for n in 0..50 {
            run.apply(&Fact::Retried { at: at(10 + n), due: None });
            let cause = Some(Cause { code: "refused".to_owned(), message: "400".to_owned() });
            run.apply(&Fact::Settled { state: RunState::Dead, cause, would: Vec::new(), at: at(10 + n) });
        }
        assert_eq!((run.notes.len(), run.notes[9].at), (NOTES_KEPT, at(59)));
        run.apply(&Fact::Discarded { reason: Some("x".repeat(9_999)), blocked: false, at: at(99) });
        assert_eq!(run.notes[9].reason.as_ref().map(|reason| reason.chars().count()), Some(REASON_MAX));
    }
}
