//! A run's life as values: what it is, how facts change it, what is to be done next.
//!
//! Everything here is a function from values, `now` and jitter to values. The journal folds [`Fact`]s with
//! [`Run::apply`]; dispatch asks [`decide`] what comes next and [`settle`] what an outcome means.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::event::{Event, EventId, RuleName, RunId};
use crate::rules::{Mode, Request, Rule};
use crate::time::Timestamp;

/// Where a run stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RunState {
    /// Planned, not begun.
    Pending,
    /// An attempt is under way, or the next step is due.
    Running,
    /// A timer or something awaited.
    Waiting,
    /// Behind another run with the same ordering key.
    Blocked,
    /// Its rule or target is paused.
    Paused,
    /// The last attempt failed; the next one has a time.
    Retrying,
    /// All steps done.
    Succeeded,
    /// A shadow rule: what it would do is recorded.
    Shadowed,
    /// Given up; can be replayed.
    Dead,
    /// An action may or may not have happened; a person decides.
    Ambiguous,
    /// Put aside by a person.
    Discarded,
}

impl RunState {
    /// All states, in the order of the documentation.
    pub const ALL: [Self; 11] = [
        Self::Pending,
        Self::Running,
        Self::Waiting,
        Self::Blocked,
        Self::Paused,
        Self::Retrying,
        Self::Succeeded,
        Self::Shadowed,
        Self::Dead,
        Self::Ambiguous,
        Self::Discarded,
    ];

    /// Nothing more will happen by itself.
    #[must_use]
    pub fn is_settled(self) -> bool {
        matches!(self, Self::Succeeded | Self::Shadowed | Self::Dead | Self::Ambiguous | Self::Discarded)
    }

    /// Its spelling in JSON, metrics and logs.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Running => "running",
            Self::Waiting => "waiting",
            Self::Blocked => "blocked",
            Self::Paused => "paused",
            Self::Retrying => "retrying",
            Self::Succeeded => "succeeded",
            Self::Shadowed => "shadowed",
            Self::Dead => "dead",
            Self::Ambiguous => "ambiguous",
            Self::Discarded => "discarded",
        }
    }
}

/// Why a run stands where it stands.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cause {
    /// A stable name: `expression`, `loop`, `refused`, `configuration`, `gave_up`, `unknown_outcome`, `rule_removed`, …
    pub code: String,
    /// In words: which request, which answer, what to do.
    pub message: String,
}

/// A run as planned by the router.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct NewRun {
    /// Derived: planning twice is harmless.
    pub id: RunId,
    /// The rule.
    pub rule: RuleName,
    /// The rule generation it was planned with and keeps.
    pub generation: u64,
    /// When it was planned.
    pub created: Timestamp,
    /// Live or shadow.
    pub mode: Mode,
    /// Hops of the event; the run's own actions are one more.
    pub hops: u8,
    /// Set when it is dead from the start (an expression that failed, too many hops).
    pub dead: Option<Cause>,
}

/// One attempt at a step, over.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Attempt {
    /// From 1.
    pub number: u32,
    /// When it began.
    pub started: Timestamp,
    /// When it was over.
    pub ended: Timestamp,
    /// `POST https://host/path`; no query, no secrets.
    pub request: String,
    /// The HTTP status, if there was an answer.
    pub status: Option<u16>,
    /// What kind of failure, if it failed: see [`Class`].
    pub class: Option<Class>,
    /// What went wrong, masked and cut.
    pub error: Option<String>,
    /// Bytes of the answer's body.
    pub bytes: u64,
}

/// What kind of failure an attempt met; decides what happens next.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Class {
    /// The request never left: DNS, connection refused, TLS. Tried again.
    Connect,
    /// The request left and nothing certain came back. For what is not idempotent the outcome is unknown.
    Unknown,
    /// 429: rejected unprocessed. Tried again; counts against no limit but `give_up_after`.
    Throttled,
    /// 408, 425, 5xx. Tried again (for what is not idempotent the outcome is unknown).
    Server,
    /// 401 also with a fresh token. Opens the target's breaker.
    Auth,
    /// 403, 404/1002, 400/1100, 400/1101, wrong URL: configuration. Opens the target's breaker; the run waits.
    Configuration,
    /// Any other 4xx, a 3xx, a forbidden host: dead at once.
    Refused,
    /// 2xx with a body that is not what it must be. Tried again.
    Invalid,
    /// The target's breaker is open; nothing was sent. Counts against no limit but `give_up_after`.
    BreakerOpen,
    /// 409 that says somebody else is at work (1012…, PendingJobsAlreadyExist). Tried again a few times.
    Conflict,
}

/// An intent: a request that is not idempotent is about to leave. Without an end its outcome is unknown.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Intent {
    /// The step's index.
    pub step: usize,
    /// The attempt's number.
    pub attempt: u32,
    /// When.
    pub at: Timestamp,
    /// How often the outcome was looked up so far without finding it.
    pub lookups: u8,
    /// When it may be looked up next.
    pub next_lookup: Option<Timestamp>,
}

/// A durable fact about a run. The journal keeps facts; a [`Run`] is their fold.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "fact", rename_all = "snake_case")]
pub enum Fact {
    /// A request that is not idempotent leaves now.
    Intended {
        /// Which one.
        intent: Intent,
    },
    /// An attempt is over, well or not.
    Attempted {
        /// The step's index.
        step: usize,
        /// What happened.
        attempt: Attempt,
    },
    /// The outcome of an open intent was looked up and not found.
    LookedUp {
        /// When the next look-up may be.
        next: Timestamp,
        /// When this one was.
        at: Timestamp,
    },
    /// A step is done; it is never done again.
    StepDone {
        /// The step's index.
        step: usize,
        /// Its id, if it has one.
        id: Option<String>,
        /// `enqueue`, `http`, …
        kind: String,
        /// Its value for later steps.
        value: Value,
        /// The item may be there twice.
        maybe_twice: bool,
        /// When.
        at: Timestamp,
    },
    /// A step's `if` does not hold.
    StepSkipped {
        /// The step's index.
        step: usize,
        /// Its id, if it has one.
        id: Option<String>,
        /// `enqueue`, `http`, …
        kind: String,
        /// The condition.
        because: String,
        /// When.
        at: Timestamp,
    },
    /// The run waits until a moment.
    Waits {
        /// `Retrying` or `Waiting`.
        state: RunState,
        /// Until when.
        until: Timestamp,
        /// Why.
        cause: Cause,
        /// Since when.
        at: Timestamp,
    },
    /// Nothing more will happen by itself.
    Settled {
        /// A settled state.
        state: RunState,
        /// Why, unless it succeeded.
        cause: Option<Cause>,
        /// What a shadow run would have done: its requests in the words of the rule file.
        would: Vec<Value>,
        /// When.
        at: Timestamp,
    },
    /// A person had a dead run tried again: its unfinished step begins anew.
    Retried {
        /// When.
        at: Timestamp,
    },
}

/// A step of a run, as far as it got.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StepView {
    /// Its id, or its number from 1.
    pub id: String,
    /// `enqueue`, `http`, …
    pub kind: String,
    /// `pending`, `running`, `retrying`, `done`, `skipped`, `failed`, `unknown`.
    pub state: String,
    /// Its value, when done; the condition, when skipped.
    pub value: Value,
    /// The item may be there twice.
    pub maybe_twice: bool,
    /// The last attempts, at most [`ATTEMPTS_KEPT`].
    pub attempts: Vec<Attempt>,
    /// When its first attempt since planning or the last `retry` began.
    pub first_attempt: Option<Timestamp>,
    /// How many attempts there were since then.
    pub tries: u32,
    /// How many of those count against `attempts` (429 and an open breaker do not).
    pub counted: u32,
}

/// How many attempts of a step are kept; older ones are counted only.
pub const ATTEMPTS_KEPT: usize = 10;

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
    /// What a shadow run would have done.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub would: Vec<Value>,
}

impl Run {
    /// A run as planned: pending and due, or dead from the start.
    #[must_use]
    pub fn new(planned: NewRun) -> Self {
        let _ = planned;
        todo!()
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

    /// Folds a fact in. Total: a fact that does not fit (a settled run, a step done before) changes nothing.
    pub fn apply(&mut self, fact: &Fact) {
        let _ = fact;
        todo!()
    }

    /// Attempts over all steps.
    #[must_use]
    pub fn attempts(&self) -> u64 {
        todo!()
    }

    /// The values of finished steps by id: `steps` in expressions.
    #[must_use]
    pub fn step_values(&self) -> Value {
        todo!()
    }

    /// The documented JSON: `{id, rule, event, state, attempts, created, updated, next_at, cause, steps}`.
    #[must_use]
    pub fn to_json(&self) -> Value {
        todo!()
    }
}

/// What a run needs next.
#[derive(Clone, Debug, PartialEq)]
pub enum Next {
    /// Send this request. `intent` must be durable before it leaves.
    Perform {
        /// The step's index.
        step: usize,
        /// What to send.
        request: Request,
        /// The attempt's number, from 1.
        attempt: u32,
        /// To be made durable before sending, for what is not idempotent.
        intent: Option<Intent>,
    },
    /// A request left and its outcome is unknown: look it up before anything else.
    LookUp {
        /// The step's index.
        step: usize,
        /// What was sent.
        request: Request,
        /// The open intent.
        intent: Intent,
    },
    /// Record these facts and ask again.
    Record(Vec<Fact>),
    /// Nothing until then.
    Wait(Timestamp),
    /// Settled already.
    Nothing,
}

/// What is to be done for a run now.
#[must_use]
pub fn decide(run: &Run, rule: &Rule, event: &Event, vars: &Value, now: Timestamp) -> Next {
    let _ = (run, rule, event, vars, now);
    todo!()
}

/// How an attempt or a look-up ended, before it is judged.
#[derive(Clone, Debug, PartialEq)]
pub enum Outcome {
    /// It is done; the step's value.
    Done {
        /// For later steps.
        value: Value,
    },
    /// It failed.
    Failed(Failure),
    /// A look-up found nothing: the request was probably not carried out.
    NotFound,
}

/// Why an attempt failed. Carries what the next decision needs; texts are masked already.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[error("{message}")]
pub struct Failure {
    /// What kind.
    pub class: Class,
    /// The HTTP status, if there was one.
    pub status: Option<u16>,
    /// What went wrong and what to do about it.
    pub message: String,
    /// `Retry-After`, already turned into a duration.
    pub retry_after: Option<std::time::Duration>,
}

/// What the outcome of an attempt (or look-up) means for the run: the facts to record, in order.
/// `unique` says whether the target queue enforces unique references, where that is known and matters.
/// `jitter` is in `0.0..1.0`.
#[must_use]
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
    let _ = (run, rule, step, attempt, outcome, unique, now, jitter);
    todo!()
}

/// A target's circuit breaker as a value.
#[derive(Clone, Debug, PartialEq, Default)]
pub struct Breaker {
    /// Failures in a row.
    pub failures: u32,
    /// Open until then, and why.
    pub open: Option<(Timestamp, Cause)>,
}

/// Failures in a row that open a breaker.
pub const BREAKER_FAILURES: u32 = 5;

impl Breaker {
    /// Whether a request may go out now: yes, as the one probe, or not before a moment.
    #[must_use]
    pub fn admits(&self, now: Timestamp) -> Result<(), (Timestamp, Cause)> {
        let _ = now;
        todo!()
    }

    /// Counts an outcome: success closes, configuration refusals open at once, repeated failures open with growing waits.
    pub fn count(&mut self, failure: Option<&Failure>, now: Timestamp) {
        let _ = (failure, now);
        todo!()
    }
}
