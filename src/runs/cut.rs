//! Attempts that nobody saw the end of: the daemon ended, or was killed, while their request was out.

use super::{Attempt, Cause, Class, Fact, Run};
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

    /// As it stands while no daemon works on it: an attempt that is under way was cut off.
    #[must_use]
    pub fn at_rest(mut self) -> Self {
        if let Some(fact) = self.cut_off(self.updated) {
            self.apply(&fact);
            let message = "a request was out when the daemon ended; the next start goes on with it".to_owned();
            self.cause = Some(Cause { code: "unknown_outcome".to_owned(), message });
        }
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::{EventId, RunId};
    use crate::rules::Mode;
    use crate::runs::{Intent, NewRun, RunState, StepState};

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_millis((1_000_000 + seconds) * 1_000)
    }

    #[test]
    fn an_attempt_without_an_end_is_cut_off_once() {
        let mut run = Run::new(NewRun {
            id: RunId::of(EventId(7), "escalate"),
            rule: "escalate".into(),
            generation: 3,
            created: at(0),
            mode: Mode::Live,
            hops: 0,
            dead: None,
            replay: None,
            order: None,
        });
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
}
