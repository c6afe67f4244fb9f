//! What is recorded about a run. Facts are the stored truth: their spelling in JSON is a stored format, fields may be
//! added with `#[serde(default)]` and never change their meaning.
//!
//! ```text
//! {"fact":"intended","id":"item","kind":"enqueue","intent":{"step":0,"attempt":1,"at":…,"lookups":0,"next_lookup":null}}
//! {"fact":"attempted","step":0,"id":"item","kind":"enqueue","attempt":{"number":1,…},"unknown":false}
//! {"fact":"looked_up","next":…,"at":…}           {"fact":"repeatable","at":…}
//! {"fact":"step_done","step":0,"id":"item","kind":"enqueue","value":{…},"maybe_twice":false,"at":…}
//! {"fact":"step_skipped","step":1,"id":null,"kind":"http","because":"…","at":…}
//! {"fact":"waits","state":"retrying","until":…,"cause":{"code":…,"message":…},"at":…}
//! {"fact":"awaits","step":0,"id":null,"kind":"wait","until":…,"next":…,"value":null,"cause":{…},"at":…}
//! {"fact":"not_over","awaited":"https://…|job|…","asked":…,"until":…,"cause":{…},"at":…}
//! {"fact":"element","step":0,"id":"lines","kind":"for_each","index":0,"of":3,"parallel":1,"value":null,"what":{…}}
//! {"fact":"gives_up","cause":{…},"at":…}          {"fact":"in_give_up","what":{…}}
//! {"fact":"settled","state":"succeeded","cause":null,"would":[],"at":…}     {"fact":"retried","at":…,"due":…}
//! {"fact":"accepted","value":{…},"reason":"…","at":…}                       {"fact":"discarded","reason":"…","at":…}
//! ```

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{Attempt, Awaited, Ordered, Replayed, RunState};
#[cfg(test)]
use crate::event::EventId;
use crate::event::{RuleName, RunId};
use crate::rules::Mode;
use crate::time::Timestamp;

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
    /// Set when a replay planned it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replay: Option<Replayed>,
    /// Set when its rule has an order.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub order: Option<Ordered>,
}

#[cfg(test)]
impl NewRun {
    /// A live run of generation 1 that nothing is special about; tests say what is.
    pub(crate) fn plain(event: EventId, rule: &str, created: Timestamp) -> Self {
        let id = RunId::of(event, rule);
        Self { id, rule: rule.into(), generation: 1, created, mode: Mode::Live, hops: 0, dead: None, replay: None, order: None }
    }
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

/// A durable fact about a run. The journal keeps facts; a [`crate::runs::Run`] is their fold.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "fact", rename_all = "snake_case")]
pub enum Fact {
    /// A request that is not idempotent leaves now.
    Intended {
        /// The step's id, if it has one.
        id: Option<String>,
        /// `enqueue`, `http`, …
        kind: String,
        /// Which one.
        intent: Intent,
    },
    /// An attempt is over, well or not.
    Attempted {
        /// The step's index.
        step: usize,
        /// Its id, if it has one.
        id: Option<String>,
        /// `enqueue`, `http`, …
        kind: String,
        /// What happened.
        attempt: Attempt,
        /// Whether it was carried out is not known: its intent stays open.
        unknown: bool,
    },
    /// The outcome of an open intent was looked up and not found.
    LookedUp {
        /// When the next look-up may be.
        next: Timestamp,
        /// When this one was.
        at: Timestamp,
    },
    /// The request of the open intent may be repeated without harm: the queue refuses a second item with its reference.
    Repeatable {
        /// When that was found out.
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
        /// `Retrying` or `Waiting`; `Pending` where nothing failed and its target only has no room now.
        state: RunState,
        /// Until when.
        until: Timestamp,
        /// Why.
        cause: Cause,
        /// Since when.
        at: Timestamp,
    },
    /// A step waits for a moment, an item or a job.
    Awaits {
        /// The step's index.
        step: usize,
        /// Its id, if it has one.
        id: Option<String>,
        /// `wait`, `await_item`, …
        kind: String,
        /// When it is over, or given up.
        until: Timestamp,
        /// When it is looked at next.
        next: Timestamp,
        /// What was begun and is awaited now: a job that was started.
        value: Value,
        /// What is awaited, in words.
        cause: Cause,
        /// Since when.
        at: Timestamp,
    },
    /// What is awaited was looked at and is not over.
    NotOver {
        /// What it is, for the event that tells its end; `None` where none would.
        awaited: Option<Awaited>,
        /// When it was asked for: an event behind this may tell more than the answer.
        asked: Timestamp,
        /// When it is looked at next, unless an event comes.
        until: Timestamp,
        /// How it stands.
        cause: Cause,
        /// When the answer was there.
        at: Timestamp,
    },
    /// Something happened to an element of a list.
    Element {
        /// The index of the list's step.
        step: usize,
        /// Its id, if it has one.
        id: Option<String>,
        /// `for_each` or `enqueue_each`.
        kind: String,
        /// Which element, from 0.
        index: u32,
        /// How many there are.
        of: u32,
        /// How many are worked on at once.
        parallel: u32,
        /// What later steps see of it, once it is done.
        value: Option<Value>,
        /// What happened; its step is one of the element's.
        #[serde(rename = "what")]
        fact: Box<Self>,
    },
    /// The run ends dead, but for its rule's `on_give_up`.
    GivesUp {
        /// Why.
        cause: Cause,
        /// When.
        at: Timestamp,
    },
    /// Something happened in `on_give_up`.
    InGiveUp {
        /// What; its step is one of `on_give_up`.
        #[serde(rename = "what")]
        fact: Box<Self>,
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
    /// A person had a dead or ambiguous run tried again: its unfinished step begins anew.
    Retried {
        /// When.
        at: Timestamp,
        /// When its turn comes, where many were asked for and their rate was to be limited.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        due: Option<Timestamp>,
    },
    /// A person counts the unfinished step of a dead or ambiguous run as done: the run goes on behind it.
    Accepted {
        /// The step's value for later steps.
        value: Value,
        /// Why, in the person's words.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        reason: Option<String>,
        /// When.
        at: Timestamp,
    },
    /// A person put the run aside: nothing more happens.
    Discarded {
        /// Why, in the person's words.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        reason: Option<String>,
        /// Its turn had not come. A journal that lost the segments of the run before it would not say so.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        blocked: bool,
        /// When.
        at: Timestamp,
    },
}

impl Fact {
    /// When it happened.
    #[must_use]
    pub fn at(&self) -> Timestamp {
        match self {
            Self::Intended { intent, .. } => intent.at,
            Self::Attempted { attempt, .. } => attempt.ended,
            Self::Element { fact, .. } | Self::InGiveUp { fact } => fact.at(),
            Self::LookedUp { at, .. }
            | Self::Repeatable { at }
            | Self::StepDone { at, .. }
            | Self::StepSkipped { at, .. }
            | Self::Waits { at, .. }
            | Self::Awaits { at, .. }
            | Self::NotOver { at, .. }
            | Self::GivesUp { at, .. }
            | Self::Settled { at, .. }
            | Self::Retried { at, .. }
            | Self::Accepted { at, .. }
            | Self::Discarded { at, .. } => *at,
        }
    }
}
