//! A run's life as values: what it is, how facts change it, what is to be done next.
//!
//! Everything here is a function from values, `now` and jitter to values. The journal folds [`Fact`]s with
//! [`Run::apply`]; dispatch asks [`decide()`] what comes next and [`settle()`] what an outcome means. Knows no clock, no
//! store, no network.

mod attempt;
mod awaited;
mod breaker;
mod budget;
mod cut;
mod decide;
mod fact;
mod failure;
mod fingerprint;
mod lanes;
mod order;
mod pause;
mod people;
mod replay;
mod retry;
mod run;
mod selection;
mod settle;
mod state;
mod step;
#[cfg(test)]
mod tests;

pub use attempt::{Attempt, Class, Message, Recorded, Side};
pub use awaited::{Awaited, AwaitedKey, WOKEN_MAX};
pub use breaker::{BREAKER_FAILURES, Breaker};
pub use budget::{Budget, Who};
pub use decide::{Next, decide, event_removed, expression, rule_removed, too_many_hops};
pub use fact::{Cause, Fact, Intent, NewRun};
pub use failure::{Failure, Outcome};
pub use fingerprint::Fingerprint;
pub use lanes::{ELEMENT_VALUE_MAX, Element, GiveUp, Lane, List, Outer, Shape, wrap};
pub use order::{Newest, OrderKey, Ordered};
pub use pause::{PAUSED, PAUSED_NAME_MAX, PAUSES_MAX, Pause, Paused, Pauses};
pub use people::{NOTES_KEPT, Note, POISON_DEATHS, REASON_MAX};
pub use replay::{Again, ReplayAsked, Replayed, replay};
pub use retry::wait;
pub use run::{ATTEMPTS_KEPT, LOOKUPS_NEEDED, Run};
pub use selection::{Pace, Selection, Verdict};
pub use settle::{CONFLICTS_MAX, LOOKUP_APART, settle};
pub use state::{RunState, StepState};
pub use step::StepView;
