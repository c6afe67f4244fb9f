//! A run as the fold of its facts.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::lanes::{GiveUp, Lane, Outer, Shape};
use super::people::Note;
use super::{Attempt, Cause, Class, Fact, Intent, NewRun, RunState, StepState, StepView};
use crate::event::{EventId, RunId};
use crate::time::Timestamp;

/// How many attempts of a step are kept; older ones are counted only.
pub const ATTEMPTS_KEPT: usize = 10;

/// After how many look-ups that found nothing a request counts as not carried out.
pub const LOOKUPS_NEEDED: u8 = 2;

/// A run: the fold of its facts.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Run {
    /// As planned.
    pub planned: NewRun,
    /// Where it stands.
    pub state: RunState,
    /// When its last fact was.
    pub updated: Timestamp,
    /// When something is to be done next; `None` when settled.
    pub next_at: Option<Timestamp>,
    /// Why it stands there.
    pub cause: Option<Cause>,
    /// The steps begun so far.
    pub steps: Vec<StepView>,
    /// A request that left and has no known end.
    pub intent: Option<Intent>,
    /// Since when the unfinished step is held up, by a failed attempt or an open breaker: giving up counts from here
    /// where there was no attempt.
    #[serde(default)]
    pub held_since: Option<Timestamp>,
    /// What a shadow run would have done.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub would: Vec<Value>,
    /// Since when it is paused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub paused_since: Option<Timestamp>,
    /// How often it died: more than once where a person had it tried again.
    #[serde(default)]
    pub deaths: u32,
    /// Where its rule has an order: since which position of the journal, packed, it wants the turn of its key.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub turn_since: u64,
    /// While it is blocked: how it stood before.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub before_block: Option<RunState>,
    /// What people did to it, the newest last.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<Note>,
    /// What its rule does because it ends dead.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub give_up: Option<Box<GiveUp>>,
    /// Of a lane: what it is in. Not stored; lanes are stored in their run.
    #[serde(skip)]
    pub outer: Option<Box<Outer>>,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde hands a reference")]
fn is_zero(number: &u64) -> bool {
    *number == 0
}

impl Run {
    /// A run as planned: pending and due, or dead from the start.
    #[must_use]
    pub fn new(planned: NewRun) -> Self {
        let dead = planned.dead.clone();
        Self {
            state: if dead.is_some() { RunState::Dead } else { RunState::Pending },
            updated: planned.created,
            next_at: dead.is_none().then(|| planned.replay.as_ref().map_or(planned.created, |replay| replay.due.max(planned.created))),
            cause: dead.clone(),
            steps: Vec::new(),
            intent: None,
            held_since: None,
            would: Vec::new(),
            paused_since: None,
            deaths: u32::from(dead.is_some()),
            turn_since: 0,
            before_block: None,
            notes: Vec::new(),
            give_up: None,
            outer: None,
            planned,
        }
    }

    /// Its id.
    #[must_use]
    pub fn id(&self) -> RunId {
        self.planned.id
    }

    /// The event it runs for.
    #[must_use]
    pub fn event(&self) -> EventId {
        self.planned.id.event
    }

    /// Folds a fact in. Total: a fact that does not fit (a settled run, a step done before) changes nothing, and the
    /// same fact twice in a row is the same as once.
    pub fn apply(&mut self, fact: &Fact) {
        if self.state.is_settled() {
            match fact {
                Fact::Retried { at, due } if self.is_left_to_people() => self.begin_anew(*at, due.unwrap_or(*at)),
                Fact::Accepted { value, reason, at } if self.is_left_to_people() => self.accept(value, reason.as_deref(), *at),
                Fact::Discarded { reason, at, .. } if self.is_left_to_people() => self.discard(reason.as_deref(), self.state, *at),
                _ => {}
            }
            return;
        }
        match fact {
            Fact::Intended { id, kind, intent } => self.intended(id.as_deref(), kind, intent),
            Fact::Attempted { step, id, kind, attempt, unknown } => self.attempted(*step, id.as_deref(), kind, attempt, *unknown),
            Fact::LookedUp { next, at } => self.looked_up(*next, *at),
            Fact::Repeatable { at } => {
                if self.intent.take().is_some() {
                    self.set_open_step(StepState::Retrying);
                    self.due(RunState::Running, *at, *at);
                }
            }
            Fact::StepDone { step, id, kind, value, maybe_twice, at } => {
                self.finish_step(*step, id.as_deref(), kind, StepState::Done, value.clone(), *maybe_twice, *at);
            }
            Fact::StepSkipped { step, id, kind, because, at } => {
                let because = Value::String(because.clone());
                self.finish_step(*step, id.as_deref(), kind, StepState::Skipped, because, false, *at);
            }
            Fact::Waits { state, until, cause, at } => {
                if *state == RunState::Pending {
                    // Only put back: nothing failed, so neither the clock of giving up nor the step is touched.
                    self.due(*state, *until, *at);
                    self.cause = Some(cause.clone());
                } else if *state == RunState::Paused {
                    self.due(*state, *until, *at);
                    self.cause = Some(cause.clone());
                } else if matches!(state, RunState::Waiting | RunState::Blocked | RunState::Retrying) {
                    self.due(*state, *until, *at);
                    self.cause = Some(cause.clone());
                    self.held_since = self.held_since.or(Some(*at));
                    if self.intent.is_none() {
                        let awaits = *state == RunState::Waiting && self.unfinished().is_some_and(|view| view.awaits.is_some());
                        self.set_open_step(if awaits { StepState::Waiting } else { StepState::Retrying });
                    }
                }
            }
            Fact::Awaits { step, id, kind, until, next, value, cause, at } => {
                if let Some(view) = self.open_step(*step, id.as_deref(), kind) {
                    view.state = StepState::Waiting;
                    view.awaits = Some(*until);
                    view.awaited = None;
                    view.first_attempt = Some(*at);
                    view.value.clone_from(value);
                    self.intent = None;
                    self.held_since = None;
                    self.due(RunState::Waiting, *next, *at);
                    self.cause = Some(cause.clone());
                }
            }
            Fact::NotOver { awaited, asked, until, cause, at } => self.not_over(awaited.as_ref(), *asked, *until, cause, *at),
            Fact::Element { step, id, kind, index, of, parallel, value, fact } => {
                let shape = Shape { step: *step, id: id.clone(), kind: kind.clone(), of: *of, parallel: *parallel };
                self.element(&shape, *index, value.as_ref(), fact, fact.at());
            }
            Fact::GivesUp { cause, at } => {
                if self.give_up.is_none() && self.outer.is_none() {
                    self.give_up = Some(Box::new(GiveUp { cause: cause.clone(), lane: Lane::new(*at) }));
                    self.set_open_step(if self.intent.is_some() { StepState::Unknown } else { StepState::Failed });
                    self.due(RunState::Running, *at, *at);
                    self.cause = Some(cause.clone());
                }
            }
            Fact::InGiveUp { fact } => self.in_give_up(fact, fact.at()),
            Fact::Settled { state, cause, would, at } => {
                if state.is_settled() {
                    self.deaths = self.deaths.saturating_add(u32::from(*state == RunState::Dead));
                    self.state = *state;
                    self.before_block = None;
                    self.updated = *at;
                    self.next_at = None;
                    self.cause.clone_from(cause);
                    self.would.clone_from(would);
                    self.set_open_step(if self.intent.is_some() { StepState::Unknown } else { StepState::Failed });
                }
            }
            Fact::Discarded { reason, blocked, at } if self.may_be_discarded() || (*blocked && self.intent.is_none()) => {
                let was = if *blocked { RunState::Blocked } else { self.state };
                self.discard(reason.as_deref(), was, *at);
            }
            Fact::Retried { .. } | Fact::Accepted { .. } | Fact::Discarded { .. } => {}
        }
    }

    fn intended(&mut self, id: Option<&str>, kind: &str, intent: &Intent) {
        let last = self.intent.clone().filter(|open| open.step == intent.step);
        let Some(view) = self.open_step(intent.step, id, kind) else { return };
        if intent.attempt <= view.last {
            return;
        }
        view.state = StepState::Running;
        view.begin(intent.attempt, intent.at);
        if let Some(open) = last {
            // The attempt before this one has no end on record: a crash cut it off, and it counts like any other.
            if view.attempts.last().is_none_or(|a| a.number != open.attempt) {
                view.counted = view.counted.saturating_add(1);
            }
            // Looked up in vain and sent again: should the first one turn up later, there are two.
            view.maybe_twice |= open.lookups >= LOOKUPS_NEEDED;
        }
        self.intent = Some(intent.clone());
        self.due(RunState::Running, intent.at, intent.at);
    }

    fn attempted(&mut self, step: usize, id: Option<&str>, kind: &str, attempt: &Attempt, unknown: bool) {
        let Some(view) = self.open_step(step, id, kind) else { return };
        if view.attempts.last().is_some_and(|known| known.number >= attempt.number) {
            return;
        }
        view.state = if unknown { StepState::Unknown } else { StepState::Running };
        view.begin(attempt.number, attempt.started);
        view.total = view.total.saturating_add(1);
        if !matches!(attempt.class, Some(Class::Throttled | Class::BreakerOpen)) {
            view.counted = view.counted.saturating_add(1);
        }
        if view.attempts.len() >= ATTEMPTS_KEPT {
            view.attempts.remove(0);
        }
        view.attempts.push(Attempt { recorded: None, ..attempt.clone() });
        if !unknown {
            self.intent = None;
        }
        self.due(RunState::Running, attempt.ended, attempt.ended);
    }

    fn looked_up(&mut self, next: Timestamp, at: Timestamp) {
        let Some(intent) = &mut self.intent else { return };
        if intent.next_lookup.is_some_and(|known| known >= next) {
            return;
        }
        intent.lookups = intent.lookups.saturating_add(1);
        intent.next_lookup = Some(next);
        self.set_open_step(StepState::Unknown);
        self.due(RunState::Retrying, next, at);
    }

    #[expect(clippy::too_many_arguments, reason = "the parts of two facts, folded alike")]
    fn finish_step(&mut self, step: usize, id: Option<&str>, kind: &str, state: StepState, value: Value, maybe_twice: bool, at: Timestamp) {
        let Some(view) = self.open_step(step, id, kind) else { return };
        view.state = state;
        view.value = value;
        view.maybe_twice = maybe_twice;
        view.close();
        self.intent = None;
        self.cause = None;
        self.held_since = None;
        self.due(RunState::Running, at, at);
    }

    pub(super) fn due(&mut self, state: RunState, next: Timestamp, at: Timestamp) {
        self.count_pause(state, at);
        self.before_block = None;
        self.state = state;
        self.next_at = Some(next);
        self.updated = at;
    }

    fn set_open_step(&mut self, state: StepState) {
        if let Some(view) = self.steps.last_mut().filter(|view| !view.state.is_finished()) {
            view.state = state;
        }
    }

    /// The unfinished step when `index` is it, begun now where it is the next one.
    pub(super) fn open_step(&mut self, index: usize, id: Option<&str>, kind: &str) -> Option<&mut StepView> {
        let finished = self.steps.last().is_none_or(|last| last.state.is_finished());
        if finished && index == self.steps.len() {
            self.steps.push(StepView {
                id: id.map_or_else(|| (index + 1).to_string(), str::to_owned),
                named: id.is_some(),
                kind: kind.to_owned(),
                state: StepState::Pending,
                value: Value::Null,
                maybe_twice: false,
                attempts: Vec::new(),
                total: 0,
                first_attempt: None,
                last: 0,
                tries: 0,
                counted: 0,
                awaits: None,
                awaited: None,
                woken: None,
                list: None,
            });
        } else if finished || index + 1 != self.steps.len() {
            return None;
        }
        self.steps.last_mut()
    }

    /// The step that is not finished, where one was begun.
    #[must_use]
    pub fn unfinished(&self) -> Option<&StepView> {
        self.steps.last().filter(|view| !view.state.is_finished())
    }

    /// The index of the next step to be done; it may lie behind the rule's last one.
    #[must_use]
    pub fn next_step(&self) -> usize {
        self.steps.len() - usize::from(self.unfinished().is_some())
    }

    /// Attempts over all steps.
    #[must_use]
    pub fn attempts(&self) -> u64 {
        let in_give_up = self.give_up.iter().flat_map(|give_up| &give_up.lane.steps);
        self.steps.iter().chain(in_give_up).map(StepView::attempts_in_all).sum()
    }

    /// The values of finished steps by id: `steps` in expressions. A lane sees those of its run too.
    #[must_use]
    pub fn step_values(&self) -> Value {
        let mut values = self.outer.as_ref().map_or_else(Map::new, |outer| outer.steps.clone());
        if let Value::Object(own) = self.own_values() {
            values.extend(own);
        }
        Value::Object(values)
    }

    /// The values of its own finished steps by id.
    #[must_use]
    pub fn own_values(&self) -> Value {
        let done = self.steps.iter().filter(|view| view.named && view.state == StepState::Done);
        Value::Object(done.map(|view| (view.id.clone(), view.value.clone())).collect())
    }

    /// The documented JSON: `{id, rule, event, state, attempts, created, updated, next_at, cause, steps}`, with
    /// `message` (the cause in words), `generation`, `mode`, and `maybe_twice`, `would`, `hops` where they say something.
    #[must_use]
    pub fn to_json(&self) -> Value {
        let mut map = Map::new();
        let mut put = |name: &str, value: Value| {
            map.insert(name.to_owned(), value);
        };
        put("id", json!(self.planned.id));
        put("rule", json!(self.planned.rule));
        put("event", json!(self.planned.id.event));
        put("state", json!(self.state));
        put("attempts", json!(self.attempts()));
        put("created", json!(self.planned.created));
        put("updated", json!(self.updated));
        let blocked = self.block_cause();
        let cause = blocked.as_ref().or(self.cause.as_ref());
        put("next_at", json!(self.next_at.filter(|_| blocked.is_none())));
        put("cause", json!(cause.map(|cause| &cause.code)));
        put("message", json!(cause.map(|cause| &cause.message)));
        if let Some(side) = self.side() {
            put("side", json!(side.as_str()));
        }
        put("steps", self.steps.iter().map(StepView::to_json).collect());
        put("generation", json!(self.planned.generation));
        put("mode", json!(self.planned.mode));
        if let Some(order) = &self.planned.order {
            put("ordered_by", json!(order.shown));
        }
        if self.planned.hops > 0 {
            put("hops", json!(self.planned.hops));
        }
        if self.steps.iter().any(|view| view.maybe_twice && view.state == StepState::Done) {
            put("maybe_twice", json!(true));
        }
        if let Some(give_up) = &self.give_up {
            put("on_give_up", give_up.to_json());
        }
        if !self.would.is_empty() {
            put("would", json!(self.would));
        }
        if let Some(replay) = &self.planned.replay {
            put("replay", json!({"number": self.planned.id.replay, "forced": replay.forced, "reason": replay.reason}));
        }
        if let Some(print) = self.fingerprint() {
            put("fingerprint", json!(print.id));
        }
        if self.deaths > 1 {
            put("deaths", json!(self.deaths));
        }
        if !self.notes.is_empty() {
            put("notes", json!(self.notes));
        }
        Value::Object(map)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_millis(seconds * 1_000)
    }

    fn planned(dead: Option<Cause>) -> NewRun {
        NewRun { generation: 3, dead, ..NewRun::plain(EventId(7), "escalate", at(100)) }
    }

    fn cause(code: &str) -> Cause {
        Cause { code: code.to_owned(), message: format!("because of {code}") }
    }

    fn attempt(number: u32, class: Option<Class>) -> Attempt {
        let second = 100 + i64::from(number);
        Attempt {
            number,
            started: at(second),
            ended: at(second),
            request: "POST https://host/x".to_owned(),
            status: Some(500),
            class,
            error: None,
            bytes: 0,
            recorded: None,
        }
    }

    fn intended(step: usize, number: u32) -> Fact {
        let intent = Intent { step, attempt: number, at: at(100 + i64::from(number)), lookups: 0, next_lookup: None };
        Fact::Intended { id: Some("item".to_owned()), kind: "enqueue".to_owned(), intent }
    }

    fn attempted(step: usize, number: u32, class: Option<Class>, unknown: bool) -> Fact {
        Fact::Attempted { step, id: Some("item".to_owned()), kind: "enqueue".to_owned(), attempt: attempt(number, class), unknown }
    }

    fn done(step: usize, value: Value) -> Fact {
        Fact::StepDone { step, id: Some("item".to_owned()), kind: "enqueue".to_owned(), value, maybe_twice: false, at: at(200) }
    }

    fn settled(state: RunState) -> Fact {
        let code = (state != RunState::Succeeded).then(|| cause("gave_up"));
        Fact::Settled { state, cause: code, would: Vec::new(), at: at(300) }
    }

    fn run(facts: &[Fact]) -> Run {
        let mut run = Run::new(planned(None));
        facts.iter().for_each(|fact| run.apply(fact));
        run
    }

    #[test]
    fn a_planned_run_is_due_at_once_unless_it_is_dead_from_the_start() {
        let fresh = Run::new(planned(None));
        assert_eq!((fresh.state, fresh.next_at), (RunState::Pending, Some(at(100))));
        let dead = Run::new(planned(Some(cause("loop"))));
        assert_eq!((dead.state, dead.next_at, dead.cause), (RunState::Dead, None, Some(cause("loop"))));
    }

    #[test]
    fn a_run_prints_with_the_documented_fields() {
        let run = run(&[intended(0, 1), attempted(0, 1, None, false), done(0, json!({"Id": 9})), settled(RunState::Succeeded)]);
        let printed = run.to_json();
        for field in ["id", "rule", "event", "state", "attempts", "created", "updated", "next_at", "cause", "steps"] {
            assert!(printed.get(field).is_some(), "{field}");
        }
        assert_eq!(printed["attempts"], json!(1));
        assert_eq!(printed["steps"][0]["value"], json!({"Id": 9}));
        assert_eq!(printed["steps"][0]["attempts"][0]["request"], json!("POST https://host/x"));
        assert_eq!(run.step_values(), json!({"item": {"Id": 9}}));
        let stored: Run = serde_json::from_value(serde_json::to_value(&run).expect("json")).expect("a run");
        assert_eq!(stored, run);
    }

    #[test]
    fn a_retry_keeps_finished_steps_and_begins_the_unfinished_one_anew() {
        let facts = [done(0, json!(1)), intended(1, 1), attempted(1, 1, Some(Class::Server), true), settled(RunState::Ambiguous)];
        let mut run = run(&facts);
        run.apply(&Fact::Retried { at: at(400), due: None });
        assert_eq!((run.state, run.next_at, run.next_step()), (RunState::Pending, Some(at(400)), 1));
        let second = run.unfinished().expect("the second step");
        assert_eq!((second.tries, second.counted, second.first_attempt), (0, 0, None));
        assert!(second.maybe_twice, "its earlier request may have been carried out");
        assert_eq!(run.intent, None);
        run.apply(&intended(1, 2));
        assert_eq!(run.unfinished().map(|s| (s.tries, s.last)), Some((1, 2)));
    }

    #[test]
    fn succeeded_and_discarded_runs_are_not_retried() {
        for state in [RunState::Succeeded, RunState::Shadowed, RunState::Discarded] {
            let mut run = run(&[settled(state)]);
            run.apply(&Fact::Retried { at: at(400), due: None });
            assert_eq!(run.state, state);
        }
    }

    #[test]
    fn facts_that_do_not_fit_change_nothing() {
        let facts = [done(0, json!(1)), intended(1, 1)];
        let before = run(&facts);
        for misfit in [
            done(0, json!("again")),
            done(7, json!("far")),
            attempted(0, 5, None, false),
            intended(1, 1),
            intended(3, 1),
            settled(RunState::Running),
            Fact::Retried { at: at(500), due: None },
            Fact::Waits { state: RunState::Succeeded, until: at(900), cause: cause("x"), at: at(500) },
        ] {
            let mut after = before.clone();
            after.apply(&misfit);
            assert_eq!(after, before, "{misfit:?}");
        }
    }

    #[test]
    fn attempts_that_a_crash_cut_off_count_and_those_throttled_do_not() {
        let run = run(&[intended(0, 1), intended(0, 2), attempted(0, 2, Some(Class::Throttled), false)]);
        let step = run.unfinished().expect("a step");
        assert_eq!((step.tries, step.counted, step.total), (2, 1, 1));
    }

    #[test]
    fn an_item_sent_again_after_vain_look_ups_is_maybe_there_twice() {
        let look = |n: i64| Fact::LookedUp { next: at(100 + 60 * n), at: at(40 + 60 * n) };
        let once = run(&[intended(0, 1), look(1), intended(0, 2)]);
        let twice = run(&[intended(0, 1), look(1), look(2), intended(0, 2)]);
        assert!(!once.unfinished().expect("a step").maybe_twice);
        assert!(twice.unfinished().expect("a step").maybe_twice);
    }

    fn any_fact() -> impl Strategy<Value = Fact> {
        let class = prop_oneof![Just(None), Just(Some(Class::Server)), Just(Some(Class::Throttled))];
        let state = prop::sample::select(RunState::ALL.to_vec());
        prop_oneof![
            (0_usize..3, 0_u32..4).prop_map(|(step, number)| intended(step, number)),
            (0_usize..3, 0_u32..4, class, any::<bool>()).prop_map(|(step, n, class, unknown)| attempted(step, n, class, unknown)),
            (0_i64..5).prop_map(|n| Fact::LookedUp { next: at(100 + n * 60), at: at(100 + n) }),
            Just(Fact::Repeatable { at: at(150) }),
            (0_usize..3).prop_map(|step| done(step, json!({"Id": step}))),
            (0_usize..3).prop_map(|step| Fact::StepSkipped {
                step,
                id: None,
                kind: "http".to_owned(),
                because: "no".to_owned(),
                at: at(250)
            }),
            (state.clone(), 100_i64..900).prop_map(|(state, until)| Fact::Waits {
                state,
                until: at(until),
                cause: cause("server"),
                at: at(100)
            }),
            state.prop_map(settled),
            Just(Fact::Retried { at: at(400), due: None }),
            Just(Fact::Accepted { value: json!({"Id": 1}), reason: None, at: at(410) }),
            Just(Fact::Discarded { reason: Some("not needed".to_owned()), blocked: false, at: at(420) }),
        ]
    }

    proptest! {
        #[test]
        fn folding_is_total_and_a_repeated_fact_changes_nothing(facts in prop::collection::vec(any_fact(), 0..40)) {
            let mut run = Run::new(planned(None));
            for fact in &facts {
                let before = run.clone();
                run.apply(fact);
                let once = run.clone();
                run.apply(fact);
                prop_assert_eq!(&run, &once, "repeated {:?}", fact);
                prop_assert_eq!(run.state.is_settled(), run.next_at.is_none(), "neither due nor settled");
                prop_assert_eq!(run.intent.as_ref().map_or(run.next_step(), |i| i.step), run.next_step());
                if before.state.is_settled() && !matches!(fact, Fact::Retried { .. } | Fact::Accepted { .. } | Fact::Discarded { .. }) {
                    prop_assert_eq!(&run, &before, "settled once");
                }
                for (index, step) in before.steps.iter().enumerate().filter(|(_, s)| s.state.is_finished()) {
                    prop_assert_eq!(&run.steps[index], step, "finished steps stay");
                }
            }
        }
    }
}
