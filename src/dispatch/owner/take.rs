//! Due runs are taken from the journal and looked at.

use tokio::time::Instant;

use super::{ACTIVE_MAX, Active, Context, Owner, REST, TAKE_MAX, WAKE_APART};
use crate::dispatch::wanted::refused_again;
use crate::rules::Rule;
use crate::runs::{Class, Fact, Run, event_removed, rule_removed};

impl Owner {
    pub(super) fn take_due(&mut self) {
        self.rested = Instant::now() + WAKE_APART;
        self.due.borrow_and_update();
        // What changed while it was hungry is seen here and by no other step.
        self.look_for_woken();
        let now = self.world.clock.now();
        let most = TAKE_MAX.min(ACTIVE_MAX - self.active.len());
        let active = &self.active;
        match self.world.journal.due(now, most, &|id| active.contains_key(&id)) {
            Ok((runs, next)) => {
                self.hungry = runs.len() == most;
                self.next = next;
                in_turn(runs).for_each(|run| self.begin(run));
            }
            Err(error) => {
                tracing::error!(%error, "cannot read which runs are due; trying again");
                self.hungry = false;
                self.next = Some(now.plus(REST));
            }
        }
    }

    pub(super) fn begin(&mut self, run: Run) {
        let id = run.id();
        let rule = self.dispatch.generations.generation(run.planned.generation);
        let rule = rule.and_then(|(set, vars)| set.get(&run.planned.rule).map(|rule| (rule.clone(), vars)));
        if let Some(facts) = rule.as_ref().and_then(|(rule, _)| self.refused_again(&run, rule)) {
            self.active.insert(id, Active::new(run, None));
            return self.record(id, facts);
        }
        let event = self.world.journal.event(run.event());
        let now = self.world.clock.now();
        let (context, facts) = match (rule, event) {
            (Some((rule, vars)), Ok(Some(event))) => (Some(Context { rule, vars, event }), Vec::new()),
            (None, _) => (None, vec![rule_removed(&run, now)]),
            (_, Ok(None)) => (None, vec![event_removed(&run, now)]),
            (_, Err(error)) => {
                tracing::error!(run = %id, %error, "cannot read a run's event; trying again");
                (None, Vec::new())
            }
        };
        let unreadable = context.is_none() && facts.is_empty();
        self.active.insert(id, Active::new(run, context));
        match (unreadable, facts.is_empty()) {
            (true, _) => self.rest(id, REST),
            (false, true) => self.advance(id),
            (false, false) => self.record(id, facts),
        }
    }

    /// What a run is told that the same breaker refuses once more: that needs neither its event nor the request.
    fn refused_again(&mut self, run: &Run, rule: &Rule) -> Option<Vec<Fact>> {
        let wanted = self.wants.take(run.id())?;
        let pauses = self.dispatch.board.pauses();
        if pauses.of_rule(&rule.name).is_some() || pauses.of_target(&wanted.place.target).is_some() {
            return None;
        }
        let now = self.world.clock.now();
        let (until, cause) = self.gates.refuses(&wanted.place, now)?;
        let facts = refused_again(run, rule, &wanted, until, &cause, now)?;
        self.wants.put_again(run.id(), wanted);
        Some(facts)
    }
}

/// Those that an open breaker refused before come last: most likely it refuses them again, and they are not to stand before the others.
fn in_turn(runs: Vec<Run>) -> impl Iterator<Item = Run> {
    let waited = |run: &Run| run.cause.as_ref().is_some_and(|cause| cause.code == Class::BreakerOpen.as_str());
    let (waited, others): (Vec<_>, Vec<_>) = runs.into_iter().partition(waited);
    others.into_iter().chain(waited)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::EventId;
    use crate::runs::{Cause, NewRun};
    use crate::time::Timestamp;

    #[test]
    fn runs_that_a_breaker_refused_before_stand_behind_the_others() {
        let run = |number: u128, cause: Option<&str>| {
            let mut run = Run::new(NewRun::plain(EventId(number), "r", Timestamp::EPOCH));
            run.cause = cause.map(|code| Cause { code: code.to_owned(), message: String::new() });
            run
        };
        let due = vec![run(1, Some("breaker_open")), run(2, None), run(3, Some("breaker_open")), run(4, Some("server"))];
        let order: Vec<_> = in_turn(due).map(|run| run.event().0).collect();
        assert_eq!(order, [2, 4, 1, 3]);
    }
}
