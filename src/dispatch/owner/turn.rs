//! A run's turn: what it needs is decided, sent through its target's gate, judged and recorded.

use super::{ACTIVE_MAX, Active, Context, Done, NO_ROOM, Owner, Phase, REST};
use crate::clock::chance;
use crate::dispatch::attempt::{Order, Sent, carry_out, record_keeping};
use crate::dispatch::board::paused;
use crate::dispatch::gates::{Entry, Place};
use crate::dispatch::targets;
use crate::dispatch::wanted::refusal;
use crate::event::RunId;
use crate::http::client::{ATTEMPT_TIMEOUT, request_line};
use crate::metric;
use crate::rules::Request;
use crate::runs::{Attempt, Cause, Fact, Failure, Next, Outcome, RunState, decide, settle};
use crate::time::Timestamp;

impl Owner {
    pub(super) fn advance(&mut self, id: RunId) {
        let Some(Active { run, lanes, context: Some(Context { rule, vars, event }), .. }) = self.active.get(&id) else {
            return self.release(id);
        };
        let now = self.world.clock.now();
        if let Some(cause) = self
            .dispatch
            .board
            .pauses()
            .of_rule(&run.planned.rule)
            .filter(|_| *lanes == 0 && run.next_at.is_some_and(|next| next.as_millis() <= now.as_millis()))
        {
            let facts = paused(run, cause, now);
            return self.record(id, facts);
        }
        if let Some(fact) = self.dropped_for_newer(id, now) {
            return self.record(id, vec![fact]);
        }
        match decide(run, rule, event, vars, now) {
            Next::Nothing => self.release(id),
            Next::Wait(_) | Next::Record(_) if *lanes > 0 => {}
            // The journal knows when it is due.
            Next::Wait(_) if run.next_at.is_some_and(|next| next.as_millis() > now.as_millis()) => self.release(id),
            Next::Wait(until) => self.rest(id, until.since(now)),
            Next::Lanes { shape, parts } => self.begin_lanes(id, shape.as_ref(), &parts),
            Next::Record(facts) => self.record(id, facts),
            next @ (Next::Perform { .. } | Next::LookUp { .. }) => self.enter(id, next, now),
        }
    }

    /// A run wants to send: to its target's gate.
    pub(super) fn enter(&mut self, id: RunId, next: Next, now: Timestamp) {
        let room = (ACTIVE_MAX - self.active.len().min(ACTIVE_MAX)) / 2;
        let Some(active) = self.active.get_mut(&id) else { return };
        let (Some(context), Next::Perform { step, request, .. } | Next::LookUp { step, request, .. }) = (&active.context, &next) else {
            return;
        };
        let name = || format!("{}/{}", context.rule.name, context.rule.label(active.run.part(), *step));
        let place = targets::place(request, &context.event, &self.dispatch.targets.load(), name);
        if let Some(cause) = self.dispatch.board.pauses().of_target(&place.target) {
            let facts = paused(&active.run, cause, now);
            return self.record(id, facts);
        }
        let again = active.run.state == RunState::Pending && active.run.cause.as_ref().is_some_and(|cause| cause.code == NO_ROOM);
        if !self.may_send(id, &next, &place, now) {
            return;
        }
        let gathers = enqueues(&next);
        if gathers && self.gather(id, &next, &place, now) {
            return;
        }
        match self.gates.enter(&place, id, room, again, now) {
            Entry::Go => return self.send(id, next, place, now),
            Entry::Parked => {
                if let Some(active) = self.active.get_mut(&id) {
                    active.phase = Phase::Parked(Box::new((place, next)));
                }
                return;
            }
            Entry::PutBack(wait) => {
                let message = format!("`{}` has as many requests as it gets at once; its turn comes", place.target);
                let cause = Cause { code: NO_ROOM.to_owned(), message };
                self.record(id, vec![Fact::Waits { state: RunState::Pending, until: now.plus(wait), cause, at: now }]);
            }
            Entry::Refused(until, cause) => self.refused(id, &next, &place, until, &cause, now),
        }
        if gathers {
            self.back(&place, now);
        }
    }

    /// The breaker is open: nothing is sent.
    pub(super) fn refused(&mut self, id: RunId, next: &Next, place: &Place, until: Timestamp, cause: &Cause, now: Timestamp) {
        let (attempt, failure) = refusal(place, until, cause, now);
        let (step, outcome) = match next {
            Next::LookUp { step, .. } => (*step, Outcome::NotLookedUp(failure)),
            Next::Perform { step, .. } => (*step, Outcome::Failed(failure)),
            _ => return,
        };
        if matches!(next, Next::Perform { .. }) && self.active.get(&id).is_some_and(|active| active.lane.is_none()) {
            self.wants.put(id, place, step);
        }
        self.settle(id, step, &attempt, &outcome, None, now);
    }

    /// A run goes through its gate: the request leaves as soon as its intent is on disk.
    pub(super) fn send(&mut self, id: RunId, next: Next, place: Place, now: Timestamp) {
        let Some(order) = self.order(id, next, &place, now) else { return self.gates.abandon(&place) };
        let world = self.world.clone();
        let targets = self.dispatch.targets.load_full();
        let task = async move { carry_out(&world, &targets, order).await.map(|sent| (id, Done::Sent(Box::new(sent)))) };
        self.spawn(id, task);
    }

    /// What is to be carried out; the run is on its way from here on.
    pub(super) fn order(&mut self, id: RunId, next: Next, place: &Place, now: Timestamp) -> Option<Order> {
        let active = self.active.get_mut(&id)?;
        let (step, request, number, intent, look_up) = match next {
            Next::Perform { step, request, attempt, intent } => (step, request, attempt, intent, None),
            Next::LookUp { step, request, intent } => (step, request, intent.attempt, None, Some(intent)),
            _ => return None,
        };
        let part = active.run.part();
        let (context, own) = active.context.as_ref().and_then(|c| c.rule.part(part).get(step).map(|own| (c, own)))?;
        let intent = intent.map(|intent| Fact::Intended { id: own.id.as_deref().map(str::to_owned), kind: own.kind().to_owned(), intent });
        let mut order = Order {
            run: active.run.id(),
            label: context.rule.label(part, step),
            hops: active.run.planned.hops.saturating_add(1),
            first: number == 1,
            request,
            rule: context.rule.name.clone(),
            event: context.event.clone(),
            timeout: own.attempt_timeout().unwrap_or(ATTEMPT_TIMEOUT),
            wants_value: context.rule.needs_value(part, step),
            intent: Vec::new(),
            look_up,
        };
        // Until the answer tells the request line itself: a request that is cut off tells this one.
        let line = match &order.request {
            Request::Http(call) => request_line(&call.method, &call.url),
            _ => format!("{} of {}", own.kind(), place.target),
        };
        active.phase = Phase::Sending { place: place.clone(), step, number, since: now, look_up: order.look_up.is_some(), line };
        if let Some(intent) = intent {
            active.run.apply(&intent);
            order.intent = self.of_run(id, vec![intent]).1;
        }
        Some(order)
    }

    /// An answer is there, or why there is none.
    pub(super) fn sent(&mut self, id: RunId, sent: &Sent) {
        let Some(active) = self.active.get(&id) else { return };
        let Phase::Sending { place, look_up, .. } = &active.phase else { return };
        let (place, look_up) = (place.clone(), *look_up);
        let now = self.world.clock.now();
        let took = sent.ended.since(sent.started);
        let failure = failure_of(sent).map(|failure| obeyed(active, failure.clone()));
        let label = self.gates.leave(&place, failure.as_ref(), took, now);
        self.tell_breakers(true);
        self.judged(id, sent, &label, now);
        if !look_up {
            self.back(&place, now);
        }
        self.pump(&place.target, now);
    }

    /// What an answer means for its run.
    pub(super) fn judged(&mut self, id: RunId, sent: &Sent, label: &str, now: Timestamp) {
        let Some(active) = self.active.get_mut(&id) else { return };
        let Phase::Sending { step, number, look_up, .. } = std::mem::replace(&mut active.phase, Phase::Busy) else { return };
        let failure = failure_of(sent);
        let took = sent.ended.since(sent.started);
        if !look_up {
            let outcome = failure.map_or("ok", |failure| failure.class.as_str());
            metrics::counter!(metric::ATTEMPTS, "target" => label.to_owned(), "outcome" => outcome).increment(1);
            metrics::histogram!(metric::ATTEMPT_SECONDS, "target" => label.to_owned()).record(took.as_secs_f64());
        }
        if let Some(failure) = failure {
            tracing::debug!(run = %id, step, attempt = number, class = failure.class.as_str(), status = failure.status, "an attempt failed");
        }
        let records = active.context.as_ref().is_some_and(|context| context.rule.record);
        let recorded = sent.trace.exchange.as_ref().filter(|_| records).map(|exchange| Box::new(exchange.recorded()));
        let attempt = Attempt {
            number,
            started: sent.started,
            ended: sent.ended,
            request: sent.trace.request.clone(),
            status: sent.trace.status,
            class: failure.map(|failure| failure.class),
            error: failure.map(|failure| failure.message.clone()),
            bytes: sent.trace.bytes,
            recorded,
        };
        self.settle(id, step, &attempt, &sent.outcome, sent.unique, now);
    }

    fn settle(&mut self, id: RunId, step: usize, attempt: &Attempt, outcome: &Outcome, unique: Option<bool>, now: Timestamp) {
        let Some(Active { run, context: Some(context), .. }) = self.active.get(&id) else { return };
        let facts = settle(run, &context.rule, step, attempt, outcome, unique, now, chance());
        if facts.is_empty() {
            tracing::error!(run = %id, step, "an outcome does not fit its run; the run is looked at again");
            return self.rest(id, REST);
        }
        self.record(id, facts);
    }

    /// Lets runs through that queue before a free gate.
    pub(super) fn pump(&mut self, target: &str, now: Timestamp) {
        if self.ends.is_some() {
            return;
        }
        while let Some(id) = self.gates.pop(target) {
            if let Some(ids) = self.together.remove(&id) {
                self.pump_together(id, ids, now);
                continue;
            }
            let Some(active) = self.active.get_mut(&id) else { continue };
            let Phase::Parked(parked) = std::mem::replace(&mut active.phase, Phase::Busy) else { continue };
            let (place, next) = *parked;
            if let Some(cause) = self.dispatch.board.pauses().of_target(&place.target) {
                let facts = paused(&active.run, cause, now);
                self.record(id, facts);
                if enqueues(&next) {
                    self.back(&place, now);
                }
                continue;
            }
            match self.gates.start(&place, now) {
                Ok(()) => self.send(id, next, place, now),
                Err((until, cause)) => {
                    self.refused(id, &next, &place, until, &cause, now);
                    if enqueues(&next) {
                        self.back(&place, now);
                    }
                }
            }
        }
    }

    /// Folds facts into the run and records them; it goes on when they are on disk.
    pub(super) fn record(&mut self, id: RunId, facts: Vec<Fact>) {
        self.give_back(id);
        let now = self.world.clock.now();
        let Some(active) = self.active.get_mut(&id) else { return };
        facts.iter().for_each(|fact| active.run.apply(fact));
        active.phase = Phase::Busy;
        let kept = self.handled(id, now);
        let (of, facts) = self.of_run(id, facts);
        let world = self.world.clone();
        self.spawn(id, async move { record_keeping(&world.journal, of, facts, kept).await.map(|()| (id, Done::Recorded)) });
    }

    pub(super) fn recorded(&mut self, id: RunId) {
        let Some(active) = self.active.get(&id) else { return };
        let run = &active.run;
        if run.state.is_settled() && active.lane.is_some() {
            return self.release(id);
        }
        if run.state.is_settled() {
            let rule = run.planned.rule.to_string();
            let took = run.updated.since(run.planned.created);
            metrics::counter!(metric::RUNS, "rule" => rule.clone(), "state" => run.state.as_str()).increment(1);
            metrics::histogram!(metric::RUN_SECONDS, "rule" => rule.clone()).record(took.as_secs_f64());
            let cause = run.cause.as_ref().map_or("", |cause| cause.code.as_str());
            match run.state {
                RunState::Succeeded | RunState::Shadowed => tracing::debug!(run = %id, rule, state = run.state.as_str(), "a run is over"),
                _ => tracing::warn!(run = %id, rule, state = run.state.as_str(), cause, "a run is over"),
            }
            return self.release(id);
        }
        let now = self.world.clock.now();
        if self.ends.is_some() || run.next_at.is_some_and(|next| next.as_millis() > now.as_millis()) {
            return self.release(id);
        }
        self.advance(id);
    }
}

/// Whether an item is to be added, which may go together with others.
pub(super) fn enqueues(next: &Next) -> bool {
    matches!(next, Next::Perform { request: Request::Enqueue(_), .. })
}

/// A failure with the silence that it asks for, as long as the step obeys it: up to its `max_wait`.
pub(super) fn obeyed(active: &Active, failure: Failure) -> Failure {
    let (Phase::Sending { step, .. }, Some(Context { rule, .. })) = (&active.phase, &active.context) else { return failure };
    let own = rule.part(active.run.part()).get(*step).and_then(|own| own.retry.as_ref());
    let longest = own.unwrap_or(&rule.retry).max_wait;
    Failure { retry_after: failure.retry_after.map(|told| told.min(longest)), ..failure }
}

fn failure_of(sent: &Sent) -> Option<&Failure> {
    match &sent.outcome {
        Outcome::Failed(failure) | Outcome::NotLookedUp(failure) => Some(failure),
        Outcome::Done { .. } | Outcome::NotYet { .. } | Outcome::Found { .. } | Outcome::NotFound => None,
    }
}
