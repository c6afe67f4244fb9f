//! Attempts that nobody saw the end of: the daemon ended, or was killed, while their request was out.

use super::{Attempt, Cause, Class, Fact, List, Run, StepView};
use crate::rules::Part;
use crate::time::Timestamp;

impl Run {
    /// The end of the attempt of the open intent, where none is recorded. Whether it was carried out stays unknown.
    #[must_use]
    pub fn cut_off(&self, now: Timestamp) -> Option<Fact> {
        let (open, view) = (self.intent.as_ref()?, self.unfinished()?);
        if view.attempts.last().is_some_and(|last| last.number >= open.attempt) {
            return None;
        }
        let attempt = Attempt {
            number: open.attempt,
            started: open.at,
            ended: now.max(open.at),
            request: view.kind.clone(),
            status: None,
            class: Some(Class::Unknown),
            error: Some("cut off: the daemon ended before the answer was recorded".to_owned()),
            bytes: 0,
            recorded: None,
        };
        let id = view.named.then(|| view.id.clone());
        Some(Fact::Attempted { step: open.step, id, kind: view.kind.clone(), attempt, unknown: true })
    }

    /// The same of all its lanes, as facts of the run.
    fn cut_off_anywhere(&self) -> Vec<Fact> {
        let now = self.updated;
        let step = self.next_step();
        let of_element = |view: &StepView, list: &List, index: u32| {
            let fact = Box::new(self.lane(Part::Element { step, index }).cut_off(now)?);
            let (id, kind) = (view.named.then(|| view.id.clone()), view.kind.clone());
            Some(Fact::Element { step, id, kind, index, of: list.of, parallel: list.parallel, value: None, fact })
        };
        let lists = self.unfinished().and_then(|view| Some((view, view.list.as_ref()?)));
        let elements = lists.into_iter().flat_map(|(view, list)| list.lanes().filter_map(move |(index, _)| of_element(view, list, index)));
        let ending = self.give_up.as_ref().and_then(|_| self.lane(Part::GiveUp).cut_off(now));
        self.cut_off(now).into_iter().chain(elements).chain(ending.map(|fact| Fact::InGiveUp { fact: Box::new(fact) })).collect()
    }

    /// As it stands while no daemon works on it: an attempt that is under way was cut off.
    #[must_use]
    pub fn at_rest(mut self) -> Self {
        let facts = self.cut_off_anywhere();
        if !facts.is_empty() {
            facts.iter().for_each(|fact| self.apply(fact));
            let message = "a request was out when the daemon ended; the next start goes on with it".to_owned();
            self.cause = Some(Cause { code: "unknown_outcome".to_owned(), message });
        }
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::EventId;
    use crate::runs::{Intent, NewRun, RunState, StepState};

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_millis((1_000_000 + seconds) * 1_000)
    }

    fn fresh() -> Run {
        Run::new(NewRun { generation: 3, ..NewRun::plain(EventId(7), "escalate", at(0)) })
    }

    #[test]
    fn an_attempt_without_an_end_is_cut_off_once() {
        let mut run = fresh();
        assert_eq!((run.cut_off(at(1)), run.clone().at_rest()), (None, run.clone()), "nothing was out");
        let intent = Intent { step: 0, attempt: 1, at: at(1), lookups: 0, next_lookup: None };
        run.apply(&Fact::Intended { id: Some("item".to_owned()), kind: "enqueue".to_owned(), intent });
        let rests = run.clone().at_rest();
        assert_eq!((rests.attempts(), rests.steps[0].state, rests.updated), (1, StepState::Unknown, run.updated));
        assert!(rests.cause.is_some_and(|cause| cause.message.contains("the next start")), "it says what comes");
        let fact = run.cut_off(at(9)).expect("cut off");
        run.apply(&fact);
        assert_eq!((run.attempts(), run.state, run.intent.is_some()), (1, RunState::Running, true));
        assert!(run.steps[0].attempts[0].error.as_ref().is_some_and(|error| error.starts_with("cut off")), "{run:?}");
        assert_eq!((run.cut_off(at(9)), run.clone().at_rest()), (None, run), "once");
    }

    #[test]
    fn of_a_list_the_attempts_of_its_elements_are_told() {
        let mut run = fresh();
        for index in [0, 2] {
            let intent = Intent { step: 0, attempt: 1, at: at(1), lookups: 0, next_lookup: None };
            let fact = Box::new(Fact::Intended { id: None, kind: "enqueue".to_owned(), intent });
            let (id, kind) = (Some("items".to_owned()), "for_each".to_owned());
            run.apply(&Fact::Element { step: 0, id, kind, index, of: 3, parallel: 3, value: None, fact });
        }
        assert_eq!(run.attempts(), 0);
        let rests = run.at_rest();
        assert_eq!((rests.attempts(), rests.cause.as_ref().map(|cause| cause.code.as_str())), (2, Some("unknown_outcome")));
        assert_eq!(rests.clone().at_rest(), rests, "once");
    }
}
