//! Which runs people mean when they mean many, and at which pace those go on.

use std::time::Duration;

use super::{Run, RunState};
use crate::time::Timestamp;

/// The highest pace that is a limit, per second.
const PER_SECOND_MAX: f64 = 1_000_000.0;

/// Which runs are to be tried again.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Selection {
    /// A cause's code (`refused`), or the fingerprint of one; the first six digits of it do.
    pub cause: Option<String>,
    /// Also those that died again and again.
    pub force: bool,
}

/// What becomes of a run that was looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It is meant.
    Meant,
    /// It is meant, but died too often.
    Poison,
    /// Something else.
    Other,
}

impl Selection {
    /// Whether this run is meant. State, rule and time are asked of the store before.
    #[must_use]
    pub fn judge(&self, run: &Run) -> Verdict {
        if !run.is_left_to_people() || !self.cause.as_deref().is_none_or(|wanted| has_cause(run, wanted)) {
            return Verdict::Other;
        }
        if run.is_poison() && !self.force { Verdict::Poison } else { Verdict::Meant }
    }
}

/// Fewer digits of a fingerprint could mean several.
const DIGITS_MIN: usize = 6;

fn has_cause(run: &Run, wanted: &str) -> bool {
    run.cause.as_ref().is_some_and(|cause| cause.code == wanted)
        || (wanted.len() >= DIGITS_MIN && run.fingerprint().is_some_and(|print| print.id.starts_with(&wanted.to_ascii_lowercase())))
}

/// When the turn of each of many runs comes, so that they do not all go at once.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Pace {
    per_second: Option<f64>,
    begin: Timestamp,
    given: u64,
}

impl Pace {
    /// From `begin` on, `per_second` of them; all at once without a limit.
    #[must_use]
    pub fn new(per_second: Option<f64>, begin: Timestamp) -> Self {
        Self { per_second: per_second.filter(|rate| *rate > 0.0 && *rate <= PER_SECOND_MAX), begin, given: 0 }
    }

    /// When the turn of the next one comes.
    pub fn turn(&mut self) -> Timestamp {
        let turn = self.upcoming();
        self.given += 1;
        turn
    }

    /// When the next turn would be: where a following pace begins.
    #[must_use]
    pub fn upcoming(&self) -> Timestamp {
        match self.per_second {
            Some(rate) => self.begin.plus(Duration::from_secs_f64(self.given as f64 / rate)),
            None => self.begin,
        }
    }

    /// Whether the turns are spread.
    #[must_use]
    pub fn is_limited(&self) -> bool {
        self.per_second.is_some()
    }
}

/// The states of which a selection may speak.
impl Selection {
    /// Whether runs in this state may be tried again.
    #[must_use]
    pub fn takes(state: RunState) -> bool {
        matches!(state, RunState::Dead | RunState::Ambiguous)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::EventId;
    use crate::runs::{Cause, Fact, NewRun};

    fn run(state: Option<RunState>, deaths: u32) -> Run {
        let now = Timestamp::from_millis(1_000);
        let mut run = Run::new(NewRun::plain(EventId(7), "r", now));
        if let Some(state) = state {
            let cause = Some(Cause { code: "refused".to_owned(), message: "no".to_owned() });
            run.apply(&Fact::Settled { state, cause, would: Vec::new(), at: now });
        }
        run.deaths = deaths;
        run
    }

    #[test]
    fn a_cause_is_meant_by_code_or_fingerprint() {
        let dead = run(Some(RunState::Dead), 1);
        let print = dead.fingerprint().expect("a cause").id;
        let meant = |cause: Option<&str>| Selection { cause: cause.map(str::to_owned), force: false }.judge(&dead);
        for wanted in [None, Some("refused"), Some(print.as_str()), Some(&print[..6]), Some(&print.to_ascii_uppercase())] {
            assert_eq!(meant(wanted), Verdict::Meant, "{wanted:?}");
        }
        for wanted in [Some("gave_up"), Some(&print[..5]), Some(""), Some("ffffffffffffffff")] {
            assert_eq!(meant(wanted), Verdict::Other, "{wanted:?}");
        }
    }

    #[test]
    fn only_what_is_left_to_people_is_tried_again_and_poison_only_when_forced() {
        let judge = |state, deaths, force| Selection { cause: None, force }.judge(&run(state, deaths));
        assert_eq!(judge(Some(RunState::Ambiguous), 0, false), Verdict::Meant);
        for state in [None, Some(RunState::Succeeded), Some(RunState::Discarded), Some(RunState::Shadowed)] {
            assert_eq!(judge(state, 0, true), Verdict::Other, "{state:?}");
        }
        assert_eq!(judge(Some(RunState::Dead), 2, false), Verdict::Meant);
        assert_eq!(judge(Some(RunState::Dead), 3, false), Verdict::Poison);
        assert_eq!(judge(Some(RunState::Dead), 3, true), Verdict::Meant);
    }

    #[test]
    fn turns_are_as_far_apart_as_the_pace_says() {
        let begin = Timestamp::from_millis(1_000);
        let mut pace = Pace::new(Some(10.0), begin);
        let turns: Vec<_> = (0..4).map(|_| pace.turn().as_millis()).collect();
        assert_eq!(turns, [1_000, 1_100, 1_200, 1_300]);
        assert_eq!(pace.upcoming().as_millis(), 1_400);
        for none in [None, Some(0.0), Some(-1.0), Some(f64::NAN), Some(1e300)] {
            let mut pace = Pace::new(none, begin);
            assert_eq!((pace.turn(), pace.turn(), pace.is_limited()), (begin, begin, false));
        }
    }
}
