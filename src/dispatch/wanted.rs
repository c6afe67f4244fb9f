//! Where the runs want to go that an open breaker refused: as long as it stays open they are refused again without their events.
//!
//! Bounded: of very many only those that were refused last are known; the others are looked at like any run.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use super::gates::Place;
use crate::event::RunId;
use crate::rules::Rule;
use crate::runs::{Attempt, Cause, Class, Fact, Failure, Outcome, Run, settle};
use crate::time::Timestamp;

/// Runs in one of the two maps: what 2^15 slots hold.
const HALF_MAX: usize = (1 << 15) / 8 * 7;

/// What a refused run wants.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Wanted {
    /// Where its request would go.
    pub(super) place: Arc<Place>,
    /// The step's index.
    pub(super) step: u32,
}

/// What the runs want that were refused last.
#[derive(Debug, Default)]
pub(super) struct Wants {
    young: HashMap<RunId, Wanted>,
    /// Those before them.
    old: HashMap<RunId, Wanted>,
    places: HashSet<Arc<Place>>,
}

impl Wants {
    /// A run was refused.
    pub(super) fn put(&mut self, run: RunId, place: &Place, step: usize) {
        let Ok(step) = u32::try_from(step) else { return };
        let place = self.places.get(place).cloned().unwrap_or_else(|| {
            let new = Arc::new(place.clone());
            self.places.insert(Arc::clone(&new));
            new
        });
        self.put_again(run, Wanted { place, step });
    }

    /// A run was refused once more what it wanted before.
    pub(super) fn put_again(&mut self, run: RunId, wanted: Wanted) {
        if self.young.len() >= HALF_MAX {
            self.old = std::mem::take(&mut self.young);
            self.places.retain(|place| Arc::strong_count(place) > 1);
        }
        self.old.remove(&run);
        self.young.insert(run, wanted);
    }

    /// What a run wants, if it is known; it is not any more.
    pub(super) fn take(&mut self, run: RunId) -> Option<Wanted> {
        self.young.remove(&run).or_else(|| self.old.remove(&run))
    }
}

/// What a refusal means for a run whose step was to be performed (or looked up): an attempt that counts nowhere, and its failure.
pub(super) fn refusal(place: &Place, until: Timestamp, cause: &Cause, now: Timestamp) -> (Attempt, Failure) {
    let failure = Failure {
        class: Class::BreakerOpen,
        status: None,
        message: format!("nothing is sent to `{}` for now ({}): {}", place.target, cause.code, cause.message),
        retry_after: Some(until.since(now).max(Duration::from_millis(1))),
    };
    let attempt = Attempt {
        number: 0,
        started: now,
        ended: now,
        request: String::new(),
        status: None,
        class: None,
        error: None,
        bytes: 0,
        recorded: None,
    };
    (attempt, failure)
}

/// What a run is told that is refused once more, where that is all: `None` where it has to be looked at, because its step is given up
/// or it stands elsewhere.
pub(super) fn refused_again(run: &Run, rule: &Rule, wanted: &Wanted, until: Timestamp, cause: &Cause, now: Timestamp) -> Option<Vec<Fact>> {
    if rule.skips_if_newer() {
        return None;
    }
    let (attempt, failure) = refusal(&wanted.place, until, cause, now);
    // Nothing is spread here: each was told a turn of its own.
    let facts = settle(run, rule, wanted.step as usize, &attempt, &Outcome::Failed(failure), None, now, 0.0);
    matches!(facts[..], [Fact::Waits { until, .. }] if until.as_millis() > now.as_millis()).then_some(facts)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::EventId;
    use crate::runs::{NewRun, RunState};

    fn place(part: &str) -> Place {
        Place { target: Arc::from("prod"), part: Some(part.to_owned()), permits: 16 }
    }

    fn id(number: usize) -> RunId {
        RunId::of(EventId(number as u128), "r")
    }

    #[test]
    fn those_refused_last_are_known_and_places_are_kept_once() {
        let mut wants = Wants::default();
        for number in 0..3 * HALF_MAX {
            wants.put(id(number), &place(if number % 2 == 0 { "even" } else { "odd" }), 1);
        }
        assert_eq!((wants.young.len() + wants.old.len(), wants.places.len()), (2 * HALF_MAX, 2));
        assert_eq!(wants.take(id(HALF_MAX - 1)), None, "the oldest are forgotten");
        let last = wants.take(id(3 * HALF_MAX - 1)).expect("it was refused last");
        assert_eq!((&*last.place, last.step), (&place("odd"), 1));
        assert_eq!(wants.take(id(3 * HALF_MAX - 1)), None, "it is told once");
        // One that comes again belongs to the young ones.
        wants.put(id(HALF_MAX), &place("even"), 2);
        assert_eq!(wants.take(id(HALF_MAX)).map(|wanted| wanted.step), Some(2));
        assert_eq!(wants.take(id(HALF_MAX)), None);
    }

    #[test]
    fn a_refusal_is_repeated_until_there_is_more_to_decide() {
        let text =
            "rule: r\nevents: queueItem.added\nretry: {give_up_after: 1h}\nsteps:\n  - http: {method: POST, url: 'http://localhost/x'}\n";
        let rules = crate::dispatch::tests::rules(text);
        let rule = rules.get("r").expect("a rule");
        let at = |seconds: u64| Timestamp::EPOCH.plus(Duration::from_secs(1_000 + seconds));
        let mut run = Run::new(NewRun::plain(id(1).event, "r", at(0)));
        let cause = Cause { code: "connect".to_owned(), message: "nobody is there".to_owned() };
        let wanted = Wanted { place: Arc::new(place("call")), step: 0 };
        for minute in 0..59 {
            let now = at(60 * minute);
            let facts = refused_again(&run, rule, &wanted, now.plus(Duration::from_secs(60)), &cause, now).expect("it waits on");
            facts.iter().for_each(|fact| run.apply(fact));
            assert_eq!((run.state, run.next_at), (RunState::Waiting, Some(at(60 * minute + 60))));
        }
        assert_eq!(refused_again(&run, rule, &wanted, at(4_000), &cause, at(3_700)), None, "it is given up: on_give_up wants its event");
        let elsewhere = Wanted { step: 1, ..wanted };
        assert_eq!(refused_again(&run, rule, &elsewhere, at(3_000), &cause, at(2_000)), None, "it stands at another step");
    }
}
