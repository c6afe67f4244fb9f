//! Enqueue steps of different runs that go out in one request: one permit, one breaker, one outcome for each run.

use std::time::Duration;

use tokio::time::Instant;

use super::turn::obeyed;
use super::{Active, Done, NO_ROOM, Owner, Phase};
use crate::dispatch::attempt::Sent;
use crate::dispatch::batch;
use crate::dispatch::gates::{Entry, Place};
use crate::dispatch::gathering::{Came, TOGETHER_MAX};
use crate::event::RunId;
use crate::rules::Request;
use crate::runs::{Cause, Class, Fact, Failure, Next, Outcome, RunState};
use crate::time::Timestamp;

/// How requests of several items are told in the record of an attempt.
const BULK: &str = "BulkAddQueueItems";

impl Owner {
    /// Whether the run was taken into a gathering; if not, it goes by itself.
    pub(super) fn gather(&mut self, id: RunId, next: &Next, place: &Place, now: Timestamp) -> bool {
        let Next::Perform { request: Request::Enqueue(_), .. } = next else { return false };
        let Some(active) = self.active.get_mut(&id) else { return false };
        if goes_alone(active) {
            self.gatherings.out(place);
            return false;
        }
        let at = Instant::now();
        match self.gatherings.came(place, id, at) {
            Came::Alone => return false,
            came => {
                active.phase = Phase::Parked(Box::new((place.clone(), next.clone())));
                if came == Came::Full {
                    self.leave_together(place, now);
                }
            }
        }
        true
    }

    /// The gatherings whose time has come leave.
    pub(super) fn leave_due(&mut self) {
        let now = self.world.clock.now();
        for id in self.gatherings.due(Instant::now()) {
            if let Some(Active { phase: Phase::Parked(parked), .. }) = self.active.get(&id) {
                let place = parked.0.clone();
                self.leave_together(&place, now);
            } else {
                tracing::error!(run = %id, "a run that waited for company is gone; the others go on without it");
                self.gatherings.forget(id);
            }
        }
    }

    /// A request to a queue came back: those that waited for it leave.
    pub(super) fn back(&mut self, place: &Place, now: Timestamp) {
        if self.gatherings.back(place) && self.ends.is_none() {
            self.leave_together(place, now);
        }
    }

    fn leave_together(&mut self, place: &Place, now: Timestamp) {
        // A target that is being tried again is asked with one item, not with a hundred.
        let most = if self.gates.is_open(place) { 1 } else { TOGETHER_MAX };
        let ids = self.gatherings.take(place, most, Instant::now());
        let Some(leader) = ids.first().copied() else { return };
        if let Some(cause) = self.dispatch.board.pauses().of_target(&place.target) {
            return self.pause_together(ids, &cause, now);
        }
        match self.gates.enter(place, leader, usize::MAX, false, now) {
            Entry::Go => self.send_together(ids, place.clone(), now),
            Entry::Parked => drop(self.together.insert(leader, ids)),
            Entry::PutBack(wait) => {
                let message = format!("`{}` has as many requests as it gets at once; its turn comes", place.target);
                for id in ids {
                    let cause = Cause { code: NO_ROOM.to_owned(), message: message.clone() };
                    self.record(id, vec![Fact::Waits { state: RunState::Pending, until: now.plus(wait), cause, at: now }]);
                }
            }
            Entry::Refused(until, cause) => self.refused_together(&ids, until, &cause, now),
        }
    }

    pub(super) fn refused_together(&mut self, ids: &[RunId], until: Timestamp, cause: &Cause, now: Timestamp) {
        for id in ids {
            let Some(active) = self.active.get_mut(id) else { continue };
            let Phase::Parked(parked) = std::mem::replace(&mut active.phase, Phase::Busy) else { continue };
            let (place, next) = *parked;
            self.refused(*id, &next, &place, until, cause, now);
        }
    }

    /// The gate has a permit for those that stood before it together.
    pub(super) fn pump_together(&mut self, leader: RunId, ids: Vec<RunId>, now: Timestamp) {
        let Some(Active { phase: Phase::Parked(parked), .. }) = self.active.get(&leader) else { return };
        let place = parked.0.clone();
        if let Some(cause) = self.dispatch.board.pauses().of_target(&place.target) {
            return self.pause_together(ids, &cause, now);
        }
        match self.gates.start(&place, now) {
            Ok(()) => self.send_together(ids, place, now),
            Err((until, cause)) => self.refused_together(&ids, until, &cause, now),
        }
    }

    fn pause_together(&mut self, ids: Vec<RunId>, cause: &Cause, now: Timestamp) {
        for id in ids {
            let Some(active) = self.active.get(&id) else { continue };
            let facts = crate::dispatch::board::paused(&active.run, cause.clone(), now);
            self.record(id, facts);
        }
    }

    /// Goes through the gate with one permit. One item alone goes as one.
    pub(super) fn send_together(&mut self, ids: Vec<RunId>, place: Place, now: Timestamp) {
        let mut orders = Vec::with_capacity(ids.len());
        let mut singles = Vec::new();
        for id in ids {
            let Some(active) = self.active.get_mut(&id) else { continue };
            let Phase::Parked(parked) = std::mem::replace(&mut active.phase, Phase::Busy) else { continue };
            singles.push((id, parked.1));
        }
        if singles.len() == 1
            && let Some((id, next)) = singles.pop()
        {
            self.gatherings.out(&place);
            return self.send(id, next, place, now);
        }
        for (id, next) in singles {
            match self.order(id, next, &place, now) {
                Some(order) => orders.push((id, order)),
                None => self.rest(id, super::REST),
            }
        }
        let Some((leader, _)) = orders.first() else { return self.gates.abandon(&place) };
        let leader = *leader;
        self.gatherings.out(&place);
        self.together.insert(leader, orders.iter().map(|(id, _)| *id).collect());
        let (world, targets) = (self.world.clone(), self.dispatch.targets.load_full());
        let task = async move { batch::carry_out(&world, &targets, orders).await.map(|sent| (leader, Done::SentTogether(sent))) };
        self.spawn(leader, task);
    }

    /// The answer to a request of several items.
    pub(super) fn sent_together(&mut self, leader: RunId, sent: Vec<(RunId, Sent)>) {
        self.together.remove(&leader);
        let now = self.world.clock.now();
        let Some(active) = self.active.get(&leader) else { return };
        let Phase::Sending { place, .. } = &active.phase else { return };
        let place = place.clone();
        let took = sent.first().map_or(Duration::ZERO, |(_, sent)| sent.ended.since(sent.started));
        // One item that is refused says nothing of the target; what all of them met does.
        let failure = of_all(&sent).map(|failure| obeyed(active, failure));
        let label = self.gates.leave(&place, failure.as_ref(), took, now);
        self.tell_breakers(true);
        for (id, sent) in &sent {
            self.judged(*id, sent, &label, now);
        }
        self.back(&place, now);
        self.pump(&place.target, now);
    }

    /// The task of a request of several items died: all of them rest.
    pub(super) fn died_together(&mut self, leader: RunId) -> bool {
        let Some(ids) = self.together.remove(&leader) else { return false };
        if let Some(Active { phase: Phase::Sending { place, .. }, .. }) = self.active.get(&leader) {
            let place = place.clone();
            self.gates.abandon(&place);
            self.gatherings.back(&place);
        }
        ids.into_iter().for_each(|id| self.rest(id, super::REST));
        true
    }
}

/// What went wrong in a batch before goes alone now: then it is known whose fault it is.
fn goes_alone(active: &Active) -> bool {
    active.run.unfinished().and_then(|view| view.attempts.last()).is_some_and(|last| {
        last.request.contains(BULK) && matches!(last.class, Some(Class::Batch | Class::Unknown | Class::Invalid | Class::Refused))
    })
}

/// The failure of a request as such: all items met the same one, and it is none of theirs.
fn of_all(sent: &[(RunId, Sent)]) -> Option<Failure> {
    let mut failures = sent.iter().map(|(_, sent)| match &sent.outcome {
        Outcome::Failed(failure) => Some(failure),
        _ => None,
    });
    let first = failures.next().flatten()?;
    let same = failures.all(|other| other.is_some_and(|other| other.class == first.class));
    (same && first.class != Class::Refused).then(|| first.clone())
}
