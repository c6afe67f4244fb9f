//! What a rule holds back of its own runs: requests over its `limits`, and events older than one that was handled.

use std::time::Duration;

use bytes::Bytes;
use serde_json::json;

use super::{ACTIVE_MAX, Active, Context, Owner, Phase};
use crate::dispatch::gates::Place;
use crate::dispatch::paces::{Asks, Leave};
use crate::event::{RuleHash, RunId};
use crate::journal::{Kept, Space};
use crate::rules::Request;
use crate::runs::{Cause, Fact, Newest, Next, OrderKey, RunState};
use crate::time::Timestamp;

/// The cause of a run whose rule sends no more for now.
const LIMITED: &str = "limits";
/// How many old values are looked at for each new one.
const LOOKED_AT: usize = 4;

/// The name under which the newest event of a key is kept.
fn newest_name(key: OrderKey) -> String {
    format!("n/{key}")
}

/// The name under which it is kept when a rule may send next.
fn pace_name(rule: &str) -> String {
    format!("r/{:016x}", RuleHash::of(rule).0)
}

/// Whether a request counts: one that asks how something stands does not, nor does what stays inside.
fn counts(next: &Next) -> bool {
    match next {
        Next::Perform { request, .. } => {
            !matches!(request, Request::AwaitItem(_) | Request::AwaitJob(_) | Request::Wait(_) | Request::Emit(_))
        }
        _ => false,
    }
}

impl Owner {
    /// What becomes of a run that has not begun when a newer event was handled for its key; `None` where it goes on.
    pub(super) fn dropped_for_newer(&self, id: RunId, now: Timestamp) -> Option<Fact> {
        let Active { run, lane: None, context: Some(Context { rule, event, .. }), .. } = self.active.get(&id)? else { return None };
        let key = run.order_key().filter(|_| rule.skips_if_newer())?;
        if !run.steps.is_empty() || run.give_up.is_some() || run.state.is_settled() {
            return None;
        }
        self.newest(key)?.drops(event.change.time, now)
    }

    fn newest(&self, key: OrderKey) -> Option<Newest> {
        match self.world.journal.kept(Space::Order, &newest_name(key)) {
            Ok(kept) => kept.and_then(|bytes| serde_json::from_slice(&bytes).ok()),
            Err(error) => {
                tracing::error!(%error, "cannot read which event was handled last for a key");
                None
            }
        }
    }

    /// What is to be kept with the success of a run: that its event was handled. Looks at a few old values in passing.
    pub(super) fn handled(&mut self, id: RunId, now: Timestamp) -> Vec<Kept> {
        let Some(Active { run, lane: None, context: Some(Context { rule, event, .. }), .. }) = self.active.get(&id) else {
            return Vec::new();
        };
        if run.state != RunState::Succeeded || !rule.skips_if_newer() {
            return Vec::new();
        }
        let (Some(key), Some(time)) = (run.order_key(), event.change.time) else { return Vec::new() };
        let value = Bytes::from(json!(Newest::handled(self.newest(key), time, now)).to_string());
        let name = newest_name(key);
        let old = self.world.journal.kept_after(Space::Order, "n/", self.swept.as_deref(), LOOKED_AT).unwrap_or_default();
        self.swept = old.last().filter(|_| old.len() == LOOKED_AT).map(|(name, _)| name.clone());
        let is_over = |value: &Bytes| serde_json::from_slice::<Newest>(value).map_or(true, |newest| newest.until <= now);
        let forgotten = old.into_iter().filter(|(of, value)| *of != name && is_over(value));
        let mut kept: Vec<Kept> = forgotten.map(|(key, _)| Kept { space: Space::Order, key, value: None }).collect();
        kept.push(Kept { space: Space::Order, key: name, value: Some(value) });
        kept
    }

    /// Whether a rule's limits let a run send now; if not, it queues or is put back here.
    pub(super) fn may_send(&mut self, id: RunId, next: &Next, place: &Place, now: Timestamp) -> bool {
        let room = (ACTIVE_MAX - self.active.len().min(ACTIVE_MAX)) / 2;
        let Some(active) = self.active.get_mut(&id) else { return false };
        let Some(context) = &active.context else { return true };
        let limits = context.rule.limits;
        if !limits.any() || active.out_since.is_some() || !counts(next) {
            return true;
        }
        let again = active.run.state == RunState::Pending && active.run.cause.as_ref().is_some_and(|cause| cause.code == LIMITED);
        let (name, journal) = (context.rule.name.clone(), &self.world.journal);
        let kept = || serde_json::from_slice::<Timestamp>(&journal.kept(Space::Order, &pace_name(&name)).ok().flatten()?).ok();
        match self.paces.ask(&Asks { rule: &name, limits: &limits, run: id, again, room, now }, kept) {
            Leave::Send => {
                active.out_since = Some(now);
                if let Some(next) = self.paces.to_keep(&name, &limits) {
                    let kept = Kept { space: Space::Order, key: pace_name(&name), value: Some(Bytes::from(json!(next).to_string())) };
                    let journal = self.world.journal.clone();
                    // A crash before it is kept costs one request that comes too early.
                    self.chores.spawn(async move { drop(journal.keep(vec![kept]).await) });
                }
                true
            }
            Leave::Park => {
                active.phase = Phase::Parked(Box::new((place.clone(), next.clone())));
                false
            }
            Leave::Later(until) => {
                let message = format!("the `limits` of rule `{name}` let no more requests out for now; its turn comes");
                let cause = Cause { code: LIMITED.to_owned(), message };
                // Timers have milliseconds: a moment that is rounded down is too early.
                let until = until.plus(Duration::from_millis(1));
                self.record(id, vec![Fact::Waits { state: RunState::Pending, until, cause, at: now }]);
                false
            }
        }
    }

    /// A run does not send any more: the next one of its rule may, once this step is applied.
    pub(super) fn give_back(&mut self, id: RunId) {
        let Some(active) = self.active.get_mut(&id) else { return };
        let Some(since) = active.out_since.take() else { return };
        let Some(rule) = active.context.as_ref().map(|context| context.rule.name.clone()) else { return };
        self.paces.done(&rule, self.world.clock.now().since(since));
        self.freed.push(rule);
    }

    /// Lets those in who stand before places that were given back.
    pub(super) fn let_in(&mut self) {
        while let Some(rule) = self.freed.pop() {
            while let Some(id) = self.paces.pop(&rule) {
                let Some(active) = self.active.get_mut(&id).filter(|active| matches!(active.phase, Phase::Parked(..))) else { continue };
                let Phase::Parked(parked) = std::mem::replace(&mut active.phase, Phase::Busy) else { continue };
                if self.ends.is_none() {
                    self.enter(id, parked.1, self.world.clock.now());
                }
            }
        }
    }
}
