//! What the outcome of an attempt means for its run.
//!
//! | failure | `enqueue`, `start_job` | `http`, `get_item`, `emit` |
//! |---|---|---|
//! | Connect, Throttled, Service | again | again |
//! | Unknown, Server, Invalid | looked up first (a queue known to be unique: again) | again, under the same Idempotency-Key |
//! | Auth, Configuration | waits for the target's breaker | likewise |
//! | BreakerOpen | waits, counted nowhere | likewise |
//! | Conflict | again, [`CONFLICTS_MAX`] times | likewise |
//! | Refused | dead | dead |
//!
//! A `call` is like `http` where its operation is idempotent, like `enqueue` where its connector has a `lookup` for it;
//! else its run is ambiguous after Unknown and Invalid, and goes on after Server under the same Idempotency-Key.

use std::time::Duration;

use super::decide::{WAITING, ambiguous, awaits_job, giving_up, not_told, rule_removed};
use super::retry::wait;
use super::run::LOOKUPS_NEEDED;
use super::{Attempt, Awaited, Cause, Class, Fact, Failure, Outcome, Run, RunState};
use crate::rules::{Doubt, RetryPolicy, Rule};
use crate::time::{Timestamp, format_duration};

/// How often a step is tried again when somebody else is at work on the same thing.
pub const CONFLICTS_MAX: usize = 5;
/// Two look-ups of one unknown outcome are at least this far apart.
pub const LOOKUP_APART: Duration = Duration::from_secs(60);
/// Look-ups are spread by up to this much.
const LOOKUP_SPREAD: Duration = Duration::from_secs(5);
/// For how long a run waits for a breaker that does not say.
const BREAKER_WAIT: Duration = Duration::from_secs(5);
/// Something awaited is looked at again after this share of the time that it took already,
const LOOK_SHARE: u32 = 4;
/// but not sooner and not later than this,
const LOOK_APART: (Duration, Duration) = (Duration::from_secs(5), Duration::from_secs(600));
/// longer by up to this share.
const LOOK_SPREAD: f64 = 0.25;
/// Too early: rejected before it was processed.
const TOO_EARLY: u16 = 425;

/// What the outcome of an attempt (or look-up) means for the run: the facts to record, in order.
/// `unique` says whether the target queue enforces unique references, where that is known and matters.
/// `jitter` is in `0.0..1.0`.
#[must_use]
#[expect(clippy::too_many_arguments, reason = "a decision takes what it depends on, one by one")]
pub fn settle(
    run: &Run,
    rule: &Rule,
    step: usize,
    attempt: &Attempt,
    outcome: &Outcome,
    unique: Option<bool>,
    now: Timestamp,
    jitter: f64,
) -> Vec<Fact> {
    if run.state.is_settled() || step != run.next_step() {
        return Vec::new();
    }
    let steps = rule.part(run.part());
    let Some(own) = steps.get(step) else { return vec![rule_removed(run, now)] };
    let kind = own.kind();
    let awaiting = run.unfinished().is_some_and(|view| view.awaits.is_some());
    let case = Case {
        run,
        step,
        id: own.id.as_deref(),
        kind,
        awaits: own.awaits().then(|| own.await_timeout()),
        last: step + 1 == steps.len(),
        policy: own.retry.as_ref().unwrap_or(&rule.retry),
        attempt,
        looked_up: own.in_doubt() == Doubt::LookUp && !awaiting,
        asked: own.in_doubt() == Doubt::Ask,
        awaiting,
        unique: kind == "enqueue" && unique == Some(true),
        now,
        jitter,
    };
    giving_up(run, rule, case.judge(outcome))
}

/// One outcome with all that its judgement depends on.
struct Case<'a> {
    run: &'a Run,
    step: usize,
    id: Option<&'a str>,
    kind: &'a str,
    /// For how long its end is awaited, where it is.
    awaits: Option<Duration>,
    /// Its end is awaited: what is sent only asks how it stands.
    awaiting: bool,
    /// The rule's last step.
    last: bool,
    policy: &'a RetryPolicy,
    attempt: &'a Attempt,
    /// Neither idempotent nor repeatable under a key of its own: what is unknown is looked up.
    looked_up: bool,
    /// Neither idempotent nor looked up: what is unknown is for a person to decide.
    asked: bool,
    /// The queue refuses a second item with the same reference.
    unique: bool,
    now: Timestamp,
    jitter: f64,
}

impl Case<'_> {
    fn judge(&self, outcome: &Outcome) -> Vec<Fact> {
        match outcome {
            Outcome::Done { value } => {
                let mut facts = vec![self.attempted(self.attempt.clone(), false)];
                self.done(value, &mut facts);
                facts
            }
            Outcome::Found { value } => {
                let mut facts = Vec::new();
                self.done(value, &mut facts);
                facts
            }
            Outcome::NotYet { stands, awaited } => vec![self.not_yet(stands, awaited.as_ref())],
            Outcome::NotFound => self.not_found(),
            Outcome::NotLookedUp(failure) => vec![self.not_looked_up(failure)],
            Outcome::Failed(failure) => self.failed(failure),
        }
    }

    /// What is awaited goes on: it is looked at again after a while, the longer the longer it took already, since it began or
    /// an event told its end: answers may lag behind events, and an item that failed may have a next attempt.
    fn not_yet(&self, stands: &str, awaited: Option<&Awaited>) -> Fact {
        if self.now >= self.deadline() {
            let message = format!("not over after {}; {stands}", format_duration(self.awaits.unwrap_or_default()));
            return self.dead(Cause { code: "timeout".to_owned(), message });
        }
        let view = self.run.unfinished();
        let since = view.and_then(|view| view.first_attempt.max(view.woken)).unwrap_or(self.now);
        let pause = (self.now.since(since) / LOOK_SHARE).clamp(LOOK_APART.0, LOOK_APART.1);
        let until = self.now.plus(pause.mul_f64(1.0 + LOOK_SPREAD * self.jitter.clamp(0.0, 1.0))).min(self.deadline());
        let cause = Cause { code: WAITING.to_owned(), message: stands.to_owned() };
        Fact::NotOver { awaited: awaited.cloned(), asked: self.attempt.started, until, cause, at: self.now }
    }

    fn done(&self, value: &serde_json::Value, facts: &mut Vec<Fact>) {
        if let Some(timeout) = self.awaits.filter(|_| !self.awaiting) {
            let (id, kind) = self.names();
            facts.push(awaits_job(self.step, id, kind, timeout, value, self.now));
            return;
        }
        let maybe_twice = self.kind == "enqueue" && !self.unique && self.run.unfinished().is_some_and(|view| view.maybe_twice);
        let (id, kind) = self.names();
        facts.push(Fact::StepDone { step: self.step, id, kind, value: value.clone(), maybe_twice, at: self.now });
        if self.last {
            facts.push(Fact::Settled { state: RunState::Succeeded, cause: None, would: Vec::new(), at: self.now });
        }
    }

    fn failed(&self, failure: &Failure) -> Vec<Fact> {
        let class = failure.class;
        if class == Class::BreakerOpen {
            // Each was told a turn of its own: those who wait for one breaker come back one after another, in order, so that the first
            // of them is its probe, and rows that are next to each other change together.
            let until = self.now.plus(failure.retry_after.unwrap_or(BREAKER_WAIT).max(Duration::from_millis(1)));
            return vec![self.wait_or_give_up(RunState::Waiting, until, self.now, failure, 0)];
        }
        let too_early = failure.status == Some(TOO_EARLY);
        let uncertain = matches!(class, Class::Unknown | Class::Server | Class::Invalid) && !too_early;
        if uncertain && self.looked_up && !self.unique {
            let until = self.now.plus(self.wait(failure));
            let message = format!("whether it was carried out is not known and is looked up: {}", failure.message);
            let cause = Cause { code: "unknown_outcome".to_owned(), message };
            let wait = Fact::Waits { state: RunState::Retrying, until, cause, at: self.now };
            return vec![self.attempted(self.attempt.clone(), true), wait];
        }
        if uncertain && self.asked && class != Class::Server {
            return vec![self.attempted(self.attempt.clone(), true), not_told(&failure.message, self.now)];
        }
        let attempted = self.attempted(self.attempt.clone(), false);
        let end = match class {
            Class::Refused => self.dead(cause_of(failure)),
            Class::Conflict if self.conflicts() >= CONFLICTS_MAX => self.gave_up(failure),
            Class::Auth | Class::Configuration => self.again(RunState::Waiting, failure),
            _ => self.again(RunState::Retrying, failure),
        };
        vec![attempted, end]
    }

    fn not_found(&self) -> Vec<Fact> {
        let Some(open) = &self.run.intent else { return Vec::new() };
        let mut facts = Vec::new();
        let exhausted = self.cap_reached(0) || self.now >= self.deadline();
        let enough = self.unique || open.lookups.saturating_add(1) >= LOOKUPS_NEEDED;
        if self.unique {
            facts.push(Fact::Repeatable { at: self.now });
        } else {
            let spread = LOOKUP_SPREAD.mul_f64(self.jitter.clamp(0.0, 1.0));
            let pause = if enough { Duration::from_millis(1) } else { LOOKUP_APART + spread };
            // A clock that went back must not make this look like the look-up before.
            let next = open.next_lookup.map_or(self.now, |known| known.max(self.now)).plus(pause);
            facts.push(Fact::LookedUp { next, at: self.now });
        }
        if enough && self.kind == "start_job" {
            facts.push(ambiguous(self.kind, self.now));
        } else if enough && exhausted {
            let message = "no answer, and looking it up by reference found nothing".to_owned();
            facts.push(self.gave_up(&Failure { class: Class::Unknown, status: None, message, retry_after: None }));
        }
        facts
    }

    fn not_looked_up(&self, failure: &Failure) -> Fact {
        let since = self.run.intent.as_ref().map_or(self.now, |open| open.at);
        let message =
            format!("whether the `{}` request was carried out is not known, and looking it up failed: {}", self.kind, failure.message);
        let cause = Cause { code: "unknown_outcome".to_owned(), message };
        if failure.class == Class::Refused || self.now >= self.deadline() {
            return Fact::Settled { state: RunState::Ambiguous, cause: Some(cause), would: Vec::new(), at: self.now };
        }
        // Each wait is about as long as all before it: exponential without a counter.
        let elapsed = self.now.since(since).max(self.policy.first_wait).min(self.policy.max_wait);
        let pause =
            elapsed.mul_f64(0.5 + self.jitter.clamp(0.0, 1.0) / 2.0).max(failure.retry_after.unwrap_or_default().min(self.policy.max_wait));
        let state = match failure.class {
            Class::BreakerOpen | Class::Auth | Class::Configuration => RunState::Waiting,
            _ => RunState::Retrying,
        };
        let until = self.now.plus(pause.max(Duration::from_millis(1))).min(self.deadline());
        Fact::Waits { state, until, cause, at: self.now }
    }

    fn again(&self, state: RunState, failure: &Failure) -> Fact {
        let counts = u32::from(failure.class != Class::Throttled);
        let floor = self.now.plus(failure.retry_after.unwrap_or_default().min(self.policy.max_wait));
        self.wait_or_give_up(state, self.now.plus(self.wait(failure)), floor, failure, counts)
    }

    /// Waits until `until`, at the latest until the step's time is over; not at all when that is before `floor`.
    fn wait_or_give_up(&self, state: RunState, until: Timestamp, floor: Timestamp, failure: &Failure, counts: u32) -> Fact {
        let deadline = self.deadline();
        if self.now >= deadline || floor > deadline || (counts > 0 && self.cap_reached(counts)) {
            return self.gave_up(failure);
        }
        Fact::Waits { state, until: until.min(deadline), cause: cause_of(failure), at: self.now }
    }

    fn wait(&self, failure: &Failure) -> Duration {
        wait(self.policy, self.tries(), failure.retry_after, self.jitter)
    }

    /// Attempts since planning or the last `retry`, this one included.
    fn tries(&self) -> u32 {
        match self.run.unfinished() {
            Some(view) if view.last >= self.attempt.number => view.tries,
            Some(view) => view.tries.saturating_add(1),
            None => 1,
        }
    }

    fn cap_reached(&self, more: u32) -> bool {
        let counted = self.run.unfinished().map_or(0, |view| view.counted).saturating_add(more);
        self.policy.attempts.is_some_and(|most| counted >= most)
    }

    /// When the step is given up.
    fn deadline(&self) -> Timestamp {
        if let Some(until) = self.run.unfinished().and_then(|view| view.awaits) {
            return until;
        }
        let first = self.run.unfinished().and_then(|view| view.first_attempt).or(self.run.held_since);
        first.unwrap_or(self.attempt.started.min(self.now)).plus(self.policy.give_up_after)
    }

    /// Conflicts in a row before this one.
    fn conflicts(&self) -> usize {
        let Some(view) = self.run.unfinished() else { return 0 };
        let since = view.first_attempt.unwrap_or(self.now);
        view.attempts.iter().rev().take_while(|a| a.class == Some(Class::Conflict) && a.started >= since).count()
    }

    fn gave_up(&self, failure: &Failure) -> Fact {
        let (tries, policy) = (self.tries(), self.policy);
        let limit = match policy.attempts {
            Some(most) if self.cap_reached(1) => format!("`attempts: {most}`"),
            _ if self.awaiting => format!("`timeout: {}`", format_duration(self.awaits.unwrap_or_default())),
            _ if failure.class == Class::Conflict => format!("{CONFLICTS_MAX} further tries"),
            _ => format!("`give_up_after: {}`", format_duration(policy.give_up_after)),
        };
        // One that no breaker ever let through has no attempt at all.
        let none = failure.class == Class::BreakerOpen && self.run.unfinished().is_none_or(|view| view.attempts.is_empty());
        let message = match tries {
            _ if none => format!("gave up without an attempt ({limit}): {}", failure.message),
            1 => format!("gave up after 1 attempt ({limit}); the last one: {}", failure.message),
            _ => format!("gave up after {tries} attempts ({limit}); the last one: {}", failure.message),
        };
        self.dead(Cause { code: "gave_up".to_owned(), message })
    }

    fn dead(&self, cause: Cause) -> Fact {
        Fact::Settled { state: RunState::Dead, cause: Some(cause), would: Vec::new(), at: self.now }
    }

    fn attempted(&self, attempt: Attempt, unknown: bool) -> Fact {
        let (id, kind) = self.names();
        Fact::Attempted { step: self.step, id, kind, attempt, unknown }
    }

    fn names(&self) -> (Option<String>, String) {
        (self.id.map(str::to_owned), self.kind.to_owned())
    }
}

fn cause_of(failure: &Failure) -> Cause {
    Cause { code: failure.class.as_str().to_owned(), message: failure.message.clone() }
}

#[cfg(test)]
mod tests;
