//! What the outcome of an attempt means for its run.

use super::{Attempt, Fact, Outcome, Run};
use crate::rules::Rule;
use crate::time::Timestamp;

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
